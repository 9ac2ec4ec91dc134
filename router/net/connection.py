"""One association on one transport: the wire's bytes into ``dicom.association``, its bytes onto the wire.

The protocol object is synchronous and does no more than its transport asks; one task owns the association
and drives it through ``next_event``, ``flush`` and ``close``.

- Received bytes are copied once, out of a buffer that all connections of a thread share, into a piece of just
  their size; events carry views into it. An association that has nothing to read holds nothing.
- Reading pauses while more than ``READ_AHEAD_BYTES`` of events wait for the owner; that is the whole
  backpressure, and the peer's TCP window does the rest.
- What waits for the owner is counted with what it costs in memory: a peer that sends data sets in fragments
  of two bytes, or requests without end, is not read any further than one that sends megabytes.
- A peer that sends commands and headers around little or no data is read in small chunks with rests between:
  they take long to take apart, and a few such peers would leave the loop no time for others.
- A peer that does not take what it is answered is cut off (``answer_s``).
- The owner is woken once for each message or ``WAKE_BYTES``, not once for each PDU.
- A failure (abort, loss, timeout, a broken protocol) is raised by ``next_event`` after the events before it.
- Nothing in it leads back to it once it has ended: it is freed with its task, and the dead of a flood do not
  wait for the cycle collector.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from router.config.settings import Limits
from router.dicom.association import Association
from router.dicom.codes import AbortReason, AbortSource
from router.dicom.events import Aborted, CommandReceived, ConnectionClosed, DataReceived, Event
from router.dicom.patience import Wait
from router.errors import (
    AssociationAborted,
    AssociationLost,
    AssociationTimeout,
    RemoteProtocolError,
    RouterError,
    TlsFailed,
)
from router.model import Buffer
from router.net.scratch import Scratch
from router.net.tls_words import FIRST_BYTES, TlsReason, is_tls
from router.net.weight import FRAGMENT_COST_BYTES, LEAN, copied, weigh

READ_AHEAD_BYTES = 2 * 1024 * 1024
REST_S = 0.05  # after a chunk of next to no data: still some thousand C-ECHO a second
REST_BYTES = 8 * 1024  # less was no flood
IN_A_ROW = 32  # events that one association may read in one turn of the loop, where as many are there
WAKE_BYTES = 1024 * 1024
JOIN_BYTES = 128 * 1024  # pieces that together stay below this leave in one write
WRITE_SLICE_BYTES = 512 * 1024  # larger pieces are written so: little is copied on a full socket

_scratch = Scratch()


class Connection(asyncio.BufferedProtocol):
    """The transport of one association. Not to be shared between tasks."""

    def __init__(
        self,
        association: Association,
        *,
        listener: str = "",
        limits: Limits | None = None,
        on_made: Callable[[Connection], None] | None = None,
    ) -> None:
        self.association = association
        self._on_made = on_made
        self.listener = listener
        self.limits = limits if limits is not None else Limits()  # of the listener
        self._answer_s = limits.answer_s if limits is not None else None
        self.owed = 0  # answers that its owner has still to give
        self.peer = ""
        self.certificate_names: frozenset[str] = frozenset()  # of the peer's certificate, where it showed one
        self.is_tls_on_plain = False  # the peer began a TLS handshake, and this is no TLS port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._events: deque[tuple[Event, int]] = deque()  # with what each costs
        self._unread_bytes = 0
        self._in_a_row = 0  # events read without a wait
        self._lean_bytes = 0  # received of one message that was mostly headers
        self.failure: RouterError | None = None  # what ended it, where it did not end in good order
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._is_write_paused = False
        self._untaken: asyncio.TimerHandle | None = None  # runs while answers wait for the peer to read
        self._is_read_paused = False
        self._rest: asyncio.TimerHandle | None = None  # runs while nothing is read for the sake of others
        self._is_lost = False
        self._lost: asyncio.Future[None] | None = None
        self._buffer = _scratch.small
        self._timer: asyncio.TimerHandle | None = None
        self._made_at = self._active_at = self._loop.time()

    # ---- what the owner calls

    async def next_event(self) -> Event:
        """The next event of the association.

        Raises the failure that ended the association (``AssociationLost``, ``AssociationTimeout``,
        ``RemoteProtocolError``) once every event before it has been read.
        """
        while not self._events:
            if self.failure is not None:
                raise _again(self.failure)
            self._in_a_row = 0
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            self._in_a_row = 0
            await asyncio.sleep(0)
        event, cost = self._events.popleft()
        self._unread_bytes -= cost
        if self._is_read_paused and self._unread_bytes < READ_AHEAD_BYTES:
            self._resume_reading()
        return event

    @property
    def has_event(self) -> bool:
        """``next_event`` would return at once, or raise."""
        return bool(self._events) or self.failure is not None

    def peek(self) -> Event | None:
        """What ``next_event`` would return at once; None where it would wait, or raise."""
        return self._events[0][0] if self._events else None

    async def flush(self) -> None:
        """Write what the association has to send; wait while the transport's buffer is over its mark."""
        pieces = self.association.data_to_send()
        if pieces:
            self._active_at = self._loop.time()
            await self._write(pieces)
        self._rearm()
        if self.association.is_closed:
            self._close_transport()

    @property
    def transport(self) -> asyncio.Transport | None:
        """What carries it: TCP itself, or TLS over it."""
        return self._transport

    @property
    def is_closed(self) -> bool:
        """Nothing more can be read or written."""
        return self._is_lost or self.association.is_closed or self.failure is not None

    def idle_s(self) -> float:
        """For how long nothing has been under way: no message half here, none unanswered. 0 while one is."""
        if self._reader is None or self._events or self.owed or self.association.is_mid_message:
            return 0.0
        return self._loop.time() - self._active_at

    @property
    def has_asked(self) -> bool:
        """Its A-ASSOCIATE-RQ has come."""
        return self.association.request is not None

    def spare_s(self) -> float:
        """For how long it could have been spared: it has asked for no association yet, or nothing of it."""
        return self.idle_s() if self.has_asked else self._loop.time() - self._made_at

    def give_way(self, failure: RouterError) -> None:
        """End it for the sake of others; ``failure`` says why."""
        self._fail(failure)
        self.abort()

    def abort(self) -> None:
        """Abort the association (A-ABORT where it can still be said) and drop the connection."""
        if self._transport is None or self._is_lost:
            return
        if not self.association.is_closed:
            self.association.abort()
            self._write_now(self.association.data_to_send())
        self._close_transport()

    async def close(self, grace_s: float) -> None:
        """End in good order: the side that answered last waits for the peer to close (PS3.8 Sta13)."""
        if self._transport is None or self._is_lost:
            return
        if self.association.is_closed:
            self._close_transport()
        self._lost = self._loop.create_future()
        try:
            async with asyncio.timeout(grace_s):
                await self._lost
        except TimeoutError:
            self._transport.abort()
        finally:
            self._lost = None

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's own promise to a stream protocol
        self._transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if isinstance(address, tuple) else ""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._rearm()
        if self._on_made is not None:
            self._on_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        received = bytes(self._buffer[:nbytes])
        association = self.association
        now = self._active_at = self._loop.time()
        try:
            events = association.receive_data(memoryview(received), now)
        except RemoteProtocolError as error:
            self._fail(self._told(error, received[:FIRST_BYTES]))
            self._write_now(association.data_to_send())
            self._close_transport()
            return
        data_bytes, fragments, costs = weigh(events)
        if LEAN * data_bytes < nbytes:
            if association.contexts and self._answer_s is not None:  # as requestor it is answers that come
                self._bear(events, nbytes)
            events = copied(events)
        else:
            self._lean_bytes = 0
            if data_bytes < FRAGMENT_COST_BYTES * fragments:
                events = copied(events)
        if nbytes == len(self._buffer) and self._rest is None:
            self._buffer = _scratch.whole
        if events:
            self._take(events, costs)
        if association.has_data_to_send:
            self._write_now(association.data_to_send())
        if association.is_closed:
            self._close_transport()
        self._rearm()

    def eof_received(self) -> bool:
        self._take(events := self.association.receive_eof(self._loop.time()), weigh(events)[2])
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        for timer in (self._timer, self._untaken, self._rest):
            if timer is not None:
                timer.cancel()
        self._timer = self._untaken = self._rest = None
        self._take(events := self.association.receive_eof(self._loop.time()), weigh(events)[2])
        said = "the connection was lost" if exc is not None else "the peer closed the connection"
        self._fail(exc if isinstance(exc, RouterError) else AssociationLost(said))
        for waiter in (self._writer, self._lost):
            _wake(waiter)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self._answer_s is not None and self._untaken is None and not self._is_lost:
            self._untaken = self._loop.call_later(self._answer_s, self._on_untaken)

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None
        _wake(self._writer)

    # ---- inside

    def _take(self, events: list[Event], costs: list[int]) -> None:
        """Queue events for the owner, and wake it if there is something worth waking for."""
        is_worth_waking = False
        for event, cost in zip(events, costs, strict=True):
            if isinstance(event, DataReceived):
                is_worth_waking |= event.last
            elif isinstance(event, CommandReceived):
                is_worth_waking |= not event.command.has_data_set
            elif isinstance(event, Aborted):
                self._fail(
                    AssociationAborted(f"the peer aborted (source {event.source}, reason {event.reason})")
                )
                continue
            elif isinstance(event, ConnectionClosed):
                continue  # connection_lost says so, with the cause
            else:
                is_worth_waking = True
            self._unread_bytes += cost
            self._events.append((event, cost))
        if is_worth_waking or self._unread_bytes >= WAKE_BYTES:
            _wake(self._reader)
        if (
            self._unread_bytes >= READ_AHEAD_BYTES
            and not self._is_read_paused
            and self._transport is not None
        ):
            self._is_read_paused = True
            self._transport.pause_reading()

    def _bear(self, events: list[Event], nbytes: int) -> None:
        """What was received holds next to no data: its sender waits for his next turn, or goes too far."""
        self._lean_bytes = 0 if any(map(_ends_message, events)) else self._lean_bytes + nbytes
        if self._lean_bytes > self.limits.overhead_bytes:
            self._fail(
                RemoteProtocolError("a message of next to nothing but headers", limit="overhead_bytes")
            )
            self.association.abort(AbortSource.SERVICE_PROVIDER, AbortReason.INVALID_PDU_PARAMETER_VALUE)
        elif nbytes >= REST_BYTES and self._transport is not None:
            self._buffer = _scratch.small
            self._transport.pause_reading()
            self._rest = self._loop.call_later(REST_S, self._end_rest)

    def _fail(self, failure: RouterError) -> None:
        if self.failure is None:
            self.failure = failure.with_traceback(None)
        _wake(self._reader)

    def _told(self, error: RemoteProtocolError, first: bytes) -> RouterError:
        """What no PDU begins with may be TLS, which says more than its number."""
        if self.association.contexts or not is_tls(first):
            return error
        if self.association.request is None:
            self.is_tls_on_plain = True
            return RemoteProtocolError("the peer speaks TLS, and this port is plain")
        return TlsFailed(
            "the peer speaks TLS on that port, and none is configured for it (tls)", reason=TlsReason.TLS_PEER
        )

    def _resume_reading(self) -> None:
        self._is_read_paused = False
        self._read_on()

    def _end_rest(self) -> None:
        self._rest = None
        self._read_on()

    def _read_on(self) -> None:
        """Read again, where nothing is left that speaks against it."""
        if self._transport is None or self._is_lost or self._is_read_paused or self._rest is not None:
            return
        self.association.excuse(self._loop.time())
        self._transport.resume_reading()

    async def _write(self, pieces: list[Buffer]) -> None:
        """Hand pieces to the transport, small ones together, large ones in slices with drains between."""
        if sum(map(len, pieces)) <= JOIN_BYTES:
            self._write_now(pieces)
            await self._drain()
            return
        for piece in pieces:
            view = memoryview(piece)
            for at in range(0, len(view), WRITE_SLICE_BYTES):
                self._write_now([view[at : at + WRITE_SLICE_BYTES]])
                await self._drain()

    def _write_now(self, pieces: list[Buffer]) -> None:
        if not pieces or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def _drain(self) -> None:
        while self._is_write_paused and not self._is_lost:
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._is_lost and self.failure is not None and not self.association.is_closed:
            raise _again(self.failure)

    def _close_transport(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def _rearm(self) -> None:
        """Have a timer that fires no later than the association's next deadline."""
        deadline = self.association.next_deadline()
        if deadline is None or self._is_lost:
            return
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        deadline = self.association.next_deadline()
        if deadline is not None and deadline <= now:
            if (
                self._is_read_paused or self._rest is not None
            ):  # it is we who do not read: the peer is not late
                self._timer = self._loop.call_at(now + 1.0, self._on_timer)
                return
            events = self.association.handle_deadline(now)
            if events:
                overdue = self.association.overdue
                self._fail(
                    AssociationTimeout(_LATE.get(overdue, "nothing arrived in time"), limit=overdue or "")
                )
                self._take(events, weigh(events)[2])
            self._write_now(self.association.data_to_send())
            if self.association.is_closed:
                self._close_transport()
        self._rearm()

    def _on_untaken(self) -> None:
        self._untaken = None
        self._fail(AssociationTimeout("the peer does not read what it is answered", limit="answer_s"))
        if self._transport is not None:
            self._transport.abort()  # an A-ABORT would only wait behind the rest


_LATE: dict[Wait | None, str] = {
    Wait.REQUEST: "no whole A-ASSOCIATE-RQ came in time",
    Wait.IDLE: "nothing was asked on it for too long",
    Wait.PAUSE: "nothing came in the middle of a message for too long",
    Wait.RATE: "a message came too slowly",
    Wait.TOTAL: "a message took too long in all",
}


def _again(failure: RouterError) -> RouterError:
    """A copy to be raised: what is raised leads to each frame that it passes, and these to the connection."""
    copy = type(failure).__new__(type(failure), *failure.args)
    copy.__dict__.update(failure.__dict__)
    copy.__cause__ = failure.__cause__
    return copy


def _ends_message(event: Event) -> bool:
    return type(event) is CommandReceived or (type(event) is DataReceived and event.last)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
