"""What a lane has claimed and not begun: in memory, by priority, bounded by the lane. Pure.

It exists so that no association waits for a ledger commit. It is small on a slow destination, where it would
only keep a high priority from overtaking, and grows on a fast one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from router.model import Delivery, Priority

_ORDER = (Priority.HIGH, Priority.NORMAL, Priority.LOW)

CAPACITY_MIN = 16
CAPACITY_MAX = 256  # at 2,000/s a ledger commit may take 60 ms before an association starves
WAITING_PER_ASSOCIATION = 4  # so many deliveries that wait are worth another association
_SHORT_S = 0.25  # half a backlog that lasts shorter than this should be larger
_LONG_S = 4.0


class Backlog:
    """Deliveries in the order in which they should be sent."""

    __slots__ = ("_queues", "_size")

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[Delivery]] = {priority: deque() for priority in _ORDER}
        self._size = 0

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

    def take(self) -> Delivery | None:
        for queue in self._queues.values():
            if queue:
                self._size -= 1
                return queue.popleft()
        return None

    def clear(self) -> list[Delivery]:
        """Everything that was in it."""
        everything = list(self)
        for queue in self._queues.values():
            queue.clear()
        self._size = 0
        return everything


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
