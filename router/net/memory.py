"""Memory that a flood of connections has left behind: given back to the system once the flood is over.

The C library keeps what was freed in case it is wanted again, and after some thousand connections that is
tens of megabytes in pieces. Where it has no ``malloc_trim`` (it is glibc's), it keeps them.

What leads back to itself waits for Python's cycle collector; of asyncio each transport does. Its full round
looks at every object there is, and stops the whole process meanwhile: 50 ms for those of our imports alone.
So these are taken out of its sight (``settle``), and it has little left to do.
"""

from __future__ import annotations

import ctypes
import gc

FLOOD = 64  # associations at once, from which on it is worth it
CALM = 10  # so often asked without a flood: what the last ones held is free, too


class Ebb:
    """Whether a flood is over. Pure; asked now and then with how many associations there are."""

    def __init__(self) -> None:
        self._most = 0
        self._calm = CALM  # for how many times there has been none

    def is_over(self, associations: int) -> bool:
        """True whenever half of them are gone, and once more when it has been calm for a while."""
        self._calm = self._calm + 1 if associations < FLOOD else 0
        self._most = max(self._most, associations)
        if self._most >= FLOOD and associations <= self._most // 2:
            self._most = associations
            return True
        if self._calm == CALM:
            self._most = associations
            return True
        return False


def settle() -> None:
    """What is in memory now stays until the process ends: no collection looks at it any more."""
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Give free memory back to the system. Takes some milliseconds: call it in a thread."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
