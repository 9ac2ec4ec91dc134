"""After a power failure the ledger may lack rows of acknowledged instances: the log says what they said."""

from __future__ import annotations

import shutil
from pathlib import Path

import apsw

from router.clock import ManualClock
from router.spool import Spool
from router.spool.record import encode_arrival, encode_header, encode_page
from router.spool.schema import LEDGER_NAME
from router.spool.tail import missing_rows
from tests.spool.samples import SETTINGS, append, arrival, content, deliver, opened, read

BIG = 200_000  # four or five of them fill a segment


def lose_rows(directory: Path, newer_than: int) -> None:
    """What a power failure leaves of the ledger where its last commits were not synced."""
    connection = apsw.Connection(str(directory / LEDGER_NAME))
    connection.execute("DELETE FROM instances WHERE key > ?", (newer_than,))
    connection.close()


async def test_rows_that_were_lost_with_the_power_are_read_from_the_log(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with opened(tmp_path, clock) as spool:
        first = await append(spool, 1)
        lost = [await append(spool, seed) for seed in range(2, 6)]
    lose_rows(tmp_path, first.key)
    async with opened(tmp_path, clock) as spool:
        found = await spool.take_unrouted(99)
        assert [i.key for i in found] == [first.key, *(i.key for i in lost)]
        for seed, instance in enumerate(found, 1):
            assert await read(spool, instance) == content(seed)
            assert instance.arrival == (first, *lost)[seed - 1].arrival
        assert (await append(spool, 9)).key > lost[-1].key


async def test_a_new_segment_is_known_before_anything_in_it_is_acknowledged(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with opened(tmp_path, clock) as spool:
        instances = [await append(spool, seed, BIG) for seed in range(1, 14)]  # over three segments
    newest = [i for i in instances if i.place.segment == instances[-1].place.segment]
    assert 1 < len(newest) < len(instances)
    lose_rows(tmp_path, newest[0].key)
    async with opened(tmp_path, clock) as spool:
        assert [i.key for i in await spool.take_unrouted(99)] == [i.key for i in instances]


async def test_a_write_that_did_not_end_is_no_instance(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        first, whole, torn = [await append(spool, seed) for seed in (1, 2, 3)]
    lose_rows(tmp_path, first.key)
    with (tmp_path / "segments" / f"{torn.place.segment:08d}.seg").open("r+b") as file:
        file.seek(torn.place.offset + 100)
        file.write(b"torn")
    async with opened(tmp_path, clock) as spool:
        assert [i.key for i in await spool.take_unrouted(9)] == [first.key, whole.key]


async def test_what_was_delivered_and_is_known_does_not_come_back(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        await deliver(spool, clock, await append(spool, 1), await append(spool, 2))
    copy = tmp_path.with_name("copy")
    shutil.copytree(tmp_path, copy)
    spool = Spool.open(copy, SETTINGS, clock)
    async with spool.running():
        assert (await spool.stats()).unrouted == 0


def test_a_record_longer_than_its_file_is_not_whole(tmp_path: Path) -> None:  # it was read: a MemoryError
    header = encode_header(1, 0, 1 << 20, 1 << 50, 0, bytes(16), encode_arrival(arrival()))
    segment = tmp_path / "00000001.seg"
    segment.write_bytes(encode_page(1, 1) + header)
    assert list(missing_rows(1, segment, 0)) == []
