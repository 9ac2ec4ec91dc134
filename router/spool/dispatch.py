"""The queue as lanes and routing see it: decisions become deliveries, lanes lease them, outcomes end them.

Every change goes to the writer. What can wait a moment rides with the next append; what a lane waits for is
leased for it in the transaction that makes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import apsw

from router.clock import Clock
from router.errors import StorageError
from router.model import Delivery, Outcome, Priority, Routed
from router.spool.gates import Gate, Gates
from router.spool.ledger import Ledger
from router.spool.objects import Objects
from router.spool.rows import ReleasedRow
from router.spool.schema import LARGE
from router.spool.work import Change
from router.spool.writer import LATER_S, SOON_S, Writer

T = TypeVar("T")


class Dispatch(Objects):
    """The part of the spool that moves deliveries. Belongs to the event loop."""

    _writer: Writer
    _gates: Gates
    _clock: Clock
    _look_at: asyncio.TimerHandle | None = None

    # Routing

    async def route(self, items: Sequence[Routed], now: float) -> None:
        """Store decisions and make their deliveries, in one transaction. An instance is routed only once.

        A lane that waits for work has its deliveries leased in the same transaction and needs no claim. Where
        there is work for none, the transaction is left for later, and who routes gathers meanwhile.
        """
        if not items:
            return
        pairs = [(item, now) for item in items]
        handed = self._hand_over(items, now)
        leases = {delivery.delivery_id: now + gate.lease_s for gate, delivery in handed}
        urgent = {
            name
            for item in items
            if item.decision.priority is Priority.HIGH and not item.decision.hold
            for at, name in enumerate(item.decision.destinations, item.key + 1)
            if at not in leases
        }

        def routed(woken: set[str]) -> None:
            for gate, delivery in handed:
                gate.hand(delivery)
            for gate in {gate for gate, _ in handed}:
                gate.alert()
            self._gates.wake(woken)
            for name in urgent:
                self._gates.of(name).urgency.set()

        makes_work = any(item.decision.destinations and not item.decision.hold for item in items)
        within_s = SOON_S if makes_work else LATER_S
        await self._change_soon(lambda ledger: ledger.route(pairs, leases), within_s=within_s, then=routed)

    def _hand_over(self, items: Sequence[Routed], now: float) -> list[tuple[Gate, Delivery]]:
        """The deliveries that lanes wait for, as many as they asked for. Large objects may come twice."""
        handed: list[tuple[Gate, Delivery]] = []
        for item in items:
            instance, decision = item.instance, item.decision
            if instance is None or instance.place.segment == LARGE or decision.hold:
                continue
            for delivery_id, name in enumerate(decision.destinations, item.key + 1):
                gate = self._gates.of(name)
                if gate.appetite > 0:
                    gate.appetite -= 1
                    delivery = Delivery(
                        delivery_id=delivery_id,
                        destination=name,
                        attempts=0,
                        created_at=now,
                        priority=decision.priority,
                        instance=instance,
                        wish=decision.wish_for(name),
                    )
                    handed.append((gate, delivery))
        return handed

    # Lanes

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        """Lease what is due: priority first, then the longest due. Empty where nothing is due.

        With ``only`` what is of that priority, and of no other.
        """
        gate = self._gates.of(destination)
        version = gate.version
        handed = gate.take_handed(limit) if only is None else []
        gate.lease_s = lease_s
        gate.wanted = wanted = limit - len(handed)
        if handed and (not gate.wanted or gate.is_exhausted(now)):
            return handed

        def undo(result: tuple[list[Delivery], float | None]) -> None:
            if result[0]:
                self._submit_give_back(result[0], self._future())

        try:
            found, due = await self._change(
                lambda ledger: ledger.claim(destination, wanted, now + lease_s, now, only),
                durable=False,
                undo=undo,
            )
        except BaseException:
            gate.handed[:0] = handed
            raise
        if only is not None:
            return found
        gate.wanted = wanted - len(found)
        if gate.wanted:
            gate.known = (version, due)
        return handed + found

    def wake(self, destination: str) -> None:
        """Make ``wait_for_work`` of that destination return."""
        self._gates.wake((destination,))

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        """Return when something may be due for ``destination``, when woken, or at ``until`` (wall time)."""
        await self._gates.wait(destination, until)

    async def wait_for_urgent(self, destination: str) -> None:
        """Return when something of high priority was routed there since the last time, not handed over."""
        urgency = self._gates.of(destination).urgency
        await urgency.wait()
        urgency.clear()

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None:
        """Record how attempts ended. Releases instances that are done with.

        Committed when this returns: no end of the process undoes it; a power failure may, for a moment.
        ``promptly``: somebody waits for it, so it is not left for a moment later.
        """
        if not outcomes:
            return
        if promptly:
            await self._change(lambda ledger: ledger.record(outcomes), durable=False, then=self._gates.wake)
        else:
            await self._change_soon(
                lambda ledger: ledger.record(outcomes), within_s=SOON_S, then=self._gates.wake
            )

    async def sync(self) -> None:
        """Return when everything committed so far is on stable storage and what it released is free."""
        await self._change(lambda _: None)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return leased deliveries unattempted: pending and due again."""
        if deliveries:
            waiter: asyncio.Future[None] = self._future()
            self._submit_give_back(deliveries, waiter)
            await waiter

    def _submit_give_back(self, deliveries: Sequence[Delivery], waiter: asyncio.Future[None]) -> None:
        ids = [d.delivery_id for d in deliveries]
        names = {d.destination for d in deliveries}
        now = self._clock.now()
        self._writer.submit(
            Change(
                lambda ledger: ledger.give_back(ids, now),
                waiter,
                durable=False,
                then=lambda _: self._gates.wake(names),
            )
        )

    def recall(self, destination: str) -> None:
        """What was leased for a lane that takes nothing any more is given back."""
        gate = self._gates.of(destination)
        handed = gate.take_handed(len(gate.handed))
        if handed:
            self._submit_give_back(handed, self._future())

    # The writer

    async def _query(self, run: Callable[[apsw.Connection], T]) -> T:
        """What was answered before the question is in the answer; also where the ledger can only be read."""
        with suppress(StorageError):
            await self._catch_up()
        return await super()._query(run)

    async def _catch_up(self) -> None:
        """Have the ledger say what was answered so far. Raises ``StorageError`` where it cannot."""
        if self._writer.commits.owed:
            await self._change(lambda _: None, durable=False)

    def _future(self) -> asyncio.Future[T]:
        return asyncio.get_running_loop().create_future()

    async def _change(
        self,
        run: Callable[[Ledger], T],
        *,
        durable: bool = True,
        stored: ReleasedRow | None = None,
        then: Callable[[T], None] | None = None,
        undo: Callable[[T], None] | None = None,
    ) -> T:
        waiter: asyncio.Future[T] = self._future()
        self._writer.submit(Change(run, waiter, durable=durable, stored=stored, then=then, undo=undo))
        return await waiter

    async def _change_soon(
        self, run: Callable[[Ledger], T], *, within_s: float, then: Callable[[T], None]
    ) -> T:
        """A change that rides with the next transaction, or has one ``within_s`` from now.

        Waking the writer costs more than such a change: under load it saves half of all wake-ups.
        """
        waiter: asyncio.Future[T] = self._future()
        due_at = self._clock.monotonic() + within_s
        self._writer.submit_later(Change(run, waiter, durable=False, due_at=due_at, then=then))
        loop = asyncio.get_running_loop()
        look_at = loop.time() + within_s
        if self._look_at is None or self._look_at.when() > look_at:
            if self._look_at is not None:
                self._look_at.cancel()
            self._look_at = loop.call_at(look_at, self._look)
        return await waiter

    def _look(self) -> None:
        self._look_at = None
        self._writer.look()
