"""``python -m tests.spool.crash_model --seeds 500``: random work on a disk that loses power at any moment.

Each seed is a few lives of one spool. A life does random work, with a failing disk now and then, until a
crash comes in the middle of some write or sync: the end of the process, or of the power. The next life opens
what is left. In the end everything is delivered, and then it must hold:

- what was acknowledged has been delivered everywhere, or is still queued and whole;
- an outcome that was recorded before a sync never comes undone; one recorded just before the crash may;
- nothing that is still queued has lost its bytes to somebody else.
"""

from __future__ import annotations

import argparse
import errno
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import anyio
import anyio.to_thread
import apsw

from router.clock import ManualClock
from router.errors import StorageError
from router.model import Delivery, DeliveryState, Instance, Reason
from router.spool import Spool, commits, schema
from router.spool.housekeeping import CLEAN_IDLE_S
from tests.spool.crashing import CrashingFiles, CrashingVfs, Disk
from tests.spool.samples import (
    META,
    SETTINGS,
    append,
    arrival,
    claim,
    content,
    keep_house,
    outcome,
    read,
    routed,
    settled_stats,
)

LIVES = 4
OPERATIONS = (20, 700)  # of the disk, in one life
ACTIONS = 400  # in one life at most
TROUBLE = 0.2  # the share of actions in which the disk fails
HUNG_S = 20.0  # for one seed, which takes less than one; then somebody waits for what never comes
LATE = 3  # a failed sync is told once to each who has the file open: SQLite twice, and the writer
DESTINATIONS = ("pacs", "archive", "cloud")
SIZES = (100, 5000, 20_000, 150_000)
LARGE_SIZE = 300_000
LARGE_SHARE = 0.15
LOG_BYTES = 256 * 1024  # of zeros: little, for each life opens the log anew
CHECKPOINT_PAGES = 40


@dataclass(slots=True)
class Told:
    """What the callers were told up to now."""

    acknowledged: dict[int, tuple[int, int]] = field(default_factory=dict)  # key → seed and size
    recorded: dict[int, None] = field(default_factory=dict)  # deliveries that may be over
    settled: dict[int, None] = field(default_factory=dict)  # deliveries that are over, and synced

    def copy(self) -> Told:
        acknowledged, settled = dict(self.acknowledged), dict(self.settled)
        return Told(acknowledged, dict(self.recorded), settled)  # recorded last: what is settled was recorded


