from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from router.model import Instance, InstanceState, Place
from router.spool.handover import FRESH_CAP, Handover
from router.spool.schema import LARGE
from tests.spool.samples import arrival

ARRIVAL = arrival("1.2.3")


def instance(key: int, segment: int = 1) -> Instance:
    place = Place(segment=segment, offset=4096, length_bytes=10, data_set_offset=1)
    return Instance(key=key, arrival=ARRIVAL, place=place, content_hash=b"", state=InstanceState.RECEIVED)


class FakeLedger:
    """Received instances by key."""

    def __init__(self) -> None:
        self.received: dict[int, Instance] = {}
        self.reads = 0

    async def read_unrouted(self, after: int, limit: int) -> list[Instance]:
        self.reads += 1
        await anyio.lowlevel.checkpoint()
        return [self.received[k] for k in sorted(self.received) if k > after][:limit]

    def commit(self, handover: Handover, one: Instance) -> None:
        self.received[one.key] = one
        handover.add(one)


@pytest.fixture
def ledger() -> FakeLedger:
    return FakeLedger()


@pytest.fixture
def handover(ledger: FakeLedger) -> Handover:
    return Handover(ledger.read_unrouted)


async def test_starts_with_what_the_ledger_has(ledger: FakeLedger, handover: Handover) -> None:
    ledger.received = {k: instance(k) for k in (1, 2, 3)}
    assert [i.key for i in await handover.take(2)] == [1, 2]
    assert [i.key for i in await handover.take(2)] == [3]
    ledger.commit(handover, instance(4))
    reads = ledger.reads
    assert [i.key for i in await handover.take(2)] == [4]
    assert ledger.reads == reads  # from memory


async def test_waits_for_the_next(ledger: FakeLedger, handover: Handover) -> None:
    taken: list[int] = []

    async def take() -> None:
        taken.extend(i.key for i in await handover.take(5))

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        ledger.commit(handover, instance(1))
    assert taken == [1]


async def test_memory_is_bounded_and_each_comes_once_in_order(ledger: FakeLedger, handover: Handover) -> None:
    keys = range(2, 3 * FRESH_CAP)
    ledger.commit(handover, instance(1))
    assert [i.key for i in await handover.take(100)] == [1]
    ledger.received.clear()  # routed
    for key in keys:
        ledger.commit(handover, instance(key))
    assert len(handover._fresh) <= FRESH_CAP
    taken: list[int] = []
    while len(taken) < len(keys):
        batch = [i.key for i in await handover.take(100)]
        for key in batch:
            del ledger.received[key]
        taken += batch
    assert taken == list(keys)


async def test_late_large_object_is_not_forgotten(ledger: FakeLedger, handover: Handover) -> None:
    ledger.received = {k: instance(k) for k in range(100, 110)}
    assert len(await handover.take(5)) == 5  # still behind, the cursor at 104
    ledger.commit(handover, instance(50, LARGE))
    rest = [i.key for _ in range(3) for i in await handover.take(5)]
    assert 50 in rest
    assert set(range(105, 110)) <= set(rest)


async def test_instance_read_before_its_news_comes_once(ledger: FakeLedger, handover: Handover) -> None:
    ledger.received = {1: instance(1)}
    assert [i.key for i in await handover.take(5)] == [1]
    handover.add(instance(1))
    ledger.commit(handover, instance(2))
    assert [i.key for i in await handover.take(5)] == [2]


async def test_overflow_of_the_real_one(ledger: FakeLedger, handover: Handover) -> None:
    with anyio.move_on_after(0):
        await handover.take(1)  # cancelled: nothing is lost
    ledger.commit(handover, instance(1))
    assert [i.key for i in await handover.take(1)] == [1]
