"""router.api.connections: TLS with certificates that are replaced, and nobody who only holds a connection."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from anyio import to_thread

from router.api import connections
from router.api.server import HttpServer
from router.config.tls import ListenerTls
from router.net.credentials import Credentials
from tests.api.test_http import Served
from tests.fake_store import KEY
from tests.peers.certificates import Authority

T = TypeVar("T")


class Door(Served):
    """A served application on a port, perhaps with TLS."""

    def __init__(self, tls: ListenerTls | None = None) -> None:
        super().__init__()
        self.keys = Credentials(tls, "http", self.telemetry) if tls is not None else None
        self.server = HttpServer(self.app, tls=self.keys, observer=self.telemetry)
        self.server.bind("127.0.0.1", 0)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.server.serve)
            yield
            await self.server.stop()

    def has(self, sample: str) -> bool:
        return sample.encode() in self.telemetry.render()

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority, certificate: str = "", key: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca)
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def asking(port: int, context: ssl.SSLContext) -> Iterator[Callable[[str], tuple[int, bytes]]]:
    """One connection over which several things are asked for."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)

    def ask(path: str) -> tuple[int, bytes]:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    try:
        yield ask
    finally:
        connection.close()


async def test_https_over_one_connection_and_with_long_answers(authority: Authority) -> None:
    issued = authority.issue("http")
    door = Door(ListenerTls(certificate=issued.certificate, key=issued.key))
    door.store.files = {KEY: bytes(range(256)) * 20_000}

    def fetch() -> None:
        with asking(door.server.port, trusting(authority)) as ask:
            for _ in range(3):
                assert ask("/healthz") == (200, b'{"status":"alive"}')
            assert ask(f"/api/v1/instances/{KEY}/file") == (200, door.store.files[KEY])
            assert ask("/nothing")[0] == 404

    async with door.serving():
        await to_thread.run_sync(fetch)
    assert door.has('tls_handshakes_total{resumed="false",role="http",version="TLSv1.3"} 1.0')


async def test_callers_may_have_to_show_a_certificate(authority: Authority) -> None:
    issued, own = authority.issue("http"), authority.issue("own")
    door = Door(ListenerTls(certificate=issued.certificate, key=issued.key, client_ca=authority.ca))

    def fetch() -> None:
        with asking(door.server.port, trusting(authority, own.certificate, own.key)) as ask:
            assert ask("/healthz")[0] == 200
        refused = pytest.raises((ssl.SSLError, ConnectionError))
        with asking(door.server.port, trusting(authority)) as ask, refused:
            ask("/healthz")

    async with door.serving():
        await to_thread.run_sync(fetch)
    assert door.has('tls_failures_total{reason="no_client_certificate",role="http"} 1.0')


async def test_new_certificates_are_shown_to_new_connections(authority: Authority) -> None:
    issued = authority.issue("http")
    door = Door(ListenerTls(certificate=issued.certificate, key=issued.key))
    shown: list[bytes] = []

    def fetch() -> None:
        assert door.keys is not None
        with asking(door.server.port, trusting(authority)) as ask:
            ask("/healthz")
            authority.issue("http", not_after=datetime.now(UTC) + timedelta(days=3))
            door.keys.reload()
            assert ask("/healthz")[0] == 200, "what is open goes on"
        with (
            door.plain() as plain,
            trusting(authority).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            shown.append(secured.getpeercert(binary_form=True) or b"")

    async with door.serving():
        await to_thread.run_sync(fetch)
    assert shown != [issued.der]


def read_all(peer: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while piece := peer.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


async def test_plain_http_on_the_tls_port_is_told_in_the_log(
    authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    issued = authority.issue("http")
    door = Door(ListenerTls(certificate=issued.certificate, key=issued.key))

    def fetch() -> None:
        with door.plain() as peer:
            peer.sendall(b"GET /healthz?token=swordfish HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_all(peer) == b""

    async with door.serving():
        await to_thread.run_sync(fetch)
    assert door.has('tls_failures_total{reason="plain_peer",role="http"} 1.0')
    logged = capsys.readouterr()
    assert "speaks another protocol" in logged.out + logged.err
    assert "swordfish" not in logged.out + logged.err


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_request_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.05)
    door = Door()

    def hold() -> None:
        with door.plain() as peer:
            peer.sendall(sent)
            assert read_all(peer) == b""

    async with door.serving():
        await to_thread.run_sync(hold)


async def test_nor_is_a_second_one_on_the_same_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.05)
    door = Door()

    def hold() -> None:
        with door.plain() as peer:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in peer.recv(4096)
            peer.sendall(b"GET /hea")
            assert b"200" not in read_all(peer)

    async with door.serving():
        await to_thread.run_sync(hold)


async def test_an_answer_that_nobody_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_S", 0.05)
    door = Door()
    door.store.files = {KEY: bytes(30_000_000)}

    def hold() -> None:
        with door.plain() as peer:
            peer.sendall(f"GET /api/v1/instances/{KEY}/file HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            cut_off.wait(20)
            assert len(read_all(peer)) < 30_000_000

    cut_off = threading.Event()
    lost = connections.HttpConnection.connection_lost

    def noted(self: connections.HttpConnection, exc: Exception | None) -> None:
        lost(self, exc)
        cut_off.set()

    monkeypatch.setattr(connections.HttpConnection, "connection_lost", noted)
    async with door.serving():
        await to_thread.run_sync(hold)


async def test_too_many_connections_cost_the_oldest_that_asks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS", 3)
    door = Door()

    def crowd() -> None:
        with door.plain() as oldest, door.plain() as second, door.plain():
            second.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in second.recv(4096)
            with door.plain() as newest:
                assert read_all(oldest) == b""
                newest.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200 OK" in newest.recv(4096)

    async with door.serving():
        await to_thread.run_sync(crowd)


async def test_too_many_handshakes_cost_the_oldest(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HANDSHAKES", 2)
    issued = authority.issue("http")
    door = Door(ListenerTls(certificate=issued.certificate, key=issued.key))

    def crowd() -> None:
        with door.plain() as oldest, door.plain():
            with asking(door.server.port, trusting(authority)) as ask:
                assert ask("/healthz")[0] == 200
            assert read_all(oldest) == b""

    async with door.serving():
        await to_thread.run_sync(crowd)
    assert door.has('tls_failures_total{reason="over_limit",role="http"} 1.0')
