"""Lanes whose destinations are closed at times, over a queue in memory and a clock turned by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import anyio

from router.clock import ManualClock
from router.config.settings import Deliver, Group, Settings, Window
from router.deliver.lanes import Lanes
from router.deliver.modality import Network
from router.model import DeliveryState, QueueDepth
from router.telemetry import Telemetry
from tests.deliver.samples import FAST, MemoryQueue, MemoryWire, Peer, delivery, modality

H = 3600
NIGHT = Deliver(
    associations=2,
    schedule=(Window(between=(19 * H, 6 * H)),),
    time_zone="UTC",
    retry=FAST,
    connect_timeout=2.0,
)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


class House:
    """Lanes with scripted peers. ``night`` is open at night only."""

    def __init__(self, groups: dict[str, Group] | None = None) -> None:
        self.clock = ManualClock(NOON)
        self.queue = MemoryQueue(self.clock)
        self.peers = {"NIGHT": Peer(), "DAY": Peer()}
        night = replace(modality(), ae_title="NIGHT", deliver=NIGHT)
        day = replace(modality(), ae_title="DAY")
        self.lanes = Lanes(
            self.queue,
            Settings(modalities={"night": night, "day": day}, groups=groups or {}),
            self.clock,
            Telemetry(),
            Random(1),
            network=Network(
                open=lambda to, request: self.peers[to.ae_title].open(to, request),
                release=MemoryWire.release,  # type: ignore[arg-type]
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[House]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.lanes.run)
            await anyio.wait_all_tasks_blocked()
            yield self
            tasks.cancel_scope.cancel()

    def put(self, numbers: range, to: str = "night") -> None:
        now = self.clock.now()
        self.queue.put(*(delivery(number, destination=to, created_at=now) for number in numbers))

    async def turn(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.lanes.look_at_clock()
        await anyio.wait_all_tasks_blocked()


async def test_outside_its_window_nothing_is_claimed_or_sent() -> None:
    async with House().running() as house:
        house.put(range(1, 11))
        house.put(range(11, 21), to="day")
        await house.queue.all_delivered(range(11, 21))
        await anyio.wait_all_tasks_blocked()
        assert (house.peers["NIGHT"].tried, len(house.queue.pending), house.queue.leased) == (0, 10, {})
        await house.turn(7 * H)
        await house.queue.all_delivered(range(1, 11))
        assert sorted(house.peers["NIGHT"].keys()) == list(range(1, 11))


async def test_what_is_claimed_when_it_closes_is_given_back() -> None:
    async with House().running() as house:
        await house.turn(7 * H)
        closing = house.clock.now() + 11 * H
        answered = 0

        def close_after_five(number: int, key: int) -> int:
            nonlocal answered
            answered += 1
            if answered == 5:
                house.clock.advance(closing - house.clock.now())
                house.lanes.look_at_clock()
            return 0x0000

        house.peers["NIGHT"].answer = close_after_five
        house.put(range(1, 101))
        await house.queue.until(lambda: answered >= 5 and not house.queue.leased)
        sent = set(house.peers["NIGHT"].keys())
        assert len(sent) <= 5 + 2  # what was outstanding on the two associations
        assert {one.delivery_id for _, one in house.queue.pending} == set(range(1, 101)) - sent
        await house.turn(13 * H)
        await house.queue.all_delivered(range(1, 101))
        assert sorted(house.peers["NIGHT"].keys()) == list(range(1, 101))


async def test_an_operator_s_pause_outlasts_the_schedule_and_the_other_way_round() -> None:
    async with House().running() as house:
        house.put(range(1, 4))
        house.lanes.pause("night", True)
        await house.turn(7 * H)
        assert house.peers["NIGHT"].tried == 0
        await house.turn(11 * H)
        house.lanes.pause("night", False)
        await anyio.wait_all_tasks_blocked()
        assert house.peers["NIGHT"].tried == 0
        await house.turn(13 * H)
        await house.queue.all_delivered(range(1, 4))


async def test_a_clock_that_is_set_opens_and_closes() -> None:
    async with House().running() as house:
        house.clock.jump(7 * H)
        assert 0 < house.lanes.look_at_clock() <= 30.0
        house.put(range(1, 4))
        await house.queue.all_delivered(range(1, 4))
        house.clock.jump(-7 * H)
        house.lanes.look_at_clock()
        await anyio.wait_all_tasks_blocked()
        house.put(range(4, 7))
        await anyio.wait_all_tasks_blocked()
        assert len(house.queue.pending) == 3


async def test_a_group_goes_to_the_next_while_the_first_is_closed() -> None:
    async with House({"safe": Group(first_of=("night", "day"))}).running() as house:
        house.put(range(1, 4), to="safe")
        await house.queue.all_delivered(range(1, 4))
        assert {outcome.carried_by for outcome in house.queue.outcomes} == {"day"}
        await house.turn(7 * H)
        house.put(range(4, 7), to="safe")
        await house.queue.all_delivered(range(4, 7))
        assert sorted(house.peers["NIGHT"].keys()) == [4, 5, 6]


async def test_what_was_leased_for_a_lane_that_is_shut_is_recalled() -> None:
    groups = {"safe": Group(first_of=("night",)), "both": Group(one_of=("night", "day"))}
    async with House(groups).running() as house:
        house.lanes.pause("both", True)
        house.lanes.saw([])
        assert sorted(house.queue.recalled) == ["both", "both/day", "both/night", "night", "safe"]
        house.queue.recalled.clear()
        house.lanes.pause("both", False)
        await house.turn(7 * H)
        house.lanes.saw([])
        assert not house.queue.recalled


async def test_a_group_that_is_paused_has_back_what_its_members_have_claimed() -> None:
    async with House({"safe": Group(first_of=("day", "night"))}).running() as house:
        pausing = False

        def pause_after_five(number: int, key: int) -> int:
            nonlocal pausing
            if number == 5 and not pausing:
                pausing = True
                house.lanes.pause("safe", True)
            return 0x0000

        house.peers["DAY"].answer = pause_after_five
        house.put(range(1, 101), to="safe")
        await house.queue.until(lambda: pausing and not house.queue.leased)
        assert len(house.peers["DAY"].received) < 20
        house.lanes.saw([])
        await anyio.wait_all_tasks_blocked()
        assert len(house.peers["DAY"].received) + len(house.queue.pending) == 100
        house.lanes.pause("safe", False)
        await house.queue.all_delivered(range(1, 101))


async def test_a_paused_group_waits_and_one_that_was_changed_is_served() -> None:
    async with House({"both": Group(one_of=("night", "day"))}).running() as house:
        house.lanes.pause("both", True)
        house.put(range(1, 4), to="both/day")
        await anyio.wait_all_tasks_blocked()
        assert len(house.queue.pending) == 3
        house.lanes.saw([])
        house.put(range(11, 14), to="day")
        await house.queue.all_delivered(range(11, 14))
        house.lanes.pause("both", False)
        await house.queue.all_delivered(range(1, 4))
        house.put(range(4, 7), to="both/gone")
        await anyio.wait_all_tasks_blocked()
        assert len(house.queue.pending) == 3
        depth = QueueDepth(destination="both/gone", state=DeliveryState.PENDING, count=3, oldest_at=None)
        house.lanes.saw([depth])
        await house.queue.all_delivered(range(4, 7))
