"""A lane's recorder: outcomes go to the ledger in groups, and nobody who sends waits for that.

While one group is being made durable the next gathers. Metrics count what is durable.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from router.deliver.queue import Deliveries
from router.errors import StorageError
from router.logs import get_logger
from router.model import DeliveryState, Instance, Outcome
from router.telemetry import Telemetry

PAUSE_S = 1.0  # after the ledger failed

Revise = Callable[[Outcome], Outcome]

log = get_logger("deliver")


class Recorder:
    """Writes the outcomes of one lane. Its length is how many are not durable yet."""

    def __init__(
        self,
        destination: str,
        *,
        queue: Deliveries,
        telemetry: Telemetry,
        on_recorded: Callable[[], None],
        revise: Revise | None = None,
    ) -> None:
        self._destination = destination
        self._queue = queue
        self._telemetry = telemetry
        self._on_recorded = on_recorded
        self._revise = revise
        self._gathered: list[Outcome] = []
        self._unrecorded = 0
        self._delivered: dict[int, tuple[float, int]] = {}  # when it was received, and its length
        self._is_filled = anyio.Event()
        self._is_empty = anyio.Event()
        self._is_empty.set()
        self._is_freed = anyio.Event()
        self._waiting = 0

    def __len__(self) -> int:
        return self._unrecorded

    def add(self, outcome: Outcome, instance: Instance) -> None:
        """Have the outcome for an instance recorded soon. Never waits; the lane bounds how many there are."""
        if self._revise is not None:
            outcome = self._revise(outcome)
        if not self._gathered:
            self._is_filled.set()
        self._gathered.append(outcome)
        self._unrecorded += 1
        if outcome.state is DeliveryState.DELIVERED:
            self._delivered[outcome.delivery_id] = (instance.arrival.received_at, instance.size_bytes)
        if self._is_empty.is_set():
            self._is_empty = anyio.Event()

    async def run(self) -> None:
        """Record until cancelled; a ledger that fails is asked again, the outcomes are kept."""
        while True:
            await self._is_filled.wait()
            while self._gathered:
                if not await self._write():
                    await anyio.sleep(PAUSE_S)

    async def wait_empty(self) -> None:
        """Return when everything added so far is durable."""
        await self._is_empty.wait()

    async def wait_freed(self) -> None:
        """Return when another group is recorded; while somebody waits, none is left for a moment later."""
        self._waiting += 1
        try:
            await self._is_freed.wait()
        finally:
            self._waiting -= 1

    def free(self) -> None:
        """Something that was sent needs no record after all: who waits looks again."""
        self._is_freed.set()
        self._is_freed = anyio.Event()

    async def flush(self) -> None:
        """One last try to record what has gathered."""
        if self._gathered:
            await self._write()

    async def _write(self) -> bool:
        group, self._gathered = self._gathered, []
        self._is_filled = anyio.Event()
        try:
            # Shielded: whether a cancelled write took place would not be known (house style, rule 15).
            with anyio.CancelScope(shield=True):
                await self._queue.record(group, promptly=self._waiting > 0)
        except StorageError as error:
            log.error("outcomes not recorded", destination=self._destination, detail=str(error))
            self._gathered[:0] = group
            self._is_filled.set()
            return False
        self._unrecorded -= len(group)
        for outcome in group:
            self._count(outcome)
        self._on_recorded()
        self.free()
        if not self._gathered:
            self._is_empty.set()
        return True

    def _count(self, outcome: Outcome) -> None:
        self._telemetry.attempt_made(self._destination, outcome.reason.value)
        if outcome.state is DeliveryState.PENDING:
            return
        self._telemetry.delivery_finished(outcome.destination, outcome.state.value)
        delivered = self._delivered.pop(outcome.delivery_id, None)
        if delivered is not None:
            received_at, size_bytes = delivered
            self._telemetry.delivered(outcome.destination, outcome.ended_at - received_at, size_bytes)
