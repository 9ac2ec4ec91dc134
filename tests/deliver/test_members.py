"""Members of groups over a queue in memory: what waits moves with the breaker and back, and goes out once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Group
from router.deliver.lane import Lane
from router.deliver.members import MemberQueue, Members
from router.deliver.modality import ModalitySender, Network
from router.deliver.renditions import Renditions
from router.errors import ConnectFailed, RouterError, StorageError
from router.model import Delivery, DeliveryState, Outcome, Priority, Reason
from router.telemetry import Telemetry
from tests.deliver.samples import FAST, Deed, MemoryQueue, MemoryWire, Peer, delivery, modality

SAFE = {"safe": Group(first_of=("pacs", "archive"))}
BOTH = {"both": Group(one_of=("pacs", "archive"))}


class Pair:
    """Two peers, their lanes, and the queue between them."""

    def __init__(self, groups: Mapping[str, Group], pacs: Peer, archive: Peer) -> None:
        clock = SystemClock()
        self.queue = MemoryQueue(clock)
        self.peers = {"pacs": pacs, "archive": archive}
        self.lanes: dict[str, Lane] = {}
        self.members = Members(groups, lambda name: self.lanes[name].is_available)
        self.outcomes: list[Outcome] = self.queue.outcomes
        for name, peer in self.peers.items():
            to = modality(retry=replace(FAST, initial=0.01, maximum=0.02))
            sender = ModalitySender(
                to,
                calling_ae="ROUTER",
                content=self.queue,
                clock=clock,
                telemetry=Telemetry(),
                network=Network(open=peer.open, release=MemoryWire.release),  # type: ignore[arg-type]
            )
            own = MemberQueue(name, self.queue, self.members)
            self.lanes[name] = Lane(
                name,
                deliver=to.deliver,
                renditions=Renditions(to.deliver, workshop=None, content=self.queue, clock=clock),
                sender=sender,
                queue=own,
                revise=own.revise,
                clock=clock,
                telemetry=Telemetry(),
                rng=Random(1),
            )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pair]:
        async with anyio.create_task_group() as tasks:
            for lane in self.lanes.values():
                tasks.start_soon(lane.run)
            yield self
            tasks.cancel_scope.cancel()

    def carried(self) -> dict[int, str]:
        return {o.delivery_id: o.carried_by for o in self.outcomes if o.state.is_final}


class Switch:
    """Opens associations, or not."""

    def __init__(self, is_on: bool = True) -> None:
        self.is_on = is_on

    def __call__(self, number: int) -> RouterError | None:
        return None if self.is_on else ConnectFailed("refused")


def put(pair: Pair, numbers: range, to: str = "safe") -> None:
    now = pair.queue.clock.now()
    pair.queue.put(*(delivery(number, destination=to, created_at=now) for number in numbers))


async def test_the_first_carries_everything_while_it_is_up() -> None:
    async with Pair(SAFE, Peer(), Peer()).running() as pair:
        put(pair, range(1, 41))
        await pair.queue.all_delivered(range(1, 41))
    assert set(pair.carried().values()) == {"pacs"}
    assert not pair.peers["archive"].received


async def test_what_waits_moves_when_the_first_goes_down_and_back_when_it_is_up() -> None:
    switch = Switch(is_on=False)
    pacs, archive = Peer(opening=switch), Peer()
    async with Pair(SAFE, pacs, archive).running() as pair:
        put(pair, range(1, 41))
        await pair.queue.all_delivered(range(1, 41))
        assert set(pair.carried().values()) == {"archive"}
        assert len(archive.keys()) == len(set(archive.keys())) == 40
        switch.is_on = True
        number = 100
        while not pacs.received:
            put(pair, range(number, number + 2))
            await pair.queue.all_delivered(range(number, number + 2))
            number += 2
        pair.outcomes.clear()
        put(pair, range(1000, 1020))
        await pair.queue.all_delivered(range(1000, 1020))
    assert set(pair.carried().values()) == {"pacs"}


async def test_only_the_outstanding_may_come_to_both() -> None:
    pacs = Peer(answer=lambda number, key: Deed.SILENCE if number >= 10 else 0)
    pacs.opening = lambda number: None if not pacs.wires else ConnectFailed("gone")
    archive = Peer()
    async with Pair(SAFE, pacs, archive).running() as pair:
        put(pair, range(1, 61))
        while len(pacs.received) <= 10:
            await anyio.wait_all_tasks_blocked()
        for wire in pacs.wires:
            wire.hang_up(Deed.DROP)
        await pair.queue.all_delivered(range(1, 61))
    twice = set(pacs.keys()) & set(archive.keys())
    assert len(twice) == len(pacs.received) - 10
    assert sorted(set(pacs.keys()) | set(archive.keys())) == list(range(1, 61))
    assert len(archive.keys()) == len(set(archive.keys()))
    failed = [o for o in pair.outcomes if o.reason is Reason.CONNECTION_LOST]
    assert {o.carried_by for o in failed} == {"pacs"}
    assert {o.destination for o in pair.outcomes} == {"safe"}


async def test_nothing_is_stranded_where_all_were_down() -> None:
    first, second = Switch(is_on=False), Switch(is_on=False)
    async with Pair(SAFE, Peer(opening=first), Peer(opening=second)).running() as pair:
        put(pair, range(1, 11))
        await pair.queue.until(lambda: {o.carried_by for o in pair.outcomes} == {"pacs", "archive"})
        second.is_on = True
        await pair.queue.all_delivered(range(1, 11))
    assert set(pair.carried().values()) == {"archive"}


async def test_an_outage_of_one_member_makes_nothing_too_old() -> None:
    switch = Switch(is_on=False)
    async with Pair(SAFE, Peer(opening=switch), Peer()).running() as pair:
        pair.queue.put(*(delivery(number, destination="safe", created_at=1.0) for number in range(1, 41)))
        await pair.queue.all_delivered(range(1, 41))
        assert Reason.FAILED_OVER in {o.reason for o in pair.outcomes}


async def test_what_nobody_could_send_in_time_is_given_up() -> None:
    first, second = Switch(is_on=False), Switch(is_on=False)
    async with Pair(SAFE, Peer(opening=first), Peer(opening=second)).running() as pair:
        pair.queue.put(*(delivery(number, destination="safe", created_at=1.0) for number in range(1, 41)))
        await pair.queue.until(lambda: list(pair.queue.states().values()) == [DeliveryState.DEAD] * 40)


async def test_each_study_stays_at_home_and_moves_only_while_its_home_is_down() -> None:
    switch = Switch()
    async with Pair(BOTH, Peer(opening=switch), Peer()).running() as pair:
        put(pair, range(1, 11), to="both/pacs")
        put(pair, range(11, 21), to="both/archive")
        await pair.queue.all_delivered(range(1, 21))
        carried = pair.carried()
        assert {carried[n] for n in range(1, 11)} == {"pacs"}
        assert {carried[n] for n in range(11, 21)} == {"archive"}
        switch.is_on = False
        for wire in pair.peers["pacs"].wires:
            wire.abort()
        put(pair, range(21, 31), to="both/pacs")
        await pair.queue.all_delivered(range(21, 31))
        assert {pair.carried()[n] for n in range(21, 31)} == {"archive"}


async def test_a_member_s_own_queue_is_served_beside_its_group_s() -> None:
    async with Pair(SAFE, Peer(), Peer()).running() as pair:
        put(pair, range(1, 201))
        put(pair, range(201, 401), to="pacs")
        await pair.queue.all_delivered(range(1, 401))
    assert {pair.carried()[n] for n in range(201, 401)} == {""}


class Scripted:
    """A queue that notes what is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.has: dict[str, list[Delivery]] = {}
        self.fails: set[str] = set()
        self.woken: list[str] = []
        self.given_back: list[int] = []
        self.blocks = anyio.Event()
        self.recorded: list[Outcome] = []

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        self.asked.append((destination, limit))
        if destination in self.fails:
            raise StorageError("ill", out_of_resources=False)
        if destination == "blocks":
            await self.blocks.wait()
        found = self.has.get(destination, [])
        self.has[destination] = found[limit:]
        return found[:limit]

    def wake(self, destination: str) -> None:
        self.woken.append(destination)

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        if destination in self.fails:
            raise StorageError("ill", out_of_resources=False)
        if not self.has.get(destination):
            await self.blocks.wait()

    async def record(self, outcomes: list[Outcome], *, promptly: bool = False) -> None:
        self.recorded += outcomes

    def recall(self, destination: str) -> None:
        raise AssertionError(destination)

    async def give_back(self, deliveries: list[Delivery]) -> None:
        self.given_back += [one.delivery_id for one in deliveries]


