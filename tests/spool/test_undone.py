"""What a failed sync leaves in the ledger.

A transaction that failed may come back: its frames lie in the ledger's log until others replace them.

SQLite writes a transaction's frames, then syncs. Where the sync fails it forgets them; but they are in the
file, and a process that opens it before the next commit finds them, whole. So what such a transaction named
must stay where it is until then.

A checkpoint that failed leaves pages in the ledger's file that no later sync writes.
"""

from __future__ import annotations

import errno
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from router.clock import ManualClock
from router.errors import StorageError
from router.model import Instance
from router.spool import Spool
from router.spool.housekeeping import CLEAN_IDLE_S
from router.spool.ledger import Ledger
from router.spool.run import Run
from router.spool.schema import LEDGER_NAME
from router.spool.writer import Writer
from tests.spool.crashing import CrashingFiles, CrashingVfs, Disk, Inode
from tests.spool.samples import (
    META,
    MIB,
    append,
    arrival,
    broken_ledger,
    content,
    deliver,
    keep_house,
    opened,
    read,
    routed,
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "before", random.Random(1))
    with CrashingVfs(disk):
        yield disk
    disk.close()


@pytest.fixture
async def spool(disk: Disk, clock: ManualClock) -> AsyncIterator[Spool]:
    async with opened(disk.root / "spool", clock, files=CrashingFiles(disk)) as one:
        yield one


@contextmanager
def commits_that_fail(disk: Disk) -> Iterator[None]:
    """SQLite writes, and cannot sync."""
    genuine = disk.sync

    def sync(inode: Inode, by: object) -> bool:
        return isinstance(by, int) and genuine(inode, by)

    disk.sync = sync  # type: ignore[method-assign]
    try:
        yield
    finally:
        disk.sync = genuine  # type: ignore[method-assign]


@contextmanager
def syncs_that_fail(disk: Disk, path: Path) -> Iterator[None]:
    """Syncs of this file, each of which forgets what it could not write."""
    genuine, file = disk.sync, disk._named(path)

    def sync(inode: Inode, by: object) -> bool:
        disk.error = errno.EIO if inode is file else None
        try:
            return genuine(inode, by)
        finally:
            disk.error = None

    disk.sync = sync  # type: ignore[method-assign]
    try:
        yield
    finally:
        disk.sync = genuine  # type: ignore[method-assign]


async def all_whole(left: Path, clock: ManualClock) -> list[Instance]:
    """What the next process has, each read."""
    async with opened(left / "spool", clock) as spool:
        found = await spool.take_unrouted(99)
        for instance in found:
            await read(spool, instance)
        return found


async def store_in_vain(spool: Spool, disk: Disk) -> None:
    """A large object that cannot be named in the ledger."""
    large = spool.start_large(arrival("1.2.3"))
    await large.write([content(2, 3 * MIB)])
    with commits_that_fail(disk), pytest.raises(StorageError):
        await large.commit(len(META))


async def test_a_large_object_that_could_not_be_named_comes_back_whole_or_not_at_all(
    spool: Spool, disk: Disk, clock: ManualClock, tmp_path: Path
) -> None:
    kept = await append(spool, 1)
    await store_in_vain(spool, disk)
    left = disk.after_kill(tmp_path / "after")
    assert kept.key in {i.key for i in await all_whole(left.root, clock)}
    left.close()


async def test_the_copy_of_a_record_stays_while_its_move_may_come_back(
    spool: Spool, disk: Disk, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await append(spool, 1, 60_000)
    await deliver(spool, clock, await append(spool, 2, MIB - 100_000))
    last = await append(spool, 3, MIB - 50_000)
    await deliver(spool, clock, last)
    assert last.place.segment != kept.place.segment
    await append(spool, 4, 1000)  # there is no room for the copy: it begins another segment
    clock.advance(CLEAN_IDLE_S)
    with commits_that_fail(disk), pytest.raises(StorageError):
        await keep_house(spool, spool.housekeeper.clean)
    lefts: list[Disk] = []
    genuine = Writer._flush

    def flush(self: Writer, run: Run) -> None:
        genuine(self, run)
        if run.appends:  # their bytes are written, and nothing is committed
            lefts.append(disk.after_kill(tmp_path / "after"))

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "_flush", flush)
        await append(
            spool, 5, MIB - 50_000
        )  # too long for the rest of that segment, which nothing else needs
    (found,) = [i for i in await all_whole(lefts[0].root, clock) if i.key == kept.key]
    assert found.content_hash == kept.content_hash
    lefts[0].close()


