"""Memory that a flood of connections has left behind: given back to the system once the flood is over.

The C library keeps what was freed in case it is wanted again, and after some thousand connections that is
tens of megabytes in pieces. Where it has no ``malloc_trim`` (it is glibc's), nothing is done.
"""

from __future__ import annotations

import ctypes

FLOOD = 64  # associations at once, from which on it is worth it


class Ebb:
    """Whether a flood is over. Pure; asked now and then with how many associations there are."""

    def __init__(self) -> None:
        self._most = 0

    def is_over(self, associations: int) -> bool:
        """There were many, and at least half of them are gone: true once for each flood."""
        self._most = max(self._most, associations)
        if self._most < FLOOD or associations > self._most // 2:
            return False
        self._most = associations
        return True


def give_back() -> None:
    """Give free memory back to the system. Takes some milliseconds: call it in a thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
