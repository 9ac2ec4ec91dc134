"""Queries and retrievals of callers as service class provider (PS3.4 §C.4): admitted, answered, counted.

One at a time on an association, so many at once on a listener and for one peer (``limits``). While one is
under way the association is listened to between two steps: a C-CANCEL ends it with FE00, and so do a release
or the end of the association. What is looked for is looked for in a thread, in small steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread

from router.config.settings import Operation, Settings
from router.config.tls import ModalityTls
from router.deliver.renditions import Maker
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command
from router.dicom.identifier import decode_identifier
from router.dicom.inquiry import Inquiry, Unanswerable, encode_answer, read_inquiry
from router.dicom.negotiation import AcceptedContext
from router.dicom.query import FIND_CLASSES, GET_CLASSES, MOVE_CLASSES, Model
from router.dicom.statuses import PENDING_WITH_DOUBT
from router.errors import RemoteProtocolError, StorageError
from router.logs import get_logger
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.rate import peer_key
from router.query.dialogue import Dialogue, Ended
from router.query.feeding import Feeder
from router.query.index import Index, IndexFailed, Look
from router.query.reach import destination_of, may_see
from router.query.retrieval import (
    CANNOT_COUNT,
    MOST_INSTANCES,
    UNKNOWN_DESTINATION,
    Retrieval,
    Store,
    Target,
)
from router.query.telling import Teller
from router.rules import RuleSet
from router.telemetry import Telemetry

CATCH_UP_S = 10.0  # for the index to hold what was acknowledged before the question
EDITED = "by the rules, what is sent there is edited first"
STEP = 64  # matches in one step
STEP_LOOKED_AT = 2000  # or so many that do not match: some 50 ms

_OPERATIONS: Mapping[int, Operation] = {
    CommandField.C_FIND_RQ: Operation.FIND,
    CommandField.C_MOVE_RQ: Operation.MOVE,
    CommandField.C_GET_RQ: Operation.GET,
}
_CLASSES: Mapping[Operation, Mapping[str, Model]] = {  # by SOP class; there is no worklist here
    operation: {classes[model]: model for model in (Model.PATIENT, Model.STUDY)}
    for operation, classes in (
        (Operation.FIND, FIND_CLASSES),
        (Operation.MOVE, MOVE_CLASSES),
        (Operation.GET, GET_CLASSES),
    )
}

log = get_logger("query")


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
        self,
        index: Index,
        feeder: Feeder,
        store: Store,
        settings: Callable[[], Settings],
        rules: Callable[[], RuleSet],
        telemetry: Telemetry,
        keys: Mapping[ModalityTls, Credentials],
        maker: Maker | None,
        teller: Teller,
    ) -> None:
        self._teller = teller
        self._maker = maker
        self._index = index
        self._feeder = feeder
        self._store = store
        self._settings = settings
        self._rules = rules
        self._telemetry = telemetry
        self._keys = keys
        self._places = Places()

    def takes(self, context: AcceptedContext, command: Command) -> bool:
        """Whether this is a request for it: an operation on a SOP class that has it."""
        operation = _OPERATIONS.get(command.field)
        if operation is None or command.problem or command.sop_class_uid != context.abstract_syntax:
            return False
        return context.abstract_syntax in _CLASSES[operation]

    async def answer(self, connection: Connection, context: AcceptedContext, command: Command) -> None:
        """Read the identifier of a request that it takes, and answer it to its end."""
        operation = _OPERATIONS[command.field]
        dialogue = Dialogue(connection, context, command)
        ended = Ended.LOST
        try:
            ended = await self._answer(dialogue, operation)
        finally:
            self._telemetry.query_ended(operation, ended)
            if operation is Operation.FIND:
                self._teller.queried(dialogue, ended)

    async def _answer(self, dialogue: Dialogue, operation: Operation) -> Ended:
        # PS3.4 Tables C.4-1 to C.4-3: a retrieval has no A700; it cannot count what it would send
        busy = Status.OUT_OF_RESOURCES if operation is Operation.FIND else CANNOT_COUNT
        identifier = await dialogue.read_identifier()
        limit = self._places.problem(dialogue.connection)
        if limit:
            self._telemetry.limit_reached(limit)
            return await _refuse(dialogue, busy, "too many queries at once", Ended.BUSY)
        async with self._places.taken(dialogue.connection):
            request = dialogue.connection.association.request
            if request is None or not self._may_see(request.calling_ae):
                return await _refuse(dialogue, Status.NOT_AUTHORISED, EDITED, Ended.REFUSED)
            try:
                inquiry = _inquiry(dialogue, operation, identifier)
            except (Unanswerable, RemoteProtocolError) as error:
                comment = str(error) if isinstance(error, Unanswerable) else "the identifier cannot be read"
                return await _refuse(dialogue, Status.DATA_SET_MISMATCH, comment, Ended.REFUSED)
            if not await self._feeder.settle(CATCH_UP_S):
                log.warning("query refused: the index is not up to date", problem=self._feeder.problem)
                comment = "not ready to be asked yet"
                return await _refuse(dialogue, busy, comment, Ended.BUSY)
            try:
                if operation is Operation.FIND:
                    return await self._find(dialogue, inquiry)
                return await self._retrieve(dialogue, inquiry, operation)
            except (IndexFailed, StorageError) as error:
                log.error("query failed", operation=operation, detail=str(error))
                if isinstance(error, IndexFailed):
                    self._feeder.doubt()
                comment = "what is held could not be read"
                return await _refuse(dialogue, Status.PROCESSING_FAILURE, comment, Ended.FAILED)

    async def _retrieve(self, dialogue: Dialogue, inquiry: Inquiry, operation: Operation) -> Ended:
        """C-MOVE to a modality that we know, or C-GET."""
        settings = self._settings()
        destination = destination_of(settings, dialogue.command.move_destination)
        if operation is Operation.MOVE and destination is None:
            comment = "no modality of that AE title may be sent to"
            return await _refuse(dialogue, UNKNOWN_DESTINATION, comment, Ended.REFUSED)
        if operation is Operation.MOVE and not self._may_see(dialogue.command.move_destination):
            return await _refuse(dialogue, Status.NOT_AUTHORISED, EDITED, Ended.REFUSED)
        targets = await to_thread.run_sync(self._select, inquiry)
        if len(targets) > MOST_INSTANCES:
            comment = "more instances than can be counted: ask for less"
            return await _refuse(dialogue, CANNOT_COUNT, comment, Ended.REFUSED)
        retrieval = Retrieval(self._store, self._maker, self._teller, dialogue, targets)
        if operation is Operation.MOVE and destination is not None:
            ended = await retrieval.move(destination, settings, self._keys)
        else:
            ended = await retrieval.get()
        if ended in (Ended.WARNING, Ended.FAILED):  # some of it may be damaged, and is not held then
            self._feeder.changed([target.key for target in targets])
        return ended

    def _may_see(self, ae_title: str) -> bool:
        return may_see(self._settings(), self._rules(), ae_title)

    def _select(self, inquiry: Inquiry) -> list[Target]:
        with self._index.look() as look:
            return [Target(key=key, sop_instance_uid=uid) for key, uid in look.select(inquiry)]

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


def _inquiry(dialogue: Dialogue, operation: Operation, identifier: bytes | None) -> Inquiry:
    if not identifier:
        raise Unanswerable("no identifier" if identifier is not None else "the identifier is too long")
    model = _CLASSES[operation][dialogue.context.abstract_syntax]
    match = decode_identifier(identifier, dialogue.context.transfer_syntax)
    return read_inquiry(model, match, is_retrieval=operation is not Operation.FIND)


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
