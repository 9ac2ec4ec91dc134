"""The breaker of a destination."""

from __future__ import annotations

from random import Random

import pytest

from router.deliver.health import BREATH_S, SLOW_PAUSE_S, STRAIN, TOLERANCE, WORTH_REOPENING, Health

RNG = Random(3)


def pause(health: Health, now: float) -> float:
    assert health.next_try_at is not None
    return health.next_try_at - now


def probe(health: Health) -> float:
    """Begin the probe as soon as it is allowed; returns when."""
    assert health.next_try_at is not None
    now = health.next_try_at
    assert health.begin_probe(now)
    return now


def test_up_at_first_and_needs_no_probe() -> None:
    health = Health(600.0)
    assert health.is_up
    assert not health.begin_probe(0.0)


def test_first_failure_takes_it_down_and_says_so_once() -> None:
    health = Health(600.0)
    assert health.failed(now=100.0, rng=RNG)
    assert not health.is_up
    assert 0.8 <= pause(health, 100.0) <= 1.0


def test_associations_that_break_together_are_one_failure() -> None:
    health = Health(600.0)
    health.failed(now=100.0, rng=RNG)
    first = health.next_try_at
    for late in (100.01, 100.5, 103.0):
        assert not health.failed(now=late, rng=RNG)
    assert health.next_try_at == first
    assert health.failures == 1


def test_one_probe_at_a_time_and_only_after_the_pause() -> None:
    health = Health(600.0)
    health.failed(now=100.0, rng=RNG)
    assert not health.begin_probe(100.5)
    assert health.begin_probe(101.0)
    assert not health.begin_probe(102.0)


def test_pauses_double_up_to_the_maximum() -> None:
    health = Health(60.0)
    health.failed(now=0.0, rng=RNG)
    for bound in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0):
        now = probe(health)
        assert not health.failed(now=now, rng=RNG)
        assert 0.8 * bound <= pause(health, now) <= bound


def test_an_answer_brings_it_up_and_forgets_the_outage() -> None:
    health = Health(60.0)
    health.failed(now=0.0, rng=RNG)
    for _ in range(5):
        health.failed(now=probe(health), rng=RNG)
    probe(health)
    assert health.answered(0.0)
    assert not health.answered(0.0)
    health.failed(now=1000.0, rng=RNG)
    assert pause(health, 1000.0) <= 1.0


def test_permanent_rejection_backs_off_slowly_from_the_start() -> None:
    health = Health(600.0)
    health.failed(now=0.0, rng=RNG, slow=True)
    assert pause(health, 0.0) >= 0.8 * SLOW_PAUSE_S


def test_maximum_bounds_the_slow_pause_too() -> None:
    health = Health(5.0)
    health.failed(now=0.0, rng=RNG, slow=True)
    assert pause(health, 0.0) <= 5.0


def test_a_probe_that_told_nothing_is_followed_by_another_soon() -> None:
    health = Health(600.0)
    health.failed(now=0.0, rng=RNG)
    now = probe(health)
    health.end_probe(now)
    assert pause(health, now) == pytest.approx(BREATH_S)
    assert health.failures == 1


def test_a_suspect_instance_does_not_take_its_destination_down() -> None:
    health = Health(600.0)
    for _ in range(TOLERANCE):
        assert not health.broke(now=0.0, rng=RNG, is_suspect=True)
    assert health.is_up


def test_but_many_suspects_in_a_row_do() -> None:
    health = Health(600.0)
    for _ in range(TOLERANCE):
        health.broke(now=0.0, rng=RNG, is_suspect=True)
    assert health.broke(now=0.0, rng=RNG, is_suspect=True)


def test_an_answer_between_suspects_starts_the_count_anew() -> None:
    health = Health(600.0)
    for _ in range(5 * TOLERANCE):
        health.broke(now=0.0, rng=RNG, is_suspect=True)
        health.answered(0.0)
    assert health.is_up


def test_a_break_that_nobody_is_suspected_of_takes_it_down() -> None:
    assert Health(600.0).broke(now=0.0, rng=RNG, is_suspect=False)


def test_a_peer_that_ends_associations_after_some_instances_is_not_down() -> None:
    health = Health(600.0)
    for _ in range(5):
        for _ in range(WORTH_REOPENING):
            health.answered(0.0)
        assert not health.broke(now=0.0, rng=RNG, is_suspect=False)
        assert health.is_up
        assert not health.is_rising


def test_but_one_that_ends_the_next_one_soon_is() -> None:
    health = Health(600.0)
    for _ in range(WORTH_REOPENING):
        health.answered(0.0)
    health.broke(now=0.0, rng=RNG, is_suspect=False)
    for _ in range(WORTH_REOPENING - 1):
        health.answered(0.0)
    assert health.broke(now=0.0, rng=RNG, is_suspect=False)


def test_out_of_resources_now_and_then_is_the_instances_affair() -> None:
    health = Health(600.0)
    for _ in range(10):
        for _ in range(STRAIN - 1):
            assert not health.refused(now=0.0, rng=RNG)
        health.answered(0.0)
    assert health.is_up


def test_out_of_resources_only_is_the_destinations_state() -> None:
    health = Health(600.0)
    for _ in range(STRAIN - 1):
        health.refused(now=0.0, rng=RNG)
    assert health.refused(now=0.0, rng=RNG)
    assert not health.refused(now=probe(health), rng=RNG)
    assert health.failures == 2
    probe(health)
    assert health.answered(0.0)
