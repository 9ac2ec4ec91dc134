"""router.api.throttle: who fails often waits, nobody else does, and memory ends somewhere."""

from __future__ import annotations

import pytest

from router.api.throttle import ADDRESSES, ATTEMPTS, REFILL_S, Throttle


def use_up(throttle: Throttle, address: str, now: float = 0.0) -> None:
    while throttle.take(address, now) == 0.0:
        pass


def test_so_many_at_once_and_then_one_at_a_time() -> None:
    throttle = Throttle()
    assert [throttle.take("10.0.0.1", 0.0) for _ in range(ATTEMPTS)] == [0.0] * ATTEMPTS
    assert throttle.is_used_up("10.0.0.1")
    assert throttle.take("10.0.0.1", 0.0) == REFILL_S
    assert throttle.take("10.0.0.1", REFILL_S / 2) == pytest.approx(REFILL_S / 2)
    assert throttle.take("10.0.0.1", REFILL_S) == 0.0
    assert throttle.take("10.0.0.1", REFILL_S) > 0.0
    assert throttle.take("10.0.0.2", 0.0) == 0.0
    assert not throttle.is_used_up("10.0.0.2") and not throttle.is_used_up("10.0.0.3")


def test_waiting_does_not_add_up_for_ever() -> None:
    throttle = Throttle()
    use_up(throttle, "10.0.0.1")
    assert sum(throttle.take("10.0.0.1", 1e9) == 0.0 for _ in range(2 * ATTEMPTS)) == ATTEMPTS


def test_what_succeeded_costs_nothing() -> None:
    throttle = Throttle()
    for _ in range(3 * ATTEMPTS):
        assert throttle.take("10.0.0.1", 0.0) == 0.0
        throttle.give_back("10.0.0.1")
    throttle.give_back("10.0.0.9")
    assert len(throttle) == 1


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("unix", "", False),
    ],
)
def test_one_subscriber_is_one_address(one: str, other: str, is_same: bool) -> None:
    throttle = Throttle()
    use_up(throttle, one)
    assert throttle.is_used_up(other) is is_same


def test_memory_is_bounded_and_the_oldest_goes() -> None:
    throttle = Throttle()
    use_up(throttle, "old")
    for number in range(ADDRESSES):
        throttle.take(str(number), 0.0)
    assert len(throttle) == ADDRESSES
    assert not throttle.is_used_up("old")
