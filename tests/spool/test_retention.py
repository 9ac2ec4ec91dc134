"""Delivered instances stay for a while, within their budget; what is not delivered is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.clock import ManualClock
from router.config.settings import SpoolSettings
from router.errors import CorruptRecord
from router.model import Instance
from router.spool import Spool
from tests.spool.samples import (
    MIB,
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

SIZE = 10_000
RETENTION_S = 600.0


def settings(retention_bytes: int | None) -> SpoolSettings:
    return SpoolSettings(segment_bytes=MIB, min_free_bytes=0, retention_bytes=retention_bytes)


async def store_and_deliver(spool: Spool, clock: ManualClock, seeds: range) -> list[Instance]:
    """One after another, a second between them."""
    instances = []
    for seed in seeds:
        clock.advance(1)
        instance = await append(spool, seed, SIZE)
        await spool.route([routed(instance, "pacs")], clock.now())
        await spool.record([outcome(d, clock.now()) for d in await claim(spool, clock)])
        instances.append(instance)
    return instances


async def kept(spool: Spool, instances: list[Instance]) -> list[int]:
    """Positions of those that can still be read."""
    await spool.sync()
    found = []
    for position, instance in enumerate(instances):
        try:
            await read(spool, instance)
        except CorruptRecord:
            continue
        found.append(position)
    return found


async def test_the_oldest_goes_first_where_the_budget_is_exceeded(tmp_path: Path, clock: ManualClock) -> None:
    one = SIZE + len(content(0, 0))
    async with opened(tmp_path, clock, settings(4 * one), retention_s=RETENTION_S) as spool:
        instances = await store_and_deliver(spool, clock, range(10))
        assert (await settled_stats(spool)).bytes_live == 10 * one
        await keep_house(spool, spool.housekeeper.keep_budget)
        assert (await settled_stats(spool)).bytes_live == 4 * one
        traces = [await spool.trace(i.arrival.sop_instance_uid) for i in instances]
        assert [t.instance.state.value for (t,) in traces] == ["released"] * 6 + ["routed"] * 4
        await keep_house(spool, spool.housekeeper.keep_budget)
        assert (await settled_stats(spool)).bytes_live == 4 * one


async def test_many_are_released_in_steps(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.spool.housekeeping.STEP_ROWS", 3)
    async with opened(tmp_path, clock, settings(0), retention_s=RETENTION_S) as spool:
        await store_and_deliver(spool, clock, range(10))
        await keep_house(spool, spool.housekeeper.keep_budget)
        assert (await settled_stats(spool)).bytes_live == 0


async def test_what_is_not_delivered_everywhere_is_no_part_of_it(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, settings(0), retention_s=RETENTION_S) as spool:
        half, unrouted = await append(spool, 1), await append(spool, 2)
        await spool.route([routed(half, "pacs", "archive")], clock.now())
        await spool.record([outcome(d, clock.now()) for d in await claim(spool, clock)])
        await store_and_deliver(spool, clock, range(3, 6))
        clock.advance(10 * RETENTION_S)
        for _ in range(2):
            await keep_house(spool, spool.housekeeper.keep_budget)
            await keep_house(spool, spool.housekeeper.expire)
        assert await read(spool, half) == content(1)
        assert await read(spool, unrouted) == content(2)
        assert (await settled_stats(spool)).bytes_live == 2 * half.place.length_bytes
        assert len(await claim(spool, clock, "archive")) == 1


async def test_without_a_budget_only_age_counts(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, settings(None), retention_s=RETENTION_S) as spool:
        instances = await store_and_deliver(spool, clock, range(5))
        await keep_house(spool, spool.housekeeper.keep_budget)
        assert await kept(spool, instances) == [0, 1, 2, 3, 4]
        clock.advance(RETENTION_S - 2.5)
        await keep_house(spool, spool.housekeeper.expire)
        traces = [await spool.trace(i.arrival.sop_instance_uid) for i in instances]
        assert [t.instance.state.value for (t,) in traces] == ["released"] * 2 + ["routed"] * 3


async def test_the_budget_holds_over_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, settings(None), retention_s=RETENTION_S) as spool:
        await store_and_deliver(spool, clock, range(5))
    async with opened(tmp_path, clock, settings(0), retention_s=RETENTION_S) as spool:
        assert (await settled_stats(spool)).bytes_live > 0
        await keep_house(spool, spool.housekeeper.keep_budget)
        assert (await settled_stats(spool)).bytes_live == 0
