"""From a verdict to the outcome that the ledger records: retried when, given up why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from router.config.settings import Retry
from router.deliver.retry import Again, GiveUp, after_failure, after_outage
from router.deliver.verdict import Kind, Verdict
from router.model import Delivery, DeliveryState, Outcome, Transcoding, Wish

COMMENT_CHARS = 256  # an error's text is for an operator's line, not an archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The facts of one attempt. Instants are wall time."""

    started_at: float
    ended_at: float
    status: int | None = None
    comment: str = ""
    transfer_syntax_uid: str = ""
    transcoding: Transcoding | None = None


def settle(
    delivery: Delivery,
    verdict: Verdict,
    ended: Ended,
    *,
    policy: Retry,
    rng: Random,
    next_try_at: float | None = None,
    cure: Wish | None = None,
) -> Outcome:
    """What becomes of ``delivery``.

    ``cure`` is given where another form may help against a permanent failure: then it is tried at once.
    ``next_try_at`` (wall time) is given where the destination was at fault: then no attempt of the delivery's
    budget is used up, and it is due when the destination is tried next.
    """
    state, reason, comment, retry_at = DeliveryState.DELIVERED, verdict.reason, ended.comment, None
    counts = next_try_at is None
    if verdict.kind is Kind.PERMANENT and cure is not None:
        state, retry_at = DeliveryState.PENDING, ended.ended_at
    elif verdict.kind is Kind.PERMANENT:
        state = DeliveryState.DEAD
    elif verdict.kind is Kind.TRANSIENT:
        then: Again | GiveUp
        if next_try_at is None:
            then = after_failure(
                policy,
                attempts=delivery.attempts + 1,
                created_at=delivery.created_at,
                now=ended.ended_at,
                rng=rng,
            )
        else:
            then = after_outage(
                policy, created_at=delivery.created_at, now=ended.ended_at, next_try_at=next_try_at
            )
        if isinstance(then, GiveUp):
            state, reason = DeliveryState.DEAD, then.reason
            comment = f"{verdict.reason}: {comment}" if comment else verdict.reason.value
        else:
            state, retry_at = DeliveryState.PENDING, then.at
    return Outcome(
        delivery_id=delivery.delivery_id,
        key=delivery.instance.key,
        destination=delivery.destination,
        state=state,
        reason=reason,
        started_at=ended.started_at,
        ended_at=ended.ended_at,
        status=ended.status,
        comment=comment[:COMMENT_CHARS],
        transfer_syntax_uid=ended.transfer_syntax_uid,
        retry_at=retry_at,
        counts=counts,
        wish=cure,
        transcoding=ended.transcoding,
    )
