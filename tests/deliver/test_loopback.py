"""The real spool, the real wire and a scripted acceptor in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Deliver, Listener, Modality, Retry, Settings, SpoolSettings
from router.deliver.lanes import Lanes
from router.dicom.codes import CommandField
from router.dicom.dimse import echo_rsp, store_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import negotiate
from router.errors import AssociationError, RemoteProtocolError
from router.model import Decision, DeliveryRecord, DeliveryState, Instance, Listing, Priority, Reason, Routed
from router.net.connection import Connection
from router.net.listener import ListeningPort
from router.spool import Spool
from router.telemetry import Telemetry
from tests.deliver.samples import JPEG, META, MR, data_set, instance

MB = 1024 * 1024
RETRY = Retry(initial=0.001, maximum=0.05)
Script = Callable[[int], int | str]  # the n-th instance → a status, "abort" or "stall"


@dataclass
class Acceptor:
    """A PACS with a script."""

    script: Script = lambda number: 0
    transfer_syntaxes: tuple[str, ...] | None = None
    received: dict[str, bytes] = field(default_factory=dict)
    arrivals: list[str] = field(default_factory=list)
    associations: int = 0
    port: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Acceptor]:
        port = ListeningPort(Listener(port=0, host="127.0.0.1"), self._serve, on_reject=lambda reason: None)
        port.bind()
        self.port = port.port
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.serve)
            yield self
            tasks.cancel_scope.cancel()

    async def _serve(self, connection: Connection) -> None:
        try:
            await self._converse(connection)
        except (AssociationError, RemoteProtocolError):
            pass

    async def _converse(self, connection: Connection) -> None:
        event = await connection.next_event()
        assert isinstance(event, AssociationRequested)
        self.associations += 1
        connection.association.accept(negotiate(event.request, transfer_syntaxes=self.transfer_syntaxes))
        await connection.flush()
        while True:
            event = await connection.next_event()
            if isinstance(event, ReleaseRequested):
                connection.association.confirm_release()
                await connection.flush()
                return
            assert isinstance(event, CommandReceived)
            context, command = event.context, event.command
            if command.field == CommandField.C_ECHO_RQ:
                connection.association.send_message(context.id, echo_rsp(command))
                await connection.flush()
                continue
            parts: list[bytes] = []
            while True:
                data = await connection.next_event()
                assert isinstance(data, DataReceived)
                parts += [bytes(fragment) for fragment in data.fragments]
                if data.last:
                    break
            answer = self.script(len(self.arrivals))
            self.arrivals.append(command.sop_instance_uid)
            if answer == "abort":
                connection.abort()
                return
            if answer == "stall":
                await anyio.sleep_forever()
            assert isinstance(answer, int)
            self.received[command.sop_instance_uid] = b"".join(parts)
            connection.association.send_message(context.id, store_rsp(command, answer))
            await connection.flush()


@asynccontextmanager
async def gateway(
    directory: Path, ports: dict[str, int], *, response_timeout: float = 5.0
) -> AsyncIterator[Spool]:
    clock = SystemClock()
    spool = Spool.open(directory, SpoolSettings(segment_bytes=4 * MB, min_free_bytes=0), clock)
    deliver = Deliver(associations=2, connect_timeout=2.0, response_timeout=response_timeout, retry=RETRY)
    settings = Settings(
        modalities={
            name: Modality(ae_title=name.upper(), host="127.0.0.1", port=port, deliver=deliver)
            for name, port in ports.items()
        }
    )
    lanes = Lanes(spool, settings, clock, Telemetry(), Random(1))
    async with spool.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(lanes.run)
        yield spool
        await lanes.drain(1.0)
        tasks.cancel_scope.cancel()


async def put(spool: Spool, *samples: Instance, to: tuple[str, ...] = ("pacs",)) -> None:
    decision = Decision(destinations=to, priority=Priority.NORMAL, hold=False, trace=())
    now = SystemClock().now()
    for sample in samples:
        arrival = replace(sample.arrival, received_at=now)
        stored = await spool.append(arrival, [META, data_set(sample)[: sample.size_bytes]], len(META))
        await spool.route([Routed(key=stored.key, decision=decision)], now)


async def until_final(spool: Spool, count: int, destination: str = "pacs") -> list[DeliveryRecord]:
    """All deliveries of a destination, once ``count`` of them are delivered or dead."""
    with anyio.fail_after(20):
        while True:
            records = await spool.list_deliveries(Listing(destination=destination, limit=1000))
            final = [r for r in records if r.state in (DeliveryState.DELIVERED, DeliveryState.DEAD)]
            if len(final) >= count:
                return [await spool.show(r.delivery_id) for r in final]


@pytest.fixture
async def acceptor() -> AsyncIterator[Acceptor]:
    async with Acceptor().listening() as listening:
        yield listening


def sent(*samples: Instance) -> dict[str, bytes]:
    return {s.arrival.sop_instance_uid: data_set(s)[: s.size_bytes] for s in samples}


SAMPLES = (
    instance(1),
    instance(2, size=0),
    instance(3, size=41_001),
    instance(4, sop_class=MR, size=600_000),
    instance(5, transfer_syntax=JPEG, size=MB + 1),
    instance(6, size=9 * MB),
)


async def test_everything_arrives_byte_for_byte_and_is_recorded(tmp_path: Path, acceptor: Acceptor) -> None:
    async with gateway(tmp_path, {"pacs": acceptor.port}) as spool:
        await put(spool, *SAMPLES)
        records = await until_final(spool, len(SAMPLES))
    assert acceptor.received == sent(*SAMPLES)
    assert all(record.state is DeliveryState.DELIVERED for record in records)
    assert all(len(record.history) == 1 and record.history[0].status == 0 for record in records)


@pytest.mark.parametrize(
    ("first", "history"),
    [
        (0xA700, [Reason.OUT_OF_RESOURCES, Reason.SUCCESS]),
        (0x0111, [Reason.DUPLICATE]),
        (0xB000, [Reason.WARNING]),
        (0xC000, [Reason.CANNOT_UNDERSTAND]),
        ("abort", [Reason.ABORTED, Reason.SUCCESS]),
    ],
)
async def test_each_answer_leaves_its_history(
    tmp_path: Path, acceptor: Acceptor, first: int | str, history: list[Reason]
) -> None:
    acceptor.script = lambda number: 0 if number else first
    async with gateway(tmp_path, {"pacs": acceptor.port}) as spool:
        await put(spool, instance(1))
        records = await until_final(spool, 1)
    seen = [attempt.reason for attempt in records[0].history]
    assert [Reason.ABORTED if r is Reason.CONNECTION_LOST else r for r in seen] == history


async def test_refused_context_is_dead_and_the_others_pass(tmp_path: Path, acceptor: Acceptor) -> None:
    acceptor.transfer_syntaxes = ("1.2.840.10008.1.2.1",)
    async with gateway(tmp_path, {"pacs": acceptor.port}) as spool:
        await put(spool, instance(1, transfer_syntax=JPEG), instance(2))
        records = await until_final(spool, 2)
    assert {r.sop_instance_uid: r.reason for r in records} == {
        "1.2.3.1": Reason.NO_CONTEXT,
        "1.2.3.2": Reason.SUCCESS,
    }


@pytest.mark.parametrize("size", [1000, 5 * MB])
async def test_a_stall_ends_in_a_timeout_and_a_new_association(
    tmp_path: Path, acceptor: Acceptor, size: int
) -> None:
    acceptor.script = lambda number: 0 if number else "stall"
    async with gateway(tmp_path, {"pacs": acceptor.port}, response_timeout=0.2) as spool:
        await put(spool, instance(1, size=size))
        records = await until_final(spool, 1)
    assert [attempt.reason for attempt in records[0].history] == [Reason.TIMEOUT, Reason.SUCCESS]
    assert acceptor.associations == 2


async def test_a_peer_that_stops_reading_cannot_hold_a_lane(tmp_path: Path) -> None:
    async def hold(connection: Connection) -> None:
        event = await connection.next_event()
        assert isinstance(event, AssociationRequested)
        connection.association.accept(negotiate(event.request))
        await connection.flush()
        await anyio.sleep_forever()

    port = ListeningPort(Listener(port=0, host="127.0.0.1"), hold, on_reject=lambda reason: None)
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        async with gateway(tmp_path, {"pacs": port.port}, response_timeout=0.2) as spool:
            await put(spool, instance(1, size=30 * MB))
            with anyio.fail_after(20):
                while True:
                    records = await spool.list_deliveries(Listing(destination="pacs"))
                    if records[0].reason is Reason.TIMEOUT:
                        break
        tasks.cancel_scope.cancel()


async def test_a_dead_destination_beside_a_healthy_one(tmp_path: Path, acceptor: Acceptor) -> None:
    samples = [instance(number) for number in range(1, 51)]
    async with gateway(tmp_path, {"pacs": acceptor.port, "dead": 1}) as spool:
        await put(spool, *samples, to=("dead", "pacs"))
        await until_final(spool, len(samples))
        dead = await spool.list_deliveries(Listing(destination="dead", limit=1000))
    assert acceptor.received == sent(*samples)
    assert len(dead) == len(samples)
    assert all(record.attempts == 0 for record in dead)
    assert not any(record.state is DeliveryState.DEAD for record in dead)


async def test_a_restart_goes_on_where_it_was(tmp_path: Path, acceptor: Acceptor) -> None:
    samples = [instance(number) for number in range(1, 41)]
    async with gateway(tmp_path, {"pacs": 1}) as spool:
        await put(spool, *samples)
    async with gateway(tmp_path, {"pacs": acceptor.port}) as spool:
        await until_final(spool, len(samples))
    assert acceptor.received == sent(*samples)
    assert len(acceptor.arrivals) == len(samples)


async def test_a_flipped_byte_is_found_and_never_sent(tmp_path: Path, acceptor: Acceptor) -> None:
    async with gateway(tmp_path, {"pacs": 1}) as spool:
        await put(spool, instance(1, size=5000), instance(2, size=5000))
    segment = next(path for path in (tmp_path / "segments").iterdir() if META in path.read_bytes())
    damaged = bytearray(segment.read_bytes())
    damaged[damaged.index(META) + len(META) + 100] ^= 1
    segment.write_bytes(damaged)
    async with gateway(tmp_path, {"pacs": acceptor.port}) as spool:
        records = await until_final(spool, 2)
    assert list(acceptor.received) == ["1.2.3.2"]
    assert {r.sop_instance_uid: r.state for r in records} == {
        "1.2.3.1": DeliveryState.DEAD,
        "1.2.3.2": DeliveryState.DELIVERED,
    }
