"""Turning somebody away, and taking connections: against scripted transports and sockets."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from router.net import accepting, turnaway
from router.net.accepting import TURN, Accepting, raise_descriptor_limit
from router.net.turnaway import Turnaway

ANSWER = b"\x03\x00\x00\x00\x00\x04\x00\x02\x03\x02"
REQUEST = b"\x01\x00\x00\x00\x00\x64" + bytes(100)


class Wire(asyncio.Transport):
    """What was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


def turned_away(told: list[bool] | None = None) -> tuple[Turnaway, Wire]:
    ends: list[bool] = [] if told is None else told
    protocol, wire = Turnaway(ANSWER, most_bytes=1000, on_end=ends.append), Wire()
    protocol.connection_made(wire)
    return protocol, wire


def feed(protocol: Turnaway, data: bytes, step: int) -> None:
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        protocol.get_buffer(-1)[: len(piece)] = piece
        protocol.buffer_updated(len(piece))


@pytest.mark.parametrize("step", [1, 5, 6, 7, 50, 106])
async def test_the_answer_comes_once_the_request_is_there(step: int) -> None:
    told: list[bool] = []
    protocol, wire = turned_away(told)
    feed(protocol, REQUEST[:-1], step)
    assert wire.written == b""
    feed(protocol, REQUEST[-1:] + b"and more", step)
    assert wire.written == ANSWER
    protocol.connection_lost(None)
    assert told == [True]


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1", b"\x01\x00\x7f\xff\xff\xff", b"\x16\x03\x01\x00\xc8\x01"]
)
async def test_anything_else_is_left_without_an_answer(first: bytes) -> None:
    told: list[bool] = []
    protocol, wire = turned_away(told)
    feed(protocol, first, 100)
    assert wire.is_closed
    assert wire.written == b""
    protocol.connection_lost(None)
    assert told == [False]


async def test_who_takes_his_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turnaway, "TURN_S", 0.01)
    protocol, wire = turned_away()
    await until(lambda: wire.is_aborted)
    assert protocol.eof_received() is False


class Door(socket.socket):
    """A listening socket whose ``accept`` is scripted, once it is."""

    failure: OSError | None = None

    def accept(self) -> tuple[socket.socket, object]:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return super().accept()


def bound() -> Door:
    door = Door()
    door.bind(("127.0.0.1", 0))
    door.listen(128)
    door.setblocking(False)
    return door


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await checkpoint()


async def test_a_few_are_taken_in_one_turn() -> None:
    door, taken, turns = bound(), list[socket.socket](), list[int]()
    clients = [socket.create_connection(door.getsockname()) for _ in range(TURN + 4)]

    def take(sock: socket.socket, peer: str) -> None:
        assert peer == "127.0.0.1"
        assert not sock.getblocking()
        if not taken:
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(taken)))
        taken.append(sock)

    door_keeper = Accepting(door, take, on_exhausted=lambda: None)
    door_keeper.start()
    await until(lambda: len(taken) == TURN + 4)
    assert turns == [TURN]
    door_keeper.close()
    for sock in (*taken, *clients):
        sock.close()


async def test_without_descriptors_it_rests_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.01)
    door, taken, exhausted = bound(), list[socket.socket](), list[bool]()
    door.failure = OSError(errno.EMFILE, "Too many open files")
    door_keeper = Accepting(
        door, lambda sock, _: taken.append(sock), on_exhausted=lambda: exhausted.append(True)
    )
    door_keeper.start()
    client = socket.create_connection(door.getsockname())
    await until(lambda: bool(taken))
    assert exhausted == [True]
    door.failure = OSError(errno.EMFILE, "Too many open files")
    second = socket.create_connection(door.getsockname())
    await until(lambda: len(exhausted) == 2)
    door_keeper.close()  # while it rests
    for sock in (*taken, client, second):
        sock.close()


async def test_one_that_went_away_before_it_was_taken_harms_nobody() -> None:
    door, taken = bound(), list[socket.socket]()
    door.failure = OSError(errno.ECONNABORTED, "Software caused connection abort")
    door_keeper = Accepting(door, lambda sock, _: taken.append(sock), on_exhausted=lambda: None)
    door_keeper.start()
    with socket.create_connection(door.getsockname()):
        await until(lambda: bool(taken))
        door_keeper.close()
    taken[0].close()


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    assert raise_descriptor_limit() >= 1024
