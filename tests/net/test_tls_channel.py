"""Two channels back to back without a socket: any chunking, any pause, and any garbage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from router.config.tls import ListenerTls, ModalityTls
from router.errors import AssociationLost, RouterError, TlsFailed
from router.net.credentials import Credentials
from router.net.tls_channel import TlsChannel
from router.net.tls_words import Side
from tests.peers.certificates import Authority

HANDSHAKE_S = 3600.0
Keys = tuple[Credentials, Credentials]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    directory: Path = tmp_path_factory.mktemp("tls")
    authority = Authority(directory)
    issued = authority.issue("server")
    server = ListenerTls(certificate=issued.certificate, key=issued.key)
    return Credentials(server, "server"), Credentials(ModalityTls(ca=authority.ca), "client")


class Tcp(asyncio.Transport):
    """What a channel writes to; the test carries it over."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_paused = False
        self.has_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.has_closed

    def close(self) -> None:
        self.has_closed = True

    def abort(self) -> None:
        self.has_closed = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 104) if name == "peername" else default


class Inner(asyncio.BufferedProtocol):
    """What a connection is to its channel: chunks of its own, and a pause after each where it wants one."""

    def __init__(self, chunk_bytes: int = 4096, *, pauses: bool = False) -> None:
        self.received = bytearray()
        self.channel: TlsChannel | None = None
        self.has_ended = False
        self.lost: list[Exception | None] = []
        self._chunk = memoryview(bytearray(chunk_bytes))
        self._pauses = pauses
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsChannel)
        self.channel = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        assert not self.is_paused, "it has asked for a pause"
        self.received += self._chunk[:nbytes]
        if self._pauses and self.channel is not None:
            self.is_paused = True
            self.channel.pause_reading()

    def eof_received(self) -> bool:
        self.has_ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class End:
    """One end: its channel, its TCP side, and what is inside."""

    def __init__(self, keys: Credentials, *, is_server: bool, inner: Inner | None = None) -> None:
        self.inner = inner or Inner()
        self.failures: list[TlsFailed] = []
        self.tcp = Tcp()
        self.channel = TlsChannel(
            keys.context,
            Side(is_server=is_server, expected_name="127.0.0.1"),
            make=lambda _: self.inner,
            on_failed=lambda _, failure: self.failures.append(failure),
            handshake_s=HANDSHAKE_S,
            server_name="127.0.0.1",
        )
        self.channel.connection_made(self.tcp)

    def take(self, data: bytes | bytearray) -> None:
        """Bytes arrive, as the loop would bring them."""
        view = memoryview(data)
        while view:
            buffer = self.channel.get_buffer(-1)
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            self.channel.buffer_updated(count)
            view = view[count:]


class Wire:
    """Both ends, and what is between them."""

    def __init__(self, keys: Keys, *, server: Inner | None = None) -> None:
        self.server = End(keys[0], is_server=True, inner=server)
        self.client = End(keys[1], is_server=False)

    async def carry(self, step: int = 65536) -> None:
        """Carry everything over in steps of so many bytes, until nothing moves any more."""
        while True:
            has_moved = False
            for sender, receiver in ((self.client, self.server), (self.server, self.client)):
                if sender.tcp.written and not receiver.tcp.is_paused:
                    piece = bytes(sender.tcp.written[:step])
                    del sender.tcp.written[:step]
                    receiver.take(piece)
                    has_moved = True
                if receiver.inner.is_paused:
                    receiver.inner.is_paused = False
                    receiver.channel.resume_reading()
                    has_moved = True
            await asyncio.sleep(0)
            if not has_moved:
                return

    def close(self) -> None:
        for end in (self.client, self.server):
            end.channel.connection_lost(None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(min_value=1, max_value=200_000), min_size=1, max_size=4),
    step=st.sampled_from([1000, 4096, 65536, 300_000]),
    chunk_bytes=st.sampled_from([100, 4096, 262_144]),
    pauses=st.booleans(),
)
async def test_what_is_written_arrives_however_it_is_cut(
    keys: Keys, sizes: list[int], step: int, chunk_bytes: int, pauses: bool
) -> None:
    wire = Wire(keys, server=Inner(chunk_bytes, pauses=pauses))
    await wire.carry(step)
    assert wire.server.inner.channel is not None and wire.client.inner.channel is not None
    sent = b"".join(bytes([n % 256]) * size for n, size in enumerate(sizes))
    at = 0
    for size in sizes:
        wire.client.channel.write(memoryview(sent)[at : at + size])
        at += size
    await wire.carry(step)
    assert wire.server.inner.received == sent
    wire.server.channel.write(b"answer")
    await wire.carry(step)
    assert wire.client.inner.received == b"answer"
    wire.close()


async def test_the_handshake_comes_byte_by_byte(keys: Keys) -> None:
    wire = Wire(keys)
    await wire.carry(1)
    assert wire.server.inner.channel is not None
    wire.close()


async def test_who_closes_says_so_and_the_other_side_ends(keys: Keys) -> None:
    wire = Wire(keys)
    await wire.carry()
    wire.client.channel.write(b"the last")
    wire.client.channel.close()
    assert wire.client.tcp.has_closed and wire.client.channel.is_closing()
    await wire.carry()
    assert wire.server.inner.received == b"the last"
    assert wire.server.inner.has_ended and wire.server.tcp.has_closed
    wire.close()
    assert wire.server.inner.lost == [None]


async def test_an_end_without_a_word_is_an_end(keys: Keys) -> None:
    wire = Wire(keys)
    await wire.carry()
    wire.client.channel.write(b"the last")
    await wire.carry()
    assert not wire.server.channel.eof_received()
    assert wire.server.inner.has_ended
    wire.close()


async def test_nothing_goes_in_or_out_after_an_abort(keys: Keys) -> None:
    wire = Wire(keys)
    await wire.carry()
    wire.client.channel.write(b"late")
    late = bytes(wire.client.tcp.written)
    wire.server.channel.abort()
    wire.server.take(late)
    before = bytes(wire.server.tcp.written)
    wire.server.channel.write(b"later")
    assert wire.server.inner.received == b""
    assert wire.server.tcp.written == before
    wire.close()


async def test_damage_is_a_loss(keys: Keys) -> None:
    wire = Wire(keys)
    await wire.carry()
    wire.client.channel.write(b"x" * 100)
    wire.client.tcp.written[-1] ^= 1
    await wire.carry()
    assert wire.server.tcp.has_closed
    wire.close()
    (lost,) = wire.server.inner.lost
    assert isinstance(lost, AssociationLost)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x03\x00\x20\x01", b"\x15\x03"]), data=st.binary()
)
async def test_garbage_fails_and_raises_nothing(keys: Keys, head: bytes, data: bytes) -> None:
    end = End(keys[0], is_server=True)
    end.take(head + data)
    end.channel.connection_lost(None)
    assert len(end.failures) == 1
    assert end.inner.channel is None
    assert isinstance(end.failures[0], RouterError)


async def test_who_is_given_up_before_the_first_callback_is_hung_up_on(keys: Keys) -> None:
    end = End(keys[0], is_server=True)
    end.channel.abort()
    late = Tcp()
    end.channel.connection_made(late)
    assert late.has_closed
    end.channel.connection_lost(None)
