"""A listening port: one task for each association, limits kept before a handler sees anything.

An association over a limit is answered with A-ASSOCIATE-RJ, transient, local-limit-exceeded (PS3.8 §9.3.4),
so that the peer tries again later; it costs no handler and no memory beyond its request. So is everyone while
an operator drains the gateway (temporary-congestion).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from router.audit.gathering import Refusal, Refused
from router.config.settings import Listener
from router.dicom.association import Association
from router.dicom.events import AssociationRequested
from router.errors import AssociationError, RemoteProtocolError, RouterError, TlsFailed
from router.logs import get_logger
from router.net.certificates import names_of
from router.net.connection import Connection
from router.net.credentials import Credentials, TlsObserver
from router.net.tls_channel import TlsChannel
from router.net.tls_words import Side, TlsReason

BACKLOG = 1024  # connections the kernel keeps for us while the loop is busy
HANDSHAKES = 512  # TLS handshakes at once; one more ends the oldest, so who is silent keeps nobody out
CLOSE_GRACE_S = 5.0  # for the peer to take our last bytes and close (ARTIM, PS3.8 §9.1.5)
DRAIN_IDLE_S = 1.0  # a sender that asks nothing for so long is not kept waiting for
_REJECTED_TRANSIENT = 2
_PRESENTATION_RELATED = 3
_TEMPORARY_CONGESTION = 1
_LOCAL_LIMIT_EXCEEDED = 2

Handler = Callable[[Connection], Awaitable[None]]

log = get_logger("net")


class ListeningPort:
    """One bound port. ``bind`` first, then ``serve`` until it is cancelled."""

    def __init__(
        self,
        settings: Listener,
        handler: Handler,
        *,
        on_reject: Callable[[str], None],
        tls: Credentials | None = None,
        observer: TlsObserver | None = None,
        on_refused: Callable[[Refusal], None] = lambda refusal: None,
    ) -> None:
        self._settings = settings
        self._handler = handler
        self._on_reject = on_reject
        self._tls = tls
        self._observer = observer
        self._on_refused = on_refused
        self._shaking: dict[TlsChannel, None] = {}  # in the midst of a handshake, the oldest first
        self._sockets: list[socket.socket] = []
        self._port = settings.port
        self._servers: list[asyncio.Server] = []
        self._tasks: TaskGroup | None = None
        self._open: set[Connection] = set()
        self._by_peer: Counter[str] = Counter()
        self._emptied = asyncio.Event()
        self.is_refusing = False  # whoever comes is told to come again later

    @property
    def port(self) -> int:
        """The port that is bound, also where the configuration left it to the system."""
        return self._port

    @property
    def associations(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def bind(self) -> None:
        """Take the port. Raises ``OSError`` where that is not possible."""
        host, port = self._settings.host, self._settings.port
        if not host and socket.has_dualstack_ipv6():
            try:
                sock = socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
                )
            except OSError:  # a kernel without IPv6: the address family is known, but no address is
                sock = socket.create_server(("", port), backlog=BACKLOG)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
        sock.setblocking(False)
        self._sockets.append(sock)
        self._port = int(sock.getsockname()[1])

    async def serve(self) -> None:
        """Accept associations until cancelled; then abort those that are open."""
        loop = asyncio.get_running_loop()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    for sock in self._sockets:
                        server = await loop.create_server(
                            self._meet, sock=sock, backlog=BACKLOG, start_serving=False
                        )
                        self._servers.append(server)
                        await server.start_serving()
                    await loop.create_future()
                finally:
                    self._tasks = None
                    self.stop_accepting()
                    self._hang_up()
        finally:
            self.stop_accepting()

    def stop_accepting(self) -> None:
        """Close the port; open associations go on."""
        for server in self._servers:
            server.close()
        for sock in self._sockets:
            sock.close()

    async def drain(self) -> None:
        """Take nobody new, let messages under way end, drop who asks nothing; return when all are gone."""
        self.stop_accepting()
        self._hang_up(shaking_only=True)
        while self._open:
            for connection in list(self._open):
                if connection.idle_s() >= DRAIN_IDLE_S:
                    connection.abort()
            self._emptied.clear()
            with anyio.move_on_after(DRAIN_IDLE_S / 4):
                await self._emptied.wait()

    def _hang_up(self, *, shaking_only: bool = False) -> None:
        for channel in list(self._shaking):
            channel.abort()
        for connection in () if shaking_only else list(self._open):
            connection.abort()

    async def wait_idle(self) -> None:
        """Return when no association is open any more."""
        while self._open:
            self._emptied.clear()
            await self._emptied.wait()

    def _meet(self) -> asyncio.BaseProtocol:
        """Whoever has connected: at once an association, or first a TLS handshake."""
        if self._tls is None or self._settings.tls is None:
            return self._new()
        if len(self._shaking) >= HANDSHAKES:
            oldest = next(iter(self._shaking))
            oldest.give_up(TlsFailed("others wait for a handshake", reason=TlsReason.OVER_LIMIT))
        channel = TlsChannel(
            self._tls.context,
            Side(is_server=True),
            make=self._secured,
            on_failed=self._failed,
            handshake_s=self._settings.tls.handshake_timeout,
        )
        self._shaking[channel] = None
        return channel

    def _secured(self, channel: TlsChannel) -> Connection:
        self._shaking.pop(channel, None)
        tls = channel.tls
        if self._observer is not None:
            self._observer.tls_secured("acceptor", tls.version() or "", is_resumed=bool(tls.session_reused))
        connection = self._new()
        certificate = tls.getpeercert(binary_form=True)
        if certificate is not None:  # never one that was not verified: without client_ca none is asked for
            connection.certificate_names = names_of(certificate)
        return connection

    def _failed(self, channel: TlsChannel, failure: TlsFailed) -> None:
        self._shaking.pop(channel, None)
        self._note(failure.reason)
        is_probe = failure.reason == TlsReason.CLOSED and not channel.has_spoken
        tell = log.debug if is_probe else log.warning  # load balancers look whether the port is open
        tell(
            "TLS handshake failed",
            listener=self._settings.label,
            peer=channel.peer,
            reason=failure.reason,
            detail=str(failure),
        )
        if not is_probe:
            because = f"TLS handshake failed: {failure}"
            self._on_refused(
                Refusal(
                    what=Refused.CALLER, where=self._settings.label, because=because, address=channel.peer
                )
            )

    def _note(self, reason: str) -> None:
        if self._observer is not None:
            self._observer.tls_failed("acceptor", reason)

    def _new(self) -> Connection:
        limits = self._settings.limits
        association = Association.acceptor(
            max_pdu_bytes=limits.max_pdu_bytes,
            pdu_cap_bytes=limits.pdu_cap_bytes,
            command_cap_bytes=limits.command_set_bytes,
            request_s=limits.request_s,
            idle_s=limits.idle_s,
            message_s=limits.message_s,
            now=asyncio.get_running_loop().time(),
        )
        return Connection(
            association, listener=self._settings.label, window=limits.window, on_made=self._start
        )

    def _start(self, connection: Connection) -> None:
        if self._tasks is None:  # accepted while the port was being closed
            connection.abort()
        else:
            self._tasks.start_soon(self._run, connection)

    async def _run(self, connection: Connection) -> None:
        """One association from its first byte to the closed socket."""
        limits = self._settings.limits
        is_over = len(self._open) >= limits.associations or (
            self._by_peer[connection.peer] >= limits.associations_per_peer
        )
        refused = _DRAINING if self.is_refusing else _OVER if is_over else None
        self._open.add(connection)
        self._by_peer[connection.peer] += 1
        try:
            await (_refuse(connection, refused, self._on_reject) if refused else self._handler(connection))
            await connection.close(CLOSE_GRACE_S)
        except (AssociationError, RemoteProtocolError):
            pass  # the handler has said what there is to say; the connection is over
        finally:
            if connection.is_tls_on_plain:
                self._note(TlsReason.TLS_PEER)
            connection.abort()
            self._open.discard(connection)
            self._by_peer[connection.peer] -= 1
            if not self._by_peer[connection.peer]:
                del self._by_peer[connection.peer]
            if not self._open:
                self._emptied.set()


_Refused = tuple[int, str]  # the reason in A-ASSOCIATE-RJ, and its word in the metric
_DRAINING: _Refused = (_TEMPORARY_CONGESTION, "draining")
_OVER: _Refused = (_LOCAL_LIMIT_EXCEEDED, "local_limit_exceeded")


async def _refuse(connection: Connection, refused: _Refused, on_reject: Callable[[str], None]) -> None:
    """Answer the request of an association that is not wanted now."""
    reason, word = refused
    try:
        event = await connection.next_event()
        if isinstance(event, AssociationRequested):
            on_reject(word)
            connection.association.reject(_REJECTED_TRANSIENT, _PRESENTATION_RELATED, reason)
            await connection.flush()
    except RouterError:
        return
