"""What a sender is answered, case by case, against a spool that stores in memory and fails on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Limits, Listener, Operation, Settings, SpoolSettings
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION, CommandField, Status
from router.dicom.dimse import encode_command, store_rq
from router.dicom.negotiation import AssociateRequest, ProposedContext
from router.dicom.part10 import read_file_meta
from router.dicom.pdu import frame_data_set
from router.errors import AssociationLost, AssociationRejected, StorageError
from router.model import Arrival, Buffer
from router.net.connection import Connection
from router.net.listener import ListeningPort
from router.net.requestor import associate, echo, receive_response, release, send_store
from router.receive import Receiver
from router.telemetry import Telemetry

CT, UID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"
DATA = (
    b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00"
    b"\x08\x00\x18\x00UI\x08\x001.2.3.4\x00"
    b"\x10\x00\x10\x00PN\x04\x00A^B "
)


@dataclass
class LargeInMemory:
    spool: SpoolInMemory
    arrival: Arrival
    parts: list[bytes] = field(default_factory=list)
    was_abandoned: bool = False

    async def write(self, parts: Sequence[Buffer]) -> None:
        if self.spool.failure is not None:
            raise self.spool.failure
        self.parts += map(bytes, parts)

    async def commit(self, data_set_offset: int) -> None:
        await self.spool.append(self.arrival, self.parts, data_set_offset)

    async def abandon(self) -> None:
        self.was_abandoned = True


@dataclass
class SpoolInMemory:
    is_accepting: bool = True
    failure: StorageError | None = None
    stored: list[tuple[Arrival, bytes, int]] = field(default_factory=list)
    large: list[LargeInMemory] = field(default_factory=list)

    async def append(self, arrival: Arrival, parts: Sequence[Buffer], data_set_offset: int) -> None:
        if self.failure is not None:
            raise self.failure
        self.stored.append((arrival, b"".join(parts), data_set_offset))

    def start_large(self, arrival: Arrival) -> LargeInMemory:
        self.large.append(LargeInMemory(self, arrival))
        return self.large[-1]


@asynccontextmanager
async def gateway(
    spool: SpoolInMemory,
    settings: Settings | None = None,
    listener: Listener | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[ListeningPort]:
    chosen = settings or Settings(accept_unknown=(Operation.ECHO, Operation.STORE))
    receiver = Receiver(spool, lambda: chosen, SystemClock(), telemetry or Telemetry())  # type: ignore[arg-type]
    listener = listener or Listener(port=0, host="127.0.0.1", name="main")
    port = ListeningPort(listener, receiver.serve, on_reject=lambda _: None)
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        yield port
        tasks.cancel_scope.cancel()


async def connect(port: ListeningPort) -> Connection:
    contexts = tuple(
        ProposedContext(id=number, abstract_syntax=uid, transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))
        for number, uid in ((1, VERIFICATION), (3, CT))
    )
    request = AssociateRequest(calling_ae="CT1", called_ae="ROUTER", contexts=contexts)
    return await associate(host="127.0.0.1", port=port.port, request=request)


def framed(data: bytes) -> bytearray:
    buffer, gaps = frame_data_set(3, len(data), 16384)
    at = 0
    for gap in gaps:
        gap[:] = data[at : at + len(gap)]
        at += len(gap)
    return buffer


async def store(connection: Connection, data: bytes = DATA, command: bytes | None = None) -> int:
    await send_store(connection, 3, command or store_rq(1, CT, UID), [framed(data)])
    response = await receive_response(connection, message_id=1, timeout_s=10)
    assert response.status is not None
    return response.status


async def test_an_instance_is_stored_as_it_came_with_its_origin() -> None:
    spool = SpoolInMemory()
    async with gateway(spool) as port:
        connection = await connect(port)
        assert await store(connection) == Status.SUCCESS
        await release(connection)
    (arrival, part10, offset) = spool.stored[0]
    assert part10[offset:] == DATA
    assert read_file_meta(part10).sop_instance_uid == UID
    assert (arrival.origin.calling_ae, arrival.origin.called_ae) == ("CT1", "ROUTER")
    assert (arrival.origin.peer, arrival.origin.listener) == ("127.0.0.1", "main")


async def test_echo() -> None:
    async with gateway(SpoolInMemory()) as port:
        connection = await connect(port)
        context = connection.association.contexts[1]
        assert await echo(connection, context, message_id=9, timeout_s=10) == Status.SUCCESS


async def test_unknown_caller_is_rejected() -> None:
    async with gateway(SpoolInMemory(), Settings()) as port:
        with pytest.raises(AssociationRejected):
            await connect(port)


@pytest.mark.parametrize(
    ("out_of_resources", "status"), [(True, Status.OUT_OF_RESOURCES), (False, Status.PROCESSING_FAILURE)]
)
async def test_a_failing_disk_is_a_status_and_the_association_goes_on(
    out_of_resources: bool, status: Status
) -> None:
    spool = SpoolInMemory(failure=StorageError("no", out_of_resources=out_of_resources))
    async with gateway(spool) as port:
        connection = await connect(port)
        assert await store(connection) == status
        spool.failure = None
        assert await store(connection) == Status.SUCCESS
    assert len(spool.stored) == 1


async def test_a_full_disk_is_said_before_anything_is_tried() -> None:
    spool = SpoolInMemory(is_accepting=False)
    async with gateway(spool) as port:
        connection = await connect(port)
        assert await store(connection) == Status.OUT_OF_RESOURCES
        assert await store(connection, b"x" * 100_000) == Status.OUT_OF_RESOURCES
    assert not spool.stored


@pytest.mark.parametrize("uid", ["../../x", "1." * 33 + "1", "", "1.2.a"])
async def test_a_uid_that_is_none_is_refused_and_the_association_goes_on(uid: str) -> None:
    spool = SpoolInMemory()
    async with gateway(spool) as port:
        connection = await connect(port)
        status = await store(connection, command=store_rq(1, CT, uid))
        assert status in (Status.INVALID_SOP_INSTANCE, Status.INVALID_ARGUMENT)
        assert await store(connection) == Status.SUCCESS
    assert len(spool.stored) == 1


async def test_another_sop_class_than_the_contexts_is_refused() -> None:
    spool = SpoolInMemory()
    async with gateway(spool) as port:
        connection = await connect(port)
        mr = store_rq(1, "1.2.840.10008.5.1.4.1.1.4", UID)
        assert await store(connection, command=mr) == Status.SOP_CLASS_NOT_SUPPORTED
    assert not spool.stored


@pytest.mark.parametrize("data", [DATA.replace(b"1.2.3.4", b"1.2.3.5"), DATA[34:], DATA[-12:]])
async def test_a_data_set_that_says_otherwise_is_stored_with_a_warning(data: bytes) -> None:
    spool = SpoolInMemory()
    async with gateway(spool) as port:
        connection = await connect(port)
        assert await store(connection, data) == Status.DATA_SET_DOES_NOT_MATCH_WARNING
    assert spool.stored[0][1].endswith(data)


async def test_a_request_of_another_service_is_refused() -> None:
    async with gateway(SpoolInMemory()) as port:
        connection = await connect(port)
        find = encode_command(field=CommandField.C_FIND_RQ, message_id=1, sop_class_uid=CT, priority=0)
        connection.association.send_message(3, find)
        await connection.flush()
        response = await receive_response(connection, message_id=1, timeout_s=10)
        assert response.status == Status.UNRECOGNIZED_OPERATION
        assert await store(connection) == Status.SUCCESS


async def test_a_large_object_is_streamed() -> None:
    spool = SpoolInMemory()
    settings = Settings(accept_unknown=(Operation.STORE,), spool=SpoolSettings(large_object_bytes=100_000))
    data = DATA + bytes(range(256)) * 12_000
    async with gateway(spool, settings) as port:
        connection = await connect(port)
        assert await store(connection, data) == Status.SUCCESS
    assert len(spool.large) == 1
    (_, part10, offset) = spool.stored[0]
    assert part10[offset:] == data


async def test_a_large_object_that_cannot_be_streamed_is_a_status() -> None:
    spool = SpoolInMemory(failure=StorageError("full", out_of_resources=True))
    settings = Settings(accept_unknown=(Operation.STORE,), spool=SpoolSettings(large_object_bytes=100_000))
    async with gateway(spool, settings) as port:
        connection = await connect(port)
        assert await store(connection, bytes(5_000_000)) == Status.OUT_OF_RESOURCES
        assert spool.large[0].was_abandoned
        spool.failure = None
        assert await store(connection) == Status.SUCCESS


@pytest.mark.parametrize("sent_bytes", [50_000, 3_000_000])
async def test_a_sender_that_goes_away_inside_an_instance_leaves_nothing(sent_bytes: int) -> None:
    spool = SpoolInMemory()
    settings = Settings(accept_unknown=(Operation.STORE,), spool=SpoolSettings(large_object_bytes=1_000_000))
    async with gateway(spool, settings) as port:
        connection = await connect(port)
        await send_store(connection, 3, store_rq(1, CT, UID), [framed(bytes(4_000_000))[:sent_bytes]])
        connection.abort()
        with pytest.raises(AssociationLost):
            await connection.next_event()
        await port.wait_idle()
    assert not spool.stored
    assert all(large.was_abandoned for large in spool.large)


async def test_a_data_set_over_the_limit_is_refused_and_the_association_goes_on() -> None:
    spool = SpoolInMemory()
    settings = Settings(accept_unknown=(Operation.STORE,), spool=SpoolSettings(large_object_bytes=100_000))
    listener = Listener(port=0, host="127.0.0.1", limits=Limits(data_set_bytes=1_000_000))
    telemetry = Telemetry()
    async with gateway(spool, settings, listener, telemetry) as port:
        connection = await connect(port)
        assert await store(connection, bytes(1_000_001)) == Status.OUT_OF_RESOURCES
        assert await store(connection, bytes(8_000_000)) == Status.OUT_OF_RESOURCES
        assert await store(connection) == Status.SUCCESS
    assert all(large.was_abandoned for large in spool.large)
    assert len(spool.stored) == 1
    assert b'limits_reached_total{limit="data_set_bytes"} 2.0' in telemetry.render()


async def test_where_much_is_in_memory_instances_go_to_disk_as_they_come() -> None:
    spool = SpoolInMemory()
    listener = Listener(port=0, host="127.0.0.1", limits=Limits(memory_all_bytes=1_000_000))
    telemetry = Telemetry()
    async with gateway(spool, listener=listener, telemetry=telemetry) as port:
        first, second = await connect(port), await connect(port)
        data = DATA + bytes(1_500_000)
        for connection in (first, second):
            await send_store(connection, 3, store_rq(1, CT, UID), [framed(data)[:1_400_000]])
        with anyio.fail_after(10):
            while not spool.large:
                await anyio.lowlevel.checkpoint()
        for connection in (first, second):
            connection.association.send_data(framed(data)[1_400_000:])
            await connection.flush()
            response = await receive_response(connection, message_id=1, timeout_s=10)
            assert response.status == Status.SUCCESS
        assert await store(first) == Status.SUCCESS  # nothing is held any more
    assert [part10[offset:] for _, part10, offset in spool.stored[:2]] == [data] * 2
    assert b'limits_reached_total{limit="memory_all_bytes"}' in telemetry.render()
    assert len(spool.large) <= 2


async def test_what_only_others_may_ask_is_refused_by_the_user_and_the_association_goes_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    telemetry = Telemetry()
    settings = Settings(accept_unknown=(Operation.ECHO,))
    async with gateway(SpoolInMemory(), settings, telemetry=telemetry) as port:
        connection = await connect(port)
        assert [context.id for context in connection.association.contexts.values()] == [1]
        assert await echo(connection, connection.association.contexts[1], message_id=1, timeout_s=10) == 0
        assert "every presentation context refused" not in "".join(capfd.readouterr())
        for _ in range(3):
            contexts = (ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=("1.2.840.10008.1.2",)),)
            request = AssociateRequest(calling_ae="CT1", called_ae="ROUTER", contexts=contexts)
            other = await associate(host="127.0.0.1", port=port.port, request=request)
            assert not other.association.contexts
            await release(other)
        await release(connection)
    assert "".join(capfd.readouterr()).count("every presentation context refused") == 1
    refused = b'dicom_router_presentation_contexts_refused_total{reason="not_allowed"} 4.0'
    assert refused in telemetry.render()


@pytest.mark.parametrize(
    ("request_changes", "limits", "codes", "label"),
    [
        ({"protocol_version": 2}, {}, (1, 2, 2), "protocol_version_not_supported"),
        ({"application_context": "1.2.3"}, {}, (1, 1, 2), "application_context_not_supported"),
        ({}, {"contexts": 1}, (1, 3, 2), "contexts"),
    ],
)
async def test_what_the_provider_itself_refuses_is_counted_and_explained(
    request_changes: dict[str, object],
    limits: dict[str, int],
    codes: tuple[int, int, int],
    label: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    telemetry = Telemetry()
    listener = Listener(port=0, host="127.0.0.1", limits=Limits(**limits))
    contexts = tuple(
        ProposedContext(id=number, abstract_syntax=CT, transfer_syntaxes=("1.2.840.10008.1.2",))
        for number in (1, 3)
    )
    request = AssociateRequest(calling_ae="CT1", called_ae="X", contexts=contexts, **request_changes)  # type: ignore[arg-type]
    async with gateway(SpoolInMemory(), listener=listener, telemetry=telemetry) as port:
        with pytest.raises(AssociationRejected) as caught:
            await associate(host="127.0.0.1", port=port.port, request=request)
        await port.wait_idle()
    assert (caught.value.result, caught.value.source, caught.value.reason) == codes
    assert f'association_rejections_total{{reason="{label}"}} 1.0'.encode() in telemetry.render()
    assert "what_to_do" in "".join(capfd.readouterr())
