"""One association as acceptor: admit it, answer C-ECHO, and make C-STORE durable before it is answered.

This is the one place where success is said. The order for each instance is: the last byte has arrived, the
spool has synced its record (which says all that the ledger will), the response goes out. Whatever fails
before that is answered with a failure status, or with nothing where the association is gone; then nothing of
the instance is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from router.audit import gathering as refusals
from router.clock import Clock
from router.config.settings import Settings
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command, echo_rsp, failure_rsp, store_rsp
from router.dicom.events import CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import AcceptedContext, AssociateRequest
from router.errors import AssociationLost, AssociationTimeout, RemoteProtocolError, StorageError
from router.logs import get_logger
from router.model import Origin
from router.net.connection import Connection
from router.receive.answers import Answers
from router.receive.gate import Gate
from router.receive.intake import Held, Intake, TooLong, problem_with
from router.receive.quota import Quotas
from router.spool import Spool
from router.telemetry import Telemetry

log = get_logger("receive")


class Inquiries(Protocol):
    """Who answers queries and retrievals (``router.query``), where somebody does."""

    def takes(self, context: AcceptedContext, command: Command) -> bool:
        """Whether this is a request for it."""

    async def answer(self, connection: Connection, context: AcceptedContext, command: Command) -> None:
        """Read its identifier, and answer it to its end. Raises what ``Connection.next_event`` does."""


class Receiver:
    """Serves the associations of every listener. ``settings`` is asked anew for each association."""

    def __init__(
        self,
        spool: Spool,
        settings: Callable[[], Settings],
        clock: Clock,
        telemetry: Telemetry,
        *,
        on_refused: Callable[[refusals.Refusal], None] = lambda refusal: None,
        queries: Inquiries | None = None,
    ) -> None:
        self._queries = queries
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._gate = Gate(settings, clock, telemetry, on_refused=on_refused)
        self._held: dict[str, Held] = {}  # by listener
        self.quotas = Quotas(spool, settings(), clock, telemetry)

    async def serve(self, connection: Connection) -> None:
        """Serve one association until it ends, in whatever way."""
        self._telemetry.association_opened("acceptor")
        try:
            request = await self._gate.establish(connection)
            if request is not None:
                await self._converse(connection, request)
        except (AssociationTimeout, AssociationLost, RemoteProtocolError) as error:
            self._gate.ended(connection, connection.failure or error)
        finally:
            self._telemetry.association_closed("acceptor")

    async def _converse(self, connection: Connection, request: AssociateRequest) -> None:
        origin = Origin(
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            peer=connection.peer.removeprefix("::ffff:"),
            listener=connection.listener,
        )
        window = connection.association.window
        if window != 1:
            limit = window or connection.limits.window
            answers = Answers(
                connection,
                limit=limit,
                cap_bytes=connection.limits.memory_bytes,
                on_cap=partial(self._telemetry.limit_reached, "memory_bytes"),
            )
            await answers.run(partial(self._converse_ahead, connection, origin, answers))
            return
        while True:
            event = await connection.next_event()
            if isinstance(event, CommandReceived):
                await self._answer(connection, origin, event.context, event.command)
            elif isinstance(event, ReleaseRequested):
                connection.association.confirm_release()
                await connection.flush()
                return

    async def _answer(
        self, connection: Connection, origin: Origin, context: AcceptedContext, command: Command
    ) -> None:
        response: bytes | Intake | None
        if _is_store(command):
            response = await self._take(connection, origin, context, command)
            if isinstance(response, Intake):
                response = await self._keep(response)
        elif self._queries is not None and self._queries.takes(context, command):
            connection.owed += 1  # it is at work, and not to be spared for others
            try:
                await self._queries.answer(connection, context, command)
            finally:
                connection.owed -= 1
            return
        else:
            response = await _respond(connection, command)
            if response is None:
                return
        connection.association.send_message(context.id, response)
        await connection.flush()

    async def _converse_ahead(self, connection: Connection, origin: Origin, answers: Answers) -> None:
        """Read the next message while the last ones are being made durable."""
        while True:
            event = await connection.next_event()
            if isinstance(event, ReleaseRequested):
                await answers.wait_empty()
                connection.association.confirm_release()
                await connection.flush()
                return
            if not isinstance(event, CommandReceived):
                continue
            context, command = event.context, event.command
            if _is_store(command):
                taken = await self._take(connection, origin, context, command)
                if isinstance(taken, Intake):
                    answers.start(context.id, partial(self._keep, taken), held_bytes=taken.held_bytes)
                else:
                    answers.say(context.id, taken)
            elif (response := await _respond(connection, command)) is not None:
                answers.say(context.id, response)
            await answers.wait_room()

    async def _take(
        self, connection: Connection, origin: Origin, context: AcceptedContext, command: Command
    ) -> Intake | bytes:
        """Read one instance whole, for ``_keep``; or the response that refuses it."""
        status, comment = problem_with(context, command)
        if self._queries is not None and not context.as_scp:  # here it takes instances, by C-GET
            status, comment = Status.NOT_AUTHORISED, "no role selected in which it may be sent here"
        if status == Status.SUCCESS and not self._spool.is_accepting:
            status, comment = Status.OUT_OF_RESOURCES, "the gateway's disk is nearly full"
        if status == Status.SUCCESS and (comment := self.quotas.problem(origin.calling_ae)):
            status = Status.OUT_OF_RESOURCES
        if status != Status.SUCCESS:
            await _discard(connection, command)
            return store_rsp(command, status, comment)
        intake = Intake(
            self._spool,
            origin,
            context,
            command,
            large_object_bytes=self._settings().spool.large_object_bytes,
            data_set_bytes=connection.limits.data_set_bytes,
            held=self._held_of(connection),
        )
        is_complete = False
        try:
            while not is_complete:
                data = await _next_data(connection)
                is_complete = data.last
                await intake.take(data.fragments, now=self._clock.now())
            return intake
        except StorageError as error:
            await intake.abandon()
            if not is_complete:
                await _discard(connection, command)
            return _not_stored(command, origin, error)
        except TooLong:
            await intake.abandon()
            self._telemetry.limit_reached("data_set_bytes")
            if not is_complete:
                await _discard(connection, command)
            return store_rsp(command, Status.OUT_OF_RESOURCES, "the data set is longer than is taken here")
        except BaseException:
            await intake.abandon()
            raise

    def _held_of(self, connection: Connection) -> Held:
        held = self._held.get(connection.listener)
        if held is None:
            held = self._held[connection.listener] = Held(
                limit_bytes=connection.limits.memory_all_bytes,
                on_pressed=partial(self._telemetry.limit_reached, "memory_all_bytes"),
            )
        return held

    async def _keep(self, intake: Intake) -> bytes:
        """Make an instance durable; the response says what has become of it."""
        complete_at = self._clock.monotonic()
        command = intake.command
        try:
            status, comment = await intake.commit(now=self._clock.now())
        except StorageError as error:
            return _not_stored(command, intake.origin, error)
        finally:
            await intake.abandon()
        self.quotas.stored(intake.origin.calling_ae, intake.size_bytes)
        self._telemetry.received(intake.size_bytes)
        self._telemetry.store_answered(self._clock.monotonic() - complete_at)
        return store_rsp(command, status, comment)


def _is_store(command: Command) -> bool:
    return command.field == CommandField.C_STORE_RQ and command.has_data_set and not command.problem


def _not_stored(command: Command, origin: Origin, error: StorageError) -> bytes:
    log.error("instance not stored", detail=str(error), calling_ae=origin.calling_ae)
    status = Status.OUT_OF_RESOURCES if error.out_of_resources else Status.PROCESSING_FAILURE
    return store_rsp(command, status, "the gateway could not store it")


async def _respond(connection: Connection, command: Command) -> bytes | None:
    """The answer to everything that is no C-STORE; None where none is due."""
    await _discard(connection, command)
    if command.field == CommandField.C_ECHO_RQ and not command.problem:
        return echo_rsp(command, Status.SUCCESS)
    if command.status is not None or command.field == CommandField.C_CANCEL_RQ:
        return None  # a response to nothing, or a cancel of nothing: neither is answered
    return failure_rsp(command, _refused_status(command), command.problem)


def _refused_status(command: Command) -> int:
    """PS3.7 Annex C: what is wrong with a command that is not carried out."""
    if command.field not in (CommandField.C_ECHO_RQ, CommandField.C_STORE_RQ):
        return Status.UNRECOGNIZED_OPERATION
    return Status.INVALID_ARGUMENT if not command.sop_instance_uid else Status.INVALID_SOP_INSTANCE


async def _discard(connection: Connection, command: Command) -> None:
    """Read the rest of a data set that is not wanted, so that the association can go on."""
    if not command.has_data_set:
        return
    while not (await _next_data(connection)).last:
        pass


async def _next_data(connection: Connection) -> DataReceived:
    event = await connection.next_event()
    assert isinstance(event, DataReceived)  # noqa: S101 - the association lets nothing else follow
    return event
