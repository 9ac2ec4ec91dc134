"""router.deliver.audited: what lanes record is told once it is in the ledger, with whose it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from struct import pack

import anyio
import pytest

from router.audit.auditor import Auditor
from router.audit.lookup import HEAD_BYTES
from router.clock import ManualClock
from router.config.audit import Audit
from router.deliver.audited import AuditedQueue
from router.errors import StorageError
from router.model import Delivery, DeliveryState, Instance, Outcome, Priority, Reason
from tests.audit import auditors
from tests.audit.samples import NOW, header, instance, outcome


def data_set(bulk: int = 0) -> bytes:
    study = b"\x08\x00\x60\x00CS\x02\x00CT"
    if bulk:
        study += pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, bulk) + bytes(bulk)
    return study + b"\x20\x00\x0d\x00UI\x06\x001.2.3\x00"


class Told(Auditor):
    """An auditor that remembers what it was told."""

    def __init__(self, *events: str) -> None:
        made = auditors.auditor(Audit(events=events or ("export",)), ManualClock(NOW))  # type: ignore[arg-type]
        self.__dict__.update(made.__dict__)
        self.told: list[tuple[int, str]] = []

    def settled(self, outcome: Outcome, instance: Instance) -> None:
        self.told.append((outcome.delivery_id, self._subjects.of(instance).study_instance_uid))


class Queue:
    """Deliveries of instances 1, 2, ... and what was done with them."""

    def __init__(self, content: bytes = data_set()) -> None:
        self.content = content
        self.failure: StorageError | None = None
        self.recorded: list[Outcome] = []
        self.given_back: list[int] = []
        self.reads: list[tuple[int, int]] = []
        self.gate: anyio.Event | None = None

    def instance(self, key: int) -> Instance:
        made = instance(key)
        return replace(made, place=replace(made.place, length_bytes=300 + len(self.content)))

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        return [
            Delivery(
                delivery_id=key,
                destination=destination,
                attempts=0,
                created_at=NOW,
                priority=Priority.NORMAL,
                instance=self.instance(key),
            )
            for key in range(1, limit + 1)
        ]

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        self.reads.append((instance.key, limit))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.content[:limit]

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None:
        if self.failure is not None:
            raise self.failure
        self.recorded += outcomes

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        self.given_back += [one.delivery_id for one in deliveries]


async def claim(queue: AuditedQueue, limit: int = 2) -> list[Delivery]:
    return await queue.claim("pacs", limit=limit, lease_s=60.0, now=NOW)


def audited(queue: Queue, auditor: Auditor) -> AuditedQueue:
    return AuditedQueue(queue, auditor)  # type: ignore[arg-type]


async def test_what_is_remembered_is_not_read() -> None:
    queue, auditor = Queue(), Told()
    for key in (1, 2):
        auditor.read(instance(key), header(study="1.9"))
    wrapped = audited(queue, auditor)
    await claim(wrapped)
    await wrapped.record([outcome(1), outcome(2, DeliveryState.DEAD, Reason.NO_CONTEXT)])
    assert auditor.told == [(1, "1.9"), (2, "1.9")]
    assert queue.reads == []


async def test_what_is_not_is_read_when_it_is_claimed() -> None:
    queue, auditor = Queue(), Told()
    wrapped = audited(queue, auditor)
    await claim(wrapped)
    assert queue.reads == [(1, HEAD_BYTES[0]), (2, HEAD_BYTES[0])]
    await wrapped.record([outcome(1)])
    assert auditor.told == [(1, "1.2.3")]
    await claim(wrapped)
    assert len(queue.reads) == 2, "each once"


async def test_a_long_header_is_read_on() -> None:
    queue, auditor = Queue(data_set(bulk=20_000)), Told()
    wrapped = audited(queue, auditor)
    await claim(wrapped, 1)
    await wrapped.record([outcome(1)])
    assert auditor.told == [(1, "1.2.3")]
    assert queue.reads == [(1, HEAD_BYTES[0]), (1, HEAD_BYTES[1])]


async def test_without_exports_nothing_is_read() -> None:
    queue, auditor = Queue(), Told("authentication")
    wrapped = audited(queue, auditor)
    await claim(wrapped)
    await wrapped.record([outcome(1)])
    assert queue.reads == []
    assert auditor.told == [(1, "unknown")]


async def test_a_copy_that_cannot_be_read_is_claimed_all_the_same() -> None:
    queue, auditor = Queue(), Told()
    queue.failure = StorageError("input/output error", out_of_resources=False)
    wrapped = audited(queue, auditor)
    assert len(await claim(wrapped)) == 2
    queue.failure = None
    await wrapped.record([outcome(1)])
    assert auditor.told == [(1, "unknown")]


async def test_what_the_ledger_does_not_have_is_not_told() -> None:
    queue, auditor = Queue(), Told()
    wrapped = audited(queue, auditor)
    await claim(wrapped)
    queue.failure = StorageError("the ledger is ill", out_of_resources=False)
    with pytest.raises(StorageError):
        await wrapped.record([outcome(1)])
    assert auditor.told == []
    queue.failure = None
    await wrapped.record([outcome(1)])
    await wrapped.record([outcome(1)])
    assert auditor.told == [(1, "1.2.3")], "once"


async def test_what_is_given_back_is_forgotten() -> None:
    queue, auditor = Queue(), Told()
    wrapped = audited(queue, auditor)
    await wrapped.give_back(await claim(wrapped))
    assert queue.given_back == [1, 2]
    await wrapped.record([outcome(1)])
    assert auditor.told == []


async def test_a_claim_that_is_cancelled_half_way_is_given_back() -> None:
    queue, auditor = Queue(), Told()
    queue.gate = anyio.Event()
    wrapped = audited(queue, auditor)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, wrapped)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert queue.given_back == [1, 2]
