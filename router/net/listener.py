"""A listening port: one task for each association, limits kept before a handler sees anything.

Whoever comes too often, or where all places are taken, is answered with A-ASSOCIATE-RJ, transient, temporary
congestion or local limit exceeded (PS3.8 §9.3.4), so that the peer tries again later; so is everyone while an
operator drains the gateway. It costs no handler, no task and no association (``net.turnaway``); where even
that would be too much, because too many are being answered so or because there would be a TLS handshake
first, the connection is closed at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import anyio

from router.audit.gathering import Refusal, Refused
from router.config.settings import Listener
from router.dicom.association import Association
from router.errors import AssociationError, AssociationTimeout, RemoteProtocolError, TlsFailed
from router.logs import get_logger
from router.net.accepting import BACKLOG, Accepting
from router.net.certificates import names_of
from router.net.connection import Connection
from router.net.credentials import Credentials, TlsObserver
from router.net.places import DRAINING, NoPlace, Places
from router.net.repeats import Repeats
from router.net.tls_channel import TlsChannel
from router.net.tls_words import Side, TlsReason
from router.net.turnaway import Turnaway

TURNED_AWAY = 128  # answered with a rejection at once; whoever else is not wanted then is not answered
SEND_BUFFER_BYTES = 128 * 1024  # a thousand answers: who reads none has not many more made for it
CLOSE_GRACE_S = 5.0  # for the peer to take our last bytes and close (ARTIM, PS3.8 §9.1.5)
DRAIN_IDLE_S = 1.0  # a sender that asks nothing for so long is not kept waiting for

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
        on_limit: Callable[[str], None] = lambda _: None,
        tls: Credentials | None = None,
        observer: TlsObserver | None = None,
        on_refused: Callable[[Refusal], None] = lambda refusal: None,
    ) -> None:
        self._settings = settings
        self._handler = handler
        self._on_reject = on_reject
        self._on_limit = on_limit
        self._repeats = Repeats()
        self._tls = tls
        self._observer = observer
        self._on_refused = on_refused
        self._shaking: dict[TlsChannel, None] = {}  # in the midst of a handshake, the oldest first
        self._sockets: list[socket.socket] = []
        self._port = settings.port
        self._accepting: list[Accepting] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._places: Places | None = None
        self._arriving: set[socket.socket] = set()  # without a transport yet
        self._open: dict[Connection, str] = {}  # with the address for which it has its place
        self._turned_away = 0
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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # those accepted inherit it
        sock.setblocking(False)
        self._sockets.append(sock)
        self._port = int(sock.getsockname()[1])

    async def serve(self) -> None:
        """Accept associations until cancelled; then abort those that are open."""
        loop = asyncio.get_running_loop()
        self._places = Places(self._settings.limits, loop.time())
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    for sock in self._sockets:
                        accepting = Accepting(sock, self._accepted, on_exhausted=self._exhausted)
                        self._accepting.append(accepting)
                        accepting.start()
                    await loop.create_future()
                finally:
                    self._tasks = None
                    self.stop_accepting()
                    self._hang_up()
        finally:
            self.stop_accepting()
            for sock in self._arriving:
                sock.close()

    def stop_accepting(self) -> None:
        """Close the port; open associations go on."""
        for accepting in self._accepting:
            accepting.close()
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

    def _accepted(self, sock: socket.socket, peer: str) -> None:
        """Somebody has connected: what his connection is to be, or that it is none."""
        if self._tasks is None or self._places is None:  # while the port is being closed
            sock.close()
            return
        protocol: asyncio.BaseProtocol | None
        refused = self._places.comes(peer, asyncio.get_running_loop().time())
        if refused is not None:
            is_dear = self._tls is not None or self._turned_away >= TURNED_AWAY
            self._tell(refused, peer)
            protocol = None if is_dear else self._turn_away(refused)
        elif self._tls is not None and self._settings.tls is not None:
            protocol = self._shake_hands(self._tls, self._settings.tls.handshake_timeout)
        else:
            protocol = self._seat(peer)
        if protocol is None:  # without a word
            sock.close()
            return
        self._arriving.add(sock)
        self._tasks.create_task(self._take_in(sock, protocol))

    async def _take_in(self, sock: socket.socket, protocol: asyncio.BaseProtocol) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, sock)
        except BaseException as error:
            sock.close()
            if isinstance(protocol, Connection) and protocol.transport is None:
                self._leave(protocol)
            if not isinstance(error, OSError):  # that is: reset before it had a transport
                raise
        finally:
            self._arriving.discard(sock)

    def _exhausted(self) -> None:
        self._on_limit("descriptors")

    def _shake_hands(self, tls: Credentials, handshake_s: float) -> TlsChannel:
        if len(self._shaking) >= self._settings.limits.handshakes:
            oldest = next(iter(self._shaking))
            oldest.give_up(TlsFailed("others wait for a handshake", reason=TlsReason.OVER_LIMIT))
            self._on_limit("handshakes")
        channel = TlsChannel(
            tls.context,
            Side(is_server=True),
            make=self._secured,
            on_failed=self._failed,
            handshake_s=handshake_s,
        )
        self._shaking[channel] = None
        return channel

    def _secured(self, channel: TlsChannel) -> asyncio.BufferedProtocol:
        self._shaking.pop(channel, None)
        tls = channel.tls
        if self._observer is not None:
            self._observer.tls_secured("acceptor", tls.version() or "", is_resumed=bool(tls.session_reused))
        inner = self._seat(channel.peer)
        if not isinstance(inner, Connection):
            return inner
        certificate = tls.getpeercert(binary_form=True)
        if certificate is not None:  # never one that was not verified: without client_ca none is asked for
            inner.certificate_names = names_of(certificate)
        return inner

    def _failed(self, channel: TlsChannel, failure: TlsFailed) -> None:
        self._shaking.pop(channel, None)
        self._note(failure.reason)
        is_probe = failure.reason == TlsReason.CLOSED and not channel.has_spoken
        peer, reason = channel.peer, str(failure.reason)
        if not is_probe:  # the audit counts repeats itself
            because = f"TLS handshake failed: {failure}"
            self._on_refused(
                Refusal(what=Refused.CALLER, where=self._settings.label, because=because, address=peer)
            )
        left_out = self._left_out(f"tls {reason}", peer)
        if left_out is None:
            return
        tell = log.debug if is_probe else log.warning  # load balancers look whether the port is open
        tell(
            "TLS handshake failed",
            listener=self._settings.label,
            peer=peer,
            reason=reason,
            detail=str(failure),
            left_out=left_out,
        )

    def _left_out(self, what: str, peer: str) -> int | None:
        return self._repeats.left_out(asyncio.get_running_loop().time(), what, peer)

    def _note(self, reason: str) -> None:
        if self._observer is not None:
            self._observer.tls_failed("acceptor", reason)

    def _seat(self, peer: str) -> Connection | Turnaway:
        """A place for an association, or a word that there is none."""
        places = self._places
        assert places is not None  # noqa: S101 - it serves
        refused = DRAINING if self.is_refusing else places.has_many(peer)
        if refused is None and places.is_full() and not self._make_room():
            refused = places.no_place()
        if refused is not None:
            self._tell(refused, peer)
            return self._turn_away(refused)
        connection = self._new()
        self._open[connection] = peer
        places.take(peer)
        return connection

    def _make_room(self) -> bool:
        """Send away who can be spared; whether there was anybody."""
        assert self._places is not None  # noqa: S101 - it serves
        spared = self._places.who_makes_room(self._open, asyncio.get_running_loop().time())
        for connection in spared:
            connection.give_way(AssociationTimeout("it made room for others", limit="associations"))
        return bool(spared)

    def _turn_away(self, refused: NoPlace) -> Turnaway:
        self._turned_away += 1

        def ended(was_told: bool) -> None:
            self._turned_away -= 1
            if was_told:
                self._on_reject(refused.label)

        return Turnaway(refused.answer, most_bytes=self._settings.limits.request_bytes, on_end=ended)

    def _tell(self, refused: NoPlace, peer: str) -> None:
        if not refused.limit:
            return
        self._on_limit(refused.limit)
        left_out = self._left_out(refused.limit, peer)
        if left_out is not None:
            log.warning(
                "no place for an association",
                listener=self._settings.label,
                peer=peer,
                limit=refused.limit,
                left_out=left_out,
                what_to_do=f"look what this peer does; if it means well, raise limits.{refused.limit}",
            )

    def _new(self) -> Connection:
        limits = self._settings.limits
        association = Association.acceptor(
            max_pdu_bytes=limits.max_pdu_bytes,
            pdu_cap_bytes=limits.pdu_cap_bytes,
            command_cap_bytes=limits.command_set_bytes,
            request_cap_bytes=limits.request_bytes,
            most_contexts=limits.contexts,
            request_s=limits.request_s,
            idle_s=limits.idle_s,
            message_s=limits.message_s,
            message_bytes_per_second=limits.message_bytes_per_second,
            message_total_s=limits.message_total_s,
            now=asyncio.get_running_loop().time(),
        )
        return Connection(association, listener=self._settings.label, limits=limits, on_made=self._start)

    def _start(self, connection: Connection) -> None:
        if self._tasks is None:  # accepted while the port was being closed
            connection.abort()
            self._leave(connection)
        else:
            self._tasks.create_task(self._run(connection))

    async def _run(self, connection: Connection) -> None:
        """One association from its first byte to the closed socket."""
        try:
            try:
                await self._handler(connection)
            except (AssociationError, RemoteProtocolError):
                pass  # the handler has said what there is to say; the connection is over
            await connection.close(CLOSE_GRACE_S)
        finally:
            connection.abort()
            self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        """Its place is free, and what it leaves behind is counted."""
        if connection.is_tls_on_plain:
            self._note(TlsReason.TLS_PEER)
        failure = connection.failure
        if isinstance(failure, AssociationTimeout | RemoteProtocolError) and failure.limit:
            self._on_limit(failure.limit)
        peer = self._open.pop(connection)
        if self._places is not None:
            self._places.leave(peer)
        if not self._open:
            self._emptied.set()
