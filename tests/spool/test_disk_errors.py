"""A failing or full disk: exactly those fail who must, and the spool goes on."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import apsw
import pytest

from router.clock import ManualClock
from router.config.settings import SpoolSettings
from router.errors import CorruptRecord, StorageError, UnknownItem
from router.model import DeliveryState, Instance, InstanceState, Reason
from router.spool import Spool
from router.spool.ledger import Ledger
from tests.spool.samples import (
    MIB,
    FailingFiles,
    append,
    claim,
    content,
    keep_house,
    opened,
    outcome,
    read,
    routed,
    settled_stats,
)

SETTINGS = SpoolSettings(segment_bytes=MIB, min_free_bytes=10 * MIB)


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


@pytest.fixture
async def spool(tmp_path: Path, clock: ManualClock, files: FailingFiles) -> AsyncIterator[Spool]:
    async with opened(tmp_path / "spool", clock, SETTINGS, files) as one:
        yield one


@pytest.mark.parametrize(
    ("code", "is_full"), [(errno.EIO, False), (errno.ENOSPC, True), (errno.EDQUOT, True)]
)
async def test_failed_write_fails_that_append_only(
    spool: Spool, clock: ManualClock, files: FailingFiles, code: int, is_full: bool
) -> None:
    before = await append(spool, 1)
    await spool.route([routed(before, "pacs")], clock.now())
    files.fail_with = code
    with pytest.raises(StorageError) as caught:
        await append(spool, 2)
    if is_full:
        files.free = 0  # what the next look at the space finds
    assert caught.value.out_of_resources is is_full
    await keep_house(spool, spool.housekeeper.check_space)
    assert spool.is_accepting is not is_full
    assert len(await claim(spool, clock)) == 1  # the ledger works on
    files.fail_with = None
    files.free = 100 * MIB
    await keep_house(spool, spool.housekeeper.check_space)
    after = await append(spool, 3)
    assert after.place.segment != before.place.segment  # the failed one is never appended to again
    assert await read(spool, before) == content(1)
    assert await read(spool, after) == content(3)
    assert [i.key for i in await spool.take_unrouted(10)][-1] == after.key


async def test_segment_that_failed_is_deleted_when_it_is_empty(
    spool: Spool, tmp_path: Path, files: FailingFiles
) -> None:
    files.fail_with = errno.EIO
    with pytest.raises(StorageError):
        await append(spool, 1)
    files.fail_with = None
    instance = await append(spool, 2)
    assert not (tmp_path / "spool" / "segments" / "00000001.seg").exists()
    assert instance.place.segment != 1


async def test_full_disk_is_believed_before_the_space_is_looked_at(files: FailingFiles, spool: Spool) -> None:
    spool.housekeeper.condition.on_error(StorageError("full", out_of_resources=False))
    assert spool.is_accepting
    spool.housekeeper.condition.on_error(StorageError("full", out_of_resources=True))
    assert not spool.is_accepting


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENOSPC])
async def test_failing_disk_is_known_until_something_is_written_again(
    spool: Spool, clock: ManualClock, files: FailingFiles, code: int
) -> None:
    house = spool.housekeeper
    before = await append(spool, 1)
    await spool.route([routed(before, "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    assert list(spool.problems) == []
    files.fail_with = code
    for seed in range(2, 20):
        with pytest.raises(StorageError):
            await append(spool, seed)
    assert list(spool.problems) == ["disk_low" if code == errno.ENOSPC else "disk_failing"]
    if code != errno.ENOSPC:
        with pytest.raises(OSError, match=errno.errorcode[code]):
            await keep_house(spool, house.probe)
    await spool.record([outcome(delivery, clock.now())])  # lanes go on
    assert (await spool.stats()).bytes_live > 0  # nothing is let go that is not synced
    files.fail_with = None
    for step in (house.check_space, house.probe):
        await keep_house(spool, step)
    assert list(spool.problems) == []
    assert await read(spool, await append(spool, 20)) == content(20)
    assert (await settled_stats(spool)).bytes_live == before.place.length_bytes
    assert len(await spool.take_unrouted(10)) >= 1


async def test_a_file_system_that_does_not_answer_is_failing(
    spool: Spool, files: FailingFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(directory: Path) -> int:
        raise OSError(errno.EIO, "EIO")

    monkeypatch.setattr(files, "free_bytes", fails)
    with pytest.raises(OSError, match="EIO"):
        await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == ["disk_failing"]
    monkeypatch.undo()
    await keep_house(spool, spool.housekeeper.check_space)
    await keep_house(spool, spool.housekeeper.probe)
    assert list(spool.problems) == []


async def test_writer_survives_what_nobody_thought_of(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(spool._writer.commits, "_let_go", defective)
    for seed in range(3):
        try:
            await append(spool, seed)
            await spool.sync()
        except StorageError:
            continue
    monkeypatch.undo()
    assert await read(spool, await append(spool, 9)) == content(9)


async def test_short_write_is_completed(spool: Spool, files: FailingFiles) -> None:
    files.short_by = 2
    instance = await append(spool, 1)
    assert await read(spool, instance) == content(1)


async def test_nearly_full_disk_is_refused_with_hysteresis(spool: Spool, files: FailingFiles) -> None:
    for free, accepts in ((9 * MIB, False), (10 * MIB + 1, False), (11 * MIB, True), (10 * MIB, True)):
        files.free = free
        await keep_house(spool, spool.housekeeper.check_space)
        assert spool.is_accepting is accepts
        if accepts:
            await append(spool)
        else:
            with pytest.raises(StorageError) as caught:
                await append(spool)
            assert caught.value.out_of_resources
    assert (await spool.stats()).free_bytes == 10 * MIB


async def test_failing_ledger_row_fails_alone(
    spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Ledger.insert

    def insert(self: Ledger, rows: list[tuple[int, int, int, int, int, bytes, str, str]]) -> None:
        if any(row[6] == "6.6.6" for row in rows):
            raise apsw.FullError("database or disk is full")
        genuine(self, rows)

    monkeypatch.setattr(Ledger, "insert", insert)
    stored: list[Instance] = []
    failed: list[StorageError] = []

    async def one(seed: int, uid: str) -> None:
        try:
            stored.append(await append(spool, seed, uid=uid))
        except StorageError as error:
            failed.append(error)

    async with anyio.create_task_group() as group:
        for seed in range(20):
            group.start_soon(one, seed, "6.6.6" if seed == 7 else f"1.2.{seed}")
    assert len(stored) == 19
    assert [e.out_of_resources for e in failed] == [True]
    assert (await spool.stats()).unrouted == 19
    assert (await settled_stats(spool)).bytes_live == 19 * stored[0].place.length_bytes


async def test_failing_operation_fails_alone(spool: Spool, clock: ManualClock) -> None:
    async def failing() -> None:
        def run(_: Ledger) -> None:
            raise UnknownItem("no such thing")

        with pytest.raises(UnknownItem):
            await spool._change(run)

    async def defective() -> None:
        def run(_: Ledger) -> None:
            raise KeyError("a defect")

        with pytest.raises(StorageError, match="a defect"):
            await spool._change(run)

    async with anyio.create_task_group() as group:
        group.start_soon(append, spool)
        group.start_soon(failing)
        group.start_soon(defective)
        group.start_soon(append, spool)
    assert (await spool.stats()).unrouted == 2


async def test_flipped_byte_is_found_and_never_sent(spool: Spool, clock: ManualClock, tmp_path: Path) -> None:
    good, bad = await append(spool, 1), await append(spool, 2)
    await spool.route([routed(good, "pacs"), routed(bad, "pacs", "archive")], clock.now())
    path = tmp_path / "spool" / "segments" / f"{bad.place.segment:08d}.seg"
    with path.open("r+b") as file:
        file.seek(bad.place.offset + 1234)
        byte = file.read(1)
        file.seek(bad.place.offset + 1234)
        file.write(bytes([byte[0] ^ 1]))
    for _ in range(2):
        with pytest.raises(CorruptRecord):
            await read(spool, bad)
    with pytest.raises(CorruptRecord):
        await spool.verify(bad)
    assert [d.instance.key for d in await claim(spool, clock)] == [good.key]
    assert await claim(spool, clock, "archive") == []
    (trace,) = await spool.trace(bad.arrival.sop_instance_uid)
    assert trace.instance.state is InstanceState.CORRUPT
    assert {(d.state, d.reason) for d in trace.deliveries} == {(DeliveryState.DEAD, Reason.CORRUPT)}
    assert [i.key for i in await spool.corrupt()] == [bad.key]
    assert await read(spool, good) == content(1)


async def test_missing_segment_is_corrupt(spool: Spool, tmp_path: Path) -> None:
    instance = await append(spool, 1)
    (tmp_path / "spool" / "segments" / f"{instance.place.segment:08d}.seg").unlink()
    with pytest.raises(CorruptRecord):
        await read(spool, instance)


async def test_buffers_of_the_wrong_size_are_our_defect(spool: Spool) -> None:
    instance = await append(spool, 1)
    with pytest.raises(ValueError, match="do not add up"):
        await spool.read(instance, [memoryview(bytearray(10))])