class Work:
    """Random work on one spool until its disk has crashed."""

    def __init__(
        self, spool: Spool, disk: Disk, told: Told, clock: ManualClock, uids: dict[str, tuple[int, int]]
    ):
        self.spool = spool
        self.disk = disk
        self.told = told
        self.clock = clock
        self.rng = disk.rng
        self.uids = uids  # of all that was ever tried → seed and size
        self.taken: list[Instance] = []  # to be routed: they are handed out only once
        self.leased: list[Delivery] = []
        self.has_failed = False  # something, while the disk is well
        self.grace = 0
        self.committed: dict[int, None] = {}  # deliveries whose end was recorded in this life

    async def run(self, is_over: Callable[[], bool]) -> None:
        actions = (self.store, self.store, self.route, self.attempt, self.attempt, self.age, self.sync)
        for _ in range(ACTIONS):
            if is_over():
                return
            self.has_failed = False
            action: Callable[[], Awaitable[None]] = self.rng.choice(actions)
            try:
                await action()
            except StorageError as error:
                self._expected(error)
            self.grace -= self.has_failed
            assert self.grace >= 0, "the disk is well again, and the spool is not"
            if self.rng.random() < TROUBLE:
                self.disk.error, self.grace = self.rng.choice((errno.EIO, errno.ENOSPC)), LATE
            else:
                self.disk.error = None
            self.disk.error_rate = self.rng.choice((0.1, 0.5, 1.0))

    def _expected(self, error: StorageError) -> None:
        """Fail only while the disk does, before the next look at its space, or as the kernel tells late."""
        if self.disk.error is None and not error.out_of_resources:
            self.has_failed = True

    async def store(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(self.rng.randrange(1, 9)):
                group.start_soon(self._store_large if self.rng.random() < LARGE_SHARE else self._store_one)

    async def _store_one(self) -> None:
        seed, size = len(self.uids) + 1, self.rng.choice(SIZES)
        uid = f"1.2.{seed}"
        self.uids[uid] = (seed, size)
        try:
            instance = await append(self.spool, seed, size, uid)
        except StorageError as error:
            self._expected(error)
            return
        self.told.acknowledged[instance.key] = (seed, size)

    async def _store_large(self) -> None:
        seed = len(self.uids) + 1
        uid = f"1.2.{seed}"
        self.uids[uid] = (seed, LARGE_SIZE)
        whole = memoryview(content(seed, LARGE_SIZE))
        one = self.spool.start_large(arrival(uid))
        try:
            for start in range(0, len(whole), 100_000):
                await one.write([whole[start : start + 100_000]])
            instance = await one.commit(len(META))
        except StorageError as error:
            self._expected(error)
            return
        finally:
            await one.abandon()
        self.told.acknowledged[instance.key] = (seed, LARGE_SIZE)

    async def route(self) -> None:
        if not self.taken and (await self.spool.stats()).unrouted:
            self.taken = await self.spool.take_unrouted(self.rng.randrange(1, 30))
        names = DESTINATIONS[: self.rng.randrange(1, 4)]
        await self.spool.route([routed(i, *names) for i in self.taken], self.clock.now())
        self.taken = []

    async def attempt(self) -> None:
        destination = self.rng.choice(DESTINATIONS)
        for delivery in await claim(self.spool, self.clock, destination, self.rng.randrange(1, 20)):
            self.leased = [d for d in self.leased if d.delivery_id != delivery.delivery_id] + [delivery]
        self.rng.shuffle(self.leased)
        now = self.clock.now()
        outcomes = []
        for delivery in [self.leased.pop() for _ in range(min(len(self.leased), self.rng.randrange(20)))]:
            seed, size = self.uids[delivery.instance.arrival.sop_instance_uid]
            assert await read(self.spool, delivery.instance) == content(seed, size)
            if self.rng.random() < 0.3:
                outcomes.append(outcome(delivery, now, DeliveryState.PENDING, Reason.TIMEOUT, now + 5))
            else:
                self.told.recorded[delivery.delivery_id] = None  # from here on it may be over
                outcomes.append(outcome(delivery, now))
        await self.spool.record(outcomes)
        self.committed.update((o.delivery_id, None) for o in outcomes if o.state is DeliveryState.DELIVERED)

    async def age(self) -> None:
        self.clock.advance(self.rng.choice((1, CLEAN_IDLE_S, 100)))
        if self.rng.random() < 0.1:
            self.clock.jump(self.rng.choice((-3600, 3600)))
        house = self.spool.housekeeper
        steps = (house.check_space, house.probe, house.mind_clock, house.expire, house.delete_doomed)
        try:
            for step in (*steps, house.checkpoint, house.clean):
                await keep_house(self.spool, step)
        except (OSError, apsw.Error):
            self.has_failed |= self.disk.error is None

    async def sync(self) -> None:
        over = self.committed.copy()
        await self.spool.sync()
        self.told.settled.update(over)


async def run(seed: int, directory: Path) -> int:
    """One seed; how many instances were acknowledged."""
    rng = random.Random(seed)
    clock = ManualClock()
    disk, told = Disk(directory / "0", rng), Told()
    uids: dict[str, tuple[int, int]] = {}
    with anyio.fail_after(HUNG_S):
        for number in range(1, LIVES + 1):
            disk, told = await _live(disk, told, clock, uids, directory / str(number))
        await _finish(disk, told, clock, uids)
    disk.close()
    return len(told.acknowledged)


async def _live(
    disk: Disk, told: Told, clock: ManualClock, uids: dict[str, tuple[int, int]], to: Path
) -> tuple[Disk, Told]:
    left: list[tuple[Disk, Told]] = []
    has_power = disk.rng.random() < 0.3

    def crash() -> None:
        before = told.copy()  # first: what is told after this may be lost
        left.append(((disk.after_kill if has_power else disk.after_power_failure)(to), before))

    disk.on_crash = crash
    disk.crash_at = disk.rng.randrange(*OPERATIONS)
    with CrashingVfs(disk):
        spool = await anyio.to_thread.run_sync(_open, disk, clock)
        async with spool.running():
            await Work(spool, disk, told, clock, uids).run(lambda: bool(left))
            disk.error = None
            if not left:
                with disk.operation():
                    crash()
    disk.close()
    return left[0]


def _open(disk: Disk, clock: ManualClock) -> Spool:
    return Spool.open(disk.root / "spool", SETTINGS, clock, files=CrashingFiles(disk))


async def _finish(disk: Disk, told: Told, clock: ManualClock, uids: dict[str, tuple[int, int]]) -> None:
    with CrashingVfs(disk):
        spool = await anyio.to_thread.run_sync(_open, disk, clock)
        async with spool.running():
            clock.advance(1000)
            while (await spool.stats()).unrouted:
                found = await spool.take_unrouted(50)
                await spool.route([routed(i, *DESTINATIONS) for i in found], clock.now())
            came: set[int] = set()
            for destination in DESTINATIONS:
                while deliveries := await claim(spool, clock, destination, 50):
                    for delivery in deliveries:
                        seed, size = uids[delivery.instance.arrival.sop_instance_uid]
                        assert await read(spool, delivery.instance) == content(seed, size)
                        assert delivery.delivery_id not in told.settled, "it was over, and synced"
                        came.add(delivery.delivery_id)
                    await spool.record([outcome(d, clock.now()) for d in deliveries])
            damaged = {found.key for found in await spool.corrupt(10_000)}
            assert not damaged & told.acknowledged.keys(), "an acknowledged instance has lost its bytes"
            for key, (seed, _) in told.acknowledged.items():
                traces = await spool.trace(f"1.2.{seed}")
                assert len(traces) == 1, "an acknowledged instance is gone"
                trace = traces[0]
                assert trace.instance.key == key
                assert trace.deliveries, "acknowledged, and never routed"
                for row in trace.deliveries:
                    assert row.state is DeliveryState.DELIVERED, row
                    assert row.delivery_id in came or row.delivery_id in told.recorded, "never delivered"
            assert await spool.depths() == []
            stats = await settled_stats(spool)
            assert stats.bytes_live == sum(i.place.length_bytes for i in await spool.corrupt(10_000))


def run_seeds(first: int, count: int) -> int:
    """Run them; how many instances were acknowledged in all."""
    total = 0
    with (
        patch.object(schema, "LOG_BYTES", LOG_BYTES),
        patch.object(commits, "CHECKPOINT_PAGES", CHECKPOINT_PAGES),
    ):
        for seed in range(first, first + count):
            with tempfile.TemporaryDirectory(prefix="crash-model-") as directory:
                try:
                    total += anyio.run(run, seed, Path(directory))
                except BaseException as error:
                    error.add_note(f"python -m tests.spool.crash_model --first {seed} --seeds 1")
                    raise
    return total


def main() -> int:
    """Command line: exit code 0, or the first failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.spool.crash_model", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    total = run_seeds(arguments.first, arguments.seeds)
    print(f"{arguments.seeds} seeds, {arguments.seeds * LIVES} crashes, {total} acknowledged: nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
