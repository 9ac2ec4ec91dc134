"""Lanes against a queue in memory and scripted peers: what each answer and each failure costs, and whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import anyio
import pytest

from router.clock import Clock, SystemClock
from router.config.settings import Modality, Operation, Retry, Settings
from router.deliver import lane as lane_module
from router.deliver.backlog import CAPACITY_MAX
from router.deliver.desk import Desk
from router.deliver.lane import Lane
from router.deliver.lanes import Lanes
from router.deliver.modality import Network
from router.deliver.renditions import Maker, Renditions
from router.dicom.negotiation import AssociateRequest
from router.errors import AssociationRejected, ConnectFailed, RouterError
from router.model import Delivery, DeliveryState, Priority, Reason
from router.telemetry import Telemetry
from tests.deliver.samples import (
    CT,
    EXPLICIT,
    FAST,
    JPEG,
    MR,
    Answer,
    Deed,
    MemoryQueue,
    MemoryWire,
    Peer,
    content,
    delivery,
    instance,
    modality,
)

META_BYTES = len(content(instance(1))) - instance(1).size_bytes


class Recording(Telemetry):
    """Remembers what was said of destinations."""

    def __init__(self) -> None:
        super().__init__()
        self.ups: list[tuple[str, bool]] = []

    def destination_up(self, destination: str, up: bool) -> None:
        self.ups.append((destination, up))
        super().destination_up(destination, up)


class Bench:
    """A gateway's delivery with its surroundings scripted."""

    def __init__(self, **peers: Peer) -> None:
        self.clock: Clock = SystemClock()
        self.queue = MemoryQueue(self.clock)
        self.telemetry = Recording()
        self.peers = peers or {"pacs": Peer()}
        self.modalities: dict[str, Modality] = {name: modality() for name in self.peers}
        self.workshop: Maker | None = None
        self._names: dict[int, str] = {}

    async def _open(self, to: Modality, request: AssociateRequest) -> MemoryWire:
        return await self.peers[request.called_ae].open(to, request)

    async def _release(self, wire: object) -> None:
        assert isinstance(wire, MemoryWire)
        await wire.release()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Lanes]:
        named = {name: replace(item, ae_title=name) for name, item in self.modalities.items()}
        lanes = Lanes(
            self.queue,
            Settings(modalities=named),
            self.clock,
            self.telemetry,
            Random(1),
            network=Network(open=self._open, release=self._release),
            workshop=self.workshop,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lanes.run)
            yield lanes
            tasks.cancel_scope.cancel()

    def put(self, *deliveries: Delivery) -> None:
        self.queue.put(*(replace(item, created_at=self.clock.now()) for item in deliveries))

    def reasons(self, number: int) -> list[Reason]:
        return [outcome.reason for outcome in self.queue.outcomes if outcome.delivery_id == number]

    def counted(self, number: int) -> list[bool]:
        return [outcome.counts for outcome in self.queue.outcomes if outcome.delivery_id == number]


def by_key(**answers: list[Answer]) -> Peer:
    """A peer that answers instance 1, 2, ... (named ``k1``, ``k2``) one answer at each try, then success."""
    scripts = {int(name[1:]): list(script) for name, script in answers.items()}

    def answer(number: int, key: int) -> Answer:
        script = scripts.get(key)
        return script.pop(0) if script else 0x0000

    return Peer(answer=answer)


# ---- answers


