"""Sending instances on one association: as many outstanding as it allows, and the next one prepared.

An instance goes out from the spool as it lies there: the P-DATA-TF headers are written first, the file is
read into the gaps between them and its hash checked, and only then does the first byte leave. What is too
large for that is checked as a whole, and then streamed through windows, so that memory does not grow with it.

There is no task, timer or lock for each instance; the one cancel scope around an association carries the
deadline of whatever is being waited for.
"""

from __future__ import annotations

import math
from collections.abc import Container
from enum import Enum
from typing import Protocol

import anyio

from router.clock import Clock
from router.deliver.desk import Desk, Signal
from router.deliver.outgoing import Outgoing, choose
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.shaping import Shaper
from router.deliver.verdict import NO_CONTEXT, NO_FORM, of_error, of_status
from router.dicom.association import Association
from router.dicom.codes import CommandField
from router.dicom.dimse import DIMSE_PRIORITIES, Command, store_rq
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
from router.plan import NotProposed, Pair, Wanted

WINDOW_BYTES = 1024 * 1024  # of one instance in memory, for each association, and as much again ahead
_IOV_MAX = 1000  # buffers of one preadv: the kernel takes 1024 (limits.h), the file meta needs one
_META_BYTES = 1024  # room for file meta information; more is made when it is longer
_LAST_MESSAGE_ID = 0xFFFF
WINDOW_CAP = 256  # outstanding where the peer sets no limit


class Wire(Protocol):
    """What sending needs of a :class:`router.net.connection.Connection`."""

    @property
    def association(self) -> Association: ...

    @property
    def is_closed(self) -> bool: ...

    @property
    def has_event(self) -> bool: ...

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


