"""Random work, a failing disk and crashes: whatever was acknowledged is delivered or still queued, intact."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import anyio
import pytest

from router.clock import ManualClock
from router.errors import StorageError
from router.model import Delivery, DeliveryState, Reason
from router.spool import Spool
from router.spool.housekeeping import CLEAN_IDLE_S
from tests.spool.samples import (
    SETTINGS,
    FailingFiles,
    append,
    claim,
    content,
    crash_copy,
    keep_house,
    opened,
    outcome,
    read,
    routed,
    settled_stats,
)

CRASHES = 4
ACTIONS = 40


class Model:
    """What the callers were told."""

    def __init__(self, seed: int, clock: ManualClock) -> None:
        self.rng = random.Random(seed)
        self.clock = clock
        self.files = FailingFiles()
        self.acknowledged: dict[int, tuple[int, int]] = {}  # key → seed and size
        self.delivered: set[int] = set()
        self.leased: list[Delivery] = []
        self.counter = 0

    async def act(self, spool: Spool) -> None:
        action = self.rng.choice((self.store, self.store, self.route, self.attempt, self.attempt, self.age))
        try:
            await action(spool)
        except StorageError:
            assert self.files.fail_with is not None
        self.files.fail_with = errno.EIO if self.rng.random() < 0.1 else None

    async def store(self, spool: Spool) -> None:
        async def one(seed: int, size: int) -> None:
            try:
                instance = await append(spool, seed, size)
            except StorageError:
                return
            self.acknowledged[instance.key] = (seed, size)

        async with anyio.create_task_group() as group:
            for _ in range(self.rng.randrange(1, 9)):
                self.counter += 1
                group.start_soon(one, self.counter, self.rng.choice((100, 5000, 150_000)))

    async def route(self, spool: Spool) -> None:
        if (await spool.stats()).unrouted:
            found = await spool.take_unrouted(self.rng.randrange(1, 20))
            await spool.route([routed(i, "pacs") for i in found], self.clock.now())

    async def attempt(self, spool: Spool) -> None:
        self.leased += await claim(spool, self.clock, limit=self.rng.randrange(1, 9))
        self.rng.shuffle(self.leased)
        for delivery in self.leased[: self.rng.randrange(9)]:
            self.leased.remove(delivery)
            if delivery.instance.key in self.delivered:
                continue  # by another holder, after this lease ran out
            seed, size = self.acknowledged.get(delivery.instance.key, (None, 0))
            got = await read(spool, delivery.instance)
            if seed is not None:
                assert got == content(seed, size)
            now = self.clock.now()
            if self.rng.random() < 0.3:
                await spool.record([outcome(delivery, now, DeliveryState.PENDING, Reason.TIMEOUT, now + 5)])
            else:
                await spool.record([outcome(delivery, now)])
                self.delivered.add(delivery.instance.key)

    async def age(self, spool: Spool) -> None:
        self.clock.advance(self.rng.choice((1, CLEAN_IDLE_S, 100)))
        await keep_house(spool, spool.housekeeper.expire)
        if self.files.fail_with is None:
            await keep_house(spool, spool.housekeeper.clean)


@pytest.mark.parametrize("seed", range(6))
async def test_acknowledged_is_delivered_or_queued(tmp_path: Path, clock: ManualClock, seed: int) -> None:
    model = Model(seed, clock)
    directory = tmp_path / "0"
    for crash in range(CRASHES):
        async with opened(directory, clock, SETTINGS, model.files) as spool:
            for _ in range(ACTIONS):
                await model.act(spool)
            model.files.fail_with = None
            model.leased.clear()
            directory = await crash_copy(spool, directory, tmp_path / str(crash + 1))
    async with opened(directory, clock) as spool:
        clock.advance(1000)
        while (await spool.stats()).unrouted:
            await spool.route([routed(i, "pacs") for i in await spool.take_unrouted(50)], clock.now())
        while found := await claim(spool, clock, limit=50):
            for delivery in found:
                key = delivery.instance.key
                if key in model.acknowledged:
                    assert await read(spool, delivery.instance) == content(*model.acknowledged[key])
                assert key not in model.delivered  # recorded is final
                model.delivered.add(key)
            await spool.record([outcome(d, clock.now()) for d in found])
        assert set(model.acknowledged) <= model.delivered
        assert await spool.depths() == []
        stats = await settled_stats(spool)
        assert stats.bytes_live == 0
        assert stats.segments <= SETTINGS.spare_segments + 2