async def test_each_instance_arrives_byte_for_byte_over_one_association() -> None:
    bench = Bench()
    bench.put(*(delivery(n) for n in (1, 2, 3)))
    async with bench.running():
        await bench.queue.all_delivered([1, 2, 3])
    peer = bench.peers["pacs"]
    assert dict(peer.received) == {n: content(instance(n))[META_BYTES:] for n in (1, 2, 3)}
    assert peer.opened == 1
    assert peer.proposals == [((CT, EXPLICIT),)]
    first = bench.queue.outcomes[0]
    assert (first.status, first.transfer_syntax_uid, first.reason) == (0, EXPLICIT, Reason.SUCCESS)


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (0xB007, DeliveryState.DELIVERED, Reason.WARNING),
        (0x0111, DeliveryState.DELIVERED, Reason.DUPLICATE),
        (0xC000, DeliveryState.DEAD, Reason.CANNOT_UNDERSTAND),
        (0xA900, DeliveryState.DEAD, Reason.DATA_SET_MISMATCH),
        (0x0124, DeliveryState.DEAD, Reason.NOT_AUTHORISED),
    ],
)
async def test_final_answers(status: int, state: DeliveryState, reason: Reason) -> None:
    bench = Bench(pacs=by_key(k1=[status]))
    bench.put(delivery(1), delivery(2))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.outcomes) == 2)
    assert bench.queue.states()[1] is state
    assert bench.reasons(1) == [reason]
    assert bench.queue.states()[2] is DeliveryState.DELIVERED
    assert bench.queue.outcomes[0].status == status


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0x0213, 0x0002])
async def test_transient_answers_are_tried_again_on_the_instances_account(status: int) -> None:
    bench = Bench(pacs=by_key(k1=[status, status]))
    bench.put(delivery(1), delivery(2))
    async with bench.running():
        await bench.queue.all_delivered([1, 2])
    assert bench.counted(1) == [True, True, True]
    assert bench.peers["pacs"].keys().count(2) == 1
    assert bench.telemetry.ups == [("pacs", True)]


async def test_attempts_used_up_is_dead() -> None:
    bench = Bench(pacs=Peer(answer=lambda number, key: 0xA700))
    bench.modalities["pacs"] = modality(retry=Retry(initial=0.0, maximum=0.005, max_attempts=3))
    bench.put(delivery(1))
    async with bench.running():
        await bench.queue.until(lambda: bench.queue.states().get(1) is DeliveryState.DEAD)
    assert bench.reasons(1) == [Reason.OUT_OF_RESOURCES, Reason.OUT_OF_RESOURCES, Reason.MAX_ATTEMPTS]


# ---- contexts


async def test_everything_that_waits_is_proposed() -> None:
    bench = Bench()
    bench.put(
        delivery(1),
        delivery(2, of=instance(2, sop_class=MR)),
        delivery(3, of=instance(3, transfer_syntax=JPEG)),
    )
    async with bench.running():
        await bench.queue.all_delivered([1, 2, 3])
    assert bench.peers["pacs"].proposals == [((CT, EXPLICIT), (MR, EXPLICIT), (CT, JPEG))]


async def test_refused_context_is_permanent_for_its_instances_only() -> None:
    bench = Bench(pacs=Peer(refuses=frozenset({(CT, JPEG)})))
    bench.put(delivery(1, of=instance(1, transfer_syntax=JPEG)), delivery(2))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.outcomes) == 2)
    assert bench.queue.states() == {1: DeliveryState.DEAD, 2: DeliveryState.DELIVERED}
    assert bench.reasons(1) == [Reason.NO_CONTEXT]
    assert bench.peers["pacs"].opened == 1


async def test_what_was_not_proposed_gets_an_association_that_also_keeps_the_old() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=1)
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        bench.put(delivery(2, of=instance(2, sop_class=MR)))
        await bench.queue.all_delivered([2])
        bench.put(delivery(3))
        await bench.queue.all_delivered([3])
    peer = bench.peers["pacs"]
    assert peer.proposals == [((CT, EXPLICIT),), ((MR, EXPLICIT), (CT, EXPLICIT))]
    assert peer.released >= 1


# ---- broken associations


@pytest.mark.parametrize("deed", [Deed.ABORT, Deed.DROP, Deed.RELEASE])
async def test_an_abort_costs_only_what_was_outstanding(deed: Deed) -> None:
    bench = Bench(pacs=by_key(k2=[deed]))
    bench.modalities["pacs"] = modality(associations=1)
    bench.put(*(delivery(n) for n in range(1, 6)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 6))
    peer = bench.peers["pacs"]
    assert [peer.keys().count(n) for n in range(1, 6)] == [1, 2, 1, 1, 1]
    assert bench.reasons(2)[-1] is Reason.SUCCESS
    assert bench.counted(2) == [False, True]
    assert bench.telemetry.ups == [("pacs", True), ("pacs", False), ("pacs", True)]


