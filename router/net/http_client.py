"""An HTTP client on one connection: the one place that knows aiohttp.

Its quirks kept here: its import takes half a second, so that is left to the first client, and to a thread; it
keeps cookies and follows redirects unless told not to; its exceptions become ours. A request is sent once:
whether to send it again is for others to decide.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from router.config.tls import ModalityTls
from router.errors import AssociationLost, AssociationTimeout, ConnectFailed, RemoteProtocolError, TlsFailed
from router.net.credentials import Credentials
from router.net.tls_words import Side, TlsReason, failure

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES = 1024 * 1024  # of one answer; the rest is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes


class HttpClient:
    """One connection, kept for ``idle_s`` between requests. For one task; an async context manager."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        credentials: Credentials | None,
        connect_s: float,
        answer_s: float,
        idle_s: float,
    ) -> None:
        self._headers = headers
        self._credentials = credentials
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        await to_thread.run_sync(import_module, "aiohttp")
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=1,
            keepalive_timeout=max(self._idle_s, 1.0),
            ssl=self._credentials.context if self._credentials is not None else True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_s),  # with TLS
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None  # noqa: S101 - __aenter__ made it
        with anyio.CancelScope(shield=True):  # closes sockets, and waits for nobody
            await self._session.close()

    async def post(
        self, url: str, headers: Mapping[str, str], body: AsyncIterator[memoryview], length: int
    ) -> Answer:
        """Send a body of ``length`` bytes. The server may not stall for longer than ``answer_s``.

        Raises ``ConnectFailed``, ``TlsFailed``, ``AssociationLost``, ``AssociationTimeout``,
        ``RemoteProtocolError``, and whatever ``body`` does.
        """
        return await self._ask("POST", url, {**headers, "Content-Length": str(length)}, body)

    async def options(self, url: str) -> Answer:
        """Ask what is there. Raises as :meth:`post`."""
        return await self._ask("OPTIONS", url, {}, None)

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: AsyncIterator[memoryview] | None
    ) -> Answer:
        import aiohttp

        assert self._session is not None  # noqa: S101 - __aenter__ made it
        ours: list[Exception] = []
        try:
            with anyio.CancelScope(deadline=self._later()) as scope:
                data = self._paced(body, scope, ours) if body is not None else None
                async with self._session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    server_hostname=self._server_name,
                ) as response:
                    content = bytearray()
                    async for chunk in response.content.iter_any():
                        content += chunk
                        scope.deadline = self._later()
                        if len(content) >= ANSWER_BYTES:
                            response.close()
                            break
                    return Answer(status=response.status, body=bytes(content[:ANSWER_BYTES]))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise (ours[0] if ours else self._converted(error, url)) from error
        raise AssociationTimeout(f"no answer within {self._answer_s:g} s")

    async def _paced(
        self, body: AsyncIterator[memoryview], scope: anyio.CancelScope, ours: list[Exception]
    ) -> AsyncIterator[memoryview]:
        """The body; only the server's time counts, not what we take to read it or to hold it back."""
        try:
            scope.deadline = math.inf
            async for piece in body:
                scope.deadline = self._later()
                yield piece
                scope.deadline = math.inf
        except Exception as error:
            ours.append(error)
            raise
        scope.deadline = self._later()

    @property
    def _server_name(self) -> str | None:
        """For whom the server's certificate has to be; None: for the host of the address."""
        tls = self._credentials.settings if self._credentials is not None else None
        return tls.server_name if isinstance(tls, ModalityTls) else None

    def _later(self) -> float:
        return anyio.current_time() + self._answer_s

    def _converted(self, error: Exception, url: str) -> Exception:
        import aiohttp

        where = url.partition("//")[2].partition("/")[0]
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return self._tls_failed(error, where)
        if isinstance(error, aiohttp.ClientConnectorError):
            return ConnectFailed(f"no connection to {where}: {error.strerror or error.os_error}")
        if isinstance(error, TimeoutError):
            return ConnectFailed(f"no connection to {where} within {self._connect_s:g} s")
        if isinstance(error, aiohttp.ClientPayloadError):
            return AssociationLost("the connection ended in the middle of an answer")
        if isinstance(error, OSError | aiohttp.ServerDisconnectedError):
            return AssociationLost("the server closed the connection")
        return RemoteProtocolError(f"the answer is no HTTP ({type(error).__name__})")

    def _tls_failed(self, error: Exception, where: str) -> TlsFailed:
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
        tls = self._credentials.settings if self._credentials is not None else None
        side = Side(
            is_server=False,
            expected_name=self._server_name or where.rpartition(":")[0] or where,
            has_certificate=tls is not None and tls.certificate is not None,
        )
        if isinstance(cause, ssl.SSLError):
            found = failure(cause, side)
            return TlsFailed(f"no TLS with {where}: {found}", reason=found.reason)
        return TlsFailed(f"no TLS with {where}", reason=TlsReason.OTHER)
