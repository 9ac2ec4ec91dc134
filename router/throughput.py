"""How much came in and went out lately: a ring of totals, one every few seconds, for 15 minutes. Pure.

The instants are monotonic. What is kept are totals, so a sample that comes late makes one interval longer and
no rate wrong.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from router.telemetry import Totals

EVERY_S = 5.0
SAMPLES = 181  # both ends of 15 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One interval: how much in each of its seconds. ``ended_at`` is monotonic."""

    ended_at: float
    received_per_s: float
    received_bytes_per_s: float
    delivered_per_s: float
    delivered_bytes_per_s: float


class Throughput:
    """Ask it to :meth:`look` often; it counts when that is due."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Totals]] = deque(maxlen=SAMPLES)

    def look(self, now: float, totals: Callable[[], Totals]) -> None:
        """Take a sample, where the last one is old enough."""
        if not self._samples or now - self._samples[-1][0] >= EVERY_S:
            self._samples.append((now, totals()))

    def rates(self) -> tuple[Rate, ...]:
        """The intervals between the samples, the oldest first."""
        return tuple(_rate(*before, *after) for before, after in pairwise(self._samples))


def _rate(began_at: float, before: Totals, ended_at: float, after: Totals) -> Rate:
    took_s = ended_at - began_at
    return Rate(
        ended_at=ended_at,
        received_per_s=(after.received - before.received) / took_s,
        received_bytes_per_s=(after.received_bytes - before.received_bytes) / took_s,
        delivered_per_s=(after.delivered - before.delivered) / took_s,
        delivered_bytes_per_s=(after.delivered_bytes - before.delivered_bytes) / took_s,
    )
