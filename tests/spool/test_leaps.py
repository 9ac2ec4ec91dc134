"""The wall clock is set by an hour, or by a year: nothing stalls, nothing storms."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from router.clock import ManualClock
from router.model import Delivery, DeliveryState, Reason
from router.spool import Spool
from router.spool.leaps import LEAP_S, ClockWatch
from tests.spool.samples import append, claim, content, keep_house, opened, outcome, read, routed

HOUR = 3600.0


def test_a_clock_that_runs_or_is_slewed_has_not_leapt() -> None:
    watch = ClockWatch(1000.0, 10.0)
    assert watch.leap_s(1500.0, 510.0) == 0
    assert watch.leap_s(1500.0 + LEAP_S / 2, 510.0) == 0
    assert watch.leap_s(5100.0, 510.0) == HOUR
    assert watch.leap_s(-2100.0, 510.0) == -HOUR
    watch.accept(-2100.0, 510.0)
    assert watch.leap_s(-2099.0, 511.0) == 0


async def leap(spool: Spool, clock: ManualClock, seconds: float) -> None:
    clock.jump(seconds)
    await keep_house(spool, spool.housekeeper.mind_clock)
    await keep_house(spool, spool.housekeeper.expire)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR])
async def test_keys_go_on_rising(spool: Spool, clock: ManualClock, seconds: float) -> None:
    before = await append(spool, 1)
    await leap(spool, clock, seconds)
    after = [await append(spool, seed) for seed in (2, 3)]
    await leap(spool, clock, -seconds)
    last = await append(spool, 4)
    keys = [before.key, *(i.key for i in after), last.key]
    assert keys == sorted(set(keys))
    assert [i.key for i in await spool.take_unrouted(10)] == keys


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_what_is_due_stays_due(spool: Spool, clock: ManualClock, seconds: float) -> None:
    await spool.route([routed(await append(spool, 1), "pacs")], clock.now())
    await leap(spool, clock, seconds)
    assert len(await claim(spool, clock)) == 1


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_pause_keeps_its_length(spool: Spool, clock: ManualClock, seconds: float) -> None:
    await spool.route([routed(await append(spool, seed), "pacs") for seed in range(3)], clock.now())
    for delivery in await claim(spool, clock):
        later = outcome(delivery, clock.now(), DeliveryState.PENDING, Reason.TIMEOUT, clock.now() + 60)
        await spool.record([later])
    await leap(spool, clock, seconds)
    assert await claim(spool, clock) == []  # no storm
    due = await spool.next_due("pacs")
    assert due is not None
    assert due - clock.now() == pytest.approx(60)
    clock.advance(61)
    assert len(await claim(spool, clock)) == 3  # and no stall


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_pause_keeps_its_length_when_the_clock_is_set_to_and_fro(
    spool: Spool, clock: ManualClock, seconds: float
) -> None:
    await spool.route([routed(await append(spool, 1), "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    later = outcome(delivery, clock.now(), DeliveryState.PENDING, Reason.TIMEOUT, clock.now() + 60)
    await spool.record([later])
    for leap_s in (seconds, -seconds, seconds, -seconds):
        await leap(spool, clock, leap_s)
    assert await claim(spool, clock) == []
    clock.advance(61)
    assert len(await claim(spool, clock)) == 1


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_lease_keeps_its_length(spool: Spool, clock: ManualClock, seconds: float) -> None:
    await spool.route([routed(await append(spool, 1), "pacs")], clock.now())
    assert len(await claim(spool, clock)) == 1  # for 60 s
    await leap(spool, clock, seconds)
    clock.advance(30)
    await keep_house(spool, spool.housekeeper.expire)
    assert await claim(spool, clock) == []
    clock.advance(31)
    await keep_house(spool, spool.housekeeper.expire)
    assert len(await claim(spool, clock)) == 1


async def test_what_came_between_the_leap_and_its_discovery_is_left_alone(
    spool: Spool, clock: ManualClock
) -> None:
    clock.jump(HOUR)
    await spool.route([routed(await append(spool, 1), "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    await spool.record(
        [outcome(delivery, clock.now(), DeliveryState.PENDING, Reason.TIMEOUT, clock.now() + 60)]
    )
    await keep_house(spool, spool.housekeeper.mind_clock)
    due = await spool.next_due("pacs")
    assert due is not None
    assert due - clock.now() == pytest.approx(60)


async def test_a_lane_that_waits_looks_again_after_a_leap(spool: Spool, clock: ManualClock) -> None:
    await spool.route([routed(await append(spool, 1), "pacs")], clock.now())
    clock.jump(-HOUR)
    assert await claim(spool, clock) == []  # due in an hour, as it seems
    found: list[Delivery] = []

    async def lane() -> None:
        while not found:
            await spool.wait_for_work("pacs", None)
            found.extend(await claim(spool, clock))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(lane)
            await keep_house(spool, spool.housekeeper.mind_clock)
    assert len(found) == 1


async def test_a_clock_that_was_set_back_while_the_gateway_was_down(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with opened(tmp_path, clock) as spool:
        await spool.route([routed(await append(spool, seed), "pacs") for seed in range(3)], clock.now())
    clock.jump(-24 * HOUR)
    async with opened(tmp_path, clock) as spool:
        assert len(await claim(spool, clock)) == 3


async def test_retention_ends_after_a_leap(tmp_path: Path, clock: ManualClock) -> None:
    for seconds in (HOUR, -HOUR):
        async with opened(tmp_path / str(seconds), clock, retention_s=60) as spool:
            instance = await append(spool, 1)
            await spool.route([routed(instance, "pacs")], clock.now())
            await spool.record([outcome(d, clock.now()) for d in await claim(spool, clock)])
            await leap(spool, clock, seconds)
            if seconds < 0:
                assert await read(spool, instance) == content(1)
                clock.advance(HOUR + 61)
                await keep_house(spool, spool.housekeeper.expire)
            await spool.sync()
            assert (await spool.stats()).bytes_live == 0