@pytest.mark.parametrize("deed", [Deed.WRONG_ID, Deed.WRONG_CONTEXT, Deed.ECHO_RSP, Deed.NO_STATUS])
async def test_a_response_that_does_not_match_is_never_taken_for_delivered(deed: Deed) -> None:
    bench = Bench(pacs=by_key(k1=[deed]))
    bench.put(delivery(1), delivery(2, of=instance(2, sop_class=MR)))
    async with bench.running():
        await bench.queue.all_delivered([1, 2])
    assert bench.reasons(1) == [Reason.PROTOCOL_ERROR, Reason.SUCCESS]
    assert bench.peers["pacs"].keys().count(1) == 2


async def test_an_instance_that_breaks_each_association_backs_off_alone_and_the_others_pass() -> None:
    bench = Bench(pacs=Peer(answer=lambda number, key: Deed.ABORT if key == 1 else 0))
    bench.modalities["pacs"] = modality(
        associations=1, retry=Retry(initial=0.001, maximum=0.005, max_attempts=3)
    )
    bench.put(*(delivery(n) for n in range(1, 30)))
    async with bench.running():
        await bench.queue.all_delivered(range(2, 30))
        await bench.queue.until(lambda: bench.queue.states().get(1) is DeliveryState.DEAD)
    assert bench.counted(1) == [False, True, True, True]
    assert all(bench.peers["pacs"].keys().count(n) == 1 for n in range(2, 30))


async def test_silence_ends_in_an_abort_and_a_new_association() -> None:
    bench = Bench(pacs=by_key(k1=[Deed.SILENCE]))
    bench.modalities["pacs"] = modality(associations=1, response_timeout=0.05)
    bench.put(delivery(1), delivery(2))
    async with bench.running():
        await bench.queue.all_delivered([1, 2])
    peer = bench.peers["pacs"]
    assert bench.reasons(1) == [Reason.TIMEOUT, Reason.SUCCESS]
    assert peer.wires[0].association.is_closed
    assert peer.opened >= 2
    assert peer.keys().count(2) == 1


async def test_an_association_that_the_peer_ended_while_idle_costs_nothing() -> None:
    bench = Bench()
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        bench.peers["pacs"].wires[0].hang_up(Deed.ABORT)
        bench.put(delivery(2))
        await bench.queue.all_delivered([2])
    assert bench.reasons(2) == [Reason.SUCCESS]
    assert bench.telemetry.ups == [("pacs", True)]


async def test_an_association_lost_at_the_first_instance_after_a_pause_is_believed_once() -> None:
    bench = Bench(pacs=by_key(k2=[Deed.DROP]))
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        bench.put(delivery(2))
        await bench.queue.all_delivered([2])
    assert bench.reasons(2) == [Reason.SUCCESS]
    assert bench.peers["pacs"].opened == 2


# ---- outages


def refuses_first(count: int, error: RouterError) -> Peer:
    return Peer(opening=lambda number: error if number < count else None)


async def test_an_outage_touches_few_rows_uses_no_attempt_and_probes_one_at_a_time() -> None:
    bench = Bench(pacs=refuses_first(4, ConnectFailed("refused")))
    bench.modalities["pacs"] = modality(
        associations=1, retry=Retry(initial=0.001, maximum=0.005, max_attempts=1)
    )
    bench.put(*(delivery(n) for n in range(1, 41)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 41))
    failures = [outcome for outcome in bench.queue.outcomes if outcome.reason is Reason.CONNECT_FAILED]
    assert len(failures) == 4
    assert not any(outcome.counts for outcome in failures)
    assert all(outcome.state is DeliveryState.PENDING for outcome in failures)
    assert len(bench.queue.given_back) <= CAPACITY_MAX
    assert bench.telemetry.ups == [("pacs", True), ("pacs", False), ("pacs", True)]


