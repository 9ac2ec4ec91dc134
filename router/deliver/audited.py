"""The queue of the lanes, for a gateway that keeps an audit trail: what is recorded is told to the auditor.

A lane knows nothing of it, and without an audit the lanes have the spool itself. Whose an instance is has to
be known before its bytes may go, so it is looked up when a lane claims it; nearly always it is remembered
from routing.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from router.audit.auditor import Auditor
from router.audit.lookup import look_up
from router.deliver.queue import Queue
from router.model import Delivery, Instance, Outcome, Priority

GIVING_BACK_S = 5.0  # when a claim is cancelled half way


class AuditedQueue:
    """A queue; the contracts are those of :class:`router.deliver.queue.Queue`."""

    def __init__(self, queue: Queue, auditor: Auditor) -> None:
        self._queue = queue
        self._auditor = auditor
        self._claimed: dict[int, Instance] = {}  # lanes bound how many there are

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        claimed = await self._queue.claim(destination, limit=limit, lease_s=lease_s, now=now, only=only)
        try:
            for delivery in claimed:
                if not self._auditor.is_known(delivery.instance):
                    await look_up(self._auditor, self._queue.read_head, delivery.instance)
                self._claimed[delivery.delivery_id] = delivery.instance
        except BaseException:
            with anyio.move_on_after(GIVING_BACK_S, shield=True):
                await self.give_back(claimed)
            raise
        return claimed

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None:
        await self._queue.record(outcomes, promptly=promptly)
        for outcome in outcomes:
            instance = self._claimed.pop(outcome.delivery_id, None)
            if instance is not None:
                self._auditor.settled(outcome, instance)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        await self._queue.give_back(deliveries)
        for delivery in deliveries:
            self._claimed.pop(delivery.delivery_id, None)

    # ---- nothing to tell

    def wake(self, destination: str) -> None:
        self._queue.wake(destination)

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        await self._queue.wait_for_work(destination, until)

    async def wait_for_urgent(self, destination: str) -> None:
        await self._queue.wait_for_urgent(destination)

    def recall(self, destination: str) -> None:
        self._queue.recall(destination)

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None:
        await self._queue.read(instance, buffers)

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        return await self._queue.read_head(instance, limit)

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        await self._queue.read_range(instance, offset, buffers)

    async def verify(self, instance: Instance) -> None:
        await self._queue.verify(instance)
