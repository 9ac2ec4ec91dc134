"""What a lane holds, and how much of it."""

from __future__ import annotations

import pytest

from router.deliver.backlog import (
    AGED_S,
    CAPACITY_MAX,
    CAPACITY_MIN,
    TURNS,
    WAITING_PER_ASSOCIATION,
    Backlog,
    Turn,
    associations_wanted,
    next_capacity,
)
from router.model import Priority
from tests.deliver.samples import delivery

NOW = 1_700_000_001.0


def drained(backlog: Backlog) -> list[int]:
    numbers = []
    while (item := backlog.take(NOW)) is not None:
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
    first = backlog.take(NOW)
    assert first is not None
    backlog.put_back(first)
    assert drained(backlog) == [1, 2]


def test_clear_returns_everything() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1), delivery(2, priority=Priority.HIGH)])
    assert [item.delivery_id for item in backlog.clear()] == [2, 1]
    assert backlog.take(NOW) is None


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


OLD = NOW - AGED_S - 1


def test_what_has_waited_for_long_gets_its_share_and_no_more() -> None:
    backlog = Backlog()
    backlog.extend(delivery(n, priority=Priority.LOW, created_at=OLD) for n in range(100, 110))
    backlog.extend(delivery(n, priority=Priority.HIGH) for n in range(40))
    order = drained(backlog)
    assert [place for place, number in enumerate(order[:45]) if number >= 100] == [8, 17, 26, 35, 44]


def test_low_never_starves_under_an_endless_stream_of_high() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1, priority=Priority.LOW, created_at=OLD)])
    taken = []
    for number in range(2, 30):
        backlog.extend([delivery(number, priority=Priority.HIGH), delivery(100 + number)])
        item = backlog.take(NOW)
        assert item is not None
        taken.append(item.delivery_id)
    assert 1 in taken


def test_what_is_young_waits_its_turn() -> None:
    backlog = Backlog()
    backlog.extend([delivery(1, priority=Priority.LOW), *(delivery(n) for n in range(2, 60))])
    assert drained(backlog)[-1] == 1


def test_a_high_one_goes_first_whatever_has_aged() -> None:
    backlog = Backlog()
    backlog.extend(delivery(n, priority=Priority.LOW, created_at=OLD) for n in range(1, 200))
    for _ in range(50):
        backlog.take(NOW)
    backlog.extend([delivery(1000, priority=Priority.HIGH)])
    item = backlog.take(NOW)
    assert item is not None
    assert item.delivery_id == 1000


def test_after_some_full_claims_the_lower_priorities_have_a_turn() -> None:
    turn = Turn()
    seen = []
    for _ in range(3 * TURNS):
        if (only := turn.next()) is None:
            turn.claimed(was_full=True)
        seen.append(only)
    assert seen == [None] * TURNS + [Priority.NORMAL, Priority.LOW] + [None] * TURNS + [
        Priority.NORMAL,
        Priority.LOW,
    ]


def test_without_full_claims_nothing_lies_behind() -> None:
    turn = Turn()
    for _ in range(10 * TURNS):
        assert turn.next() is None
        turn.claimed(was_full=False)
