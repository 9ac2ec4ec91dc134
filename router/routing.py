"""Routing: each stored instance meets the rules, and the decision becomes deliveries in one transaction.

Instances come in batches and leave in batches. Reading a data set is bounded, and is not done at all where
no rule asks for a tag. What was acknowledged is never dropped because it cannot be read: it is routed by what
can be (its facts and the elements found), and where even that fails it is held, visible, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from router.clock import Clock
from router.config.settings import Settings
from router.dicom.header import Header, scan
from router.errors import StorageError
from router.logs import get_logger
from router.model import Decision, Instance, Priority, Routed, RuleTrace
from router.rules import Facts, RuleSet
from router.telemetry import Telemetry

BATCH = 128  # while one batch is committed the next gathers: 40 ms' worth at 3,000/s
BREATH = 16  # decisions in a row, at about 60 µs each, before the loop may serve others
HEAD_BYTES = 8192  # read of a data set at first: what rules ask for stands near its start
HEAD_CAP_BYTES = 16 * 1024 * 1024  # functional groups of thousands of frames; beyond it nothing is read
HEAD_GROWTH = 8
PAUSE_S = 1.0  # after the spool failed

log = get_logger("routing")


class Intray(Protocol):
    """What routing asks of the spool; the contracts are those of :class:`router.spool.Spool`."""

    async def take_unrouted(self, limit: int) -> list[Instance]: ...

    async def read_head(self, instance: Instance, limit: int) -> bytes: ...

    async def route(self, items: Sequence[Routed], now: float) -> None: ...


async def run_routing(
    spool: Intray, rules: Callable[[], RuleSet], settings: Settings, clock: Clock, telemetry: Telemetry
) -> None:
    """Route until cancelled. ``rules`` is asked for each batch, so that a reload takes effect at once."""
    while True:
        try:
            batch = await spool.take_unrouted(BATCH)
        except StorageError as error:
            log.error("nothing taken for routing", detail=str(error))
            await anyio.sleep(PAUSE_S)
            continue
        await route_batch(spool, batch, rules(), clock, telemetry)


async def route_batch(
    spool: Intray,
    batch: Sequence[Instance],
    rule_set: RuleSet,
    clock: Clock,
    telemetry: Telemetry,
) -> None:
    """Decide for each instance of ``batch`` and store the decisions; asked again until they are stored."""
    routed: list[Routed] = []
    for instance in batch:
        decision = await _decide(spool, instance, rule_set)
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
        for trace in item.decision.trace:
            if trace.matched:
                telemetry.rule_matched(trace.rule)


async def _decide(spool: Intray, instance: Instance, rule_set: RuleSet) -> Decision:
    """The decision for one instance; nothing that is wrong with it is felt by another."""
    try:
        header = await _read_header(spool, instance, rule_set)
        return rule_set.decide(facts_of(instance), header)
    except Exception as error:  # whatever it is, the instance stays visible and the loop goes on
        log.error("instance held: the rules could not be applied", key=instance.key, detail=_bland(error))
        return _held(f"the rules could not be applied: {_bland(error)}")


async def _read_header(spool: Intray, instance: Instance, rule_set: RuleSet) -> Header:
    """What the rules ask of the data set. Where it cannot be read, nothing is found in it."""
    asked = rule_set.asked
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
    )


def _held(because: str) -> Decision:
    trace = (RuleTrace(rule="", matched=False, because=because),)
    return Decision(destinations=(), priority=Priority.NORMAL, hold=True, trace=trace)


def _bland(error: Exception) -> str:
    """An error without the patient's data that its text may carry."""
    return str(error) if isinstance(error, StorageError) else type(error).__name__


_EMPTY = scan(b"", "1.2.840.10008.1.2", ())