async def test_permanent_rejection_kills_nothing() -> None:
    rejected = AssociationRejected(result=1, source=1, reason=7, text="called AE title not recognized")
    bench = Bench(pacs=refuses_first(3, rejected))
    bench.put(delivery(1))
    async with bench.running():
        await bench.queue.all_delivered([1])
    *failures, last = bench.reasons(1)  # three, or fewer where a probe went without it
    assert set(failures) == {Reason.REJECTED_PERMANENT}
    assert last is Reason.SUCCESS
    assert bench.counted(1) == [False] * len(failures) + [True]


async def test_in_an_outage_what_is_too_old_dies_without_a_probe_for_each() -> None:
    bench = Bench(pacs=Peer(opening=lambda number: ConnectFailed("refused")))
    bench.modalities["pacs"] = modality(retry=Retry(maximum=0.005, max_age=3600.0))
    old = bench.clock.now() - 7200.0
    bench.queue.put(*(delivery(n, created_at=old) for n in range(1, 401)))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.states()) == 400)
    assert set(bench.queue.states().values()) == {DeliveryState.DEAD}
    assert {outcome.reason for outcome in bench.queue.outcomes} == {Reason.MAX_AGE}
    assert bench.peers["pacs"].tried < 10


async def test_out_of_resources_for_all_pauses_the_destination() -> None:
    full = 30
    bench = Bench(pacs=Peer(answer=lambda number, key: 0xA700 if number < full else 0))
    bench.put(*(delivery(n) for n in range(1, 41)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 41))
    assert ("pacs", False) in bench.telemetry.ups
    assert bench.telemetry.ups[-1] == ("pacs", True)
    assert bench.telemetry.outages() == {"pacs": Reason.OUT_OF_RESOURCES}


async def test_a_dead_and_a_stalling_destination_delay_no_other() -> None:
    bench = Bench(
        dead=Peer(opening=lambda number: ConnectFailed("refused")),
        stalls=Peer(answer=lambda number, key: Deed.SILENCE),
        fast=Peer(),
    )
    bench.put(
        *(delivery(n, destination="dead") for n in range(1, 101)),
        *(delivery(n, destination="stalls") for n in range(101, 201)),
        *(delivery(n, destination="fast") for n in range(201, 501)),
    )
    async with bench.running():
        await bench.queue.all_delivered(range(201, 501))
    assert len(bench.peers["stalls"].received) <= 2


# ---- work and workers


async def test_low_load_is_served_by_one_association_that_is_kept() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=4)
    async with bench.running():
        for number in range(1, 21):
            bench.put(delivery(number))
            await bench.queue.all_delivered([number])
    assert bench.peers["pacs"].opened == 1


async def test_a_backlog_is_served_by_several() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=4)
    bench.put(*(delivery(n) for n in range(1, 201)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 201))
    peer = bench.peers["pacs"]
    assert 2 <= peer.opened <= 4
    assert sorted(peer.keys()) == list(range(1, 201))


async def test_nothing_waits_behind_a_slow_answer_where_another_association_may_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "PATIENCE_S", 0.001)
    bench = Bench(pacs=Peer(answer=lambda number, key: Deed.SILENCE if key == 1 else 0))
    bench.put(delivery(1), delivery(2), delivery(3))
    async with bench.running():
        await bench.queue.all_delivered([2, 3])
    assert bench.peers["pacs"].opened == 2


async def test_idle_associations_are_released_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "PATIENCE_S", 0.001)
    bench = Bench()
    bench.modalities["pacs"] = replace(modality(), deliver=replace(modality().deliver, idle=0.001))
    peer = bench.peers["pacs"]
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        with anyio.fail_after(5):
            while not peer.released:
                await anyio.lowlevel.checkpoint()
        bench.put(delivery(2))
        await bench.queue.all_delivered([2])
    assert peer.opened == 2


async def test_a_peer_that_releases_while_nothing_is_sent_gets_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane_module, "PATIENCE_S", 0.001)
    bench = Bench()
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        wire = bench.peers["pacs"].wires[0]
        wire.hang_up(Deed.RELEASE)
        with anyio.fail_after(5):
            while not wire.association.is_closed:
                await anyio.lowlevel.checkpoint()
        bench.put(delivery(2))
        await bench.queue.all_delivered([2])
    assert bench.telemetry.ups == [("pacs", True)]


