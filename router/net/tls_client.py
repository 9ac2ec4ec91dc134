"""The requestor's side of TLS: a connection whose handshake is through, and sessions to resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from router.config.tls import ModalityTls
from router.errors import TlsFailed
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.tls_channel import TlsChannel
from router.net.tls_words import Side

_Inner = TypeVar("_Inner", bound=asyncio.BufferedProtocol)


async def secure(
    make: Callable[[], _Inner],
    host: str,
    port: int,
    credentials: Credentials,
    *,
    connect_s: float,
    watch: Callable[[bytes], None] | None = None,
) -> _Inner:
    """Connect, shake hands, and make the protocol inside: ``connect_s`` at most for each of the first two.

    Raises ``TlsFailed``, and as connecting does ``OSError`` (``TimeoutError`` is one).
    """
    loop = asyncio.get_running_loop()
    through: asyncio.Future[_Inner] = loop.create_future()
    tls = credentials.settings
    assert isinstance(tls, ModalityTls)  # noqa: S101 - a listener's are for callers
    name = tls.server_name or host

    def made(channel: TlsChannel) -> _Inner:
        inner = make()
        if not through.done():
            through.set_result(inner)
        return inner

    def failed(channel: TlsChannel, failure: TlsFailed) -> None:
        if not through.done():
            through.set_exception(failure)

    side = Side(is_server=False, expected_name=name, has_certificate=tls.certificate is not None)
    channel = TlsChannel(
        credentials.context,
        side,
        make=made,
        on_failed=failed,
        handshake_s=connect_s,
        server_name=name,
        session=credentials.session((host, port)),
        watch=watch,
    )
    observer = credentials.observer
    try:
        async with asyncio.timeout(connect_s):
            await loop.create_connection(lambda: channel, host, port)
        inner = await through
    except TlsFailed as error:
        if observer is not None:
            observer.tls_failed("requestor", error.reason)
        raise TlsFailed(f"no TLS with {host}:{port}: {error}", reason=error.reason) from None
    except BaseException:
        channel.abort()
        if through.done() and not through.cancelled():
            through.exception()  # it has been looked at
        raise
    if observer is not None:
        found = channel.tls
        observer.tls_secured("requestor", found.version() or "", is_resumed=bool(found.session_reused))
    return inner


def remember(connection: Connection, host: str, port: int, credentials: Credentials) -> None:
    """Keep the session for the next association, once the peer has said something: tickets come before it."""
    channel = connection.transport
    if isinstance(channel, TlsChannel):
        credentials.remember((host, port), channel.context, channel.tls.session)
