"""What is longer than any order, or slower, is not waited for; nothing of it is carried out."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import anyio
import pytest
from anyio import to_thread

from router.api import bodies
from router.api.server import HttpServer
from tests.api.asgi import ask
from tests.api.test_http import Served

CHUNK = 1000
HEAD = b"POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_BYTES", 10 * CHUNK)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
async def test_a_long_body_is_refused_and_the_connection_ends(served: Served, *, is_chunked: bool) -> None:
    def pieces() -> Iterator[bytes]:
        if is_chunked:
            yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        else:
            yield HEAD + f"Content-Length: {1000 * CHUNK}\r\n\r\n".encode()
        for _ in range(1000):
            yield f"{CHUNK:x}\r\n".encode() + bytes(CHUNK) + b"\r\n" if is_chunked else bytes(CHUNK)

    answer = await over_a_socket(served, pieces())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the body is longer than 10000 bytes"}
    assert (await ask(served.app, "GET", "/readyz")).status == 200  # not draining


async def test_a_slow_body_is_not_waited_for(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_S", 0.05)
    answer = await over_a_socket(served, iter([HEAD + b"Content-Length: 100\r\n\r\n{"]))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.usefixtures("small")
async def test_a_body_of_the_longest_that_is_taken(served: Served) -> None:
    order = b'{"because":"' + b"x" * 100 + b'"}'
    answer = await ask(served.app, "POST", "/api/v1/drain", body=order.ljust(10 * CHUNK))
    assert answer.status == 200, answer.body


async def over_a_socket(served: Served, pieces: Iterator[bytes]) -> bytes:
    """What a real server answers to these bytes; as much of them as it takes."""
    server = HttpServer(served.app)
    server.bind("127.0.0.1", 0)

    def talk() -> bytes:
        answer = b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            try:
                for piece in pieces:
                    client.sendall(piece)
            except OSError:
                pass  # it has heard enough
            try:
                while more := client.recv(65536):
                    answer += more
            except ConnectionResetError:
                pass
        return answer

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        answer = await to_thread.run_sync(talk)
        await server.stop()
    return answer
