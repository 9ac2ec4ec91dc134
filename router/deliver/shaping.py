"""The byte limit of one destination, shared by all its associations.

A token bucket that is kept as one instant: when the line would be free again if everything granted so far
went out at exactly the limit ("virtual scheduling", ITU-T I.371's form of the leaky bucket). Whoever wants to
send n bytes is told how long to wait, at once and in order of asking, so there is no queue, no timer and no
lock; waits add up to the limit whatever the number of associations. Unused time is kept for ``BURST_S`` at
most. Monotonic seconds, so that a wall clock that is set neither stalls nor storms.

What is to be sent goes out in slices that take ``SLICE_S`` of the limit: an instance of a megabyte at
100 kB/s flows instead of being one burst and a pause of ten seconds.
"""

from __future__ import annotations

import anyio

from router.clock import Clock
from router.deliver.schedule import Hours

BURST_S = 0.1  # unused time that may be made up for: what a wake-up may come late on a busy machine
SLICE_S = 0.05
SLICE_MIN_BYTES = 1024
SLICE_MAX_BYTES = 256 * 1024


class TokenBucket:
    """Grants bytes at a rate that may change at any time. Pure."""

    __slots__ = ("_free_at",)

    def __init__(self) -> None:
        self._free_at = float("-inf")

    def take(self, count: int, *, bytes_per_second: float, now: float) -> float:
        """Grant ``count`` bytes; how many seconds to wait before they may be sent."""
        start = max(self._free_at, now - BURST_S)
        self._free_at = start + count / bytes_per_second
        return max(start - now, 0.0)


def slice_bytes(bytes_per_second: float) -> int:
    """How much to send at once."""
    return min(max(int(bytes_per_second * SLICE_S), SLICE_MIN_BYTES), SLICE_MAX_BYTES)


class Shaper:
    """What the associations of one destination ask before they write."""

    def __init__(self, hours: Hours, clock: Clock) -> None:
        self._hours = hours
        self._clock = clock
        self._bucket = TokenBucket()

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at any time; where not, there is no need to ask."""
        return self._hours.has_rate

    def grant(self, count: int) -> tuple[int, float]:
        """How many of ``count`` bytes may go in one piece, and after how many seconds."""
        rate = self._hours.bytes_per_second(self._clock.now())
        if rate is None:
            return count, 0.0
        piece = min(count, slice_bytes(rate))
        return piece, self._bucket.take(piece, bytes_per_second=rate, now=self._clock.monotonic())

    async def pass_through(self, count: int) -> None:
        """Wait as long as ``count`` bytes take that leave in one piece."""
        while count > 0:
            piece, wait_s = self.grant(count)
            if wait_s > 0:
                await anyio.sleep(wait_s)
            count -= piece