@pytest.mark.parametrize("is_busy", [True, False])
async def test_space_that_was_kept_for_that_is_used_again_after_the_next_commit(
    spool: Spool, disk: Disk, clock: ManualClock, is_busy: bool
) -> None:
    first = await append(spool, 1)
    await store_in_vain(spool, disk)
    if is_busy:
        await spool.route([routed(first, "pacs")], clock.now())
        await spool.sync()
    else:
        await keep_house(spool, spool.housekeeper.probe)
    stats = await spool.stats()
    assert (stats.large_objects, stats.bytes_live) == (0, first.place.length_bytes)
    await keep_house(spool, spool.housekeeper.delete_doomed)
    assert not [*(disk.root / "spool" / "large").iterdir()]
    assert is_busy or list(spool.problems) == []


async def test_what_was_refused_is_not_taken_for_acknowledged_once_its_segment_is_written_again(
    spool: Spool, disk: Disk, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await append(spool, 1)
    with broken_ledger(monkeypatch):
        owed = await append(spool, 2, 150_000)  # it is on the disk, and the ledger follows
        with pytest.raises(StorageError):
            await spool.sync()
        for seed in (3, 4):  # the second says of the first that it had been synced
            with pytest.raises(StorageError):
                await append(spool, seed, 150_000)
    await deliver(spool, clock, first, owed)
    lefts: list[Disk] = []
    genuine = disk.tick

    def tick() -> None:
        genuine()
        if len(lefts) < 60:  # in the two writes that come first: the page's, and the record's
            lefts.extend([disk.after_power_failure(tmp_path / f"{disk.operations}-{n}") for n in range(30)])

    disk.tick = tick  # type: ignore[method-assign]
    again = await append(spool, 5, MIB - 300_000)  # no room behind them: the segment is written anew
    assert again.place.segment == first.place.segment
    for left in lefts:
        async with opened(left.root / "spool", clock) as spool_left:
            assert await spool_left.corrupt() == []
            for instance in await spool_left.take_unrouted(9) if (await spool_left.stats()).unrouted else ():
                await read(spool_left, instance)
        left.close()


async def test_nobody_is_answered_before_the_ledger_notes_a_segment_that_is_written_again(
    spool: Spool, disk: Disk, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await append(spool, 1, MIB // 2)
    await deliver(spool, clock, first)
    noted: list[int] = []
    genuine = Ledger.note_tail

    def note_tail(self: Ledger, segment: int) -> None:
        noted.append(segment)
        genuine(self, segment)

    monkeypatch.setattr(Ledger, "note_tail", note_tail)
    again = await append(spool, 2, MIB // 2 + 10_000)
    assert again.place.segment == first.place.segment
    assert noted == [again.place.segment]
    await append(spool, 3)
    assert noted == [again.place.segment]


async def test_a_part_that_fails_is_told_why(spool: Spool, disk: Disk, clock: ManualClock) -> None:
    await append(spool, 1, 60_000)
    with commits_that_fail(disk), pytest.raises(StorageError, match="IOError"):
        await append(spool, 2, MIB - 50_000)  # in a segment that the ledger has to note


async def test_the_ledger_is_whole_after_a_checkpoint_that_failed(
    spool: Spool, disk: Disk, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = spool.housekeeper
    for seed in range(50):
        await append(spool, seed)
    await spool.sync()
    path = disk.root / "spool" / LEDGER_NAME
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as reader, reader:
        assert reader.execute("SELECT count(*) FROM instances").get == 50  # needs the log, from here on
        for seed in range(50, 60):
            await append(spool, seed)
        await spool.sync()
        house._writer.commits.checkpoints.make(house._connection)  # moves half, and does not sync it
    await append(spool, 60)
    await spool.sync()
    with syncs_that_fail(disk, path), pytest.raises(apsw.IOError):
        house._writer.commits.checkpoints.make(house._connection)
    monkeypatch.setattr("router.spool.commits.CHECKPOINT_PAGES", 0)
    with suppress(OSError):  # who opens it is told once more
        await keep_house(spool, house.checkpoint)
    await keep_house(spool, house.checkpoint)
    await append(spool, 61)
    await spool.sync()  # the log has started over
    left = disk.after_power_failure(tmp_path / "after")
    assert len(await all_whole(left.root, clock)) == 62
    left.close()
