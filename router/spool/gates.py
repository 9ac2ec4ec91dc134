"""Where the lanes wait until something of their destination is due. Belongs to the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from router.clock import Clock
from router.model import Delivery


class Gate:
    """Where the workers of one lane wait for something to be due."""

    __slots__ = ("_waiters", "appetite", "handed", "known", "lease_s", "urgency", "version", "wanted")

    def __init__(self) -> None:
        self.wanted = 0  # what the last claim asked for and did not get
        self.lease_s = 0.0
        self.urgency = asyncio.Event()  # something of high priority has come
        self.appetite = 0  # how many deliveries may be handed to the lane: it waits, and nothing else is due
        self.handed: list[Delivery] = []  # leased for the lane when they were routed; its next claim has them
        self.version = 0
        self.known: tuple[int, float | None] | None = None  # next due instant, as of a version
        self._waiters: set[asyncio.Future[None]] = set()

    def open(self) -> None:
        """Something may have become due: everyone looks."""
        self.version += 1
        self.alert()

    def hand(self, delivery: Delivery) -> None:
        """Leave a delivery that was leased for the lane, which has still to be alerted."""
        self.handed.append(delivery)

    def take_handed(self, limit: int) -> list[Delivery]:
        """Deliveries that need no claim any more."""
        taken, self.handed = self.handed[:limit], self.handed[limit:]
        return taken

    def is_exhausted(self, now: float) -> bool:
        """As far as is known nothing is due: a claim would find nothing."""
        if self.known is None or self.known[0] != self.version:
            return False
        due = self.known[1]
        return due is None or due > now

    def alert(self) -> None:
        """Everyone who waits looks."""
        self.appetite = 0
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self, timeout_s: float | None) -> None:
        """Until opened, or so long."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        self.appetite = self.wanted
        timer = None if timeout_s is None else loop.call_later(timeout_s, _expire, waiter)
        try:
            await waiter
        finally:
            self.appetite = 0
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Gates:
    """One gate for each destination."""

    def __init__(self, next_due: Callable[[str], Awaitable[float | None]], clock: Clock) -> None:
        self._next_due = next_due
        self._clock = clock
        self._gates: dict[str, Gate] = {}

    def of(self, destination: str) -> Gate:
        """The gate of one destination."""
        gate = self._gates.get(destination)
        if gate is None:
            gate = self._gates[destination] = Gate()
        return gate

    def wake(self, destinations: Iterable[str]) -> None:
        """Something of these may be due."""
        for destination in destinations:
            self.of(destination).open()

    async def wait(self, destination: str, until: float | None) -> None:
        """Until something may be due, or ``until`` (wall time).

        A claim that found less than it asked for has left word of the next due instant in ``Gate.known``, so
        that the usual wait asks the ledger nothing.
        """
        gate = self.of(destination)
        version = gate.version
        if gate.handed or (gate.known is not None and gate.known[0] != version):
            return  # something came since the last claim
        if gate.known is None:
            due = await self._next_due(destination)
            if gate.version != version:
                return
            gate.known = (version, due)
        ends = [at for at in (gate.known[1], until) if at is not None]
        timeout_s = min(ends) - self._clock.now() if ends else None
        if timeout_s is None or timeout_s > 0:
            await gate.wait(timeout_s)
