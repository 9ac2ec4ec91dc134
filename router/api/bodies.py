"""The bodies of requests: gathered before the application sees the request, not too long and not too slow.

The interface takes orders of a few hundred bytes. Without a bound one client could fill the gateway's memory
with one request, or hold it open for good with a byte a minute.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import anyio

BODY_BYTES = 1024 * 1024
BODY_S = 30.0  # from the last header to the last byte

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """A body that was not read to its end: what to answer."""

    status: int
    sentence: str


async def gather(receive: _Receive) -> bytes | Unwanted | None:
    """The whole body of a request; None where the client has gone."""
    body = bytearray()
    with anyio.move_on_after(BODY_S):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > BODY_BYTES:
                return Unwanted(status=413, sentence=f"the body is longer than {BODY_BYTES} bytes")
            if not message.get("more_body", False):
                return bytes(body)
    return Unwanted(status=408, sentence=f"the body was not here after {BODY_S:.0f} s")


def replay(body: bytes, receive: _Receive) -> _Receive:
    """``receive`` for the application: the body at once, then whatever the client does."""
    first: list[_Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> _Message:
        return first.pop() if first else await receive()

    return receive_again
