"""What delivery asks of the spool, and nothing more: the seam at which a test puts a queue in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from router.model import Delivery, Instance, Outcome, Priority


class Content(Protocol):
    """Reading stored objects; the contracts are those of :class:`router.spool.Spool`."""

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None: ...

    async def read_head(self, instance: Instance, limit: int) -> bytes: ...

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None: ...

    async def verify(self, instance: Instance) -> None: ...


class Deliveries(Protocol):
    """Taking deliveries and reporting on them; the contracts are those of :class:`router.spool.Spool`."""

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]: ...

    def wake(self, destination: str) -> None: ...

    async def wait_for_work(self, destination: str, until: float | None) -> None: ...

    async def wait_for_urgent(self, destination: str) -> None: ...

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None: ...

    async def give_back(self, deliveries: Sequence[Delivery]) -> None: ...

    def recall(self, destination: str) -> None: ...


class Queue(Content, Deliveries, Protocol):
    """All of it."""