class StoreSession:
    """Serves a desk with one established association; ``run`` once."""

    def __init__(
        self,
        wire: Wire,
        desk: Desk,
        *,
        content: Content,
        clock: Clock,
        refused: Container[Pair],
        response_s: float,
        idle_s: float,
        shaper: Shaper | None = None,
    ) -> None:
        self._wire = wire
        self._shaper = shaper if shaper is not None and shaper.is_limited else None
        self._desk = desk
        self._content = content
        self._clock = clock
        self._refused = refused
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
        self._limit = association.window or WINDOW_CAP
        desk.load.agreed(self._limit)
        self._outstanding: dict[int, Outgoing] = {}  # by message id, in the order sent
        self._ahead: Outgoing | None = None  # prepared, not sent
        self._is_alone = False  # a suspect is outstanding: nothing else goes
        self._progress_at = 0.0
        self.has_sent = False
        self.has_rendered = False  # it had deliveries for which it has to wait
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
        """The association is over; only the instances that were outstanding are touched by that."""
        self._wire.abort()
        outstanding, self._outstanding = self._outstanding, {}
        sent = {outgoing.delivery.delivery_id for outgoing in outstanding.values()}
        for delivery in reversed(list(self._desk.in_hand.values())):
            if delivery.delivery_id not in sent:
                self._desk.put_back(delivery)
        self._desk.spare = self._desk.busy_since = None
        may_forgive = self._was_idle and not isinstance(error, AssociationTimeout)
        ending = Ending.STALE
        for outgoing in reversed(outstanding.values()):
            if may_forgive and self._desk.forgive(outgoing.delivery):
                continue  # the peer had ended it already, as it may while nothing is sent
            self._desk.failed(outgoing.delivery, of_error(error), self._ended(outgoing, comment=str(error)))
            ending = Ending.BROKEN
        return ending

    async def _serve(self) -> Ending:
        while True:
            await self._fill()
            if self._outstanding:
                await self._receive()
                while self._outstanding and self._wire.has_event:
                    await self._receive()
                continue
            self._scope.deadline = math.inf
            if self._wire.is_closed:
                return self._stale()
            if self._must_reopen:
                return Ending.REOPEN
            if self._ahead is None and (ending := await self._idle()) is not None:
                return ending

    def _stale(self) -> Ending:
        if self._ahead is not None:
            self._desk.put_back(self._ahead.delivery)
        self._desk.spare = None
        return Ending.STALE

    # ---- filling the window

    async def _fill(self) -> None:
        """Send until the window is full or something has been answered, and have one more prepared."""
        desk = self._desk
        while not self._wire.is_closed:
            if self._ahead is not None and desk.spare is not self._ahead.delivery:
                self._ahead = None  # the lane took it back: nothing waits behind a slow answer
            if self._ahead is None and not self._must_reopen:
                self._ahead = await self._prepare_next()
                desk.spare = self._ahead.delivery if self._ahead is not None else None
            ahead = self._ahead
            if ahead is None or not self._has_room(ahead.delivery) or self._wire.is_closed:
                return
            if not desk.may_send:
                if self._outstanding:
                    return
                self._scope.deadline = math.inf  # our ledger's time is not the peer's
                await desk.wait_freed()
                continue
            self._ahead = desk.spare = None
            await self._send(ahead)
            if self._wire.has_event:
                return

    def _has_room(self, delivery: Delivery) -> bool:
        """May it be sent now? What has broken an association before goes alone, so that it is found out."""
        count = len(self._outstanding)
        if count and (self._is_alone or count >= self._desk.window or count >= self._limit):
            return False
        is_suspect = self._desk.judge.is_suspect(delivery)
        self._is_alone = is_suspect and not count
        return not (is_suspect and count)

    # ---- preparing

    async def _prepare_next(self) -> Outgoing | None:
        """The next delivery that this association carries, read and framed."""
        desk = self._desk
        while (delivery := desk.take()) is not None:
            choice = choose(
                delivery, desk.renditions, self._content, accepted=self._accepted, refused=self._refused
            )
            if isinstance(choice, Outgoing):
                if await self._prepare(choice):
                    return choice
            elif isinstance(choice, NotProposed):
                desk.put_back(delivery)
                self._must_reopen = True
                return None
            elif isinstance(choice, Wanted):
                self.has_rendered = True
                desk.render(delivery, choice.forms)
            else:
                now = self._clock.now()
                because = desk.renditions.give_up(delivery)
                comment = because or "no presentation context accepted for it"
                ended = Ended(started_at=now, ended_at=now, comment=comment)
                desk.answered(delivery, NO_FORM if because else NO_CONTEXT, ended)
        return None

    async def _prepare(self, outgoing: Outgoing) -> bool:
        """Read and frame it, or check it where it is too large for that. False: it could not be read."""
        instance = outgoing.instance
        started_at = self._clock.now()
        try:
            if instance.size_bytes > self._window:
                self._scope.deadline = math.inf  # our disk's time is not the peer's
                began_at = anyio.current_time()
                await outgoing.content.verify(instance)
                self._grant(anyio.current_time() - began_at)
                return True
            framed, gaps = frame_data_set(outgoing.context_id, instance.size_bytes, self._max_pdu)
            offset = instance.place.data_set_offset
            if offset > len(self._meta):
                self._meta = memoryview(bytearray(offset))
            await outgoing.content.read(instance, [self._meta[:offset], *gaps])
            outgoing.framed = framed
            return True
        except StorageError as error:
            ended = Ended(started_at=started_at, ended_at=self._clock.now(), comment=str(error))
            self._desk.failed(outgoing.delivery, of_error(error), ended)
            return False

    # ---- sending

    async def _send(self, outgoing: Outgoing) -> None:
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        outgoing.message_id = self._message_id
        outgoing.started_at = self._clock.now()
        outgoing.ahead = len(self._outstanding)
        self._outstanding[outgoing.message_id] = outgoing
        self.has_sent = True
        self._desk.load.sent(outgoing.delivery)
        self._expect()
        delivery = outgoing.delivery
        arrival = outgoing.instance.arrival
        association = self._association
        association.send_message(
            outgoing.context_id,
            store_rq(
                outgoing.message_id,
                arrival.sop_class_uid,
                arrival.sop_instance_uid,
                DIMSE_PRIORITIES[delivery.priority],
            ),
        )
        if outgoing.framed is not None:
            framed, outgoing.framed = outgoing.framed, None
            await self._put(framed)
        else:
            await self._stream(outgoing)
            self._expect()
        outgoing.answer_by = self._progress_at + self._response_s * (outgoing.ahead + 1)

    async def _stream(self, outgoing: Outgoing) -> None:
        """Send a large, verified instance window by window; each window has the whole timeout."""
        instance = outgoing.instance
        size, base = instance.size_bytes, instance.place.data_set_offset
        window = self._window & ~1  # fragments are even but for the last (PS3.8 Annex E.1)
        for start in range(0, size, window):
            length = min(window, size - start)
            framed, gaps = frame_data_set(
                outgoing.context_id, length, self._max_pdu, last=start + length == size
            )
            try:
                await outgoing.content.read_range(instance, base + start, gaps)
            except StorageError as error:
                # Half a message is out: there is no way to go on but to abort.
                del self._outstanding[outgoing.message_id]
                self._desk.failed(
                    outgoing.delivery, of_error(error), self._ended(outgoing, comment=str(error))
                )
                raise AssociationLost("aborted: our own copy could not be read to its end") from error
            self._expect()
            await self._put(framed)
            while len(self._outstanding) > 1 and self._wire.has_event:
                await self._receive()

    async def _put(self, framed: Buffer) -> None:
        """Write what is framed, as fast as the destination's limit allows; that wait is not the peer's."""
        left = memoryview(framed)
        while left:
            size, wait_s = self._shaper.grant(len(left)) if self._shaper is not None else (len(left), 0.0)
            if wait_s > 0:
                self._scope.deadline = math.inf
                await anyio.sleep(wait_s)
                self._grant(wait_s)
            self._association.send_data(left[:size])
            left = left[size:]
            await self._wire.flush()
            while left and len(self._outstanding) > 1 and self._wire.has_event:
                await self._receive()

    def _expect(self) -> None:
        """From now the peer has ``response_s`` to take something, or to answer something.

        Each message has its own limit besides: as often ``response_s`` as messages were to be answered before
        it, and once for itself.
        """
        self._progress_at = anyio.current_time()
        self._desk.busy_since = self._clock.monotonic() if self._outstanding else None
        self._arm()

    def _arm(self) -> None:
        if not self._outstanding:
            self._scope.deadline = math.inf
            return
        limits = min(outgoing.answer_by for outgoing in self._outstanding.values())
        self._scope.deadline = min(self._progress_at + self._response_s, limits)

    def _grant(self, seconds: float) -> None:
        """Give the peer back the time that was ours."""
        self._progress_at += seconds
        for outgoing in self._outstanding.values():
            outgoing.answer_by += seconds
        self._arm()

    # ---- receiving

    async def _receive(self) -> None:
        """Await the next response, to whichever message, and judge it."""
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
        outgoing, status = self._match(event.context.id, command)
        del self._outstanding[outgoing.message_id]
        self._was_idle = False
        if self._outstanding or self._ahead is None:
            self._expect()
        ended = self._ended(outgoing, status=status, comment=command.comment)
        self._desk.answered(outgoing.delivery, of_status(status), ended)

    def _match(self, context_id: int, command: Command) -> tuple[Outgoing, int]:
        """The message that this is the response to (PS3.7 §9.3.1.2), and its status."""
        if command.field != CommandField.C_STORE_RSP:
            raise RemoteProtocolError(f"a command {command.field:04X}H instead of a C-STORE response")
        outgoing = self._outstanding.get(command.responded_to or 0)
        if outgoing is None:
            raise RemoteProtocolError("a response to a message that is not outstanding")
        if context_id != outgoing.context_id:
            raise RemoteProtocolError("a response on another presentation context than its request")
        if command.status is None:
            raise RemoteProtocolError("a response without a status")
        return outgoing, command.status

    def _ended(self, outgoing: Outgoing, *, status: int | None = None, comment: str = "") -> Ended:
        return Ended(
            started_at=outgoing.started_at,
            ended_at=self._clock.now(),
            status=status,
            comment=comment,
            transfer_syntax_uid=outgoing.instance.arrival.transfer_syntax_uid,
            transcoding=outgoing.transcoding,
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
