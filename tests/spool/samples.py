"""Instances, decisions and outcomes for the spool's tests, and a disk that fails when told."""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import anyio.to_thread
import apsw
import pytest

from router.clock import ManualClock
from router.config.settings import SpoolSettings
from router.model import (
    Arrival,
    Buffer,
    Decision,
    Delivery,
    DeliveryState,
    Instance,
    Origin,
    Outcome,
    Priority,
    Reason,
    Routed,
    RuleTrace,
)
from router.spool import Spool, SpoolStats
from router.spool.files import Files
from router.spool.ledger import Ledger
from router.spool.orders import Action, Operator, Order, Selection

MIB = 1024 * 1024
SETTINGS = SpoolSettings(segment_bytes=MIB, min_free_bytes=0)
ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.7", listener="11112")
META = b"file meta"
BY = Operator(who="anna@pacs", address="192.0.2.1")
_uids = count(1)


def arrival(uid: str | None = None) -> Arrival:
    return Arrival(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid or f"1.2.826.{next(_uids)}",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        origin=ORIGIN,
        received_at=1_700_000_000.25,
    )


def content(seed: int, size: int = 5000) -> bytes:
    """Bytes that no other seed gives."""
    return META + (seed.to_bytes(4, "big") * (size // 4 + 1))[:size]


async def append(spool: Spool, seed: int = 1, size: int = 5000, uid: str | None = None) -> Instance:
    whole = content(seed, size)
    parts: list[Buffer] = [whole[: len(META)], memoryview(whole)[len(META) :]]
    return await spool.append(arrival(uid), parts, len(META))


def decision(*destinations: str, priority: Priority = Priority.NORMAL, hold: bool = False) -> Decision:
    return Decision(
        destinations=destinations,
        priority=priority,
        hold=hold,
        trace=(RuleTrace(rule="all", matched=True, because="the rule has no condition"),),
    )


def routed(instance: Instance, *destinations: str, priority: Priority = Priority.NORMAL) -> Routed:
    return Routed(key=instance.key, decision=decision(*destinations, priority=priority))


def outcome(
    delivery: Delivery,
    now: float,
    state: DeliveryState = DeliveryState.DELIVERED,
    reason: Reason = Reason.SUCCESS,
    retry_at: float | None = None,
) -> Outcome:
    return Outcome(
        delivery_id=delivery.delivery_id,
        key=delivery.instance.key,
        destination=delivery.destination,
        state=state,
        reason=reason,
        started_at=now - 1,
        ended_at=now,
        status=0 if state is DeliveryState.DELIVERED else 0xA700,
        comment="" if state is DeliveryState.DELIVERED else "full",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        retry_at=retry_at,
    )


def order(
    action: Action,
    *ids: int,
    to: str | None = None,
    destination: str | None = None,
    state: DeliveryState | None = None,
    uid: str | None = None,
) -> Order:
    """An order about those numbered, those that match, or all."""
    selection = Selection(ids=ids, destination=destination, state=state, sop_instance_uid=uid)
    if not selection.is_explicit:
        selection = Selection(everything=True)
    return Order(action=action, selection=selection, by=BY, to=to)


async def read(spool: Spool, instance: Instance) -> bytes:
    whole = bytearray(instance.place.length_bytes)
    view = memoryview(whole)
    await spool.read(instance, [view[:3], view[3:]])
    return bytes(whole)


async def claim(
    spool: Spool, clock: ManualClock, destination: str = "pacs", limit: int = 10
) -> list[Delivery]:
    return await spool.claim(destination, limit=limit, lease_s=60, now=clock.now())


async def deliver(spool: Spool, clock: ManualClock, *instances: Instance) -> None:
    """Route to one destination and deliver: the instances are released."""
    await spool.route([routed(i, "pacs") for i in instances], clock.now())
    deliveries = await claim(spool, clock, limit=len(instances))
    assert {d.instance.key for d in deliveries} == {i.key for i in instances}
    await spool.record([outcome(d, clock.now()) for d in deliveries])
    await spool.sync()


async def settled_stats(spool: Spool) -> SpoolStats:
    """The sizes once everything that was released is let go."""
    await spool.sync()
    return await spool.stats()


async def keep_house(spool: Spool, step: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(spool.housekeeper.perform, step)


@asynccontextmanager
async def opened(
    directory: Path,
    clock: ManualClock,
    settings: SpoolSettings = SETTINGS,
    files: Files | None = None,
    retention_s: float = 0.0,
) -> AsyncIterator[Spool]:
    spool = Spool.open(directory, settings, clock, files=files, retention_s=retention_s)
    async with spool.running():
        yield spool


async def crash_copy(spool: Spool, directory: Path, to: Path) -> Path:
    """What another process would find if this one ended now."""

    def copy() -> None:
        shutil.copytree(directory, to, ignore=shutil.ignore_patterns("*-shm"))

    await keep_house(spool, copy)  # so that no file is made or renamed meanwhile
    return to


@contextmanager
def broken_ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every transaction that names a row fails."""

    def fail(self: Ledger, rows: object) -> None:
        raise apsw.IOError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "insert", fail)
        yield


class FailingFiles(Files):
    """A disk that fails with ``fail_with`` once it is set, and tells how full it is."""

    def __init__(self) -> None:
        self.fail_with: int | None = None
        self.free = 100 * MIB
        self.writes = 0
        self.short_by = 0

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, flags: int) -> int:
        self._check()
        self.writes += 1
        if self.short_by and len(buffers) > 1:
            buffers, self.short_by = buffers[: -self.short_by], 0
        return super().pwritev(fd, buffers, offset, flags)

    def fdatasync(self, fd: int) -> None:
        self._check()
        super().fdatasync(fd)

    def free_bytes(self, directory: Path) -> int:
        return self.free

    def _check(self) -> None:
        if self.fail_with is not None:
            raise OSError(self.fail_with, errno.errorcode[self.fail_with])
