"""A scripted destination of C-MOVE, in this loop: it answers as it is told, and keeps what came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from router.config.settings import Listener
from router.dicom.dimse import Command, store_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import AssociateRequest, negotiate
from router.errors import AssociationError
from router.net.connection import Connection
from router.net.listener import ListeningPort


async def _nothing() -> None:
    """Before an answer."""


@dataclass
class Destination:
    """``statuses`` by SOP Instance UID: 0 where not given, None ends the association."""

    statuses: dict[str, int | None] = field(default_factory=dict)
    takes: Callable[[str], bool] = lambda uid: True  # which SOP classes
    syntaxes: tuple[str, ...] | None = None  # which transfer syntaxes; None: all
    before_answer: Callable[[], Awaitable[None]] = _nothing
    requests: list[AssociateRequest] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    port: int = 0

    async def serve(self, connection: Connection) -> None:
        try:
            await self._serve(connection)
        except AssociationError:
            connection.abort()

    async def _serve(self, connection: Connection) -> None:
        command: Command | None = None
        context_id, data = 0, b""
        while True:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested):
                self.requests.append(event.request)
                connection.association.accept(
                    negotiate(event.request, allowed=self.takes, transfer_syntaxes=self.syntaxes)
                )
            elif isinstance(event, ReleaseRequested):
                connection.association.confirm_release()
                await connection.flush()
                return
            elif isinstance(event, CommandReceived):
                command, context_id, data = event.command, event.context.id, b""
                self.commands.append(command)
            elif isinstance(event, DataReceived) and command is not None:
                data += b"".join(event.fragments)
                if not event.last:
                    continue
                self.stored[command.sop_instance_uid] = data
                await self.before_answer()
                status = self.statuses.get(command.sop_instance_uid, 0)
                if status is None:
                    connection.abort()
                    return
                connection.association.send_message(context_id, store_rsp(command, status))
            await connection.flush()


@asynccontextmanager
async def listening(destination: Destination) -> AsyncIterator[Destination]:
    """It, on a port of its own."""
    listener = Listener(port=0, host="127.0.0.1", name="destination")
    port = ListeningPort(listener, destination.serve, on_reject=lambda _: None)
    port.bind()
    destination.port = port.port
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        try:
            yield destination
        finally:
            tasks.cancel_scope.cancel()