async def test_high_priority_goes_first() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=1)
    bench.put(*(delivery(n) for n in range(1, 11)), delivery(11, priority=Priority.HIGH))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 12))
    assert bench.peers["pacs"].keys()[0] == 11


async def test_large_instances_are_streamed_in_windows() -> None:
    bench = Bench()
    large = instance(1, size=3 * 1024 * 1024 + 77)
    bench.put(delivery(1, of=large), delivery(2))
    async with bench.running():
        await bench.queue.all_delivered([1, 2])
    peer = bench.peers["pacs"]
    assert dict(peer.received)[1] == content(large)[META_BYTES:]
    assert 1 not in bench.queue.reads


@pytest.mark.parametrize("size", [0, 1, 16378, 16379, 1024 * 1024, 1024 * 1024 + 1])
async def test_sizes_at_the_edges_of_pdus_and_windows(size: int) -> None:
    bench = Bench()
    odd = instance(1, size=size)
    bench.put(delivery(1, of=odd))
    async with bench.running():
        await bench.queue.all_delivered([1])
    assert bench.peers["pacs"].received == [(1, content(odd)[META_BYTES:])]


async def test_small_instances_leave_in_one_flush_each() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=1)
    bench.put(*(delivery(n) for n in range(1, 11)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 11))
    assert bench.peers["pacs"].wires[0].flushes == 10


async def test_a_peer_that_allows_fewer_associations_is_not_down() -> None:
    peer = Peer()

    def at_most_two(number: int) -> RouterError | None:
        if sum(not wire.is_closed for wire in peer.wires) < 2:
            return None
        return AssociationRejected(result=2, source=3, reason=2, text="local limit exceeded")

    peer.opening = at_most_two
    bench = Bench(pacs=peer)
    bench.modalities["pacs"] = modality(associations=4)
    bench.put(*(delivery(n) for n in range(1, 401)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 401))
    assert bench.telemetry.ups == [("pacs", True)]
    assert peer.opened == 2
    assert peer.tried <= 4
    assert all(outcome.counts for outcome in bench.queue.outcomes)


# ---- our own troubles


@pytest.mark.parametrize("size", [1000, 3 * 1024 * 1024])
async def test_corrupt_bytes_never_leave(size: int) -> None:
    bench = Bench()
    bench.queue.corrupt.add(1)
    bench.put(delivery(1, of=instance(1, size=size)), delivery(2))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.outcomes) == 2)
    assert bench.peers["pacs"].keys() == [2]
    assert bench.queue.states()[1] is DeliveryState.DEAD
    assert bench.reasons(1) == [Reason.CORRUPT]


async def test_a_copy_that_cannot_be_read_is_tried_again() -> None:
    bench = Bench()
    bench.queue.unreadable.add(1)
    bench.put(delivery(1), delivery(2))
    async with bench.running():
        await bench.queue.until(lambda: bench.reasons(1).count(Reason.DISK) >= 2)
        bench.queue.unreadable.clear()
        await bench.queue.all_delivered([1, 2])
    assert bench.telemetry.ups == [("pacs", True)]


async def test_a_copy_that_fails_in_the_middle_of_a_stream_costs_the_association_and_nobody_else() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=1)
    bench.queue.unreadable.add(1)
    bench.put(delivery(1, of=instance(1, size=3 * 1024 * 1024)), delivery(2))
    async with bench.running():
        await bench.queue.all_delivered([2])
        await bench.queue.until(lambda: Reason.DISK in bench.reasons(1))
    assert bench.peers["pacs"].keys() == [2]
    assert bench.telemetry.ups == [("pacs", True)]


async def test_outcomes_are_kept_until_the_ledger_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.deliver.recorder.PAUSE_S", 0.001)
    bench = Bench()
    bench.queue.failures = 3
    bench.put(*(delivery(n) for n in range(1, 11)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 11))
    assert sorted(bench.peers["pacs"].keys()) == list(range(1, 11))