def member(groups: Mapping[str, Group], name: str, *available: str) -> tuple[MemberQueue, Scripted]:
    queue = Scripted()
    return MemberQueue(name, queue, Members(groups, lambda one: one in available)), queue  # type: ignore[arg-type]


async def claim(queue: MemberQueue, name: str, limit: int) -> list[int]:
    return [one.delivery_id for one in await queue.claim(name, limit=limit, lease_s=1.0, now=0.0)]


async def test_no_queue_starves_another() -> None:
    mine, queue = member(SAFE, "pacs", "pacs", "archive")
    queue.has = {"pacs": [delivery(n) for n in range(100)], "safe": [delivery(n) for n in range(200, 300)]}
    first, second = await claim(mine, "pacs", 10), await claim(mine, "pacs", 10)
    assert {first[0] // 200, second[0] // 200} == {0, 1}


async def test_who_is_down_takes_one_of_the_group_s_to_find_out() -> None:
    mine, queue = member(SAFE, "pacs", "archive")
    queue.has = {"safe": [delivery(n) for n in range(10)]}
    assert len(await claim(mine, "pacs", 1)) == 1
    assert not await claim(mine, "pacs", 8)
    alone, asked = member(SAFE, "pacs")
    asked.has = {"safe": [delivery(n) for n in range(10)]}
    assert len(await claim(alone, "pacs", 8)) == 8
    other, asked = member(SAFE, "archive", "pacs")
    await claim(other, "archive", 8)
    assert [name for name, _ in asked.asked] == ["archive"]


async def test_what_was_claimed_is_kept_when_another_queue_fails() -> None:
    mine, queue = member(SAFE, "pacs", "pacs")
    queue.has = {"pacs": [delivery(1)]}
    queue.fails = {"safe"}
    found = []
    for _ in range(2):
        try:
            found += await claim(mine, "pacs", 5)
        except StorageError:
            continue
    assert found == [1]
    with pytest.raises(StorageError):
        for _ in range(2):
            await claim(mine, "pacs", 5)
    with pytest.raises(StorageError):
        await mine.wait_for_work("pacs", None)


async def test_a_cancelled_claim_gives_back_what_it_had() -> None:
    groups = {"blocks": Group(first_of=("pacs",))}
    mine, queue = member(groups, "pacs", "pacs")
    queue.has = {"pacs": [delivery(n) for n in (1, 2)]}
    mine._turn = 1  # its own queue is the first that is asked
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(claim, mine, "pacs", 5)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert queue.given_back == [1, 2]


async def test_waiting_ends_with_the_first_that_has_work() -> None:
    mine, queue = member(SAFE, "pacs", "pacs")
    queue.has = {"safe": [delivery(1)]}
    with anyio.fail_after(1):
        await mine.wait_for_work("pacs", None)


async def test_a_change_wakes_all_members_of_the_groups() -> None:
    mine, queue = member({**SAFE, "x": Group(first_of=("pacs", "files"))}, "pacs", "pacs")
    mine.wake("pacs")
    assert sorted(queue.woken) == ["archive", "files", "pacs"]


def test_queues_of_a_group_that_was_changed_are_served_still() -> None:
    members = Members({**SAFE, **BOTH}, lambda name: True)
    assert members.adopt(["both", "both/gone", "safe/pacs", "pacs", "", "nobody/x", "both/pacs"])
    assert not members.adopt(["both", "both/gone"])
    assert set(members.sources("pacs")) == {"safe", "both/pacs", "both", "both/gone", "safe/pacs"}
    assert members.sources("archive") == ["both/archive"]
    assert "pacs" in members
    assert "files" not in members


def test_a_group_that_is_paused_is_taken_from_by_nobody() -> None:
    members = Members({**SAFE, **BOTH}, lambda name: True)
    assert members.pause("both", True)
    assert members.sources("pacs") == ["safe"]
    assert members.pause("both", False)
    assert members.pause("both/archive", True)
    assert members.sources("archive") == []
    assert not members.pause("pacs", True)
