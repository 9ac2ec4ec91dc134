"""The HTTP client against servers that do what they should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from router.config.tls import ListenerTls, ModalityTls
from router.errors import (
    AssociationLost,
    AssociationTimeout,
    ConnectFailed,
    RemoteProtocolError,
    StorageError,
    TlsFailed,
)
from router.net.credentials import Credentials
from router.net.http_client import ANSWER_BYTES, HttpClient
from tests.peers import free_port
from tests.peers.certificates import Authority

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(serve: Serve, tls: Credentials | None = None) -> AsyncIterator[int]:
    """A server; each connection is given to ``serve`` and closed after it."""

    async def on_connection(reader: Reader, writer: Writer) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    context = tls.context if tls is not None else None
    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def request_of(reader: Reader) -> tuple[str, dict[str, str], bytes]:
    """The first line, the headers and the body of a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return first, headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def pieces(*contents: bytes) -> AsyncIterator[memoryview]:
    for content in contents:
        yield memoryview(content)


def client(*, answer_s: float = 10.0, connect_s: float = 10.0, tls: Credentials | None = None) -> HttpClient:
    return HttpClient(
        headers={"X-Mine": "1"}, credentials=tls, connect_s=connect_s, answer_s=answer_s, idle_s=10.0
    )


async def test_a_body_has_its_length_and_the_connection_is_kept() -> None:
    seen: list[tuple[str, dict[str, str], bytes]] = []
    connections = 0

    async def serve(reader: Reader, writer: Writer) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            seen.append(await request_of(reader))
            writer.write(OK)

    async with serving(serve) as port, client() as http:
        url = f"http://127.0.0.1:{port}/a/studies"
        for _ in range(2):
            answer = await http.post(url, {"Content-Type": "x/y"}, pieces(b"ab", b"c" * 100_000), 100_002)
            assert (answer.status, answer.body) == (200, b"{}")
    assert connections == 1
    first, headers, body = seen[1]
    assert first == "POST /a/studies HTTP/1.1"
    assert (headers["content-length"], headers["content-type"], headers["x-mine"]) == ("100002", "x/y", "1")
    assert "transfer-encoding" not in headers
    assert body == b"ab" + b"c" * 100_000


async def test_nobody_listens() -> None:
    async with client() as http:
        with pytest.raises(ConnectFailed, match=r"no connection to 127\.0\.0\.1:"):
            await http.options(f"http://127.0.0.1:{free_port()}/")


async def test_a_redirect_is_not_followed_and_a_cookie_not_kept() -> None:
    headers: list[dict[str, str]] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        for _ in range(2):
            headers.append((await request_of(reader))[1])
            writer.write(
                b"HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
            )

    async with serving(serve) as port, client() as http:
        for _ in range(2):
            assert (await http.options(f"http://127.0.0.1:{port}/a")).status == 302
    assert len(headers) == 2
    assert "cookie" not in headers[1]


async def never(reader: Reader, writer: Writer) -> None:
    await request_of(reader)
    await reader.read()


async def hangs_up(reader: Reader, writer: Writer) -> None:
    await request_of(reader)


async def hangs_up_at_once(reader: Reader, writer: Writer) -> None:
    writer.transport.abort()


async def speaks_nonsense(reader: Reader, writer: Writer) -> None:
    await request_of(reader)
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def half_an_answer(reader: Reader, writer: Writer) -> None:
    await request_of(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    await writer.drain()


@pytest.mark.parametrize(
    ("serve", "error"),
    [
        (never, AssociationTimeout),
        (hangs_up, AssociationLost),
        (hangs_up_at_once, AssociationLost),
        (speaks_nonsense, RemoteProtocolError),
        (half_an_answer, AssociationLost),
    ],
)
async def test_what_servers_do_wrong_is_told_apart(serve: Serve, error: type[Exception]) -> None:
    async with serving(serve) as port, client(answer_s=0.5) as http:
        with pytest.raises(error):
            await http.post(f"http://127.0.0.1:{port}/", {}, pieces(b"ab"), 2)


async def test_a_server_that_takes_nothing_is_not_waited_for() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        await asyncio.Event().wait()

    async with serving(serve) as port, client(answer_s=0.5) as http:
        with pytest.raises(AssociationTimeout):
            await http.post(f"http://127.0.0.1:{port}/", {}, pieces(*[bytes(1 << 20)] * 64), 64 << 20)


async def test_what_we_take_to_read_is_not_the_servers_time() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await request_of(reader)
        writer.write(OK)

    async def slow() -> AsyncIterator[memoryview]:
        with anyio.move_on_after(0.4):
            await anyio.Event().wait()
        yield memoryview(b"ab")

    async with serving(serve) as port, client(answer_s=0.2) as http:
        assert (await http.post(f"http://127.0.0.1:{port}/", {}, slow(), 2)).status == 200


async def test_what_cannot_be_read_is_our_own_failure() -> None:
    async def broken() -> AsyncIterator[memoryview]:
        yield memoryview(b"a")
        raise StorageError("the disk is gone", out_of_resources=False)

    async with serving(never) as port, client() as http:
        with pytest.raises(StorageError, match="the disk is gone"):
            await http.post(f"http://127.0.0.1:{port}/", {}, broken(), 2)


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(1 << 16))
            await writer.drain()

    async with serving(serve) as port, client() as http:
        answer = await http.options(f"http://127.0.0.1:{port}/")
    assert len(answer.body) == ANSWER_BYTES


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("web"), "ours")


async def secured(reader: Reader, writer: Writer) -> None:
    await request_of(reader)
    writer.write(OK)


async def test_tls_and_what_is_wrong_with_it(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("web", "localhost")
    behind = Credentials(ListenerTls(certificate=issued.certificate, key=issued.key), "server")
    other = Authority(tmp_path, "other")
    async with serving(secured, behind) as port:
        good = Credentials(ModalityTls(ca=authority.ca), "cloud")
        async with client(tls=good) as http:
            assert (await http.options(f"https://localhost:{port}/")).status == 200
            with pytest.raises(TlsFailed, match=r"is not for '127\.0\.0\.1'"):
                await http.options(f"https://127.0.0.1:{port}/")
        named = Credentials(ModalityTls(ca=authority.ca, server_name="localhost"), "cloud")
        async with client(tls=named) as http:
            assert (await http.options(f"https://127.0.0.1:{port}/")).status == 200
        foreign = Credentials(ModalityTls(ca=other.ca), "cloud")
        async with client(tls=foreign) as http:
            with pytest.raises(TlsFailed, match="an authority that we do not trust"):
                await http.options(f"https://localhost:{port}/")


async def test_a_plain_server_where_tls_is_expected(authority: Authority) -> None:
    async with serving(speaks_nonsense) as port:
        trusting = Credentials(ModalityTls(ca=authority.ca), "cloud")
        async with client(tls=trusting, connect_s=0.5) as http:
            with pytest.raises(ConnectFailed):
                await http.options(f"https://localhost:{port}/")
