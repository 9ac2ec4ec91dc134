"""The spool's face towards the rest of the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from router.clock import Clock
from router.config.settings import SpoolSettings
from router.model import (
    Arrival,
    Buffer,
    Delivery,
    DeliveryRecord,
    DeliveryState,
    Instance,
    InstanceTrace,
    Outcome,
    QueueDepth,
    Routed,
)
from router.spool.large import LargeObject
from router.spool.stats import SpoolStats


class Spool:
    """The store and queue of one gateway. All instants are wall time (``Clock.now()``)."""

    @classmethod
    def open(
        cls, directory: Path, settings: SpoolSettings, clock: Clock, *, retention_s: float = 0.0
    ) -> Spool:
        """Open or make the spool in ``directory`` and recover it. ``StorageError`` if another process has it."""
        raise NotImplementedError

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the writer. On leaving, everything that waits is written first, then the spool is closed."""
        raise NotImplementedError
        yield

    @property
    def is_accepting(self) -> bool:
        """False while the disk is nearly full: answer A700 without even asking."""
        raise NotImplementedError

    async def append(self, arrival: Arrival, parts: Sequence[Buffer], data_set_offset: int) -> Instance:
        """Store a whole Part 10 object (``parts``, file meta first); it is durable when this returns.

        ``StorageError`` otherwise. A cancelled caller leaves either nothing or a whole instance, never half.
        """
        raise NotImplementedError

    def start_large(self, arrival: Arrival) -> LargeObject:
        """Begin an object that is streamed to a file of its own."""
        raise NotImplementedError

    async def take_unrouted(self, limit: int) -> list[Instance]:
        """Wait for instances that no rule has looked at; oldest first, at least one, at most ``limit``."""
        raise NotImplementedError

    async def route(self, items: Sequence[Routed], now: float) -> None:
        """Store decisions and make their deliveries, in one transaction. An instance is routed only once."""
        raise NotImplementedError

    async def claim(self, destination: str, *, limit: int, lease_s: float, now: float) -> list[Delivery]:
        """Lease what is due: priority first, then the longest due. Empty where nothing is due."""
        raise NotImplementedError

    def wake(self, destination: str) -> None:
        """Make ``wait_for_work`` of that destination return."""
        raise NotImplementedError

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        """Return when something may be due for ``destination``, when woken, or at ``until`` (wall time)."""
        raise NotImplementedError

    async def next_due(self, destination: str) -> float | None:
        """When the next pending delivery of ``destination`` is due (may be past); None where there is none."""
        raise NotImplementedError

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Record how attempts ended; durable when this returns. Releases instances that are done with."""
        raise NotImplementedError

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return leased deliveries unattempted: pending and due again."""
        raise NotImplementedError

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None:
        """Fill ``buffers``, in order, with the whole Part 10 object (their sizes add up to its length).

        ``CorruptRecord`` if the bytes are not what arrived: then the instance is marked corrupt and its open
        deliveries are dead. ``StorageError`` if the disk fails.
        """
        raise NotImplementedError

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        """The first ``limit`` bytes of the data set, not checked against the hash."""
        raise NotImplementedError

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill ``buffers`` from ``offset`` of the Part 10 object, unchecked: for streaming after ``verify``."""
        raise NotImplementedError

    async def verify(self, instance: Instance) -> None:
        """Read the whole object with bounded memory and check its hash; raises as ``read`` does."""
        raise NotImplementedError

    async def depths(self) -> list[QueueDepth]:
        """How many deliveries wait, for each destination and each state that is not final."""
        raise NotImplementedError

    async def list_deliveries(
        self,
        destination: str | None = None,
        state: DeliveryState | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> list[DeliveryRecord]:
        """Deliveries by rising id, from the one after ``after``; without their attempts."""
        raise NotImplementedError

    async def show(self, delivery_id: int) -> DeliveryRecord:
        """One delivery with its attempts. ``UnknownItem`` if there is none."""
        raise NotImplementedError

    async def trace(self, sop_instance_uid: str) -> list[InstanceTrace]:
        """Every arrival of that SOP Instance UID, oldest first."""
        raise NotImplementedError

    async def retry(
        self,
        ids: Sequence[int] | None = None,
        *,
        destination: str | None = None,
        state: DeliveryState | None = None,
    ) -> int:
        """Make dead, held or pending deliveries due now; those named, or all that match. Returns how many."""
        raise NotImplementedError

    async def corrupt(self, limit: int = 100, after: int = 0) -> list[Instance]:
        """Instances whose bytes no longer match their hash, by rising key."""
        raise NotImplementedError

    async def stats(self) -> SpoolStats:
        """How full the spool is."""
        raise NotImplementedError
