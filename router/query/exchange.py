"""One association on which things are asked that are answered many times, until they end or are cancelled.

Each wait has a deadline: the peer's next word within ``timeout_s``, its last word within ``cancel_s`` after a
C-CANCEL. Inside a message it is the association itself that bounds the pauses (``message_s``), so that a
large instance over a slow line is not late as long as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from router import scu
from router.dicom.codes import RESPONSE_BIT
from router.dicom.dimse import cancel_rq
from router.dicom.events import CommandReceived, DataReceived, Event, ReleaseRequested
from router.dicom.identifier import IDENTIFIER_CAP_BYTES
from router.dicom.negotiation import AcceptedContext, ProposedContext, RoleSelection
from router.dicom.pdu import frame_data_set
from router.errors import AssociationError, AssociationLost, AssociationTimeout, RemoteProtocolError
from router.net import requestor
from router.net.connection import Connection
from router.scu import Target

_IDLE_MARGIN_S = 60.0  # the association's own patience ends behind ours


class Cancellation:
    """By which whoever waits for the end of an operation says that enough has come."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._scope: anyio.CancelScope | None = None

    def ask(self) -> None:
        """Have a C-CANCEL sent as soon as may be; the operation goes on until its peer has answered."""
        self.is_wanted = True
        if self._scope is not None:
            self._scope.cancel()

    async def next_event(self, connection: Connection, deadline: float) -> Event | None:
        """The next event; None where there is none until then, or where it was asked to cancel meanwhile."""
        with anyio.CancelScope(deadline=deadline) as scope:
            self._scope = scope
            try:
                return await connection.next_event()
            finally:
                self._scope = None
        return None


class Exchange:
    """Asks, and gives out what is answered. Make it with ``open_exchange``; for one task."""

    def __init__(
        self, connection: Connection, *, timeout_s: float, cancel_s: float, cancellation: Cancellation
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._cancel_s = cancel_s
        self._cancellation = cancellation
        self._context: AcceptedContext | None = None  # on which it was asked
        self._field = 0
        self._message_id = 0
        self._cancelled_at: float | None = None

    @property
    def is_cancelled(self) -> bool:
        """A C-CANCEL has been sent."""
        return self._cancelled_at is not None

    def context_for(self, sop_class_uid: str, what: str) -> AcceptedContext:
        """The presentation context of a SOP class; ``AssociationError`` where the peer took none."""
        for context in self._connection.association.contexts.values():
            if context.abstract_syntax == sop_class_uid:
                return context
        raise AssociationError(f"the peer does not accept {what}")

    async def ask(
        self, context: AcceptedContext, field: int, command: Callable[[int], bytes], identifier: bytes
    ) -> None:
        """Send a request of the command field ``field``: ``command`` for a message id, and its identifier.

        What was asked before must have ended.
        """
        self._context, self._field = context, field
        self._message_id = self._message_id % 0xFFFF + 1
        association = self._connection.association
        framed, gaps = frame_data_set(context.id, len(identifier), association.peer_max_pdu_bytes)
        at = 0
        for gap in gaps:
            gap[:] = identifier[at : at + len(gap)]
            at += len(gap)
        association.send_message(context.id, command(self._message_id))
        association.send_data(framed)
        await self._flush()

    async def next_message(self) -> CommandReceived:
        """The next response to what was asked, or a request of the peer's.

        Where a command announces a data set, read it to its end before the next message. Raises
        ``AssociationTimeout``, ``AssociationLost`` or ``RemoteProtocolError``; the association is over then.
        """
        event = await self._next_event()
        if isinstance(event, ReleaseRequested):
            raise AssociationLost("the peer released the association before it answered")
        if not isinstance(event, CommandReceived):
            raise RemoteProtocolError("something else than the awaited response arrived")
        command = event.command
        if command.is_response and (
            command.field != self._field | RESPONSE_BIT
            or command.responded_to != self._message_id
            or command.status is None
        ):
            raise RemoteProtocolError("a response that answers no message of ours")
        return event

    async def next_data(self) -> DataReceived:
        """The next bytes of the data set that was announced."""
        event = await self._next_event()
        if not isinstance(event, DataReceived):
            raise RemoteProtocolError("a data set that was announced does not come")
        return event

    async def read_identifier(self, received: CommandReceived) -> bytes:
        """The whole data set of a response; b"" where it has none."""
        parts: list[bytes] = []
        size, is_complete = 0, not received.command.has_data_set
        while not is_complete:
            data = await self.next_data()
            size += sum(map(len, data.fragments))
            if size > IDENTIFIER_CAP_BYTES:
                raise RemoteProtocolError(f"an identifier of more than {IDENTIFIER_CAP_BYTES} bytes")
            parts += map(bytes, data.fragments)
            is_complete = data.last
        return b"".join(parts)

    async def answer(self, context: AcceptedContext, response: bytes) -> None:
        """Answer a request of the peer's."""
        self._connection.association.send_message(context.id, response)
        await self._flush()

    async def cancel(self) -> None:
        """Send the C-CANCEL (PS3.7 §9.3.2.3), once."""
        if self._cancelled_at is None and self._context is not None:
            self._cancelled_at = anyio.current_time()
            self._connection.association.send_message(self._context.id, cancel_rq(self._message_id))
            await self._flush()

    def abort(self) -> None:
        """Give it up: the peer did not end it."""
        self._connection.abort()

    async def _next_event(self) -> Event:
        while True:
            if self._cancellation.is_wanted:
                await self.cancel()
            deadline = anyio.current_time() + self._timeout_s
            if self._cancelled_at is not None:
                deadline = min(deadline, self._cancelled_at + self._cancel_s)
            event = await self._cancellation.next_event(self._connection, deadline)
            if event is not None:
                return event
            if anyio.current_time() < deadline:  # asked to cancel
                continue
            if self.is_cancelled:
                raise AssociationTimeout(f"no last response within {self._cancel_s:g} s after C-CANCEL")
            if not self._connection.association.is_mid_message:
                raise AssociationTimeout(f"no response within {self._timeout_s:g} s")

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.flush()
        except TimeoutError:
            raise AssociationTimeout(f"the peer takes nothing within {self._timeout_s:g} s") from None


@asynccontextmanager
async def open_exchange(
    target: Target,
    contexts: Sequence[ProposedContext],
    *,
    roles: Sequence[RoleSelection] = (),
    timeout_s: float,
    cancel_s: float,
    cancellation: Cancellation | None = None,
) -> AsyncIterator[Exchange]:
    """An association for such requests; released where all went well, otherwise aborted."""
    connection = await scu.associate(target, contexts, roles=roles, idle_s=timeout_s + _IDLE_MARGIN_S)
    try:
        yield Exchange(
            connection,
            timeout_s=timeout_s,
            cancel_s=cancel_s,
            cancellation=cancellation or Cancellation(),
        )
        await requestor.release(connection)
    finally:
        connection.abort()
