"""What verdicts do: to a delivery, to its destination's health, and to the operator's log.

Synchronous and without I/O; one for each lane. It is the only place that turns verdicts into retries.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from router.clock import Clock
from router.config.settings import Retry
from router.deliver.health import Health
from router.deliver.recorder import Recorder
from router.deliver.retry import is_overdue
from router.deliver.settle import Ended, settle
from router.deliver.verdict import Fault, Verdict, of_opening
from router.errors import ConnectFailed
from router.logs import get_logger
from router.model import Delivery, Reason, Wish
from router.telemetry import Telemetry

SUSPECT_AFTER = 2  # an instance outstanding at so many broken associations in a row is to blame itself
SUSPECTS_MAX = 1024

log = get_logger("deliver")


class Judge:
    """Judges the deliveries of one destination. ``on_change`` is called when it goes up or down."""

    def __init__(
        self,
        destination: str,
        *,
        policy: Retry,
        clock: Clock,
        rng: Random,
        recorder: Recorder,
        telemetry: Telemetry,
        on_change: Callable[[], None],
    ) -> None:
        self.health = Health(policy.maximum)
        self.has_overdue = False  # a delivery died of its age while the destination was down
        self._destination = destination
        self._policy = policy
        self._clock = clock
        self._rng = rng
        self._recorder = recorder
        self._telemetry = telemetry
        self._on_change = on_change
        self._strikes: dict[int, int] = {}
        self._outage: Verdict = of_opening(ConnectFailed())
        telemetry.destination_up(destination, True)

    def answered(
        self, delivery: Delivery, verdict: Verdict, ended: Ended, *, cure: Wish | None = None
    ) -> None:
        """The destination said something about this delivery: it is there. ``cure``: see ``settle``."""
        now = self._clock.monotonic()
        if verdict.reason is Reason.OUT_OF_RESOURCES:
            has_changed = self.health.refused(now=now, rng=self._rng)
        else:
            has_changed = self.health.answered(now)
        if has_changed:
            self._changed(verdict, "")  # what a peer says may name a patient: it is in the delivery's record
        self._settle(delivery, verdict, ended, cure=cure)

    def failed(self, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        """No answer came. Whoever is at fault backs off."""
        now = self._clock.monotonic()
        is_down, is_own_fault = False, True
        if verdict.fault is Fault.ASSOCIATION:
            is_own_fault = self._strike(delivery) >= SUSPECT_AFTER
            is_down = self.health.broke(now=now, rng=self._rng, is_suspect=is_own_fault)
        elif verdict.fault is Fault.DESTINATION:
            is_own_fault = False
            slow = verdict.reason is Reason.REJECTED_PERMANENT
            is_down = self.health.failed(now=now, rng=self._rng, slow=slow)
        if not is_own_fault:
            self._blame(verdict)
        if is_down:
            self._changed(verdict, ended.comment)
        self._settle(delivery, verdict, ended, next_try_at=None if is_own_fault else self._next_try_at())

    def reached(self) -> None:
        """A probe without a delivery got through."""
        if self.health.reached(self._clock.monotonic()):
            self._changed(self._outage, "")

    def unreached(self, verdict: Verdict, comment: str) -> None:
        """A probe without a delivery did not get through."""
        slow = verdict.reason is Reason.REJECTED_PERMANENT
        self._blame(verdict)
        if self.health.failed(now=self._clock.monotonic(), rng=self._rng, slow=slow):
            self._changed(verdict, comment)

    def is_suspect(self, delivery: Delivery) -> bool:
        """It was outstanding when an association broke, and has not been answered since."""
        return bool(self._strikes) and delivery.delivery_id in self._strikes

    def forgives(self, delivery: Delivery) -> bool:
        """Its association had probably ended before it was sent: is that believable, this time?"""
        if self._strikes.get(delivery.delivery_id, 0) + 1 >= SUSPECT_AFTER:
            return False
        self._strike(delivery)
        return True

    def is_overdue(self, delivery: Delivery) -> bool:
        """Has it waited for longer than ``max_age``?"""
        return is_overdue(self._policy, created_at=delivery.created_at, now=self._clock.now())

    def give_up(self, overdue: Delivery) -> None:
        """It grew too old in this outage, without an attempt of its own."""
        now = self._clock.now()
        ended = Ended(started_at=now, ended_at=now)
        self._settle(overdue, self._outage, ended, next_try_at=now)

    def _settle(
        self,
        delivery: Delivery,
        verdict: Verdict,
        ended: Ended,
        *,
        next_try_at: float | None = None,
        cure: Wish | None = None,
    ) -> None:
        outcome = settle(
            delivery,
            verdict,
            ended,
            policy=self._policy,
            rng=self._rng,
            next_try_at=next_try_at,
            cure=cure,
        )
        if verdict.fault is not Fault.ASSOCIATION and self._strikes:
            self._strikes.pop(delivery.delivery_id, None)
        if next_try_at is not None and outcome.reason is Reason.MAX_AGE:
            self.has_overdue = True
        self._recorder.add(outcome, delivery.instance)

    def _strike(self, delivery: Delivery) -> int:
        strikes = self._strikes.pop(delivery.delivery_id, 0) + 1
        if len(self._strikes) >= SUSPECTS_MAX:
            del self._strikes[next(iter(self._strikes))]
        self._strikes[delivery.delivery_id] = strikes
        return strikes

    def _blame(self, verdict: Verdict) -> None:
        self._outage = verdict
        self._telemetry.outage(self._destination, verdict.reason)

    def _next_try_at(self) -> float:
        """When the destination is tried next, as wall time."""
        next_try_at = self.health.next_try_at
        pause = 0.0 if next_try_at is None else next_try_at - self._clock.monotonic()
        return self._clock.now() + max(pause, 0.0)

    def _changed(self, verdict: Verdict, comment: str) -> None:
        is_up = self.health.is_up
        self._telemetry.destination_up(self._destination, is_up)
        if not is_up:
            self._telemetry.outage(self._destination, verdict.reason)
        if is_up:
            log.info("destination up", destination=self._destination)
        elif verdict.reason is Reason.REJECTED_PERMANENT:  # it will not pass: somebody has to do something
            log.error("destination rejects us", destination=self._destination, detail=comment)
        else:
            log.warning(
                "destination down", destination=self._destination, reason=verdict.reason.value, detail=comment
            )
        self._on_change()
