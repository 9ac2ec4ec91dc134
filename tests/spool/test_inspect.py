from __future__ import annotations

import io
from pathlib import Path

import pytest

from router.clock import ManualClock
from router.errors import CorruptRecord, NotAllowed, StorageError, UnknownItem
from router.model import DeliveryState, Instance, InstanceState, Listing, Reason
from router.spool import inspect
from router.spool.schema import LEDGER_NAME
from tests.spool.samples import (
    META,
    MIB,
    append,
    arrival,
    claim,
    content,
    deliver,
    opened,
    outcome,
    read,
    routed,
    settled_stats,
)


async def fill(directory: Path, clock: ManualClock) -> list[Instance]:
    """A small, a large and a delivered instance."""
    async with opened(directory, clock) as spool:
        small = await append(spool, 1)
        done = await append(spool, 2)
        await deliver(spool, clock, done)
        large = spool.start_large(arrival("1.2.3"))
        await large.write([content(3, 2 * MIB)])
        return [small, await large.commit(len(META)), done]


def damage(directory: Path, instance: Instance) -> None:
    with (directory / "segments" / f"{instance.place.segment:08d}.seg").open("r+b") as file:
        file.seek(instance.place.offset + 100)
        file.write(b"!!")


def lose_ledger(directory: Path) -> None:
    for path in directory.glob(LEDGER_NAME + "*"):
        path.unlink()


async def test_ls_cat_verify(tmp_path: Path, clock: ManualClock) -> None:
    small, large, done = await fill(tmp_path, clock)
    assert [i.key for i in inspect.ls(tmp_path)] == [small.key, large.key]
    for instance, whole in ((small, content(1)), (large, content(3, 2 * MIB)), (done, content(2))):
        out = io.BytesIO()
        assert inspect.cat(tmp_path, instance.key, out).key == instance.key
        assert out.getvalue() == whole
    with pytest.raises(UnknownItem):
        inspect.cat(tmp_path, 7, io.BytesIO())
    report = inspect.verify_all(tmp_path)
    assert (report.checked, report.damaged) == (2, ())
    assert report.bytes_checked == small.place.length_bytes + large.place.length_bytes

    damage(tmp_path, small)
    (found,) = inspect.verify_all(tmp_path).damaged
    assert found.key == small.key
    out = io.BytesIO()
    with pytest.raises(CorruptRecord):
        inspect.cat(tmp_path, small.key, out)
    assert out.getvalue() == b""


async def test_beside_a_running_gateway(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        instance = await append(spool, 1)
        assert [i.key for i in inspect.ls(tmp_path)] == [instance.key]
        assert inspect.verify_all(tmp_path).checked == 1
        with pytest.raises(StorageError, match="another process"):
            inspect.rebuild(tmp_path)


async def test_queue_of_a_stopped_gateway(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        instance = await append(spool, 1)
        await spool.route([routed(instance, "pacs")], clock.now())
        (delivery,) = await claim(spool, clock)
        await spool.record([outcome(delivery, clock.now(), DeliveryState.DEAD, Reason.MAX_AGE)])
        stats = await settled_stats(spool)
    assert inspect.depths(tmp_path)[0].state is DeliveryState.DEAD
    assert [d.delivery_id for d in inspect.list_deliveries(tmp_path, Listing(destination="pacs"))] == [
        delivery.delivery_id
    ]
    assert len(inspect.show(tmp_path, delivery.delivery_id).history) == 1
    assert len(inspect.trace(tmp_path, instance.arrival.sop_instance_uid)) == 1
    assert inspect.corrupt(tmp_path) == []
    assert inspect.stats(tmp_path).bytes_live == stats.bytes_live


def test_no_spool_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no ledger"):
        inspect.depths(tmp_path)
    with pytest.raises(StorageError, match="no ledger"):
        list(inspect.ls(tmp_path))


async def test_rebuild_restores_everything_intact(tmp_path: Path, clock: ManualClock) -> None:
    small, large, done = await fill(tmp_path, clock)
    lose_ledger(tmp_path)
    report = inspect.rebuild(tmp_path)
    assert (report.restored, report.damaged, report.moved_to) == (3, (), None)
    async with opened(tmp_path, clock) as spool:
        found = await spool.take_unrouted(10)
        assert [i.key for i in found] == sorted(i.key for i in (small, large, done))
        assert {i.key: i.place for i in found}[small.key] == small.place
        assert await read(spool, found[0]) == content(1)
        assert await read(spool, large) == content(3, 2 * MIB)
        new = await append(spool, 9)
        assert new.key > large.key
        for one in found:
            await spool.verify(one)


async def test_rebuild_lists_and_keeps_what_is_damaged(tmp_path: Path, clock: ManualClock) -> None:
    small, large, done = await fill(tmp_path, clock)
    damage(tmp_path, small)
    (tmp_path / "large" / f"{large.key}.head").unlink()
    lose_ledger(tmp_path)
    report = inspect.rebuild(tmp_path)
    assert report.restored == 1
    assert {d.key for d in report.damaged} == {small.key, None}
    assert (tmp_path / "damaged" / f"{large.key}.dcm").exists()
    async with opened(tmp_path, clock) as spool:
        assert [i.key for i in await spool.take_unrouted(5)] == [done.key]
        (corrupt,) = await spool.corrupt()
        assert (corrupt.key, corrupt.state) == (small.key, InstanceState.CORRUPT)


async def test_rebuild_takes_nothing_of_an_earlier_generation(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        for seed in range(40):
            last = await append(spool, seed, 200_000)
            await deliver(spool, clock, last)
        stats = await settled_stats(spool)
    lose_ledger(tmp_path)
    report = inspect.rebuild(tmp_path)
    assert report.damaged == ()
    assert report.restored <= 5 * stats.segments
    assert last.key in [i.key for i in inspect.ls(tmp_path)]


async def test_rebuild_replaces_a_ledger_only_when_told(tmp_path: Path, clock: ManualClock) -> None:
    await fill(tmp_path, clock)
    with pytest.raises(NotAllowed):
        inspect.rebuild(tmp_path)
    report = inspect.rebuild(tmp_path, replace=True)
    assert report.moved_to is not None
    assert report.moved_to.exists()
    assert report.restored == 3


async def test_rebuild_after_the_first_page_is_damaged(tmp_path: Path, clock: ManualClock) -> None:
    small, _, _ = await fill(tmp_path, clock)
    with (tmp_path / "segments" / f"{small.place.segment:08d}.seg").open("r+b") as file:
        file.write(b"damaged!")
    lose_ledger(tmp_path)
    assert inspect.rebuild(tmp_path).restored == 3
