"""What counts as a duplicate, and that nothing is skipped in silence or because of a delivery that failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from router.clock import ManualClock
from router.config.settings import Duplicates, SpoolSettings
from router.dicom.part10 import file_meta
from router.duplicates import DUPLICATES, Comparison, match
from router.errors import StorageError
from router.model import (
    Arrival,
    Decision,
    DeliveryState,
    Instance,
    InstanceState,
    Origin,
    Outcome,
    Place,
    Reason,
)
from router.routing import WINDOW_BYTES, route_batch
from router.rules import RuleSet
from router.spool import Spool
from router.telemetry import Telemetry

EVERYWHERE = RuleSet(unmatched="pacs")
SKIP_IDENTICAL, SKIP, FORWARD = Duplicates.SKIP_IDENTICAL, Duplicates.SKIP, Duplicates.FORWARD


def arrival(
    *, caller: str = "CT1", uid: str = "1.2.3", transfer_syntax: str = "1.2.840.10008.1.2.1"
) -> Arrival:
    return Arrival(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid,
        transfer_syntax_uid=transfer_syntax,
        origin=Origin(calling_ae=caller, called_ae="ROUTER", peer="10.0.0.1", listener="11112"),
        received_at=1.0,
    )


def instance(key: int, data: bytes, of: Arrival | None = None) -> Instance:
    of = of if of is not None else arrival()
    meta = file_meta(of)
    return Instance(
        key=key,
        arrival=of,
        place=Place(segment=0, offset=0, length_bytes=len(meta) + len(data), data_set_offset=len(meta)),
        content_hash=xxhash.xxh3_128_digest(meta + data),
        state=InstanceState.ROUTED,
    )


FIRST = instance(1, b"data")


@pytest.mark.parametrize(
    ("other", "identical", "skip"),
    [
        (instance(2, b"data"), True, True),
        (instance(2, b"datb"), False, True),
        (instance(2, b"longer data"), False, True),
        (instance(2, b"data", arrival(transfer_syntax="1.2.840.10008.1.2")), False, True),
        (FIRST, False, False),  # itself, routed a second time
    ],
)
def test_who_repeats_whom(other: Instance, identical: bool, skip: bool) -> None:
    assert (match(SKIP_IDENTICAL, other, [FIRST]).original is FIRST) is identical
    assert (match(SKIP, other, [FIRST]).original is FIRST) is skip


def test_of_another_sender_the_bytes_are_compared() -> None:
    again = instance(2, b"data", arrival(caller="WORKSTATION"))
    found = match(SKIP_IDENTICAL, again, [FIRST])
    assert (found.original, found.to_compare) == (None, (FIRST,))
    comparison = Comparison(found.to_compare)
    comparison.update(b"da")
    comparison.update(b"ta")
    assert comparison.original() is FIRST
    other = Comparison(found.to_compare)
    other.update(b"datb")
    assert other.original() is None


def test_what_another_version_stored_is_not_taken_for_the_same() -> None:
    strange = replace(FIRST, place=replace(FIRST.place, data_set_offset=FIRST.place.data_set_offset - 2))
    comparison = Comparison((strange,))
    comparison.update(b"data")
    assert comparison.original() is None


class Desk:
    """A real spool, and the routing of everything that is in it."""

    def __init__(self, spool: Spool, clock: ManualClock) -> None:
        self.spool = spool
        self.clock = clock
        self.telemetry = Telemetry()

    async def store(self, data: bytes, of: Arrival | None = None) -> Instance:
        of = of if of is not None else arrival()
        meta = file_meta(of)
        self.clock.advance(0.01)
        return await self.spool.append(of, [meta, data], len(meta))

    async def route(self, count: int, policy: Duplicates) -> None:
        while count:
            batch = await self.spool.take_unrouted(count)
            count -= len(batch)
            await route_batch(self.spool, batch, EVERYWHERE, self.clock, self.telemetry, duplicates=policy)

    async def decisions(self, uid: str = "1.2.3") -> list[Decision]:
        traces = await self.spool.trace(uid)
        return [trace.decision for trace in traces if trace.decision is not None]

    async def sent(self, uid: str = "1.2.3") -> list[bool]:
        return [bool(decision.destinations) for decision in await self.decisions(uid)]

    async def end(self, state: DeliveryState) -> None:
        """Everything that waits is attempted, and ends so."""
        now = self.clock.now() + 1
        for one in await self.spool.claim("pacs", limit=10, lease_s=60.0, now=now):
            outcome = Outcome(
                delivery_id=one.delivery_id,
                key=one.instance.key,
                destination="pacs",
                state=state,
                reason=Reason.SUCCESS if state.is_final else Reason.INVALID_INSTANCE,
                started_at=now,
                ended_at=now,
            )
            await self.spool.record([outcome])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    settings = SpoolSettings(segment_bytes=16 * 1024 * 1024, min_free_bytes=0)
    spool = Spool.open(tmp_path / "data", settings, clock)
    async with spool.running():
        yield Desk(spool, clock)


async def test_forward_sends_everything(desk: Desk) -> None:
    await desk.store(b"data")
    await desk.store(b"data")
    await desk.route(2, FORWARD)
    assert await desk.sent() == [True, True]


async def test_in_one_batch_and_over_batches(desk: Desk) -> None:
    first = await desk.store(b"data")
    await desk.store(b"data")
    await desk.store(b"other")
    await desk.route(3, SKIP_IDENTICAL)
    await desk.store(b"data", arrival(caller="WORKSTATION"))
    await desk.store(b"othes")
    await desk.route(2, SKIP_IDENTICAL)
    assert await desk.sent() == [True, False, True, False, True]
    skipped = (await desk.decisions())[1]
    assert (skipped.hold, skipped.trace[0].rule) == (False, DUPLICATES)
    assert skipped.trace[0].because == (
        f"skipped: the same data set as {first.key}, received before from CT1"
    )
    assert b"dicom_router_duplicates_skipped_total 2.0" in desk.telemetry.render()


async def test_skip_looks_at_the_uid_alone(desk: Desk) -> None:
    await desk.store(b"data")
    await desk.route(1, SKIP)
    await desk.store(b"other")
    await desk.store(b"other", arrival(uid="1.2.4"))
    await desk.route(2, SKIP)
    assert await desk.sent() == [True, False]
    assert await desk.sent("1.2.4") == [True]


async def test_what_was_delivered_and_is_gone_is_known_still(desk: Desk) -> None:
    await desk.store(b"data")
    await desk.route(1, SKIP_IDENTICAL)
    await desk.end(DeliveryState.DELIVERED)
    assert (await desk.spool.trace("1.2.3"))[0].instance.state is InstanceState.RELEASED
    await desk.store(b"data", arrival(caller="WORKSTATION"))
    await desk.route(1, SKIP_IDENTICAL)
    assert await desk.sent() == [True, False]


async def test_a_delivery_that_died_is_no_reason_to_skip_the_next(desk: Desk) -> None:
    await desk.store(b"data")
    await desk.route(1, SKIP)
    await desk.end(DeliveryState.DEAD)
    await desk.store(b"data")
    await desk.route(1, SKIP)
    assert await desk.sent() == [True, True]


async def test_a_large_data_set_is_compared_in_windows(desk: Desk) -> None:
    data = bytes(range(256)) * 6000 + b"x"
    assert len(data) > WINDOW_BYTES
    await desk.store(data)
    await desk.store(data, arrival(caller="WORKSTATION"))
    await desk.store(data[:-1] + b"y", arrival(caller="WORKSTATION"))
    await desk.route(3, SKIP_IDENTICAL)
    assert await desk.sent() == [True, False, True]


async def test_routing_a_second_time_skips_nobody(desk: Desk) -> None:
    one = await desk.store(b"data")
    await desk.route(1, SKIP)
    await route_batch(desk.spool, [one], EVERYWHERE, desk.clock, desk.telemetry, duplicates=SKIP)
    assert await desk.sent() == [True]


async def test_where_the_ledger_cannot_say_nothing_is_skipped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(uids: Sequence[str]) -> list[Instance]:
        raise StorageError("ill", out_of_resources=False)

    await desk.store(b"data")
    await desk.route(1, SKIP)
    await desk.store(b"data")
    monkeypatch.setattr(desk.spool, "routed_before", fail)
    await desk.route(1, SKIP)
    assert await desk.sent() == [True, True]
