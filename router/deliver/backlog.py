"""What a lane has claimed and not begun: in memory, by priority, bounded by the lane. Pure.

It exists so that no association waits for a ledger commit. It is small on a slow destination, where it would
only keep a priority from overtaking, and grows on a fast one.

High goes before normal, and normal before low. What has waited for long gets a small share all the same, of
what is claimed and of what is sent, so that a stream of higher priority delays it and never starves it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from router.model import Delivery, Priority

_ORDER = (Priority.HIGH, Priority.NORMAL, Priority.LOW)

CAPACITY_MIN = 16
CAPACITY_MAX = 256  # at 2,000/s a ledger commit may take 60 ms before an association starves
WAITING_PER_ASSOCIATION = 4  # so many deliveries that wait are worth another association
AGED_S = 60.0  # what has waited for so long gets its share
SHARE = 8  # so many of higher priority pass it, then it goes
TURNS = 4  # so many full claims in a row, then what of lower priority may lie behind them has a turn
_SHORT_S = 0.25  # half a backlog that lasts shorter than this should be larger
_LONG_S = 4.0


class Backlog:
    """Deliveries in the order in which they should be sent."""

    __slots__ = ("_passed", "_queues", "_size")

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[Delivery]] = {priority: deque() for priority in _ORDER}
        self._size = 0
        self._passed = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Delivery]:
        for queue in self._queues.values():
            yield from queue

    def extend(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._queues[delivery.priority].append(delivery)
            self._size += 1

    def put_back(self, delivery: Delivery) -> None:
        """It was taken and not sent: the first of its priority again."""
        self._queues[delivery.priority].appendleft(delivery)
        self._size += 1

    def take(self, now: float) -> Delivery | None:
        """The next one. ``now`` is wall time, as in ``Delivery.created_at``."""
        for queue in self._queues.values():
            if queue:
                if len(queue) < self._size:
                    queue = self._choose(queue, now)
                self._size -= 1
                return queue.popleft()
        return None

    def _choose(self, highest: deque[Delivery], now: float) -> deque[Delivery]:
        others = [queue for queue in self._queues.values() if queue and queue is not highest]
        oldest = min(others, key=lambda queue: queue[0].created_at)
        if now - oldest[0].created_at < AGED_S:
            return highest
        self._passed = (self._passed + 1) % (SHARE + 1)
        return highest if self._passed else oldest

    def clear(self) -> list[Delivery]:
        """Everything that was in it."""
        everything = list(self)
        for queue in self._queues.values():
            queue.clear()
        self._size = 0
        return everything


class Turn:
    """Which priorities the next claim is for: mostly all of them, the highest first.

    While claims come back full, something of lower priority may lie behind what they found for ever.
    """

    __slots__ = ("_full", "_owed")

    def __init__(self) -> None:
        self._full = 0
        self._owed = 0  # the priorities that are to have a turn of their own: so many from the end

    def next(self) -> Priority | None:
        """The one priority to claim now; None: any."""
        if not self._owed:
            return None
        self._owed -= 1
        return _ORDER[-1 - self._owed]

    def claimed(self, *, was_full: bool) -> None:
        """A claim of any priority has found as much as it asked for, or less."""
        self._full = self._full + 1 if was_full else 0
        if self._full == TURNS:
            self._full, self._owed = 0, 2


def next_capacity(capacity: int, *, lasted_s: float) -> int:
    """How many deliveries to hold, given how long it took to send the last half."""
    if lasted_s < _SHORT_S:
        return min(capacity * 2, CAPACITY_MAX)
    if lasted_s > _LONG_S:
        return max(capacity // 2, CAPACITY_MIN)
    return capacity


def associations_wanted(*, waiting: int, limit: int) -> int:
    """How many associations should be at work: one until several deliveries wait for each."""
    return min(limit, -(-waiting // WAITING_PER_ASSOCIATION))
