"""Audit record repositories: syslog over TLS (RFC 5425) and UDP (RFC 5426), in the loop of the test."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

_HEADER = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<at>\S+) (?P<host>\S+) (?P<app>\S+) (?P<process>\S+) (?P<id>\S+) - "
    rb"(?P<bom>\xef\xbb\xbf)?(?P<message>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One SYSLOG-MSG."""

    priority: int
    at: str
    host: str
    app: str
    process: str
    id: str
    has_bom: bool
    message: bytes


def parse_syslog(data: bytes) -> Received:
    """A message by RFC 5424 §6, without structured data."""
    found = _HEADER.fullmatch(data)
    assert found is not None, data[:200]
    return Received(
        priority=int(found["priority"]),
        at=found["at"].decode("ascii"),
        host=found["host"].decode("ascii"),
        app=found["app"].decode("ascii"),
        process=found["process"].decode("ascii"),
        id=found["id"].decode("ascii"),
        has_bom=found["bom"] is not None,
        message=found["message"],
    )


class Repository:
    """What has arrived."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[Received] = []
        self.connections = 0
        self._arrived = anyio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        """End every connection at once."""
        while self.writers:
            self.writers.pop().transport.abort()

    async def wait_for(self, count: int, timeout_s: float = 20.0) -> list[Received]:
        """Return when so many messages have arrived."""
        with anyio.fail_after(timeout_s):
            while len(self.received) < count:
                self._arrived = anyio.Event()
                await self._arrived.wait()
        return self.received

    def take(self, data: bytes) -> None:
        """One message."""
        self.received.append(parse_syslog(data))
        self._arrived.set()


@asynccontextmanager
async def tls_repository(
    context: ssl.SSLContext, port: int = 0, *, is_deaf: bool = False
) -> AsyncIterator[Repository]:
    """Listens with TLS. ``is_deaf``: reads nothing."""
    repository = Repository()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        repository.connections += 1
        repository.writers.append(writer)
        try:
            while is_deaf:
                await asyncio.get_running_loop().create_future()
            while True:
                length = (await reader.readuntil(b" "))[:-1]
                assert length.isdigit() and not length.startswith(b"0"), length
                repository.take(await reader.readexactly(int(length)))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.transport.abort()
        except asyncio.CancelledError:  # a stream's task has nobody to tell
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
    repository.port = server.sockets[0].getsockname()[1]
    try:
        yield repository
    finally:
        server.close()
        repository.hang_up()
        await server.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._repository.take(data)


@asynccontextmanager
async def udp_repository() -> AsyncIterator[Repository]:
    """Listens for datagrams."""
    repository = Repository()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(repository), local_addr=("127.0.0.1", 0)
    )
    repository.port = transport.get_extra_info("sockname")[1]
    try:
        yield repository
    finally:
        transport.close()


def server_context(certificate: str, key: str, client_ca: str | None = None) -> ssl.SSLContext:
    """For :func:`tls_repository`; with ``client_ca`` it wants to see a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
