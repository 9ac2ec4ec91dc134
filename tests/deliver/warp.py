"""A loop whose time passes as soon as nobody has anything to do: days of waiting in a moment.

For tests whose peers are scripted: nothing in them may wait for a socket or a thread.
"""

from __future__ import annotations

import asyncio
import selectors


class _Selector(selectors.SelectSelector):
    """Waits for nothing: what would have been waited for is added to the time."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self.passed_s += timeout
        elif not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing will come")
        return ready


class WarpLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own."""

    def __init__(self) -> None:
        self._warp = _Selector()
        super().__init__(self._warp)

    def time(self) -> float:
        return 1_000.0 + self._warp.passed_s


class WarpClock:
    """Both clocks, as the loop that runs has them; ``jump`` sets the wall clock."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._offset = now - 1_000.0

    def now(self) -> float:
        return asyncio.get_running_loop().time() + self._offset

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._offset += seconds
