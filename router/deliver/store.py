"""Sending instances on one association: one outstanding, the next prepared while it is awaited.

An instance goes out from the spool as it lies there: the P-DATA-TF headers are written first, the file is
read into the gaps between them and its hash checked, and only then does the first byte leave. What is too
large for that is checked as a whole, and then streamed through windows, so that memory does not grow with it.

There is no task, timer or lock for each instance; the one cancel scope around an association carries the
deadline of whatever is being waited for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import anyio

from router.clock import Clock
from router.deliver.desk import Desk, Signal
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.verdict import NO_CONTEXT, of_error, of_status
from router.dicom.association import Association
from router.dicom.codes import CommandField
from router.dicom.dimse import Command, store_rq
from router.dicom.events import CommandReceived, DataReceived, Event, ReleaseRequested
from router.dicom.pdu import fragment_bytes, frame_data_set
from router.errors import (
    AssociationError,
    AssociationLost,
    AssociationTimeout,
    RemoteProtocolError,
    StorageError,
)
from router.model import Buffer, Delivery
from router.plan import Carried, NotProposed, Pair, choose_context, pair_of

WINDOW_BYTES = 1024 * 1024  # of one instance in memory, for each association, and as much again ahead
_IOV_MAX = 1000  # buffers of one preadv: the kernel takes 1024 (limits.h), the file meta needs one
_META_BYTES = 1024  # room for file meta information; more is made when it is longer
_LAST_MESSAGE_ID = 0xFFFF


class Wire(Protocol):
    """What sending needs of a :class:`router.net.connection.Connection`."""

    @property
    def association(self) -> Association: ...

    @property
    def is_closed(self) -> bool: ...

    async def next_event(self) -> Event: ...

    async def flush(self) -> None: ...

    async def close(self, grace_s: float) -> None: ...

    def abort(self) -> None: ...


class Ending(Enum):
    """Why sending on an association came to its end."""

    IDLE = "idle"  # nothing to send for a while, or the lane says so: release it
    REOPEN = "reopen"  # there is work that another association can carry
    BROKEN = "broken"  # over, with something outstanding
    STALE = "stale"  # the peer ended it while nothing was outstanding


@dataclass(slots=True, eq=False)
class _Outgoing:
    """An instance on its way out. ``framed`` is None where it is streamed in windows."""

    delivery: Delivery
    context_id: int
    framed: Buffer | None
    message_id: int = 0
    started_at: float = 0.0  # wall time; 0: not begun


class StoreSession:
    """Serves a desk with one established association; ``run`` once."""

    def __init__(
        self,
        wire: Wire,
        desk: Desk,
        *,
        content: Content,
        clock: Clock,
        proposed: frozenset[Pair],
        response_s: float,
        idle_s: float,
    ) -> None:
        self._wire = wire
        self._desk = desk
        self._content = content
        self._clock = clock
        self._proposed = proposed
        self._response_s = response_s
        self._idle_s = idle_s
        association = wire.association
        self._association = association
        self._accepted: dict[Pair, int] = {
            (context.abstract_syntax, context.transfer_syntax): context.id
            for context in association.contexts.values()
            if context.as_scu
        }
        self._max_pdu = association.peer_max_pdu_bytes
        self._window = min(WINDOW_BYTES, _IOV_MAX * fragment_bytes(self._max_pdu))
        self._meta = memoryview(bytearray(_META_BYTES))
        self._message_id = 0
        self._scope = anyio.CancelScope()
        self._outstanding: _Outgoing | None = None
        self._must_reopen = False
        self._is_over = False
        self._was_idle = False

    async def run(self) -> Ending:
        """Send what the desk gives until it gives nothing. Raises nothing of the peer's making."""
        error: AssociationError | RemoteProtocolError
        try:
            with self._scope:
                return await self._serve()
            error = AssociationTimeout(f"no answer within {self._response_s:g} s")
        except (AssociationError, RemoteProtocolError) as raised:
            error = raised
        return self._broken(error)

    def _broken(self, error: AssociationError | RemoteProtocolError) -> Ending:
        """The association is over; only the instance that was outstanding is touched by that."""
        self._wire.abort()
        outgoing, self._outstanding = self._outstanding, None
        for delivery in reversed(list(self._desk.in_hand.values())):
            if outgoing is None or delivery is not outgoing.delivery:
                self._desk.put_back(delivery)
        self._desk.spare = self._desk.busy_since = None
        if outgoing is None:
            return Ending.STALE
        is_timeout = isinstance(error, AssociationTimeout)
        if self._was_idle and not is_timeout and self._desk.forgive(outgoing.delivery):
            return Ending.STALE  # the peer had ended it already, as it may while nothing is sent
        self._desk.failed(outgoing.delivery, of_error(error), self._ended(outgoing, comment=str(error)))
        return Ending.BROKEN

    async def _serve(self) -> Ending:
        desk = self._desk
        current = await self._prepare_next()
        while True:
            if current is None:
                if self._must_reopen:
                    return Ending.REOPEN
                ending = await self._idle()
                if ending is not None:
                    return ending
                current = await self._prepare_next()
                continue
            if self._wire.is_closed:
                desk.put_back(current.delivery)
                return Ending.STALE
            await self._send(current)
            ahead = None if self._must_reopen else await self._prepare_next()
            desk.spare = ahead.delivery if ahead is not None else None
            await self._receive(current)
            # The lane may have taken the spare back: nothing waits behind a slow answer.
            current = ahead if ahead is not None and desk.spare is ahead.delivery else None
            desk.spare = None
            if current is None and not self._must_reopen:
                self._scope.deadline = math.inf
                current = await self._prepare_next()

    # ---- preparing

    async def _prepare_next(self) -> _Outgoing | None:
        """The next delivery that this association carries, read and framed."""
        while (delivery := self._desk.take()) is not None:
            choice = choose_context(
                pair_of(delivery.instance), accepted=self._accepted, proposed=self._proposed
            )
            if isinstance(choice, Carried):
                outgoing = await self._prepare(delivery, choice.context_id)
                if outgoing is not None:
                    return outgoing
            elif isinstance(choice, NotProposed):
                self._desk.put_back(delivery)
                self._must_reopen = True
                return None
            else:
                now = self._clock.now()
                ended = Ended(started_at=now, ended_at=now, comment="no presentation context accepted for it")
                self._desk.answered(delivery, NO_CONTEXT, ended)
        return None

    async def _prepare(self, delivery: Delivery, context_id: int) -> _Outgoing | None:
        instance = delivery.instance
        started_at = self._clock.now()
        try:
            if instance.size_bytes > self._window:
                self._scope.deadline = math.inf  # our disk's time is not the peer's
                await self._content.verify(instance)
                if self._outstanding is not None:
                    self._expect()
                return _Outgoing(delivery, context_id, None)
            framed, gaps = frame_data_set(context_id, instance.size_bytes, self._max_pdu)
            offset = instance.place.data_set_offset
            if offset > len(self._meta):
                self._meta = memoryview(bytearray(offset))
            await self._content.read(instance, [self._meta[:offset], *gaps])
            return _Outgoing(delivery, context_id, framed)
        except StorageError as error:
            ended = Ended(started_at=started_at, ended_at=self._clock.now(), comment=str(error))
            self._desk.failed(delivery, of_error(error), ended)
            return None

    # ---- sending

    async def _send(self, outgoing: _Outgoing) -> None:
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        outgoing.message_id = self._message_id
        outgoing.started_at = self._clock.now()
        self._outstanding = outgoing
        self._desk.busy_since = self._clock.monotonic()
        self._expect()
        arrival = outgoing.delivery.instance.arrival
        association = self._association
        association.send_message(
            outgoing.context_id,
            store_rq(outgoing.message_id, arrival.sop_class_uid, arrival.sop_instance_uid),
        )
        if outgoing.framed is not None:
            association.send_data(outgoing.framed)
            outgoing.framed = None
            await self._wire.flush()
        else:
            await self._stream(outgoing)
            self._expect()

    async def _stream(self, outgoing: _Outgoing) -> None:
        """Send a large, verified instance window by window; each window has the whole timeout."""
        instance = outgoing.delivery.instance
        size, base = instance.size_bytes, instance.place.data_set_offset
        window = self._window & ~1  # fragments are even but for the last (PS3.8 Annex E.1)
        for start in range(0, size, window):
            length = min(window, size - start)
            framed, gaps = frame_data_set(
                outgoing.context_id, length, self._max_pdu, last=start + length == size
            )
            try:
                await self._content.read_range(instance, base + start, gaps)
            except StorageError as error:
                # Half a message is out: there is no way to go on but to abort.
                self._outstanding = None
                self._desk.failed(
                    outgoing.delivery, of_error(error), self._ended(outgoing, comment=str(error))
                )
                raise AssociationLost("aborted: our own copy could not be read to its end") from error
            self._association.send_data(framed)
            self._expect()
            await self._wire.flush()

    def _expect(self) -> None:
        """From now the peer has ``response_s`` to take what is sent, and to answer."""
        self._scope.deadline = anyio.current_time() + self._response_s

    # ---- receiving

    async def _receive(self, outgoing: _Outgoing) -> None:
        """Await the response to ``outgoing`` and judge it."""
        while True:
            event = await self._wire.next_event()
            if isinstance(event, CommandReceived):
                break
            if isinstance(event, ReleaseRequested):
                self._association.confirm_release()
                await self._wire.flush()
                raise AssociationLost("the peer released the association instead of answering")
            if not isinstance(event, DataReceived):  # the data set of an odd response is nothing to us
                raise RemoteProtocolError(f"unexpected {type(event).__name__} instead of a response")
        command = event.command
        status = self._match(outgoing, event.context.id, command)
        self._outstanding = None
        self._was_idle = False
        self._desk.busy_since = None
        ended = self._ended(outgoing, status=status, comment=command.comment)
        self._desk.answered(outgoing.delivery, of_status(status), ended)

    @staticmethod
    def _match(outgoing: _Outgoing, context_id: int, command: Command) -> int:
        """The status, if this is the response to that very message (PS3.7 §9.3.1.2)."""
        if command.field != CommandField.C_STORE_RSP:
            raise RemoteProtocolError(f"a command {command.field:04X}H instead of a C-STORE response")
        if command.responded_to != outgoing.message_id:
            raise RemoteProtocolError("a response to a message that is not outstanding")
        if context_id != outgoing.context_id:
            raise RemoteProtocolError("a response on another presentation context than its request")
        if command.status is None:
            raise RemoteProtocolError("a response without a status")
        return command.status

    def _ended(self, outgoing: _Outgoing, *, status: int | None = None, comment: str = "") -> Ended:
        return Ended(
            started_at=outgoing.started_at,
            ended_at=self._clock.now(),
            status=status,
            comment=comment,
            transfer_syntax_uid=outgoing.delivery.instance.arrival.transfer_syntax_uid,
        )

    # ---- idle

    async def _idle(self) -> Ending | None:
        """Wait for work; None when there may be some."""
        self._scope.deadline = math.inf
        signal = await self._desk.wait()
        if signal is Signal.WATCH:
            signal = await self._watch()
        self._was_idle = True
        if self._is_over or self._wire.is_closed:
            return Ending.STALE
        return None if signal is Signal.WORK else Ending.IDLE

    async def _watch(self) -> Signal:
        """Wait for work, or for the peer to end the association, or for ``idle`` to pass."""
        signal = Signal.LEAVE
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, tasks.cancel_scope)
            with anyio.move_on_after(self._idle_s):
                signal = await self._desk.wait()
            tasks.cancel_scope.cancel()
        return signal

    async def _listen(self, scope: anyio.CancelScope) -> None:
        """Nothing is asked, so whatever the peer says ends it."""
        try:
            event = await self._wire.next_event()
            if isinstance(event, ReleaseRequested):
                self._association.confirm_release()
                await self._wire.flush()
        except (AssociationError, RemoteProtocolError):
            pass
        self._is_over = True
        scope.cancel()
