"""Space: reuse of released segments, copying forward, and readers who hold an old place."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from router.clock import ManualClock
from router.config.settings import SpoolSettings
from router.errors import CorruptRecord, StorageError
from router.model import InstanceState
from router.spool import Spool
from router.spool.files import Files
from router.spool.housekeeping import CLEAN_IDLE_S
from tests.spool.samples import (
    MIB,
    append,
    claim,
    content,
    deliver,
    keep_house,
    opened,
    outcome,
    read,
    routed,
    settled_stats,
)

BIG = 200_000  # four or five of them fill a segment


async def fill(spool: Spool, seeds: range) -> list[int]:
    return [(await append(spool, seed, BIG)).key for seed in seeds]


async def test_space_is_reused(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        for seed in range(60):
            instance = await append(spool, seed, BIG)
            assert await read(spool, instance) == content(seed, BIG)
            await deliver(spool, clock, instance)
        assert (await settled_stats(spool)).segments <= 5 + 1
        assert (await settled_stats(spool)).bytes_live == 0


async def test_no_more_spares_are_kept_than_wanted(tmp_path: Path, clock: ManualClock) -> None:
    settings = SpoolSettings(segment_bytes=MIB, min_free_bytes=0, spare_segments=1)
    async with opened(tmp_path, clock, settings) as spool:
        instances = [await append(spool, seed, BIG) for seed in range(30)]
        assert (await settled_stats(spool)).segments > 5
        await deliver(spool, clock, *instances)
        assert (await settled_stats(spool)).segments <= 3
        assert len(list((tmp_path / "segments").glob("*.seg"))) <= 3


async def test_reader_of_a_recycled_place_never_gets_other_bytes(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        old = await append(spool, 1, BIG)
        await deliver(spool, clock, old)
        for seed in range(2, 40):
            await deliver(spool, clock, await append(spool, seed, BIG))
        with pytest.raises(CorruptRecord, match="released"):
            await read(spool, old)
        with pytest.raises(CorruptRecord, match="released"):
            await spool.read_head(old, 100)
        assert await spool.corrupt() == []


async def test_mostly_dead_segment_is_copied_forward(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        kept = await append(spool, 1, BIG)
        routed_one = await append(spool, 2, 1000)
        await spool.route([routed(routed_one, "slow")], clock.now())
        gone = [await append(spool, seed, BIG) for seed in range(3, 8)]
        await deliver(spool, clock, *gone)
        assert gone[-1].place.segment != kept.place.segment
        (delivery,) = await claim(spool, clock, "slow")

        await keep_house(spool, spool.housekeeper.clean)
        assert (await spool.trace(kept.arrival.sop_instance_uid))[0].instance.place == kept.place  # too early
        clock.advance(CLEAN_IDLE_S)
        await keep_house(spool, spool.housekeeper.clean)

        moved = (await spool.trace(kept.arrival.sop_instance_uid))[0].instance
        assert moved.place.segment != kept.place.segment
        assert moved.state is InstanceState.RECEIVED
        assert (await settled_stats(spool)).bytes_live == BIG + 1000 + 18
        assert (await spool.take_unrouted(99))[0].key == kept.key
        for seed in range(10, 30):
            await deliver(spool, clock, await append(spool, seed, BIG))  # writes over the old place
        assert await read(spool, kept) == content(1, BIG)  # by its old place
        assert await spool.read_head(kept, 40) == content(1, BIG)[9:49]
        assert await read(spool, delivery.instance) == content(2, 1000)
        await spool.record([outcome(delivery, clock.now())])
        assert (await settled_stats(spool)).bytes_live == BIG + 9


async def test_damaged_record_is_marked_not_copied(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        bad = await append(spool, 1, 1000)
        gone = [await append(spool, seed, BIG) for seed in range(3, 10)]
        await deliver(spool, clock, *gone)
        with (tmp_path / "segments" / f"{bad.place.segment:08d}.seg").open("r+b") as file:
            file.seek(bad.place.offset + 50)
            file.write(b"!")
        clock.advance(CLEAN_IDLE_S)
        for _ in range(2):
            await keep_house(spool, spool.housekeeper.clean)
        (found,) = await spool.corrupt()
        assert (found.key, found.place) == (bad.key, bad.place)


async def test_checkpoint_lets_the_log_start_over(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.spool.schema.LOG_BYTES", 0)  # or it has its extents from the start
    monkeypatch.setattr("router.spool.commits.CHECKPOINT_PAGES", 10)
    async with opened(tmp_path, clock) as spool:
        for seed in range(300):
            await append(spool, seed, 100)
            await keep_house(spool, spool.housekeeper.checkpoint)
        assert (tmp_path / "ledger.db-wal").stat().st_size < MIB
        assert (await spool.stats()).unrouted == 300


async def test_space_is_not_used_again_before_its_release_is_on_the_disk(
    tmp_path: Path, clock: ManualClock
) -> None:
    class Unsynced(Files):
        is_failing = False

        def fdatasync(self, fd: int) -> None:
            if self.is_failing:
                raise OSError(errno.EIO, "no sync")
            super().fdatasync(fd)

    files = Unsynced()
    async with opened(tmp_path, clock, files=files) as spool:
        instance = await append(spool, 1, BIG)
        await spool.route([routed(instance, "pacs")], clock.now())
        deliveries = await claim(spool, clock)
        files.is_failing = True
        await spool.record([outcome(d, clock.now()) for d in deliveries])
        with pytest.raises(StorageError):
            await spool.sync()
        assert (await spool.stats()).bytes_live > 0  # committed, but power could still undo it
        files.is_failing = False
        assert (await settled_stats(spool)).bytes_live == 0
