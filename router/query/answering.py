"""Queries and retrievals of callers as service class provider (PS3.4 §C.4): admitted, answered, counted.

One at a time on an association, so many at once on a listener and for one peer (``limits``). While one is
under way the association is listened to between two steps: a C-CANCEL ends it with FE00, and so do a release
or the end of the association. What is looked for is looked for in a thread, in small steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

import anyio
from anyio import to_thread

from router.config.settings import Operation, Settings
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command, SubOperations, query_rsp
from router.dicom.events import CommandReceived, DataReceived, ReleaseRequested
from router.dicom.identifier import decode_identifier
from router.dicom.inquiry import Inquiry, Unanswerable, encode_answer, read_inquiry
from router.dicom.negotiation import AcceptedContext
from router.dicom.pdu import frame_data_set
from router.dicom.query import FIND_CLASSES, Model
from router.dicom.statuses import PENDING_WITH_DOUBT
from router.errors import RemoteProtocolError
from router.logs import get_logger
from router.net.connection import Connection
from router.net.rate import peer_key
from router.query.feeding import Feeder
from router.query.index import Index, IndexFailed, Look
from router.telemetry import Telemetry

REQUEST_CAP_BYTES = 256 * 1024  # of a request's identifier: a list of 4,000 UIDs
CATCH_UP_S = 10.0  # for the index to hold what was acknowledged before the question
STEP = 64  # matches in one step
STEP_LOOKED_AT = 2000  # or so many that do not match: some 50 ms

_OPERATIONS: Mapping[int, Operation] = {CommandField.C_FIND_RQ: Operation.FIND}
_MODELS = {FIND_CLASSES[model]: model for model in (Model.PATIENT, Model.STUDY)}
_CLASSES: Mapping[int, frozenset[str]] = {CommandField.C_FIND_RQ: frozenset(_MODELS)}

log = get_logger("query")


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
                self.is_cancelled = event.command.responded_to == self.command.message_id
            else:
                break
        return self.is_cancelled


class Places:
    """How many queries are under way, by listener and by peer."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    def problem(self, connection: Connection) -> str:
        """The limit that speaks against one more; empty where none does."""
        limits = connection.limits
        if self._taken[connection.listener] >= limits.queries:
            return "queries"
        if self._taken[self._peer(connection)] >= limits.queries_per_peer:
            return "queries_per_peer"
        return ""

    @asynccontextmanager
    async def taken(self, connection: Connection) -> AsyncIterator[None]:
        """Hold one."""
        names = (connection.listener, self._peer(connection))
        self._taken.update(names)
        try:
            yield
        finally:
            self._taken.subtract(names)
            self._taken = +self._taken

    @staticmethod
    def _peer(connection: Connection) -> str:
        return f"{connection.listener} {peer_key(connection.peer)}"


class Answering:
    """Answers for one gateway. Belongs to the event loop."""

    def __init__(
        self, index: Index, feeder: Feeder, settings: Callable[[], Settings], telemetry: Telemetry
    ) -> None:
        self._index = index
        self._feeder = feeder
        self._settings = settings
        self._telemetry = telemetry
        self._places = Places()

    def takes(self, context: AcceptedContext, command: Command) -> bool:
        """Whether this is a request for it: an operation on a SOP class that has it."""
        classes = _CLASSES.get(command.field, frozenset())
        return not command.problem and command.sop_class_uid == context.abstract_syntax in classes

    async def answer(self, connection: Connection, context: AcceptedContext, command: Command) -> None:
        """Read the identifier of a request that it takes, and answer it to its end."""
        operation = _OPERATIONS[command.field]
        dialogue = Dialogue(connection, context, command)
        ended = Ended.LOST
        try:
            ended = await self._answer(dialogue, operation)
        finally:
            self._telemetry.query_ended(operation, ended)

    async def _answer(self, dialogue: Dialogue, operation: Operation) -> Ended:
        identifier = await dialogue.read_identifier()
        limit = self._places.problem(dialogue.connection)
        if limit:
            self._telemetry.limit_reached(limit)
            return await _refuse(dialogue, Status.OUT_OF_RESOURCES, "too many queries at once", Ended.BUSY)
        async with self._places.taken(dialogue.connection):
            try:
                inquiry = await self._inquiry(dialogue, identifier)
            except (Unanswerable, RemoteProtocolError) as error:
                comment = str(error) if isinstance(error, Unanswerable) else "the identifier cannot be read"
                return await _refuse(dialogue, Status.DATA_SET_MISMATCH, comment, Ended.REFUSED)
            if not await self._feeder.settle(CATCH_UP_S):
                log.warning("query refused: the index is not up to date", problem=self._feeder.problem)
                return await _refuse(
                    dialogue, Status.OUT_OF_RESOURCES, "not ready to be asked yet", Ended.BUSY
                )
            try:
                return await self._find(dialogue, inquiry)
            except IndexFailed as error:
                log.error("query failed", operation=operation, detail=str(error))
                self._feeder.doubt()
                return await _refuse(dialogue, Status.PROCESSING_FAILURE, "the index failed", Ended.FAILED)

    async def _inquiry(self, dialogue: Dialogue, identifier: bytes | None) -> Inquiry:
        if not identifier:
            raise Unanswerable("no identifier" if identifier is not None else "the identifier is too long")
        model = _MODELS[dialogue.context.abstract_syntax]
        match = decode_identifier(identifier, dialogue.context.transfer_syntax)
        return read_inquiry(model, match)

    async def _find(self, dialogue: Dialogue, inquiry: Inquiry) -> Ended:
        """C-FIND: a pending response for each match, in small steps, and the end."""
        pending = PENDING_WITH_DOUBT if inquiry.is_doubtful else Status.PENDING
        ae_title, syntax = self._settings().ae_title, dialogue.context.transfer_syntax
        look = await to_thread.run_sync(self._index.look)
        try:
            found = _answers(look, inquiry, ae_title=ae_title, transfer_syntax_uid=syntax)
            is_over = False
            while not is_over and not await dialogue.listen():
                answers, is_over = await to_thread.run_sync(_step, found)
                for identifier in answers:
                    dialogue.queue(pending, identifier)
                await dialogue.flush()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(look.close)
        dialogue.queue(Status.CANCEL if dialogue.is_cancelled else Status.SUCCESS)
        await dialogue.flush()
        return Ended.CANCELLED if dialogue.is_cancelled else Ended.SUCCESS


def _answers(
    look: Look, inquiry: Inquiry, *, ae_title: str, transfer_syntax_uid: str
) -> Iterator[bytes | None]:
    for entity in look.find(inquiry):
        if entity is None:
            yield None
        else:
            yield encode_answer(
                inquiry, entity.values, ae_title=ae_title, transfer_syntax_uid=transfer_syntax_uid
            )


def _step(found: Iterator[bytes | None]) -> tuple[list[bytes], bool]:
    """Some matches, and whether these were the last. In a thread."""
    answers: list[bytes] = []
    for looked_at, identifier in enumerate(found, start=1):
        if identifier is not None:
            answers.append(identifier)
        if len(answers) >= STEP or looked_at >= STEP_LOOKED_AT:
            return answers, False
    return answers, True


async def _refuse(dialogue: Dialogue, status: int, comment: str, ended: Ended) -> Ended:
    dialogue.queue(status, comment=comment)
    await dialogue.flush()
    return ended
