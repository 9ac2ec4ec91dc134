"""What a listener bears: peers that are slow in each phase, that read nothing, that are too many."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bench import wire
from router.config.settings import Limits, Listener
from router.dicom.dimse import echo_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived
from router.dicom.negotiation import negotiate
from router.net import listener as listener_module, places as places_module
from router.net.connection import READ_AHEAD_BYTES, Connection
from router.net.listener import ListeningPort

ECHO: wire.Context = (1, wire.VERIFICATION, (wire.IMPLICIT_LE,))
CT: wire.Context = (3, wire.CT_IMAGE, (wire.EXPLICIT_LE,))
REQUEST = wire.associate_rq("SCU", "SCP", (ECHO, CT))
STORE = wire.pdata(3, wire.COMMAND_LAST, wire.store_rq(1, wire.CT_IMAGE, "1.2.3"))
LOCAL_LIMIT = bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))
CONGESTION = bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 1))


class Seen:
    """What the listener has told of, and the connections that it made."""

    def __init__(self) -> None:
        self.limits: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.connections: list[Connection] = []
        self.held: list[list[memoryview]] = []

    async def serve(self, connection: Connection) -> None:
        """Answer C-ECHO, and keep what comes of data sets."""
        self.connections.append(connection)
        while True:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested):
                connection.association.accept(negotiate(event.request))
            elif isinstance(event, CommandReceived) and not event.command.has_data_set:
                connection.association.send_message(event.context.id, echo_rsp(event.command))
            elif isinstance(event, DataReceived):
                self.held.append(event.fragments)
            await connection.flush()


@asynccontextmanager
async def listening(
    seen: Seen, limits: Limits, handler: Callable[[Connection], Awaitable[None]] | None = None
) -> AsyncIterator[ListeningPort]:
    port = ListeningPort(
        Listener(port=0, host="127.0.0.1", limits=limits),
        handler or seen.serve,
        on_reject=lambda reason: seen.rejected.update([reason]),
        on_limit=lambda limit: seen.limits.update([limit]),
    )
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        with anyio.fail_after(20):
            yield port
        tasks.cancel_scope.cancel()


class Peer:
    """A socket that sends what it is given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: ListeningPort, sent: bytes = b"", address: str = "127.0.0.1") -> Peer:
        peer = cls(*await asyncio.open_connection("127.0.0.1", port.port, local_addr=(address, 0)))
        peer.writer.write(sent)
        return peer

    @classmethod
    async def associate(cls, port: ListeningPort, address: str = "127.0.0.1") -> Peer:
        peer = await cls.connect(port, REQUEST, address)
        answer = await peer.pdu()
        assert answer[0] == wire.ASSOCIATE_AC, answer.hex()
        return peer

    async def pdu(self) -> bytes:
        """The next whole PDU."""
        head = await self.reader.readexactly(6)
        return head + await self.reader.readexactly(int.from_bytes(head[2:], "big"))

    async def rest(self) -> bytes:
        """All until the other side closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


LONG_PDU = struct.pack(">BBIIBB", wire.P_DATA, 0, 100_006, 100_002, 3, wire.DATA_LAST)
SLOW: dict[str, tuple[bytes | None, bytes, str]] = {  # None: no association is opened
    "a request of which nothing comes": (None, b"", "request_s"),
    "a request that stops": (None, REQUEST[:50], "request_s"),
    "an association on which nothing is asked": (b"", b"", "idle_s"),
    "a PDU header that stops": (b"", b"\x04\x00", "message_s"),
    "a command that stops": (b"", STORE[:40], "message_s"),
    "a data set that never begins": (b"", STORE, "message_s"),
    "a data set that stops": (b"", STORE + LONG_PDU + bytes(500), "message_s"),
}


@pytest.mark.parametrize(("before", "sent", "limit"), SLOW.values(), ids=SLOW.keys())
async def test_who_stops_is_dropped_and_counted(before: bytes | None, sent: bytes, limit: str) -> None:
    seen = Seen()
    limits = Limits(
        request_s=0.1 if limit == "request_s" else 20,
        idle_s=0.1 if limit == "idle_s" else 20,
        message_s=0.1 if limit == "message_s" else 20,
    )
    async with listening(seen, limits) as port:
        peer = await (Peer.connect(port) if before is None else Peer.associate(port))
        peer.writer.write(sent)
        answer = await peer.rest()
        assert answer[:1] == (b"" if before is None else bytes((wire.ABORT,)))
        await port.wait_idle()
    assert seen.limits == {limit: 1}


@pytest.mark.parametrize("limit", ["message_bytes_per_second", "message_total_s"])
async def test_who_trickles_is_dropped_and_counted(limit: str) -> None:
    """Bytes come all the time, and never all of them."""
    is_rate = limit == "message_bytes_per_second"
    limits = Limits(
        message_s=1.0 if is_rate else 20.0,
        message_bytes_per_second=1_000_000 if is_rate else 0,
        message_total_s=60.0 if is_rate else 0.2,
    )
    seen = Seen()
    async with listening(seen, limits) as port:
        peer = await Peer.associate(port)
        peer.writer.write(STORE + LONG_PDU)
        while not port_is_idle(port):
            peer.writer.write(b"x")
            await checkpoint()
        await peer.rest()
    assert seen.limits == {limit: 1}


def port_is_idle(port: ListeningPort) -> bool:
    return port.associations == 0


async def test_who_reads_no_answers_is_cut_off_and_not_read_without_end() -> None:
    seen = Seen()
    echo = wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)) * 2000
    async with listening(seen, Limits(answer_s=0.2)) as port:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, ("127.0.0.1", port.port))
            await loop.sock_sendall(sock, REQUEST)
            await loop.sock_recv(sock, 4096)
            with pytest.raises(OSError, match=r"reset|Broken"):
                while True:
                    await loop.sock_sendall(sock, echo)
        await port.wait_idle()
    assert seen.limits == {"answer_s": 1}
    assert seen.connections[0]._unread_bytes < 4 * READ_AHEAD_BYTES


async def test_tiny_and_hollow_fragments_keep_no_chunks() -> None:
    """What is kept of a data set is about as long as the data set, whatever was around it."""
    seen = Seen()
    tiny = wire.pdata(3, wire.DATA_MORE, b"ab") * 10_000
    hollow = wire.pdata(3, wire.DATA_MORE, b"") * 10_000 + wire.pdata(3, wire.DATA_MORE, b"c" * 100)
    async with listening(seen, Limits(overhead_bytes=10**9)) as port:
        peer = await Peer.associate(port)
        peer.writer.write(STORE + tiny + hollow * 3 + wire.pdata(3, wire.DATA_LAST, b"zz"))
        total = 0
        while total < 20_000 + 300 + 2:
            await checkpoint()
            total = sum(len(view) for fragments in seen.held for view in fragments)
        peer.writer.close()
        await port.wait_idle()
    views = [view for fragments in seen.held for view in fragments]
    assert b"".join(views) == b"ab" * 10_000 + b"c" * 300 + b"zz"
    assert sum(len(bytes(view.obj)) for view in views) < 100_000


async def test_who_comes_too_often_is_told_and_then_not_even_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "TURNED_AWAY", 1)
    seen = Seen()
    async with listening(seen, Limits(new_per_second_per_peer=1)) as port:
        first = [await Peer.associate(port) for _ in range(10)]
        told = await Peer.connect(port)
        untold = await Peer.connect(port, REQUEST)
        assert await untold.rest() == b""
        told.writer.write(REQUEST)
        assert await told.pdu() == LOCAL_LIMIT
        other = await Peer.associate(port, "127.0.0.2")
        for peer in (*first, other, told):
            peer.writer.close()
        await port.wait_idle()
    assert seen.limits == {"new_per_second_per_peer": 2}
    assert seen.rejected == {"rate_exceeded": 1}


async def test_all_together_may_come_only_so_often() -> None:
    seen = Seen()
    async with listening(seen, Limits(new_per_second=1)) as port:
        first = [await Peer.associate(port, f"127.0.0.{n + 1}") for n in range(10)]
        refused = await Peer.connect(port, REQUEST, "127.0.0.99")
        assert await refused.pdu() == CONGESTION
        for peer in (*first, refused):
            peer.writer.close()
        await port.wait_idle()
    assert seen.limits == {"new_per_second": 1}


async def test_where_all_places_are_taken_the_silent_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "SILENT_S", 0.0)
    seen = Seen()
    async with listening(seen, Limits(associations=3)) as port:
        silent = [await Peer.connect(port, REQUEST[:30]) for _ in range(3)]
        while len(seen.connections) < 3:
            await checkpoint()
        works = await Peer.associate(port)
        works.writer.write(wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)))
        assert (await works.pdu())[0] == wire.P_DATA
        assert [await peer.rest() for peer in silent] == [b"", b"", b""]
        works.writer.close()
        await port.wait_idle()
    assert seen.limits == {"associations": 3}


async def test_where_all_places_are_taken_by_work_nobody_makes_room() -> None:
    seen = Seen()
    async with listening(seen, Limits(associations=1)) as port:
        works = await Peer.associate(port)
        refused = await Peer.connect(port, REQUEST)
        assert await refused.pdu() == LOCAL_LIMIT
        works.writer.close()
        refused.writer.close()
        await port.wait_idle()
        again = await Peer.associate(port)
        again.writer.close()
        await port.wait_idle()
    assert seen.limits == {"associations": 1}
    assert seen.rejected == {"local_limit_exceeded": 1}


async def test_an_idle_association_makes_room_with_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "IDLE_S", 0.0)
    seen = Seen()
    async with listening(seen, Limits(associations=1)) as port:
        idle = await Peer.associate(port)
        while not seen.connections[0].idle_s():
            await checkpoint()
        works = await Peer.associate(port)
        assert (await idle.rest())[:1] == bytes((wire.ABORT,))
        works.writer.close()
        await port.wait_idle()


async def test_one_association_with_much_to_read_leaves_turns_to_others() -> None:
    """Some hundred echoes are there at once, and the loop turns between them."""
    seen, at_turn = Seen(), Counter[int]()
    turn = 0

    async def serve(connection: Connection) -> None:
        while True:
            event = await connection.next_event()
            at_turn[turn] += 1
            if isinstance(event, AssociationRequested):
                connection.association.accept(negotiate(event.request))
                await connection.flush()

    async with listening(seen, Limits(), serve) as port:
        loud = await Peer.associate(port)
        loud.writer.write(wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)) * 500)
        while at_turn.total() < 501:
            await checkpoint()
            turn += 1
        loud.writer.close()
        await port.wait_idle()
    assert max(at_turn.values()) <= 64


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        (struct.pack(">BBI", wire.P_DATA, 0, 0xFFFFFFFF), "pdu_cap_bytes"),
        (wire.pdata(3, 1, bytes(600)) * 2, "command_set_bytes"),
        (STORE + wire.pdata(3, wire.DATA_MORE, b"") * 400, "overhead_bytes"),
        (STORE + wire.pdata(3, wire.DATA_MORE, b"ab") * 400, "overhead_bytes"),
        (wire.pdata(1, 1, b"a") * 400, "overhead_bytes"),
    ],
)
async def test_what_is_too_long_is_aborted_and_counted(sent: bytes, limit: str) -> None:
    seen = Seen()
    async with listening(seen, Limits(command_set_bytes=1000, overhead_bytes=4000)) as port:
        peer = await Peer.associate(port)
        if sent.startswith(STORE):
            peer.writer.write(STORE)
            while not seen.connections[0].association.is_mid_message:
                await checkpoint()
        peer.writer.write(sent.removeprefix(STORE))
        assert (await peer.rest())[:1] == bytes((wire.ABORT,))
        await port.wait_idle()
    assert seen.limits == {limit: 1}


async def test_many_small_requests_are_no_overhead() -> None:
    """A peer may send more in requests than in data; it only has to wait for its turns."""
    seen = Seen()
    async with listening(seen, Limits(overhead_bytes=4000)) as port:
        peer = await Peer.associate(port)
        for _ in range(3):
            peer.writer.write(wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)) * 200)
            for _ in range(200):
                assert (await peer.pdu())[0] == wire.P_DATA
        peer.writer.close()
        await port.wait_idle()
    assert not seen.limits


async def test_a_connection_that_is_reset_at_once_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reset(*_: object) -> None:
        raise ConnectionResetError

    seen = Seen()
    async with listening(seen, Limits(associations=1)) as port:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", reset)
            gone = await Peer.connect(port)
            assert await gone.rest() == b""
        there = await Peer.associate(port)
        there.writer.close()
        await port.wait_idle()
    assert not seen.limits
