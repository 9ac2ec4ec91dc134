"""Routing: each stored instance meets the rules, and the decision becomes deliveries in one transaction.

Instances come in batches and leave in batches. Reading a data set is bounded, and is not done at all where
no rule asks for a tag. What was acknowledged is never dropped because it cannot be read: it is routed by what
can be (its facts and the elements found), and where even that fails it is held, visible, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import anyio

from router.audit.auditor import Auditor
from router.clock import Clock
from router.config.settings import Duplicates, Settings
from router.dicom.header import Header, scan
from router.dicom.tagpath import TagPath
from router.duplicates import DUPLICATES, Comparison, match, skipped
from router.errors import StorageError
from router.groups import STUDY, Balance, study_of
from router.logs import get_logger
from router.model import Decision, Instance, Priority, Routed, RuleTrace
from router.rules import Facts, RuleSet
from router.telemetry import Telemetry

BATCH = 128  # while one batch is committed the next gathers: 40 ms' worth at 3,000/s
BREATH = 16  # decisions in a row, at about 60 µs each, before the loop may serve others
HEAD_BYTES = 8192  # read of a data set at first: what rules ask for stands near its start
HEAD_CAP_BYTES = 16 * 1024 * 1024  # functional groups of thousands of frames; beyond it nothing is read
HEAD_GROWTH = 8
WINDOW_BYTES = 1024 * 1024  # of a data set in memory while it is compared with an earlier one
PAUSE_S = 1.0  # after the spool failed
_NO_GROUPS = Balance({})
_STUDY = frozenset({STUDY})

log = get_logger("routing")


class Intray(Protocol):
    """What routing asks of the spool; the contracts are those of :class:`router.spool.Spool`."""

    async def take_unrouted(self, limit: int) -> list[Instance]: ...

    async def read_head(self, instance: Instance, limit: int) -> bytes: ...

    async def routed_before(self, sop_instance_uids: Sequence[str]) -> list[Instance]: ...

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None: ...

    async def route(self, items: Sequence[Routed], now: float) -> None: ...


async def run_routing(
    spool: Intray,
    rules: Callable[[], RuleSet],
    settings: Settings,
    clock: Clock,
    telemetry: Telemetry,
    balance: Balance | None = None,
    auditor: Auditor | None = None,
) -> None:
    """Route until cancelled. ``rules`` is asked for each batch, so that a reload takes effect at once."""
    balance = balance if balance is not None else Balance(settings.groups)
    while True:
        try:
            batch = await spool.take_unrouted(BATCH)
        except StorageError as error:
            log.error("nothing taken for routing", detail=str(error))
            await anyio.sleep(PAUSE_S)
            continue
        await route_batch(
            spool,
            batch,
            rules(),
            clock,
            telemetry,
            balance=balance,
            duplicates=settings.duplicates,
            auditor=auditor,
        )


async def route_batch(
    spool: Intray,
    batch: Sequence[Instance],
    rule_set: RuleSet,
    clock: Clock,
    telemetry: Telemetry,
    *,
    balance: Balance = _NO_GROUPS,
    duplicates: Duplicates = Duplicates.FORWARD,
    auditor: Auditor | None = None,
) -> None:
    """Decide for each instance of ``batch`` and store the decisions; asked again until they are stored."""
    earlier = await _earlier(spool, batch) if duplicates is not Duplicates.FORWARD else None
    asked = _asked(rule_set, balance, auditor)
    routed: list[Routed] = []
    for instance in batch:
        decision = await _skip(spool, instance, duplicates, earlier) if earlier is not None else None
        if decision is None:
            decision = await _decide(spool, instance, rule_set, balance, asked, auditor)
            if earlier is not None and decision.destinations:
                earlier.setdefault(instance.arrival.sop_instance_uid, []).append(instance)
        elif auditor is not None:
            auditor.read(instance, await _read_header(spool, instance, auditor.asked))
        routed.append(Routed(key=instance.key, decision=decision, instance=instance))
        if not len(routed) % BREATH:
            await anyio.lowlevel.checkpoint()
    while True:
        try:
            await spool.route(routed, clock.now())
            break
        except StorageError as error:
            log.error("decisions not stored", detail=str(error), instances=len(routed))
            await anyio.sleep(PAUSE_S)
    for item in routed:
        if auditor is not None and item.instance is not None:
            auditor.routed(item.instance, item.decision)
        for trace in item.decision.trace:
            if trace.rule == DUPLICATES and not item.decision.destinations:
                telemetry.duplicate_skipped()
            elif trace.matched and not balance.wrote(trace.rule):
                telemetry.rule_matched(trace.rule)


async def _earlier(spool: Intray, batch: Sequence[Instance]) -> dict[str, list[Instance]]:
    """What was sent before under the UIDs of a batch. Where the ledger cannot say, nothing is skipped."""
    found: dict[str, list[Instance]] = {}
    try:
        for instance in await spool.routed_before([i.arrival.sop_instance_uid for i in batch]):
            found.setdefault(instance.arrival.sop_instance_uid, []).append(instance)
    except StorageError as error:
        log.error("duplicates not looked for", detail=str(error), instances=len(batch))
    return found


async def _skip(
    spool: Intray, instance: Instance, policy: Duplicates, earlier: Mapping[str, Sequence[Instance]]
) -> Decision | None:
    """The decision to skip a duplicate; None where it is none."""
    known = earlier.get(instance.arrival.sop_instance_uid)
    if not known:
        return None
    found = match(policy, instance, known)
    original = found.original
    if original is None and found.to_compare:
        try:
            original = await _compare(spool, instance, found.to_compare)
        except StorageError as error:
            log.error("duplicate not compared", key=instance.key, detail=str(error))
    return skipped(original, policy) if original is not None else None


async def _compare(spool: Intray, instance: Instance, others: Sequence[Instance]) -> Instance | None:
    """Which of ``others`` had the same data set: it is read once, in windows."""
    comparison = Comparison(others)
    place = instance.place
    window = memoryview(bytearray(min(WINDOW_BYTES, instance.size_bytes)))
    for offset in range(place.data_set_offset, place.length_bytes, WINDOW_BYTES):
        piece = window[: min(WINDOW_BYTES, place.length_bytes - offset)]
        await spool.read_range(instance, offset, [piece])
        comparison.update(piece)
    return comparison.original()


def _asked(rule_set: RuleSet, balance: Balance, auditor: Auditor | None) -> frozenset[TagPath]:
    """What is to be read of each header; one set for many, because looking up another one takes time."""
    asked = rule_set.asked | _STUDY if balance.needs_study else rule_set.asked
    return asked if auditor is None else asked | auditor.asked


async def _decide(
    spool: Intray,
    instance: Instance,
    rule_set: RuleSet,
    balance: Balance,
    asked: frozenset[TagPath],
    auditor: Auditor | None,
) -> Decision:
    """The decision for one instance; nothing that is wrong with it is felt by another."""
    try:
        header = await _read_header(spool, instance, asked)
        if auditor is not None:
            auditor.read(instance, header)
        decision = rule_set.decide(facts_of(instance), header)
        uid = instance.arrival.sop_instance_uid
        return balance.resolve(decision, study_of(header, uid) if balance.needs_study else uid)
    except Exception as error:  # whatever it is, the instance stays visible and the loop goes on
        log.error("instance held: the rules could not be applied", key=instance.key, detail=_bland(error))
        return _held(f"the rules could not be applied: {_bland(error)}")


async def _read_header(spool: Intray, instance: Instance, asked: frozenset[TagPath]) -> Header:
    """What is asked of the data set. Where it cannot be read, nothing is found in it."""
    if not asked:
        return _EMPTY
    transfer_syntax_uid = instance.arrival.transfer_syntax_uid
    limit = HEAD_BYTES
    while True:
        try:
            head = await spool.read_head(instance, limit)
        except StorageError as error:
            log.error("header not read", key=instance.key, detail=str(error))
            header = scan(b"", transfer_syntax_uid, asked)
            header.problem = "the stored copy could not be read"
            return header
        is_complete = len(head) >= instance.size_bytes
        header = scan(head, transfer_syntax_uid, asked, is_complete=is_complete)
        if not header.truncated or is_complete or limit >= HEAD_CAP_BYTES:
            return header
        limit *= HEAD_GROWTH


def facts_of(instance: Instance) -> Facts:
    """What is known of an instance without reading it."""
    arrival = instance.arrival
    return Facts(
        calling_ae=arrival.origin.calling_ae,
        called_ae=arrival.origin.called_ae,
        peer=arrival.origin.peer,
        listener=arrival.origin.listener,
        transfer_syntax=arrival.transfer_syntax_uid,
        sop_class=arrival.sop_class_uid,
        size_bytes=instance.size_bytes,
        received_at=arrival.received_at,
        priority=arrival.priority,
    )


def _held(because: str) -> Decision:
    trace = (RuleTrace(rule="", matched=False, because=because),)
    return Decision(destinations=(), priority=Priority.NORMAL, hold=True, trace=trace)


def _bland(error: Exception) -> str:
    """An error without the patient's data that its text may carry."""
    return str(error) if isinstance(error, StorageError) else type(error).__name__


_EMPTY = scan(b"", "1.2.840.10008.1.2", ())
