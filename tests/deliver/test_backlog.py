"""What a lane holds, and how much of it."""

from __future__ import annotations

import pytest

from router.deliver.backlog import (
    CAPACITY_MAX,
    CAPACITY_MIN,
    WAITING_PER_ASSOCIATION,
    Backlog,
    associations_wanted,
    next_capacity,
)
from router.model import Priority
from tests.deliver.samples import delivery


def drained(backlog: Backlog) -> list[int]:
    numbers = []
    while (item := backlog.take()) is not None:
        numbers.append(item.delivery_id)
    return numbers


def test_priority_first_then_as_they_came() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1, priority=Priority.LOW), delivery(2), delivery(3)])
    backlog.extend([delivery(4, priority=Priority.HIGH), delivery(5, priority=Priority.LOW), delivery(6)])
    assert len(backlog) == 6
    assert [item.delivery_id for item in backlog] == [4, 2, 3, 6, 1, 5]
    assert drained(backlog) == [4, 2, 3, 6, 1, 5]
    assert len(backlog) == 0


def test_what_is_put_back_is_next_of_its_priority() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1), delivery(2)])
    first = backlog.take()
    assert first is not None
    backlog.put_back(first)
    assert drained(backlog) == [1, 2]


def test_clear_returns_everything() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1), delivery(2, priority=Priority.HIGH)])
    assert [item.delivery_id for item in backlog.clear()] == [2, 1]
    assert backlog.take() is None


@pytest.mark.parametrize(
    ("capacity", "lasted_s", "expected"),
    [
        (CAPACITY_MIN, 0.01, 2 * CAPACITY_MIN),
        (CAPACITY_MAX, 0.01, CAPACITY_MAX),
        (64, 1.0, 64),
        (64, 60.0, 32),
        (CAPACITY_MIN, 60.0, CAPACITY_MIN),
    ],
)
def test_capacity_follows_the_destinations_speed(capacity: int, lasted_s: float, expected: int) -> None:
    assert next_capacity(capacity, lasted_s=lasted_s) == expected


@pytest.mark.parametrize(
    ("waiting", "limit", "expected"),
    [(0, 4, 0), (1, 4, 1), (WAITING_PER_ASSOCIATION, 4, 1), (WAITING_PER_ASSOCIATION + 1, 4, 2), (500, 4, 4)],
)
def test_associations_grow_with_the_backlog(waiting: int, limit: int, expected: int) -> None:
    assert associations_wanted(waiting=waiting, limit=limit) == expected
