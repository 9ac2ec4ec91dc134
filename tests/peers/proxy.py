"""A link that is slow, narrow or broken: a TCP proxy in front of one port (the kernel here has no netem).

What arrives leaves in order, each direction ``delay_s`` later, no faster than ``bytes_per_s``, and with no
more than ``IN_FLIGHT_BYTES`` under way, as a TCP window would have it. In a program of its own:
``python -m tests.peers.proxy TARGET_PORT --delay 0.025``, which prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

IN_FLIGHT_BYTES = 8 * 1024 * 1024
HOST = "127.0.0.1"


@dataclass
class Link:
    """What the link does; may be changed while it runs."""

    delay_s: float = 0.0  # each direction
    bytes_per_s: float | None = None  # each direction, for each connection
    refuses: bool = False  # new connections are reset
    is_silent: bool = False  # what comes is swallowed: an unplugged cable
    connections: int = 0
    pairs: list[_Pair] = field(default_factory=list)

    def reset(self) -> None:
        """Tear every connection down, both ways, as a firewall does."""
        for pair in list(self.pairs):
            pair.reset()

    def half_close(self) -> None:
        """Say to every target that nothing more comes, and let its answers through."""
        for pair in list(self.pairs):
            pair.far.end()


class _End(asyncio.Protocol):
    """One socket of a pair; ``other`` is where its bytes go."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._free_at = 0.0
        self._is_paused = False
        self._is_ended = False  # nothing more may be written to it
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=IN_FLIGHT_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._link.is_silent:
            return
        now = self._loop.time()
        self._free_at = max(now, self._free_at)
        if self._link.bytes_per_s is not None:
            self._free_at += len(data) / self._link.bytes_per_s
        self._in_flight += len(data)
        if self._in_flight > IN_FLIGHT_BYTES and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()
        self._loop.call_at(self._free_at + self._link.delay_s, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        self._in_flight -= len(data)
        if self.other is not None:
            self.other.write(data)
        if self._is_paused and self._in_flight <= IN_FLIGHT_BYTES // 2 and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        if not self._link.is_silent and self.other is not None:
            self._later(self.other.end)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.other is not None:
            self._later(self.other.close)

    def _later(self, call: object) -> None:
        assert callable(call)
        self._loop.call_at(max(self._loop.time(), self._free_at) + self._link.delay_s, call)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self._is_ended:
            self.transport.write(data)

    def end(self) -> None:
        """Nothing more comes."""
        if self.transport is not None and self.transport.can_write_eof():
            self._is_ended = True
            with suppress(OSError):  # the other side has reset it meanwhile
                self.transport.write_eof()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class _Pair(_End):
    """The side that was connected to; it connects to the target after a delay."""

    def __init__(self, link: Link, port: int) -> None:
        super().__init__(link)
        self._port = port
        self.far = _End(link)
        self.far.other = self
        self._connecting: asyncio.Task[tuple[asyncio.Transport, _End]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link.connections += 1
        if self._link.refuses:
            self.reset()
            return
        self._link.pairs.append(self)
        assert self.transport is not None
        self.transport.pause_reading()
        # The handshake takes a round trip; connect() came back at once, so its time is added here.
        self._loop.call_later(2 * self._link.delay_s, self._connect)

    def _connect(self) -> None:
        connecting = self._loop.create_connection(lambda: self.far, HOST, self._port)
        self._connecting = self._loop.create_task(connecting)
        self._connecting.add_done_callback(self._connected)

    def _connected(self, done: asyncio.Task[tuple[asyncio.Transport, _End]]) -> None:
        if done.cancelled() or done.exception() is not None:
            self.reset()
            return
        self.other = self.far
        if self.transport is None:
            self.far.close()
        else:
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self in self._link.pairs:
            self._link.pairs.remove(self)

    def reset(self) -> None:
        super().reset()
        self.far.reset()


@asynccontextmanager
async def proxied(port: int, link: Link) -> AsyncIterator[int]:
    """A proxy in front of ``port``; yields its own port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Pair(link, port), HOST, 0, backlog=128)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        link.reset()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.025, help="seconds each direction")
    parser.add_argument("--bytes-per-s", type=float, default=None)
    chosen = parser.parse_args()
    link = Link(delay_s=chosen.delay, bytes_per_s=chosen.bytes_per_s)
    async with proxied(chosen.port, link) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
