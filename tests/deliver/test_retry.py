"""When again, and when no more."""

from __future__ import annotations

from random import Random

import pytest

from router.config.settings import Retry
from router.deliver.retry import Again, GiveUp, after_failure, after_outage
from router.model import Reason

NOW = 1_700_000_000.0
POLICY = Retry(initial=5.0, maximum=600.0, max_attempts=None, max_age=3 * 86400.0)


def again(policy: Retry, *, attempts: int, rng: Random, age: float = 0.0) -> float:
    then = after_failure(policy, attempts=attempts, created_at=NOW - age, now=NOW, rng=rng)
    assert isinstance(then, Again)
    return then.at - NOW


@pytest.mark.parametrize(
    ("attempts", "bound"),
    [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 600.0), (9, 600.0), (10_000, 600.0)],
)
def test_pause_is_drawn_below_a_bound_that_doubles(attempts: int, bound: float) -> None:
    rng = Random(7)
    pauses = [again(POLICY, attempts=attempts, rng=rng) for _ in range(300)]
    assert all(0.0 <= pause <= bound for pause in pauses)
    assert max(pauses) > bound * 0.9
    assert min(pauses) < bound * 0.1


def test_attempts_used_up() -> None:
    policy = Retry(max_attempts=3)
    assert again(policy, attempts=2, rng=Random(1)) >= 0
    then = after_failure(policy, attempts=3, created_at=NOW, now=NOW, rng=Random(1))
    assert then == GiveUp(reason=Reason.MAX_ATTEMPTS)


def test_age_used_up() -> None:
    then = after_failure(POLICY, attempts=1, created_at=NOW - POLICY.max_age, now=NOW, rng=Random(1))
    assert then == GiveUp(reason=Reason.MAX_AGE)


def test_last_attempt_is_made_when_the_age_is_reached_and_not_after() -> None:
    rng = Random(1)
    assert all(again(POLICY, attempts=20, rng=rng, age=POLICY.max_age - 2.0) <= 2.0 for _ in range(50))


def test_outage_uses_no_attempt_but_age_counts() -> None:
    policy = Retry(max_attempts=1, max_age=100.0)
    assert after_outage(policy, created_at=NOW, now=NOW, next_try_at=NOW + 30) == Again(at=NOW + 30)
    assert after_outage(policy, created_at=NOW - 90, now=NOW, next_try_at=NOW + 30) == Again(at=NOW + 10)
    late = after_outage(policy, created_at=NOW - 100, now=NOW, next_try_at=NOW + 30)
    assert late == GiveUp(reason=Reason.MAX_AGE)
