"""One request for a query or retrieval and its responses, on the association on which it came."""

from __future__ import annotations

from enum import StrEnum

from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command, SubOperations, query_rsp
from router.dicom.events import CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import AcceptedContext
from router.dicom.pdu import frame_data_set
from router.dicom.statuses import PENDING_WITH_DOUBT
from router.net.connection import Connection

REQUEST_CAP_BYTES = 256 * 1024  # of a request's identifier: a list of 4,000 UIDs


class Ended(StrEnum):
    """How a query or retrieval ended: the label of the metric."""

    SUCCESS = "success"
    WARNING = "warning"  # not everything could be sent
    CANCELLED = "cancelled"
    REFUSED = "refused"  # the question fits no model, or its destination is not known
    BUSY = "busy"  # too many at once, or the index is not there yet
    FAILED = "failed"
    LOST = "lost"  # the association ended before it was answered


class Dialogue:
    """One request and its responses, on the association on which it came."""

    def __init__(self, connection: Connection, context: AcceptedContext, command: Command) -> None:
        self.connection = connection
        self.context = context
        self.command = command
        self.is_cancelled = False

    async def read_identifier(self) -> bytes | None:
        """The whole identifier; None where it is longer than any request's is."""
        parts: list[bytes] = []
        size, is_complete = 0, not self.command.has_data_set
        while not is_complete:
            data = await self.connection.next_event()
            assert isinstance(data, DataReceived)  # noqa: S101 - the association lets nothing else follow
            size += sum(map(len, data.fragments))
            if size <= REQUEST_CAP_BYTES:
                parts += map(bytes, data.fragments)
            is_complete = data.last
        return b"".join(parts) if size <= REQUEST_CAP_BYTES else None

    def queue(
        self,
        status: int,
        identifier: bytes = b"",
        *,
        comment: str = "",
        counts: SubOperations | None = None,
    ) -> None:
        """Queue a response; what is pending is followed by others."""
        association = self.connection.association
        response = query_rsp(
            self.command, status, comment=comment, has_data_set=bool(identifier), sub_operations=counts
        )
        is_last = status not in (Status.PENDING, PENDING_WITH_DOUBT)
        association.send_message(self.context.id, response, is_last=is_last)
        if identifier:
            framed, gaps = frame_data_set(self.context.id, len(identifier), association.peer_max_pdu_bytes)
            at = 0
            for gap in gaps:
                gap[:] = identifier[at : at + len(gap)]
                at += len(gap)
            association.send_data(framed)

    async def flush(self) -> None:
        """Send what is queued; the association's own limits bound the wait."""
        await self.connection.flush()

    def cancelled(self, message_id: int | None) -> None:
        """A C-CANCEL for that message has come."""
        self.is_cancelled |= message_id == self.command.message_id

    async def listen(self) -> bool:
        """Whether to stop: the peer has cancelled, or wants to go. Raises where the association is over.

        Requests that came meanwhile stay for whoever serves the association.
        """
        while not self.is_cancelled:
            event = self.connection.peek()
            if event is None:
                if self.connection.has_event:
                    await self.connection.next_event()  # raises
                break
            if isinstance(event, ReleaseRequested):
                self.is_cancelled = True
            elif isinstance(event, CommandReceived) and event.command.field == CommandField.C_CANCEL_RQ:
                await self.connection.next_event()
                self.cancelled(event.command.responded_to)
            else:
                break
        return self.is_cancelled
