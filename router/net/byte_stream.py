"""A connection that only sends, and is no association: what syslog over TLS needs.

Syslog has no acknowledgement (RFC 5425 §5.3). What there is instead is TCP's: ``write`` returns when the
peer's kernel has everything. What a receiver has not read yet when it dies is lost all the same.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios

from router.errors import ConnectFailed
from router.net.credentials import Credentials
from router.net.tls_client import secure

UNANSWERED_S = 30  # without an acknowledgement of TCP's for so long the peer is gone
POLL_FIRST_S, POLL_LAST_S = 0.001, 0.05  # between looks at what is acknowledged
_READ_BYTES = 4096  # what the peer says is not looked at


class ByteStream(asyncio.BufferedProtocol):
    """Made by :func:`open_stream`; not to be shared between tasks."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._changed = asyncio.Event()
        self._failure: ConnectFailed | None = None
        self._scratch = memoryview(bytearray(_READ_BYTES))

    @property
    def is_lost(self) -> bool:
        """Nothing more gets through."""
        return self._failure is not None

    async def write(self, data: bytes) -> None:
        """Send ``data``. Raises ``ConnectFailed``: how much of it has arrived is not known then."""
        await asyncio.sleep(0)  # an end that has come in already is noticed before, not behind it
        if self._failure is None and self._transport is not None:
            self._transport.write(data)
        while self._is_paused and self._failure is None:
            self._changed.clear()
            await self._changed.wait()
        pause_s = POLL_FIRST_S
        while self._failure is None and self._unacknowledged():
            await self.settle(pause_s)
            pause_s = min(pause_s * 2, POLL_LAST_S)
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure

    async def settle(self, for_s: float) -> None:
        """Wait so long for the connection to be lost. Raises ``ConnectFailed`` if it is."""
        try:
            async with asyncio.timeout(for_s):
                while self._failure is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
        raise self._failure

    def _unacknowledged(self) -> int:
        """How many bytes the peer's kernel does not have yet (SIOCOUTQ, tcp(7)); 0 where nobody can say."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None:
            return 0
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return 0
        return int(count)

    def close(self) -> None:
        """End the connection behind all that was written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise to a stream protocol
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # so that ``write`` waits until the kernel has it
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_S * 1000)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        pass

    def eof_received(self) -> bool:
        return False  # the transport closes, and ``connection_lost`` says why

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc) if exc is not None else "the receiver closed the connection")

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._changed.set()

    def _lose(self, because: str) -> None:
        if self._failure is None:
            self._failure = ConnectFailed(because)
        self._changed.set()


async def open_stream(host: str, port: int, credentials: Credentials, *, connect_s: float) -> ByteStream:
    """Connect with TLS. Raises ``ConnectFailed`` (``TlsFailed`` is one)."""
    try:
        return await secure(ByteStream, host, port, credentials, connect_s=connect_s)
    except TimeoutError:
        raise ConnectFailed(f"no connection to {host}:{port} within {connect_s:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"no connection to {host}:{port}: {error.strerror or error}") from error
