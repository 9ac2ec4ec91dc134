from __future__ import annotations

import errno
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from router.clock import ManualClock
from router.errors import CorruptRecord, StorageError
from router.model import InstanceState
from router.spool import Spool
from router.spool.schema import LARGE
from tests.spool.samples import (
    META,
    MIB,
    FailingFiles,
    append,
    arrival,
    claim,
    content,
    crash_copy,
    deliver,
    keep_house,
    opened,
    read,
    routed,
    settled_stats,
)

WHOLE = content(1, 3 * MIB)


async def store(spool: Spool) -> int:
    large = spool.start_large(arrival("1.2.3"))
    await large.write([META])
    for start in range(len(META), len(WHOLE), 100_000):
        part = memoryview(WHOLE)[start : start + 100_000]
        await large.write([part[:7], part[7:]])
    instance = await large.commit(len(META))
    await large.abandon()  # does nothing any more
    assert instance.place.segment == LARGE
    assert instance.place.length_bytes == len(WHOLE)
    return instance.key


def files_in(directory: Path) -> list[str]:
    return sorted(p.name for p in (directory / "large").iterdir())


async def test_round_trip(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        key = await store(spool)
        (instance,) = await spool.take_unrouted(5)
        assert instance.key == key
        assert (tmp_path / "large" / f"{key}.dcm").read_bytes() == WHOLE  # a plain Part 10 file
        assert await read(spool, instance) == WHOLE
        assert await spool.read_head(instance, 20) == WHOLE[len(META) :][:20]
        await spool.verify(instance)
        middle = bytearray(100)
        await spool.read_range(instance, 2 * MIB, [memoryview(middle)[:50], memoryview(middle)[50:]])
        assert middle == WHOLE[2 * MIB :][:100]
        assert (await settled_stats(spool)).large_objects == 1
        assert (await settled_stats(spool)).bytes_live == len(WHOLE)

        await deliver(spool, clock, instance)
        await keep_house(spool, spool.housekeeper.delete_doomed)
        assert files_in(tmp_path) == []
        assert (await settled_stats(spool)).large_objects == 0
        with pytest.raises(CorruptRecord, match="released"):
            await read(spool, instance)


async def test_abandoned_leaves_nothing(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        large = spool.start_large(arrival())
        await large.write([WHOLE])
        assert len(files_in(tmp_path)) == 1
        await large.abandon()
        await large.abandon()
        assert files_in(tmp_path) == []
        await spool.start_large(arrival()).abandon()


async def test_cancelled_commit_leaves_nothing_or_all(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        for turns in range(6):
            large = spool.start_large(arrival())
            await large.write([WHOLE])
            async with anyio.create_task_group() as group:
                group.start_soon(large.commit, len(META))
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            await large.abandon()
        await append(spool, 5)  # what was under way is done
        for instance in await spool.take_unrouted(10):
            await spool.verify(instance)
    async with opened(tmp_path, clock) as spool:
        stats = await settled_stats(spool)
        assert len(files_in(tmp_path)) == 2 * stats.large_objects


async def test_crash_removes_what_was_not_acknowledged(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "a", clock) as spool:
        key = await store(spool)
        unfinished = spool.start_large(arrival())
        await unfinished.write([WHOLE])
        left = await crash_copy(spool, tmp_path / "a", tmp_path / "b")
        (left / "large" / "123456.dcm").write_bytes(b"renamed, but not in the ledger")
        await unfinished.abandon()
    async with opened(left, clock) as spool:
        assert files_in(left) == [f"{key}.dcm", f"{key}.head"]
        (instance,) = await spool.take_unrouted(5)
        assert await read(spool, instance) == WHOLE


@pytest.mark.parametrize("when", ["write", "commit"])
async def test_failing_disk(tmp_path: Path, clock: ManualClock, when: str) -> None:
    files = FailingFiles()
    async with opened(tmp_path, clock, files=files) as spool:
        large = spool.start_large(arrival())
        await large.write([WHOLE[:100]])
        files.fail_with = errno.ENOSPC
        with pytest.raises(StorageError) as caught:
            await (large.write([WHOLE[100:]]) if when == "write" else large.commit(0))
        assert caught.value.out_of_resources
        await large.abandon()
        assert files_in(tmp_path) == []
        assert not spool.is_accepting


async def test_append_longer_than_a_segment_becomes_a_large_object(spool: Spool) -> None:
    instance = await spool.append(arrival(), [WHOLE], len(META))
    assert instance.place.segment == LARGE
    assert await read(spool, instance) == WHOLE


async def test_damage_is_found(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        key = await store(spool)
        (instance,) = await spool.take_unrouted(5)
        await spool.route([routed(instance, "pacs")], clock.now())
        with (tmp_path / "large" / f"{key}.dcm").open("r+b") as file:
            file.truncate(len(WHOLE) - 1)
        with pytest.raises(CorruptRecord):
            await spool.verify(instance)
        assert await claim(spool, clock) == []
        (found,) = await spool.corrupt()
        assert found.state is InstanceState.CORRUPT
