"""All lanes of a gateway: one for each destination, none of which feels another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import anyio

from router.clock import Clock
from router.config.settings import Deliver, Operation, Settings
from router.deliver.adapt import Setting
from router.deliver.desk import Sender
from router.deliver.folder import FolderSender
from router.deliver.lane import Lane
from router.deliver.learned import LearnedContext
from router.deliver.members import MemberQueue, Members
from router.deliver.modality import TCP, ModalitySender, Network
from router.deliver.queue import Queue
from router.deliver.renditions import Maker, Renditions
from router.deliver.schedule import Hours
from router.deliver.shaping import Shaper
from router.deliver.web import PLAIN, Clients, WebSender
from router.logs import get_logger
from router.model import QueueDepth
from router.telemetry import Telemetry

RESTART_S = 5.0  # after a defect of ours
LOOK_S = 30.0  # a wall clock that was set is noticed after so long

log = get_logger("deliver")


class Lanes:
    """All lanes of a gateway."""

    def __init__(
        self,
        spool: Queue,
        settings: Settings,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        *,
        network: Network = TCP,
        web: Clients = PLAIN,
        workshop: Maker | None = None,
    ) -> None:
        self._lanes: dict[str, Lane] = {}
        self._sender_of: dict[str, Sender] = {}
        self._clock = clock
        self._spool = spool
        self._hours: dict[str, Hours] = {}
        self._paused: set[str] = set()  # by operators
        self._closed: set[str] = set()  # by their schedules
        self._emptying: set[str] = set()  # until their group, which is paused, has back what they claimed
        self._members = Members(settings.groups, lambda name: self._lanes[name].is_available)
        for name, deliver, hours, sender in _senders(spool, settings, clock, telemetry, network, web):
            own = MemberQueue(name, spool, self._members) if name in self._members else None
            if deliver.schedule:
                self._hours[name] = hours
            self._sender_of[name] = sender
            self._lanes[name] = Lane(
                name,
                deliver=deliver,
                sender=sender,
                queue=own if own is not None else spool,
                clock=clock,
                telemetry=telemetry,
                rng=rng,
                renditions=Renditions(deliver, workshop=workshop, content=spool, clock=clock),
                revise=own.revise if own is not None else None,
            )

    async def run(self) -> None:
        """Deliver until cancelled, or until ``drain`` is through."""
        self.look_at_clock()
        async with anyio.create_task_group() as tasks:
            if self._hours:
                tasks.start_soon(self._keep_hours)
            async with anyio.create_task_group() as lanes:
                for lane in self._lanes.values():
                    lanes.start_soon(_keep_running, lane)
            tasks.cancel_scope.cancel()

    def pause(self, destination: str, is_paused: bool) -> None:
        """Stop sending to one destination or group, or go on.

        What the lanes of a group's members have claimed from it they give back: they are shut for a moment.
        """
        if self._members.pause(destination, is_paused):
            self._wake_all()
            if is_paused:
                members = self._members.of(destination)
                self._emptying |= members
                for name in members:
                    self._shut(name)
        (self._paused.add if is_paused else self._paused.discard)(destination)
        self._shut(destination)

    def look_at_clock(self) -> float:
        """Open and close lanes by their schedules; how long until the next one changes, at most."""
        now = self._clock.now()
        wait_s = LOOK_S
        for name, hours in self._hours.items():
            is_open = hours.is_open(now)
            if is_open == (name in self._closed):
                (self._closed.discard if is_open else self._closed.add)(name)
                log.info("schedule", destination=name, is_open=is_open, until=hours.next_change(now))
                self._shut(name)
            change = hours.next_change(now)
            if change is not None:
                wait_s = min(wait_s, max(change - now, 0.0))
        return wait_s

    async def _keep_hours(self) -> None:
        while True:
            wait_s = self.look_at_clock()
            await anyio.sleep(wait_s)

    def _shut(self, destination: str) -> None:
        if lane := self._lanes.get(destination):
            lane.pause(any(destination in shut for shut in (self._paused, self._closed, self._emptying)))

    def saw(self, depths: Iterable[QueueDepth]) -> None:
        """What is in the ledger; to be told every second or so.

        Queues of groups that were changed need somebody who takes from them. What was leased for a lane in
        the moment in which it was shut must not lie there, as active, until the lane takes again.
        """
        if self._members.adopt(depth.destination for depth in depths):
            self._wake_all()
        for name in (*self._paused, *self._closed, *self._members.idle):
            self._spool.recall(name)
        emptied, self._emptying = self._emptying, set()
        for name in emptied:
            self._shut(name)

    def _wake_all(self) -> None:
        for name in self._lanes:
            self._spool.wake(name)

    def learned(self, destination: str) -> tuple[LearnedContext, ...]:
        """Which presentation contexts a destination has accepted and refused lately."""
        sender = self._sender_of.get(destination)
        return sender.learned.view(self._clock.monotonic()) if isinstance(sender, ModalitySender) else ()

    def setting(self, destination: str) -> Setting | None:
        """How many associations, and how many outstanding on each, a destination is found to be worth."""
        lane = self._lanes.get(destination)
        return lane.load.setting if lane is not None else None

    async def drain(self, timeout_s: float) -> None:
        """Let what is outstanding end, for ``timeout_s`` at most; nothing new is begun."""
        with anyio.move_on_after(timeout_s):
            async with anyio.create_task_group() as tasks:
                for lane in self._lanes.values():
                    tasks.start_soon(lane.drain)


def _senders(
    spool: Queue, settings: Settings, clock: Clock, telemetry: Telemetry, network: Network, web: Clients
) -> Iterator[tuple[str, Deliver, Hours, Sender]]:
    for name, modality in settings.modalities.items():
        if Operation.STORE in modality.send:
            hours = Hours(modality.deliver)
            sender: Sender = ModalitySender(
                modality,
                calling_ae=settings.ae_title,
                content=spool,
                clock=clock,
                telemetry=telemetry,
                network=network,
                shaper=Shaper(hours, clock),
            )
            yield name, modality.deliver, hours, sender
    for name, destination in settings.destinations.items():
        hours = Hours(destination.deliver)
        shaper = Shaper(hours, clock)
        if destination.folder is not None:
            sender = FolderSender(destination, content=spool, clock=clock, shaper=shaper)
        else:
            sender = WebSender(destination, content=spool, clock=clock, clients=web, shaper=shaper)
        yield name, destination.deliver, hours, sender


async def _keep_running(lane: Lane) -> None:
    """A defect in one lane must not end the others, nor itself for good."""
    while True:
        try:
            await lane.run()
            return
        except Exception:
            log.exception("a lane failed and starts anew", destination=lane.name)
            await anyio.sleep(RESTART_S)
