"""When a failed delivery is tried again, and when it is given up: pure.

Exponential with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the pause is
drawn between nothing and a bound that doubles with each attempt, so that what failed together does not return
together.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from router.config.settings import Retry
from router.model import Reason

_DOUBLINGS = 40  # more would overflow a float long after every maximum is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try again at ``at`` (seconds since the epoch)."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """No further attempt: attempts or age are used up."""

    reason: Reason


def after_failure(
    policy: Retry, *, attempts: int, created_at: float, now: float, rng: Random
) -> Again | GiveUp:
    """Decide about a delivery of which ``attempts`` (this one included) have failed on its own account."""
    if policy.max_attempts is not None and attempts >= policy.max_attempts:
        return GiveUp(reason=Reason.MAX_ATTEMPTS)
    if is_overdue(policy, created_at=created_at, now=now):
        return GiveUp(reason=Reason.MAX_AGE)
    bound = min(policy.maximum, policy.initial * 2.0 ** min(max(attempts, 1) - 1, _DOUBLINGS))
    return _within_age(policy, created_at, now + rng.uniform(0.0, bound))


def after_outage(policy: Retry, *, created_at: float, now: float, next_try_at: float) -> Again | GiveUp:
    """Decide about a delivery that failed because of its destination: only its age counts."""
    if is_overdue(policy, created_at=created_at, now=now):
        return GiveUp(reason=Reason.MAX_AGE)
    return _within_age(policy, created_at, max(now, next_try_at))


def is_overdue(policy: Retry, *, created_at: float, now: float) -> bool:
    """Has it waited for longer than ``max_age``?"""
    return now - created_at >= policy.max_age


def _within_age(policy: Retry, created_at: float, at: float) -> Again:
    # The last attempt is made when the age is reached, not up to a whole pause later.
    return Again(at=min(at, created_at + policy.max_age))
