"""How audit messages get to where they go: syslog over TLS, syslog over UDP, a file.

Each raises ``CarrierFailed``, and is given the same messages again then: what had arrived before is there
twice, which an audit trail bears better than a gap.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from anyio import to_thread

from router.audit.syslog import frame
from router.errors import ConnectFailed, RouterError
from router.net.byte_stream import ByteStream, open_stream
from router.net.credentials import Credentials

CONNECT_S = 10.0
WRITE_S = 30.0  # a receiver that takes nothing for so long is as good as gone
# TLS 1.3: a server says what it thinks of our certificate after we are through with the handshake.
SETTLE_S = 0.25
DATAGRAM_BYTES = 65507  # UDP over IPv4 carries no more (RFC 5426 §3.2)
FILE_MODE = 0o640  # for us, and for a group that may read the trail


class CarrierFailed(RouterError):
    """Messages did not get through; later they may."""


class Carrier(Protocol):
    """One way for messages."""

    async def send(self, messages: Sequence[bytes]) -> None:
        """All of them, in order. Raises ``CarrierFailed``."""
        ...

    async def close(self) -> None:
        """End it; what was sent still arrives."""
        ...


class TlsSyslog:
    """RFC 5425. The connection stays open, and is opened anew where it was lost."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self._host = host
        self._port = port
        self._credentials = credentials
        self._stream: ByteStream | None = None

    async def send(self, messages: Sequence[bytes]) -> None:
        framed = b"".join(map(frame, messages))
        try:
            stream = await self._connected()
            async with asyncio.timeout(WRITE_S):
                await stream.write(framed)
        except TimeoutError:
            self._drop()
            raise CarrierFailed(f"the receiver took nothing for {WRITE_S:g} s") from None
        except ConnectFailed as error:
            self._drop()
            raise CarrierFailed(str(error)) from error
        except BaseException:  # cancelled half way through a frame: the next one could not be told from it
            self._drop()
            raise

    async def _connected(self) -> ByteStream:
        if self._stream is None or self._stream.is_lost:
            self._drop()
            self._stream = await open_stream(self._host, self._port, self._credentials, connect_s=CONNECT_S)
            await self._stream.settle(SETTLE_S)
        return self._stream

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.abort()
            self._stream = None

    async def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Datagrams(asyncio.DatagramProtocol):
    """Remembers what the network says of what was sent before."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def error_received(self, exc: Exception) -> None:
        self.failure = exc

    def connection_lost(self, exc: Exception | None) -> None:
        self.failure = exc or self.failure


class UdpSyslog:
    """RFC 5426: a datagram for each message. Only a receiver that says it is not there is noticed missing."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._transport: asyncio.DatagramTransport | None = None
        self._datagrams = _Datagrams()

    async def send(self, messages: Sequence[bytes]) -> None:
        try:
            transport = await self._connected()
        except OSError as error:
            raise CarrierFailed(f"{self._host}:{self._port}: {error.strerror or error}") from error
        for message in messages:
            transport.sendto(message[:DATAGRAM_BYTES])
        if self._datagrams.failure is not None:
            failure = self._datagrams.failure
            await self.close()
            raise CarrierFailed(f"{self._host}:{self._port}: {failure}")

    async def _connected(self) -> asyncio.DatagramTransport:
        if self._transport is None:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(CONNECT_S):  # the name may have to be looked up
                self._transport, self._datagrams = await loop.create_datagram_endpoint(
                    _Datagrams, remote_addr=(self._host, self._port)
                )
        return self._transport

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


class AuditFile:
    """Messages line by line, on stable storage when ``send`` returns. May be moved away to be rotated."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    async def send(self, messages: Sequence[bytes]) -> None:
        lines = b"".join(message + b"\n" for message in messages)
        try:
            await to_thread.run_sync(self._append, lines)
        except OSError as error:
            raise CarrierFailed(f"{self._path}: {error.strerror or error}") from error

    async def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, lines: bytes) -> None:
        file = self._opened()
        before = os.fstat(file).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fdatasync(file)
        except OSError:
            os.ftruncate(file, before)  # no half line stays
            raise

    def _opened(self) -> int:
        if self._file is not None and not self._is_in_place(self._file):
            os.close(self._file)
            self._file = None
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        return self._file

    def _is_in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return False
