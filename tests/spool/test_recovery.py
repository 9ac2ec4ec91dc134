"""What a crash at any moment leaves: everything acknowledged, nothing half, no lease of the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from router.clock import ManualClock, SystemClock
from router.errors import StorageError
from router.model import DeliveryState, Reason
from router.spool import Spool
from router.spool.schema import LEDGER_NAME
from tests.spool.samples import (
    SETTINGS,
    append,
    claim,
    content,
    crash_copy,
    deliver,
    opened,
    outcome,
    read,
    routed,
    settled_stats,
)

KILLED = """
import anyio, sys
from pathlib import Path
from router.clock import SystemClock
from router.spool import Spool
from tests.spool.samples import SETTINGS, append

async def forever(spool, first):
    for seed in range(first, 10**9, 4):
        instance = await append(spool, seed, 3000 + seed % 9000)
        sys.stdout.write(f"{instance.key} {seed}\\n")
        sys.stdout.flush()

async def main():
    spool = Spool.open(Path(sys.argv[1]), SETTINGS, SystemClock())
    async with spool.running(), anyio.create_task_group() as group:
        for first in range(4):
            group.start_soon(forever, spool, first)

anyio.run(main)
"""


async def test_crash_leaves_what_was_acknowledged(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "a", clock) as spool:
        received, leased, deferred, done = [await append(spool, n) for n in range(4)]
        await deliver(spool, clock, done)
        await spool.route([routed(leased, "pacs"), routed(deferred, "pacs")], clock.now())
        _, second = await claim(spool, clock)
        later = clock.now() + 500
        await spool.record(
            [outcome(second, clock.now(), DeliveryState.PENDING, Reason.TIMEOUT, retry_at=later)]
        )
        left = await crash_copy(spool, tmp_path / "a", tmp_path / "b")
    async with opened(left, clock) as spool:
        assert [i.key for i in await spool.take_unrouted(10)] == [received.key]
        (again,) = await claim(spool, clock)
        assert again.instance.key == leased.key
        assert await read(spool, again.instance) == content(1)
        assert await spool.next_due("pacs") == later
        assert (await spool.show(second.delivery_id)).attempts == 1
        stats = await settled_stats(spool)
        assert stats.bytes_live == 3 * received.place.length_bytes
        new = await append(spool, 9)
        assert new.key > done.key
        assert await read(spool, deferred) == content(2)  # nothing was overwritten


async def test_released_space_is_reused_only_by_a_new_generation(tmp_path: Path, clock: ManualClock) -> None:
    for seed in range(4):
        async with opened(tmp_path, clock) as spool:
            instance = await append(spool, seed)
            await deliver(spool, clock, instance)
            assert (await settled_stats(spool)).segments <= SETTINGS.spare_segments + 1


async def test_torn_tail_is_not_seen(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path / "a", clock) as spool:
        kept = await append(spool, 1)
        left = await crash_copy(spool, tmp_path / "a", tmp_path / "b")
        torn = await append(spool, 2)
        path = left / "segments" / f"{torn.place.segment:08d}.seg"
        half = torn.place.offset + torn.place.length_bytes // 2
        with (tmp_path / "a" / "segments" / path.name).open("rb") as whole, path.open("r+b") as file:
            file.write(whole.read(half))
    async with opened(left, clock) as spool:
        assert [i.key for i in await spool.take_unrouted(10)] == [kept.key]
        assert await read(spool, kept) == content(1)


@pytest.mark.parametrize("lines", [1, 40, 300])
async def test_kill_nine(tmp_path: Path, lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    with process, process.stdout as said:
        acknowledged = [said.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        acknowledged += said.readlines()
    seeds = dict(line.split() for line in acknowledged if line.endswith(b"\n"))
    assert len(seeds) >= lines
    spool = Spool.open(tmp_path, SETTINGS, SystemClock())
    async with spool.running():
        found = {i.key: i for i in await spool.take_unrouted(10**6)}
        for instance in found.values():
            await spool.verify(instance)  # also of those that nobody was told of
        for key, seed in seeds.items():
            assert await read(spool, found[int(key)]) == content(int(seed), 3000 + int(seed) % 9000)


async def test_second_process_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock):
        with pytest.raises(StorageError, match="another process uses this spool"):
            Spool.open(tmp_path, SETTINGS, clock)
    async with opened(tmp_path, clock):
        pass


async def test_lost_ledger_is_not_taken_for_an_empty_one(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        await append(spool, 1)
    (tmp_path / LEDGER_NAME).unlink()
    with pytest.raises(StorageError, match="no ledger"):
        Spool.open(tmp_path, SETTINGS, clock)


async def test_what_waits_is_written_before_the_end(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        instance = await append(spool, 1)
        await spool.route([routed(instance, "pacs")], clock.now())  # not synced by itself
    async with opened(tmp_path, clock) as spool:
        assert len(await claim(spool, clock)) == 1


async def test_segments_of_another_size_are_used_up(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        old = await append(spool, 1)
    bigger = type(SETTINGS)(segment_bytes=2 * SETTINGS.segment_bytes, min_free_bytes=0)
    async with opened(tmp_path, clock, bigger) as spool:
        assert await read(spool, old) == content(1)
        await spool.take_unrouted(1)
        await deliver(spool, clock, old)
        await append(spool, 2)
    sizes = {p.stat().st_size for p in (tmp_path / "segments").iterdir()}
    assert sizes == {bigger.segment_bytes}
