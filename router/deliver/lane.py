"""A lane for each destination: it claims what is due, keeps workers busy with it, has the outcomes recorded.

Every lane has its own tasks, its own backlog and its own bounds, so that nothing which happens to one
destination is felt by another. Three tasks live as long as the lane does: the feeder claims ahead of need and
waits out outages, the recorder writes whatever outcomes have gathered while it wrote the last ones, the watch
looks for what is stuck. Workers (a desk each, one association or file writer) come and go with the load.

A delivery is held from its claim until it has an outcome. Those held and the outcomes that are not recorded
yet are bounded together, which bounds everything in here. What is held when the lane ends is given back.

What is sent and not recorded goes out once more after a crash. That is no more than ``associations`` ×
``window``: an answered instance counts among the outstanding ones until its outcome is in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import anyio
from anyio.abc import TaskGroup

from router.clock import Clock
from router.config.settings import Deliver
from router.deliver.backlog import (
    CAPACITY_MAX,
    CAPACITY_MIN,
    SHARE,
    Backlog,
    Turn,
    associations_wanted,
    next_capacity,
)
from router.deliver.desk import Desk, Sender, Signal
from router.deliver.desks import Desks
from router.deliver.health import RISE_STEP_S
from router.deliver.judge import Judge
from router.deliver.leases import Leases
from router.deliver.load import Load
from router.deliver.queue import Deliveries
from router.deliver.recorder import Recorder, Revise
from router.deliver.renditions import Renditions
from router.deliver.settle import Ended
from router.deliver.verdict import Verdict, of_error
from router.logs import get_logger
from router.model import Delivery, Form, Priority
from router.telemetry import Telemetry

UNRECORDED_MAX = 1024  # claimed and without a durable outcome: four full backlogs
PATIENCE_S = 0.25  # nothing should wait for a busy association for longer, if another one may be opened
URGENT_MAX = 16  # claimed at once, past a full backlog
CLOSING_S = 10.0  # for recording and giving back when the lane ends

log = get_logger("deliver")


class Lane:
    """Serves one destination until cancelled or drained."""

    def __init__(
        self,
        name: str,
        *,
        deliver: Deliver,
        sender: Sender,
        queue: Deliveries,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        renditions: Renditions,
        revise: Revise | None = None,
    ) -> None:
        self.name = name
        self._deliver = deliver
        self._sender = sender
        self._clock = clock
        self._backlog = Backlog()
        self._capacity = CAPACITY_MIN
        self._turn = Turn()
        self._filled_at = clock.monotonic()
        self._leases = Leases(name, queue=queue, clock=clock)
        self._recorder = Recorder(
            name,
            queue=queue,
            telemetry=telemetry,
            on_recorded=lambda: self._nudge.set(),
            revise=revise,
        )
        self.judge = Judge(
            name,
            policy=deliver.retry,
            clock=clock,
            rng=rng,
            recorder=self._recorder,
            telemetry=telemetry,
            on_change=self._health_changed,
        )
        self.health = self.judge.health
        self._desks = Desks()
        self.load = Load(deliver, clock)
        self.renditions = renditions
        self._taken = 0
        self._taken_before = 0
        self._is_draining = False
        self._is_shut = False  # nothing is to be begun: paused by an operator, or draining
        self._nudge = anyio.Event()
        self._feeding = anyio.CancelScope()
        self._is_quiet = anyio.Event()
        self._tasks: TaskGroup | None = None

    @property
    def is_available(self) -> bool:
        """Whether what it is given would be sent now."""
        return self.health.is_up and not self._is_shut

    # ---- life

    async def run(self) -> None:
        """Serve until cancelled, or until ``drain`` is through."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._feeding = anyio.CancelScope()
                tasks.start_soon(self._recorder.run)
                tasks.start_soon(self._watch)
                tasks.start_soon(self._overtake)
                tasks.start_soon(self._render)
                with self._feeding:
                    await self._feed()
                await self._is_quiet.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._tasks = None
            with anyio.move_on_after(CLOSING_S, shield=True):
                await self._close()

    async def drain(self) -> None:
        """Begin nothing more, let what is outstanding end, give the rest back."""
        self._is_draining = self._is_shut = True
        self._desks.wake_all(Signal.LEAVE)
        self._feeding.cancel()
        if not self._desks:
            self._is_quiet.set()
        await self._is_quiet.wait()

    def pause(self, is_paused: bool) -> None:
        """Begin nothing, not even a probe: what is outstanding ends, the rest is given back. Or go on."""
        self._is_shut = is_paused or self._is_draining
        if is_paused:
            self._desks.give_up_spares()
            self._desks.wake_all(Signal.LEAVE)
        self._nudge.set()
        self._leases.wake()

    async def _close(self) -> None:
        await self._recorder.flush()
        self._backlog.clear()
        await self._leases.give_all_back()

    # ---- the feeder

    async def _feed(self) -> None:
        while not self._is_draining:
            self._nudge = anyio.Event()
            if self._is_shut or not self.health.is_up:
                await self._wait_out()
                continue
            if self._backlog:
                self._dispatch()
            is_held_up = self.health.is_rising and bool(self._backlog)
            held = len(self._backlog) + len(self.renditions)
            if not is_held_up and held <= self._capacity // 2 and self._room() > 0:
                await self._refill()
            else:
                with anyio.move_on_after(RISE_STEP_S if is_held_up else None):
                    await self._nudge.wait()

    async def _overtake(self) -> None:
        """What is of high priority does not wait until there is room in the backlog."""
        while True:
            await self._leases.wait_for_urgent()
            limit = min(URGENT_MAX, self._room())
            if self.is_available and limit > 0:
                claimed = await self._leases.claim(limit, only=Priority.HIGH)
                self._backlog.extend(claimed or [])
                self._dispatch()

    async def _refill(self) -> None:
        limit = min(self._capacity - len(self._backlog) - len(self.renditions), self._room())
        only = self._turn.next()
        claimed = await self._leases.claim(limit if only is None else -(-limit // SHARE), only=only)
        if claimed is None:
            return
        if only is not None:
            self._backlog.extend(claimed)
            return
        self._turn.claimed(was_full=len(claimed) == limit)
        if len(claimed) == limit:
            now = self._clock.monotonic()
            self._capacity = next_capacity(self._capacity, lasted_s=now - self._filled_at)
            self._filled_at = now
        if claimed:
            self._backlog.extend(claimed)
            self._dispatch()
        is_held_up = self.health.is_rising and bool(self._backlog)
        if len(claimed) < limit and not self._is_shut and not is_held_up:
            await self._leases.wait_for_work()

    def _room(self) -> int:
        return UNRECORDED_MAX - len(self._leases) - len(self._recorder)

    async def _wait_out(self) -> None:
        """Shut or down: keep nothing leased, and let a probe through when the outage's pause is over."""
        if self._is_shut:
            await self._give_back_backlog()
        elif self.judge.has_overdue:
            await self._expire()
            return
        if self._is_shut or self.health.is_probing:
            await self._nudge.wait()
            return
        if not self._desks or self.health.failures > 1:
            await self._give_back_backlog()
        next_try_at = self.health.next_try_at
        now = self._clock.monotonic()
        if next_try_at is None:
            return
        if now < next_try_at:
            with anyio.move_on_after(next_try_at - now):
                await self._nudge.wait()
            return
        if not self._backlog:
            claimed = await self._leases.claim(1)
            if not claimed and (claimed is None or not self._sender.can_probe):
                if claimed is not None:
                    await self._leases.wait_for_work()
                return
            self._backlog.extend(claimed)
        if not self._is_shut and self.health.begin_probe(self._clock.monotonic()):
            self._open_desk(is_probe=True)

    async def _give_back_backlog(self) -> None:
        rest = self._backlog.clear() + self.renditions.clear()
        self.renditions.let_go(rest)
        if not await self._leases.give_back(rest):
            self._backlog.extend(rest)
            self._nudge.set()

    async def _expire(self) -> None:
        """One delivery has outlived ``max_age`` in this outage: so have others, without a probe for each."""
        claimed = await self._leases.claim(min(CAPACITY_MAX, self._room()))
        waiting = self._backlog.clear() + (claimed or [])
        young = [delivery for delivery in waiting if not self.judge.is_overdue(delivery)]
        for delivery in waiting:
            if self.judge.is_overdue(delivery):
                self._leases.settled(delivery)
                self.judge.give_up(delivery)
        self._backlog.extend(young)
        self.judge.has_overdue = bool(claimed) and not young
        await self._recorder.wait_empty()

    # ---- workers

    def _dispatch(self) -> None:
        """Have as many workers at work as the backlog is worth."""
        wanted = associations_wanted(waiting=len(self._backlog), limit=self.load.associations())
        for _ in range(wanted - self._desks.working_count):
            if not self._add_worker():
                return

    def _add_worker(self) -> bool:
        if (
            not self.is_available
            or self._desks.working_count >= self.load.associations()
            or not self._may_start()
        ):
            return False
        if not self.load.may_open(desk.in_hand for desk in self._desks.working):
            return False
        if not self._desks.wake_one():
            self._open_desk(is_probe=False)
        return True

    def _may_start(self) -> bool:
        return not self.health.is_rising or self.health.may_start(self._clock.monotonic())

    def _level(self) -> None:
        """Give nothing more to the workers that are too many, and have more where they are too few."""
        self._desks.level(self.load.associations())
        self._dispatch()

    def _open_desk(self, *, is_probe: bool) -> None:
        if self._tasks is None or self._is_draining:
            return
        desk = Desk(self, is_probe=is_probe)
        self._desks.add(desk)
        self._tasks.start_soon(self._work, desk)

    async def _work(self, desk: Desk) -> None:
        started_at = self._clock.now()
        try:
            if not self._is_shut:  # it may have been shut since
                await self._sender.serve(desk)
            for delivery in list(desk.in_hand.values()):
                self.put_back(desk, delivery)
        except Exception as error:  # a defect of ours: it must cost no more than what was in hand
            log.exception("a delivery worker failed", destination=self.name)
            ended = Ended(
                started_at=started_at, ended_at=self._clock.now(), comment=f"defect: {type(error).__name__}"
            )
            for delivery in list(desk.in_hand.values()):
                self.failed(desk, delivery, of_error(error), ended)
        finally:
            self._leave(desk)

    def _leave(self, desk: Desk) -> None:
        self._desks.remove(desk)
        if desk.is_probe:
            self.health.end_probe(self._clock.monotonic())
        self._nudge.set()
        if not self._desks and self._is_draining:
            self._is_quiet.set()
        if self._backlog:
            self._dispatch()

    async def _watch(self) -> None:
        while True:
            await self._desks.wait_for_some()
            await anyio.sleep(PATIENCE_S)
            self.look_after()

    def look_after(self) -> None:
        """Let nothing wait behind a slow answer where another association could carry it."""
        patient_until = self._clock.monotonic() - PATIENCE_S
        if self._desks.working_count < self.load.associations() and self.health.is_up:
            self._desks.give_up_spares(busy_before=patient_until)
        if self._backlog and self._taken == self._taken_before:
            self._add_worker()
        self._taken_before = self._taken
        self._desks.have_watched(parked_before=patient_until)

    # ---- what desks call

    def waiting(self) -> Iterator[Delivery]:
        return iter(self._backlog)

    def park(self, desk: Desk) -> bool:
        """Put ``desk`` on the stack of those without work. False: it should leave instead."""
        if self._is_shut or not self.health.is_up:
            return False
        self._desks.park(desk, self._clock.monotonic())
        return True

    def unpark(self, desk: Desk) -> None:
        self._desks.unpark(desk)

    def take(self, desk: Desk) -> Delivery | None:
        if (
            self._is_shut
            or desk.is_surplus
            or not (self.health.is_up or (desk.is_probe and not desk.in_hand))
        ):
            return None
        if not self._may_start():
            return None
        delivery = self._backlog.take(self._clock.now())
        if delivery is None:
            return None
        self._taken += 1
        self.health.started()
        desk.is_watched = False
        desk.in_hand[delivery.delivery_id] = delivery
        if len(self._backlog) <= self._capacity // 2:
            self._nudge.set()
        return delivery

    def put_back(self, desk: Desk, delivery: Delivery) -> None:
        del desk.in_hand[delivery.delivery_id]
        self.load.lost(delivery)
        self._recorder.free()
        self._backlog.put_back(delivery)

    def render(self, desk: Desk, delivery: Delivery, forms: tuple[Form, ...]) -> None:
        del desk.in_hand[delivery.delivery_id]
        self.renditions.add(delivery, forms)

    async def _render(self) -> None:
        await self.renditions.run(on_ready=self._rendered, on_failed=self._not_rendered)

    def _rendered(self, delivery: Delivery) -> None:
        self._backlog.put_back(delivery)
        self._nudge.set()
        self._dispatch()

    def _not_rendered(self, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        self._leases.settled(delivery)
        self.judge.failed(delivery, verdict, ended)
        self._nudge.set()

    @property
    def window(self) -> int:
        return self.load.window(len(self._desks))

    @property
    def may_send(self) -> bool:
        return len(self.load) + len(self._recorder) < self.load.most

    async def wait_freed(self) -> None:
        await self._recorder.wait_freed()

    def answered(self, desk: Desk, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        self._let_go(desk, delivery)
        if self.load.answered(delivery, ended, is_busy=bool(self._backlog)):
            log.debug("delivery adapted", destination=self.name, setting=str(self.load.setting))
            self._level()
        cure = self.renditions.cure(delivery, verdict, ended.transfer_syntax_uid)
        self.judge.answered(delivery, verdict, ended, cure=cure)

    def failed(self, desk: Desk, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        self._let_go(desk, delivery)
        self.load.lost(delivery)
        self.judge.failed(delivery, verdict, ended)

    def _let_go(self, desk: Desk, delivery: Delivery) -> None:
        del desk.in_hand[delivery.delivery_id]
        self._leases.settled(delivery)
        self.renditions.let_go((delivery,))

    def forgive(self, desk: Desk, delivery: Delivery) -> bool:
        if not self.judge.forgives(delivery):
            return False
        self.put_back(desk, delivery)
        return True

    def concede(self, desk: Desk, delivery: Delivery) -> bool:
        """One association more was not to be had: many peers have a limit, and it is no outage."""
        others = self._desks.open_count
        if not others or not self.health.is_up:
            return False
        self.load.conceded(others)
        self.put_back(desk, delivery)
        log.info("fewer associations", destination=self.name, associations=others)
        return True

    def _health_changed(self) -> None:
        if not self.health.is_up:
            self._desks.wake_all(Signal.LEAVE)
        self._nudge.set()
        self._leases.wake()
