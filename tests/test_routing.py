"""Routing against stores in memory: what is read, what is decided, and what must never stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from struct import pack

import anyio
import pytest

from router.clock import ManualClock
from router.config.settings import Settings
from router.dicom.header import Header
from router.errors import StorageError
from router.model import Arrival, Decision, Instance, InstanceState, Origin, Place, Priority, Routed
from router.routing import HEAD_BYTES, facts_of, route_batch, run_routing
from router.rules import Facts, RuleSet, load
from router.telemetry import Telemetry

EXPLICIT = "1.2.840.10008.1.2.1"


def element(tag: int, vr: str, value: bytes) -> bytes:
    value += b" " * (len(value) & 1)
    head = pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OB", "OW", "UN", "UT"):
        return head + pack("<HI", 0, len(value)) + value
    return head + pack("<H", len(value)) + value


def data_set(modality: str = "CT", *, before: int = 0, patient: str = "DOE^JANE") -> bytes:
    """A small data set; ``before`` bytes of private bulk stand in front of the patient's name."""
    parts = [element(0x00080060, "CS", modality.encode())]
    if before:
        parts.append(element(0x00090010, "LO", b"BULK") + element(0x00091001, "OB", bytes(before)))
    parts.append(element(0x00100010, "PN", patient.encode()))
    return b"".join(parts)


