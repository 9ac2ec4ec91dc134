"""The connections of the HTTP port: plain or TLS, not too many, and none that only waits.

uvicorn bounds neither how long a request may take to arrive nor how many connections say nothing: who opens
many could take every descriptor of the gateway. So a request must be there within a time, an answer must be
read, and where there are too many connections the oldest that has no request under way goes.

TLS is ours (``router.net.tls_channel``): with the failures in words, and new certificates without a restart.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from router.config.tls import ListenerTls
from router.errors import TlsFailed
from router.logs import get_logger
from router.net.credentials import Credentials, TlsObserver
from router.net.tls_channel import TlsChannel
from router.net.tls_words import Side, TlsReason

CONNECTIONS = 256  # at once: scrapers and browsers keep a handful each
HANDSHAKES = 64  # TLS handshakes at once; one more ends the oldest
REQUEST_S = 30.0  # from the connection, or a request's first byte, to its last header
STALL_S = 60.0  # an answer of which nothing is read
CHUNK_BYTES = 64 * 1024
ROLE = "http"  # in the metrics of TLS

_log = get_logger("api")


class Connections:
    """Makes the protocol for each connection; uvicorn calls it as it would call its own class."""

    def __init__(self, tls: Credentials | None = None, observer: TlsObserver | None = None) -> None:
        self._tls = tls
        self._observer = observer
        self._shaking: dict[TlsChannel, None] = {}  # the oldest first
        self._open: dict[HttpConnection, None] = {}
        self.chunk = bytearray(CHUNK_BYTES)  # filled and emptied within one call

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.BaseProtocol:
        make = partial(HttpConnection, self, config, server_state, app_state, _loop)
        tls = self._tls
        if tls is None or not isinstance(tls.settings, ListenerTls):
            return make()
        if len(self._shaking) >= HANDSHAKES:
            oldest = next(iter(self._shaking))
            oldest.give_up(TlsFailed("others wait for a handshake", reason=TlsReason.OVER_LIMIT))
        channel = TlsChannel(
            tls.context,
            Side(is_server=True),
            make=lambda channel: self._secured(channel, make()),
            on_failed=self._failed,
            handshake_s=tls.settings.handshake_timeout,
        )
        self._shaking[channel] = None
        return channel

    def opened(self, connection: HttpConnection) -> None:
        """One more; where there are too many, the oldest without a request goes, perhaps this one."""
        self._open[connection] = None
        if len(self._open) > CONNECTIONS:
            idle = (one for one in self._open if not one.is_busy)
            next(idle).transport.abort()

    def closed(self, connection: HttpConnection) -> None:
        """One less."""
        self._open.pop(connection, None)

    def hang_up(self) -> None:
        """End handshakes: nobody new is let in."""
        for channel in list(self._shaking):
            channel.abort()

    def _secured(self, channel: TlsChannel, connection: HttpConnection) -> _Decrypted:
        self._shaking.pop(channel, None)
        if self._observer is not None:
            is_resumed = bool(channel.tls.session_reused)
            self._observer.tls_secured(ROLE, channel.tls.version() or "", is_resumed=is_resumed)
        return _Decrypted(connection, memoryview(self.chunk))

    def _failed(self, channel: TlsChannel, failure: TlsFailed) -> None:
        self._shaking.pop(channel, None)
        if self._observer is not None:
            self._observer.tls_failed(ROLE, failure.reason)
        is_probe = failure.reason == TlsReason.CLOSED and not channel.has_spoken
        tell = _log.debug if is_probe else _log.warning
        tell(
            "TLS handshake failed",
            listener=ROLE,
            peer=channel.peer,
            reason=failure.reason,
            detail=str(failure),
        )


class HttpConnection(H11Protocol):
    """uvicorn's protocol, with deadlines for each request's headers and for reading its answer."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._all = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """A request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()
        self._all.opened(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        self._forget()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _watch(self) -> None:
        if self.is_busy:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self._late)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _flows(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _late(self) -> None:
        self._deadline = None
        if not self.is_busy:
            self.transport.abort()


class _Decrypted(asyncio.BufferedProtocol):
    """What a TLS channel gives, as uvicorn's protocol takes it."""

    def __init__(self, inner: HttpConnection, chunk: memoryview) -> None:
        self._inner = inner
        self._chunk = chunk

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(cast("asyncio.Transport", transport))
        self._inner.scheme = "https"

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.data_received(bytes(self._chunk[:nbytes]))

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
