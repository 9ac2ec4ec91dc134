"""Two ends on a real socket, plain and with TLS: what a connection promises to the task that owns it."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from router.config.settings import Limits, Listener
from router.config.tls import ListenerTls, ModalityTls
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION, Status
from router.dicom.dimse import echo_rsp, store_rq, store_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import AssociateRequest, ProposedContext, negotiate
from router.dicom.pdu import frame_data_set
from router.errors import (
    AssociationError,
    AssociationLost,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    RemoteProtocolError,
)
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.listener import ListeningPort
from router.net.requestor import associate, echo, receive_response, release, send_store
from tests.peers.certificates import Authority

CT = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = AssociateRequest(
    calling_ae="SCU",
    called_ae="SCP",
    contexts=(
        ProposedContext(id=1, abstract_syntax=VERIFICATION, transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,)),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Security:
    """The credentials of both ends; mutual."""

    listener: ListenerTls
    server: Credentials
    client: Credentials


_security: list[Security | None] = [None]  # of the test that runs


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Security:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    own, theirs = authority.issue("server"), authority.issue("client")
    tls = ListenerTls(certificate=own.certificate, key=own.key, client_ca=authority.ca)
    client = ModalityTls(certificate=theirs.certificate, key=theirs.key, ca=authority.ca)
    return Security(listener=tls, server=Credentials(tls, "server"), client=Credentials(client, "client"))


@pytest.fixture(params=["plain", "tls"], autouse=True)
def security(request: pytest.FixtureRequest, credentials: Security) -> Iterator[None]:
    """Every test of this file runs both ways."""
    _security[0] = credentials if request.param == "tls" else None
    yield
    _security[0] = None


class Scp:
    """An acceptor that stores in memory and remembers how each association ended."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.ended: list[str] = []

    async def __call__(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
            self.ended.append("released")
        except (AssociationError, RemoteProtocolError) as error:
            self.ended.append(type(error).__name__)
            raise

    async def _serve(self, connection: Connection) -> None:
        parts: list[bytes] = []
        command = None
        while True:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested):
                connection.association.accept(negotiate(event.request))
            elif isinstance(event, CommandReceived):
                command, context = event.command, event.context
                if not command.has_data_set:
                    connection.association.send_message(context.id, echo_rsp(command))
            elif isinstance(event, DataReceived):
                parts += map(bytes, event.fragments)
                if event.last:
                    self.stored.append(b"".join(parts))
                    parts.clear()
                    assert command is not None
                    connection.association.send_message(context.id, store_rsp(command, Status.SUCCESS))
            elif isinstance(event, ReleaseRequested):
                connection.association.confirm_release()
                await connection.flush()
                return
            await connection.flush()


@asynccontextmanager
async def listening(
    handler: Callable[[Connection], Awaitable[None]], limits: Limits | None = None
) -> AsyncIterator[ListeningPort]:
    security = _security[0]
    tls = security.listener if security else None
    port = ListeningPort(
        Listener(port=0, host="127.0.0.1", limits=limits or Limits(), tls=tls),
        handler,
        on_reject=lambda _: None,
        tls=security.server if security else None,
    )
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        yield port
        tasks.cancel_scope.cancel()


async def connect(port: ListeningPort) -> Connection:
    tls = _security[0].client if _security[0] else None
    return await associate(host="127.0.0.1", port=port.port, request=REQUEST, tls=tls)


