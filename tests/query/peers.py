"""Scripted SCPs of query and retrieve, in this loop: they say exactly what a test has them say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from router.config.settings import Limits, Listener
from router.dicom.codes import RESPONSE_BIT, CommandField
from router.dicom.dimse import Command, SubOperations, encode_command, store_rq
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.identifier import Match, decode_identifier, encode_identifier
from router.dicom.negotiation import AcceptedContext, AssociateRequest, negotiate
from router.dicom.pdu import frame_data_set
from router.dicom.query import Level, Model, Query, parse_keys
from router.errors import AssociationError, RemoteProtocolError
from router.net.connection import Connection
from router.net.listener import ListeningPort
from router.scu import Target
from tests.dicom.wire import CT, EXPLICIT

PATIENCE_S = 10.0  # of the tests with a peer that should answer


@dataclass(kw_only=True)
class Talk:
    """One association, as a script sees it."""

    connection: Connection
    request: AssociateRequest
    context: AcceptedContext
    command: Command
    asked: Match
    cancels: list[int] = field(default_factory=list)  # message ids of the C-CANCELs that came
    responses: list[Command] = field(default_factory=list)  # to our C-STOREs

    async def respond(
        self,
        status: int,
        *,
        identifier: bytes | None = None,
        counts: SubOperations | None = None,
        comment: str = "",
        responded_to: int | None = None,
    ) -> None:
        """One response to what was asked."""
        encoded = encode_command(
            field=self.command.field | RESPONSE_BIT,
            responded_to=self.command.message_id if responded_to is None else responded_to,
            sop_class_uid=self.command.sop_class_uid,
            status=status,
            has_data_set=identifier is not None,
            sub_operations=counts,
            comment=comment,
        )
        self.connection.association.send_message(self.context.id, encoded)
        if identifier is not None:
            await self.send(self.context, identifier)
        await self.connection.flush()

    async def match(self, *keys: str, status: int = 0xFF00) -> None:
        """A match with these values."""
        query = Query(model=Model.STUDY, level=Level.STUDY, keys=parse_keys(keys))
        await self.respond(status, identifier=encode_identifier(query, self.context.transfer_syntax))

    async def store(
        self, data: bytes, uid: str, *, sop_class_uid: str = CT, syntax: str = EXPLICIT, message_id: int = 1
    ) -> int:
        """A C-STORE sub-operation; the status of its answer."""
        context = self.context_of(sop_class_uid, syntax)
        association = self.connection.association
        association.send_message(context.id, store_rq(message_id, sop_class_uid, uid))
        await self.send(context, data)
        await self.connection.flush()
        while True:
            event = await self.connection.next_event()
            assert isinstance(event, CommandReceived)
            if event.command.field == CommandField.C_CANCEL_RQ:
                self.cancels.append(event.command.responded_to or 0)
                continue
            assert event.command.field == CommandField.C_STORE_RSP
            assert event.command.responded_to == message_id
            assert event.command.status is not None
            self.responses.append(event.command)
            return event.command.status

    def context_of(self, sop_class_uid: str, syntax: str) -> AcceptedContext:
        """The context that was accepted for both."""
        return next(
            context
            for context in self.connection.association.contexts.values()
            if (context.abstract_syntax, context.transfer_syntax) == (sop_class_uid, syntax)
        )

    async def send(self, context: AcceptedContext, data: bytes) -> None:
        """A data set."""
        framed, gaps = frame_data_set(context.id, len(data), self.connection.association.peer_max_pdu_bytes)
        at = 0
        for gap in gaps:
            gap[:] = data[at : at + len(gap)]
            at += len(gap)
        self.connection.association.send_data(framed)
        await self.connection.flush()

    async def wait_cancel(self) -> None:
        """Wait until the C-CANCEL comes."""
        event = await self.connection.next_event()
        assert isinstance(event, CommandReceived)
        assert event.command.field == CommandField.C_CANCEL_RQ
        self.cancels.append(event.command.responded_to or 0)

    async def wait_end(self) -> None:
        """Wait until the other side has gone; it raises how."""
        while True:
            await self.connection.next_event()


Script = Callable[[Talk], Awaitable[None]]


@dataclass
class Peer:
    """Runs ``script`` for each request that comes."""

    script: Script
    talks: list[Talk] = field(default_factory=list)
    requests: list[AssociateRequest] = field(default_factory=list)
    refused: Sequence[str] = ()  # abstract syntaxes
    syntaxes: Sequence[str] | None = None  # that it takes; None: all
    ended: list[str] = field(default_factory=list)

    async def __call__(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
        except (AssociationError, RemoteProtocolError) as error:
            self.ended.append(type(error).__name__)

    async def _serve(self, connection: Connection) -> None:
        while True:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested):
                self.requests.append(event.request)
                acceptance = negotiate(
                    event.request,
                    supported=lambda uid: uid not in self.refused,
                    transfer_syntaxes=self.syntaxes,
                )
                connection.association.accept(acceptance)
                await connection.flush()
            elif isinstance(event, ReleaseRequested):
                self.ended.append("released")  # before the other side knows, and looks
                connection.association.confirm_release()
                await connection.flush()
                return
            elif isinstance(event, CommandReceived) and event.command.has_data_set:
                await self._perform(connection, event)

    async def _perform(self, connection: Connection, event: CommandReceived) -> None:
        parts: list[bytes] = []
        is_complete = False
        while not is_complete:
            data = await connection.next_event()
            assert isinstance(data, DataReceived)
            parts += map(bytes, data.fragments)
            is_complete = data.last
        talk = Talk(
            connection=connection,
            request=self.requests[-1],
            context=event.context,
            command=event.command,
            asked=decode_identifier(b"".join(parts), event.context.transfer_syntax),
        )
        self.talks.append(talk)
        await self.script(talk)


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[Target]:
    """The peer on a port that the system chooses."""
    port = ListeningPort(Listener(port=0, host="127.0.0.1", limits=Limits()), peer, on_reject=lambda _: None)
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        yield Target(host="127.0.0.1", port=port.port, called_ae="ARCHIVE", calling_ae="TEST")
        tasks.cancel_scope.cancel()
