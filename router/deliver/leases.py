"""What a lane has leased from the queue and not yet settled, and its dealings with the queue about that.

A spool that does not answer is logged, waited for and asked again; nobody above needs to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from router.clock import Clock
from router.deliver.queue import Deliveries
from router.errors import StorageError
from router.logs import get_logger
from router.model import Delivery, Priority

LEASE_S = 6 * 3600.0  # a backlog lasts seconds, but a clock may jump; a start takes leases of a crash back
PAUSE_S = 1.0  # after the spool failed to answer

log = get_logger("deliver")


class Leases:
    """The leases of one destination's lane. Its length is how many there are."""

    def __init__(self, destination: str, *, queue: Deliveries, clock: Clock) -> None:
        self._destination = destination
        self._queue = queue
        self._clock = clock
        self._held: dict[int, Delivery] = {}

    def __len__(self) -> int:
        return len(self._held)

    async def claim(self, limit: int, *, only: Priority | None = None) -> list[Delivery] | None:
        """Lease up to ``limit`` of what is due; None where the spool could not answer."""
        try:
            claimed = await self._queue.claim(
                self._destination, limit=limit, lease_s=LEASE_S, now=self._clock.now(), only=only
            )
        except StorageError as error:
            await self._complain("no deliveries claimed", error)
            return None
        # What is held and claimed again outlived its lease; one copy of it is enough.
        fresh = [delivery for delivery in claimed if delivery.delivery_id not in self._held]
        self._held.update((delivery.delivery_id, delivery) for delivery in fresh)
        return fresh

    def settled(self, delivery: Delivery) -> None:
        """It has an outcome: from when that is recorded on, it may be claimed again."""
        del self._held[delivery.delivery_id]

    async def give_back(self, deliveries: Sequence[Delivery]) -> bool:
        """Return them unattempted. False: they could not be, and are still held."""
        if not deliveries:
            return True
        try:
            await self._queue.give_back(deliveries)
        except StorageError as error:
            await self._complain("leases not given back", error)
            return False
        for delivery in deliveries:
            del self._held[delivery.delivery_id]
        return True

    async def give_all_back(self) -> None:
        """At the end. What cannot be given back is taken back by the spool's next start."""
        await self.give_back(list(self._held.values()))
        self._held.clear()

    async def wait_for_work(self) -> None:
        """Return when something may be due."""
        try:
            await self._queue.wait_for_work(self._destination, None)
        except StorageError as error:
            await self._complain("the queue does not answer", error)

    async def wait_for_urgent(self) -> None:
        """Return when something of high priority has come since the last time."""
        try:
            await self._queue.wait_for_urgent(self._destination)
        except StorageError as error:
            await self._complain("the queue does not answer", error)

    def wake(self) -> None:
        """Make ``wait_for_work`` return."""
        self._queue.wake(self._destination)

    async def _complain(self, what: str, error: StorageError) -> None:
        log.error(what, destination=self._destination, detail=str(error))
        await anyio.sleep(PAUSE_S)
