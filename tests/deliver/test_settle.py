"""From verdicts to outcomes."""

from __future__ import annotations

from random import Random

from router.config.settings import Retry
from router.deliver.settle import COMMENT_CHARS, Ended, settle
from router.deliver.verdict import NO_CONTEXT, Verdict, of_opening, of_status
from router.errors import ConnectFailed
from router.model import DeliveryState, Outcome, Reason
from tests.deliver.samples import EXPLICIT, delivery

CREATED = 1_700_000_000.0
POLICY = Retry(initial=5.0, maximum=600.0, max_attempts=4, max_age=1000.0)


def outcome(
    verdict: Verdict,
    *,
    attempts: int = 0,
    age: float = 10.0,
    next_try_at: float | None = None,
    comment: str = "",
) -> Outcome:
    now = CREATED + age
    return settle(
        delivery(9, attempts=attempts, created_at=CREATED),
        verdict,
        Ended(started_at=now - 1, ended_at=now, status=0x1234, comment=comment, transfer_syntax_uid=EXPLICIT),
        policy=POLICY,
        rng=Random(1),
        next_try_at=next_try_at,
    )


def test_delivered_keeps_the_facts_of_the_attempt() -> None:
    assert outcome(of_status(0xB000), comment="coerced") == Outcome(
        delivery_id=9,
        key=9,
        destination="pacs",
        state=DeliveryState.DELIVERED,
        reason=Reason.WARNING,
        started_at=CREATED + 9,
        ended_at=CREATED + 10,
        status=0x1234,
        comment="coerced",
        transfer_syntax_uid=EXPLICIT,
    )


def test_permanent_is_dead_at_once() -> None:
    result = outcome(NO_CONTEXT)
    assert (result.state, result.reason, result.retry_at) == (DeliveryState.DEAD, Reason.NO_CONTEXT, None)


def test_transient_is_due_again_and_counts() -> None:
    result = outcome(of_status(0xA700))
    assert result.state is DeliveryState.PENDING
    assert result.reason is Reason.OUT_OF_RESOURCES
    assert result.counts
    assert result.retry_at is not None
    assert CREATED + 10 <= result.retry_at <= CREATED + 15


def test_last_attempt_is_dead_and_says_of_what() -> None:
    result = outcome(of_status(0xA700), attempts=3, comment="disk full")
    assert (result.state, result.reason) == (DeliveryState.DEAD, Reason.MAX_ATTEMPTS)
    assert result.comment == "out_of_resources: disk full"


def test_an_outage_does_not_count() -> None:
    result = outcome(of_opening(ConnectFailed("x")), attempts=3, next_try_at=CREATED + 40)
    assert (result.state, result.reason) == (DeliveryState.PENDING, Reason.CONNECT_FAILED)
    assert (result.counts, result.retry_at) == (False, CREATED + 40)


def test_age_applies_in_an_outage() -> None:
    result = outcome(of_opening(ConnectFailed("x")), age=1000.0, next_try_at=CREATED + 1040)
    assert (result.state, result.reason, result.comment) == (
        DeliveryState.DEAD,
        Reason.MAX_AGE,
        "connect_failed",
    )


def test_comment_is_bounded() -> None:
    assert len(outcome(of_status(0xC000), comment="x" * 10_000).comment) == COMMENT_CHARS
