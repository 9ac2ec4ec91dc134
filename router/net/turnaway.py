"""Telling somebody that he is not wanted now, for next to nothing: no association, no task, no handler.

The request is read as far as its own length says, and not looked at; the answer is the same for all. Who
sends anything else, or takes his time, is left without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from router.dicom.codes import PduType
from router.dicom.pdu import HEADER_BYTES

TURN_S = 2.0  # for the request, the answer and the peer's close in all
_READ_BYTES = 4096


class Turnaway(asyncio.BufferedProtocol):
    """The protocol of one connection. ``on_end(was_told)`` is called once, when it is gone."""

    def __init__(self, answer: bytes, *, most_bytes: int, on_end: Callable[[bool], None]) -> None:
        self._answer = answer
        self._most_bytes = most_bytes
        self._on_end = on_end
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._head = b""
        self._left: int | None = None  # of the request; None: its length has not come
        self._was_told = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise to a stream protocol
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(TURN_S, transport.abort)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._transport is None or self._was_told:
            return
        if self._left is None:
            self._head += bytes(self._buffer[:nbytes])
            if len(self._head) < HEADER_BYTES:
                return
            length = int.from_bytes(self._head[2:HEADER_BYTES], "big")
            if self._head[0] != PduType.ASSOCIATE_RQ or length > self._most_bytes:
                self._transport.close()
                return
            self._left = HEADER_BYTES + length - len(self._head)
        else:
            self._left -= nbytes
        if self._left <= 0:
            self._was_told = True
            self._transport.write(self._answer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        self._on_end(self._was_told)
