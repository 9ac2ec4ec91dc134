"""The HTTP server: uvicorn inside the gateway's own loop, on a socket that we bind ourselves.

uvicorn's quirks kept here: it takes the process's signals (they belong to ``app``), and it ends the process
when it cannot bind (so it is handed a bound socket). Its connections are those of ``connections``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import cast

import anyio
import uvicorn

from router.api.connections import Connections
from router.api.http import Asgi
from router.net.credentials import Credentials, TlsObserver

SHUTDOWN_S = 3  # for requests under way when the gateway stops
KEEP_ALIVE_S = 30  # Prometheus scrapes every 15 s by default: it keeps its connection


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """One bound HTTP port."""

    def __init__(
        self, app: Asgi, *, tls: Credentials | None = None, observer: TlsObserver | None = None
    ) -> None:
        self._connections = Connections(tls, observer)
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", self._connections),
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        self._server = _Server(config)
        self._ended = anyio.Event()
        self._socket: socket.socket | None = None

    def bind(self, host: str, port: int) -> None:
        """Take the port. Raises ``OSError`` where that is not possible."""
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(128)
        except BaseException:
            bound.close()
            raise
        self._socket = bound

    @property
    def port(self) -> int:
        """The port that is bound, also where the configuration left it to the system."""
        assert self._socket is not None  # noqa: S101 - bind comes first
        return int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Answer requests until :meth:`stop` or cancellation."""
        assert self._socket is not None  # noqa: S101 - bind comes first
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            # Where it was cancelled it has not closed them itself.
            for listening in getattr(self._server, "servers", ()):
                listening.close()
            self.close()
            self._ended.set()

    def close(self) -> None:
        """Let go of the port."""
        if self._socket is not None:
            self._socket.close()

    async def stop(self) -> None:
        """Take no more requests, let those under way end within ``SHUTDOWN_S``, and make ``serve`` return."""
        self._connections.hang_up()
        self._server.should_exit = True
        await self._ended.wait()