class Store:
    """Instances and what was decided of them."""

    def __init__(self, contents: Mapping[int, bytes]) -> None:
        self.contents = dict(contents)
        self.reads: list[tuple[int, int]] = []
        self.broken: set[int] = set()
        self.failures = 0
        self.routed: list[Routed] = []
        self.calls = 0
        self._waiting = list(contents)

    def instance(self, key: int) -> Instance:
        return Instance(
            key=key,
            arrival=Arrival(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid=f"1.2.{key}",
                transfer_syntax_uid=EXPLICIT,
                origin=Origin(calling_ae="CT1", called_ae="ROUTER", peer="10.0.0.1", listener="main"),
                received_at=1_700_000_000.0,
            ),
            place=Place(segment=0, offset=0, length_bytes=300 + len(self.contents[key]), data_set_offset=300),
            content_hash=bytes(16),
            state=InstanceState.RECEIVED,
        )

    async def take_unrouted(self, limit: int) -> list[Instance]:
        if not self._waiting:
            await anyio.sleep_forever()
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        return [self.instance(key) for key in taken]

    async def routed_before(self, sop_instance_uids: Sequence[str]) -> list[Instance]:
        raise AssertionError("nobody asked for duplicates to be skipped")

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        raise AssertionError("nobody asked for duplicates to be compared")

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        self.reads.append((instance.key, limit))
        if instance.key in self.broken:
            raise StorageError("input/output error", out_of_resources=False)
        return self.contents[instance.key][:limit]

    async def route(self, items: Sequence[Routed], now: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise StorageError("the ledger is ill", out_of_resources=False)
        self.routed += items

    def decisions(self) -> dict[int, Decision]:
        return {item.key: item.decision for item in self.routed}


def rules(*entries: object, unmatched: str = "hold") -> RuleSet:
    return load(entries, Path(), ("pacs", "research"), {}, unmatched=unmatched)


CT_TO_PACS = {"rule": "ct", "when": {"Modality": "CT"}, "send": "pacs", "priority": "high"}
JANE = {"rule": "jane", "when": {"PatientName": "DOE^JANE"}, "send": "research"}
ALL = {"rule": "all", "send": "pacs"}


async def route(store: Store, rule_set: RuleSet) -> dict[int, Decision]:
    batch = [store.instance(key) for key in store.contents]
    await route_batch(store, batch, rule_set, ManualClock(), Telemetry())
    return store.decisions()


async def test_each_instance_meets_the_rules_in_one_transaction() -> None:
    store = Store({1: data_set("CT"), 2: data_set("MR")})
    decisions = await route(store, rules(CT_TO_PACS, JANE))
    assert decisions[1].destinations == ("pacs", "research")
    assert decisions[1].priority is Priority.HIGH
    assert decisions[2].destinations == ("research",)
    assert store.calls == 1


async def test_unmatched_is_held_and_says_so() -> None:
    decisions = await route(Store({1: data_set("MR")}), rules(CT_TO_PACS))
    assert decisions[1].hold
    assert "no rule matched" in decisions[1].trace[-1].because


async def test_without_rules_that_ask_for_elements_nothing_is_read() -> None:
    store = Store({1: data_set()})
    decisions = await route(store, rules(ALL))
    assert store.reads == []
    assert decisions[1].destinations == ("pacs",)


async def test_one_read_is_enough_for_nearly_every_header() -> None:
    store = Store({1: data_set(before=HEAD_BYTES // 2)})
    assert (await route(store, rules(JANE)))[1].destinations == ("research",)
    assert store.reads == [(1, HEAD_BYTES)]


async def test_a_longer_header_is_read_further() -> None:
    store = Store({1: data_set(before=HEAD_BYTES * 3)})
    assert (await route(store, rules(JANE)))[1].destinations == ("research",)
    assert store.reads == [(1, HEAD_BYTES), (1, HEAD_BYTES * 8)]


async def test_reading_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.routing.HEAD_CAP_BYTES", HEAD_BYTES * 8)
    store = Store({1: data_set(before=HEAD_BYTES * 80)})
    decisions = await route(store, rules(JANE, unmatched="drop"))
    assert len(store.reads) == 2
    assert decisions[1].hold  # not dropped: it was not read to where the rule looks


@pytest.mark.parametrize("content", [b"", b"not DICOM at all" * 100, bytes(5000), b"\xff" * 300])
async def test_what_cannot_be_read_is_routed_by_its_facts(content: bytes) -> None:
    by_caller = {"rule": "by-caller", "when": {"calling_ae": "CT1"}, "send": "pacs"}
    decisions = await route(Store({1: content}), rules(CT_TO_PACS, by_caller))
    assert decisions[1].destinations == ("pacs",)


async def test_what_cannot_be_read_is_held_and_never_dropped() -> None:
    decisions = await route(Store({1: b"garbage" * 50}), rules(CT_TO_PACS, unmatched="drop"))
    assert decisions[1].hold


async def test_a_disk_that_fails_costs_no_instance() -> None:
    store = Store({1: data_set(), 2: data_set()})
    store.broken.add(1)
    decisions = await route(store, rules(CT_TO_PACS, unmatched="drop"))
    assert decisions[1].hold
    assert decisions[2].destinations == ("pacs",)


class Exploding(RuleSet):
    """Rules with a defect that one instance brings out."""

    def decide(self, facts: Facts, header: Header) -> Decision:
        if facts.size_bytes == 13:
            raise ValueError("PatientName DOE^JANE")
        return RuleSet.decide(self, facts, header)


async def test_a_defect_holds_one_instance_and_keeps_its_values_to_itself() -> None:
    ordinary = rules(ALL)
    rule_set = Exploding(rules=ordinary.rules, asked=ordinary.asked, unmatched="hold")
    decisions = await route(Store({1: bytes(13), 2: data_set()}), rule_set)
    assert decisions[1].hold
    assert decisions[1].trace[0].because == "the rules could not be applied: ValueError"
    assert decisions[2].destinations == ("pacs",)


async def test_decisions_are_kept_until_the_ledger_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.routing.PAUSE_S", 0.0)
    store = Store({1: data_set()})
    store.failures = 3
    assert (await route(store, rules(ALL)))[1].destinations == ("pacs",)
    assert store.calls == 4


def matches(telemetry: Telemetry) -> str:
    return telemetry.render().decode()


async def test_matched_rules_are_counted() -> None:
    telemetry = Telemetry()
    store = Store({1: data_set("CT"), 2: data_set("MR")})
    await route_batch(
        store, [store.instance(1), store.instance(2)], rules(CT_TO_PACS, ALL), ManualClock(), telemetry
    )
    assert 'dicom_router_rule_matches_total{rule="ct"} 1.0' in matches(telemetry)
    assert 'dicom_router_rule_matches_total{rule="all"} 2.0' in matches(telemetry)


async def test_runs_batch_by_batch_with_the_rules_of_the_moment() -> None:
    store = Store({key: data_set() for key in range(1, 301)})
    given: list[RuleSet] = [rules(ALL)]

    def now_in_force() -> RuleSet:
        return given[-1] if store.calls < 2 else rules(JANE)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, store, now_in_force)
        with anyio.fail_after(10):
            while len(store.routed) < 300:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    decisions = store.decisions()
    assert sorted(decisions) == list(range(1, 301))
    assert decisions[1].destinations == ("pacs",)
    assert decisions[300].destinations == ("research",)


async def run(store: Store, now_in_force: Callable[[], RuleSet]) -> None:
    await run_routing(store, now_in_force, Settings(), ManualClock(), Telemetry())


def test_facts_are_the_arrivals() -> None:
    instance = Store({1: bytes(77)}).instance(1)
    assert facts_of(instance) == Facts(
        calling_ae="CT1",
        called_ae="ROUTER",
        peer="10.0.0.1",
        listener="main",
        transfer_syntax=EXPLICIT,
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        size_bytes=77,
        received_at=1_700_000_000.0,
    )