async def test_outcomes_are_recorded_in_groups() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=4)
    bench.put(*(delivery(n) for n in range(1, 401)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 401))
    assert len(bench.queue.groups) < 300


class Defective:
    """A sender with a defect that shows at one delivery."""

    can_probe = False

    def __init__(self, queue: MemoryQueue) -> None:
        self.served: list[int] = []

    async def serve(self, desk: Desk) -> None:
        while (item := desk.take()) is not None:
            await anyio.lowlevel.checkpoint()
            self.served.append(item.delivery_id)
            if item.delivery_id == 1:
                raise ValueError("a defect")
            return  # and this one forgets what it has in hand


async def test_a_defect_costs_what_was_in_hand_and_the_lane_lives() -> None:
    bench = Bench()
    sender = Defective(bench.queue)
    deliver = modality(associations=1, retry=FAST).deliver
    lane = Lane(
        "pacs",
        deliver=deliver,
        renditions=Renditions(deliver, workshop=None, content=bench.queue, clock=bench.clock),
        sender=sender,
        queue=bench.queue,
        clock=bench.clock,
        telemetry=bench.telemetry,
        rng=Random(1),
    )
    bench.put(delivery(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lane.run)
        await bench.queue.until(lambda: len(bench.queue.outcomes) >= 3)
        tasks.cancel_scope.cancel()
    assert set(bench.reasons(1)) == {Reason.PROCESSING_FAILURE}
    assert all(bench.counted(1))


# ---- the end


async def test_stopping_gives_every_lease_back() -> None:
    bench = Bench(pacs=Peer(answer=lambda number, key: Deed.SILENCE))
    bench.put(*(delivery(n) for n in range(1, 101)))
    async with bench.running():
        with anyio.fail_after(5):
            while not bench.peers["pacs"].received:
                await anyio.lowlevel.checkpoint()
    assert not bench.queue.leased
    assert sorted(item.delivery_id for _, item in bench.queue.pending) == list(range(1, 101))
    assert not bench.queue.outcomes


async def test_draining_lets_what_is_outstanding_end_and_begins_nothing() -> None:
    bench = Bench()
    bench.modalities["pacs"] = modality(associations=1)
    bench.put(*(delivery(n) for n in range(1, 101)))
    async with bench.running() as lanes:
        await bench.queue.until(lambda: len(bench.queue.outcomes) >= 3)
        await lanes.drain(5.0)
        sent = len(bench.peers["pacs"].received)
        bench.put(delivery(101))
        with anyio.fail_after(5):
            while bench.queue.leased:
                await anyio.lowlevel.checkpoint()
    assert len(bench.peers["pacs"].received) == sent
    assert len(bench.queue.outcomes) == sent
    assert sorted(bench.queue.states()) == sorted(bench.peers["pacs"].keys())
    assert bench.peers["pacs"].released == 1


async def test_draining_does_not_wait_for_ever() -> None:
    bench = Bench(pacs=Peer(answer=lambda number, key: Deed.SILENCE))
    bench.put(delivery(1))
    async with bench.running() as lanes:
        with anyio.fail_after(5):
            while not bench.peers["pacs"].received:
                await anyio.lowlevel.checkpoint()
        await lanes.drain(0.01)
    assert not bench.queue.leased


async def test_cancelled_at_any_moment_nothing_is_lost() -> None:
    for moment in range(0, 120, 3):
        bench = Bench()
        bench.put(*(delivery(n) for n in range(1, 11)))
        async with bench.running():
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
        waiting = [item.delivery_id for _, item in bench.queue.pending]
        assert not bench.queue.leased
        assert sorted([*waiting, *bench.queue.states()]) == list(range(1, 11))


async def test_what_may_not_be_sent_to_has_no_lane_and_its_deliveries_stay() -> None:
    bench = Bench(pacs=Peer(), viewer=Peer())
    bench.modalities["viewer"] = replace(modality(), send=(Operation.ECHO,))
    bench.put(delivery(1, destination="viewer"), delivery(2, destination="removed"), delivery(3))
    async with bench.running():
        await bench.queue.all_delivered([3])
    assert sorted(item.delivery_id for _, item in bench.queue.pending) == [1, 2]