async def dial(port: ListeningPort) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A peer that need not speak DICOM."""
    context: ssl.SSLContext | None = _security[0].client.context if _security[0] else None
    return await asyncio.open_connection("127.0.0.1", port.port, ssl=context)


async def store(connection: Connection, data: bytes, message_id: int = 1) -> int:
    context = connection.association.contexts[3]
    framed, gaps = frame_data_set(context.id, len(data), connection.association.peer_max_pdu_bytes)
    at = 0
    for gap in gaps:
        gap[:] = data[at : at + len(gap)]
        at += len(gap)
    await send_store(connection, context.id, store_rq(message_id, CT, "1.2.3"), [framed])
    response = await receive_response(connection, message_id=message_id, timeout_s=10)
    assert response.status is not None
    return response.status


async def test_echo_store_and_release() -> None:
    scp = Scp()
    async with listening(scp) as port:
        connection = await connect(port)
        assert await echo(connection, connection.association.contexts[1], message_id=7, timeout_s=10) == 0
        small, large = b"ab" * 500, bytes(range(256)) * 20_000  # the second is 5 MB: more than any window
        assert await store(connection, small, 8) == 0
        assert await store(connection, large, 9) == 0
        await release(connection)
        await port.wait_idle()
    assert scp.stored == [small, large]
    assert scp.ended == ["released"]


async def test_an_abort_reaches_the_other_side_as_loss() -> None:
    scp = Scp()
    async with listening(scp) as port:
        connection = await connect(port)
        connection.abort()
        await port.wait_idle()
    assert scp.ended == ["AssociationAborted"]


async def test_a_connection_that_dies_is_a_loss_and_leaves_no_task() -> None:
    scp = Scp()
    async with listening(scp) as port:
        connection = await connect(port)
        assert connection._transport is not None
        connection._transport.abort()
        with pytest.raises(AssociationLost):
            await connection.next_event()
        await port.wait_idle()
        assert port.associations == 0
    assert scp.ended == ["AssociationLost"]


async def test_garbage_is_answered_with_an_abort() -> None:
    scp = Scp()
    async with listening(scp) as port:
        reader, writer = await dial(port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 4)
        answer = await reader.read()
        assert answer[:2] == b"\x07\x00"  # A-ABORT
        writer.close()
        await port.wait_idle()
    assert scp.ended == ["RemoteProtocolError"]


async def test_a_peer_that_never_asks_is_dropped_after_artim() -> None:
    scp = Scp()
    async with listening(scp, Limits(request_s=0.05)) as port:
        reader, writer = await dial(port)
        assert await reader.read() is not None
        writer.close()
        await port.wait_idle()
    assert scp.ended == ["AssociationTimeout"]


async def test_a_peer_that_stops_in_the_middle_of_a_message_is_dropped() -> None:
    scp = Scp()
    async with listening(scp, Limits(message_s=0.05)) as port:
        connection = await connect(port)
        framed, _ = frame_data_set(3, 100_000, 16384)
        await send_store(connection, 3, store_rq(1, CT, "1.2.3"), [framed[:50_000]])
        with pytest.raises(AssociationLost):
            await connection.next_event()
        await port.wait_idle()
    assert scp.ended == ["AssociationTimeout"]


async def test_over_the_limit_is_rejected_for_now() -> None:
    async with listening(Scp(), Limits(associations=1)) as port:
        first = await connect(port)
        with pytest.raises(AssociationRejected) as caught:
            await connect(port)
        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
        await release(first)
        await port.wait_idle()
        await release(await connect(port))


async def test_over_the_limit_of_one_peer_is_rejected_for_now() -> None:
    async with listening(Scp(), Limits(associations_per_peer=1)) as port:
        first = await connect(port)
        with pytest.raises(AssociationRejected):
            await connect(port)
        await release(first)


async def test_whoever_comes_while_the_port_refuses_is_told_to_come_again() -> None:
    async with listening(Scp()) as port:
        before = await connect(port)
        port.is_refusing = True
        with pytest.raises(AssociationRejected) as caught:
            await connect(port)
        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 1)
        assert await store(before, b"12345678") == Status.SUCCESS  # who was there goes on
        port.is_refusing = False
        await release(await connect(port))
        await release(before)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    with pytest.raises(ConnectFailed):
        await associate(host="127.0.0.1", port=number, request=REQUEST)


async def test_no_answer_in_time_ends_the_association() -> None:
    async def deaf(connection: Connection) -> None:
        event = await connection.next_event()
        assert isinstance(event, AssociationRequested)
        connection.association.accept(negotiate(event.request))
        await connection.flush()
        await connection.next_event()
        await connection.next_event()

    async with listening(deaf) as port:
        connection = await connect(port)
        with pytest.raises(AssociationTimeout):
            await echo(connection, connection.association.contexts[1], message_id=1, timeout_s=0.05)
        assert connection.is_closed


async def test_a_response_to_another_message_is_no_answer() -> None:
    async def confused(connection: Connection) -> None:
        event = await connection.next_event()
        assert isinstance(event, AssociationRequested)
        connection.association.accept(negotiate(event.request))
        await connection.flush()
        event = await connection.next_event()
        assert isinstance(event, CommandReceived)
        wrong = type(event.command)(field=event.command.field, message_id=999)
        connection.association.send_message(event.context.id, echo_rsp(wrong))
        await connection.flush()
        await connection.next_event()

    async with listening(confused) as port:
        connection = await connect(port)
        with pytest.raises(RemoteProtocolError):
            await echo(connection, connection.association.contexts[1], message_id=1, timeout_s=10)


async def test_five_hundred_idle_associations_share_one_buffer() -> None:
    async with listening(Scp()) as port:
        connections = [await connect(port) for _ in range(500)]
        assert port.associations == 500
        assert len({id(connection.get_buffer(-1).obj) for connection in connections}) == 1
        assert await store(connections[250], b"xy") == 0
        for connection in connections:
            connection.abort()
        await port.wait_idle()


async def test_stop_accepting_lets_open_associations_finish() -> None:
    scp = Scp()
    async with listening(scp) as port:
        connection = await connect(port)
        port.stop_accepting()
        with pytest.raises(ConnectFailed):
            await connect(port)
        assert await store(connection, b"late but whole") == 0
        await release(connection)
        await port.wait_idle()
    assert scp.stored == [b"late but whole"]


async def test_draining_drops_who_asks_nothing_and_waits_for_who_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.net.listener.DRAIN_IDLE_S", 0.05)
    scp = Scp()
    async with listening(scp) as port:
        silent, busy = await connect(port), await connect(port)
        framed, _ = frame_data_set(3, 100_000, 16384)
        await send_store(busy, 3, store_rq(1, CT, "1.2.3"), [framed[:50_000]])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.drain)
            with pytest.raises(AssociationLost):
                await silent.next_event()
            busy.association.send_data(framed[50_000:])
            await busy.flush()
            response = await receive_response(busy, message_id=1, timeout_s=10)
            assert response.status == Status.SUCCESS
            await release(busy)
    assert len(scp.stored) == 1


async def test_an_ended_connection_is_freed_without_the_collector() -> None:
    """The dead of a flood would lie about until it comes by: megabytes for each hundred."""
    scp, made = Scp(), list[weakref.ref[object]]()

    async def serve(connection: Connection) -> None:
        made.extend((weakref.ref(connection), weakref.ref(connection.association)))
        await scp(connection)

    gc.collect()
    gc.disable()
    try:
        async with listening(serve, Limits(request_s=0.2)) as port:
            await release(await connect(port))
            lost = await connect(port)
            made.extend((weakref.ref(lost), weakref.ref(lost.association)))
            lost.abort()
            with pytest.raises(AssociationLost):
                await lost.next_event()
            del lost
            for said in (b"", b"\x01\x00", b"GET / HTTP/1.1\r\n\r\n"):
                _, writer = await dial(port)
                writer.write(said)
                writer.close()
            reader, writer = await dial(port)  # and says nothing
            await reader.read()
            writer.close()
            await port.wait_idle()
            for _ in range(500):  # the last task may be on its way out
                if all(ref() is None for ref in made):
                    break
                await asyncio.sleep(0.01)
            assert len(scp.ended) == 6
            assert [alive for ref in made if (alive := ref()) is not None] == []
    finally:
        gc.enable()
