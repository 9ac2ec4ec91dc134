"""One association as acceptor: admit it, answer C-ECHO, and make C-STORE durable before it is answered.

This is the one place where success is said. The order for each instance is: the last byte has arrived, the
spool has synced its record (which says all that the ledger will), the response goes out. Whatever fails
before that is answered with a failure status, or with nothing where the association is gone; then nothing of
the instance is left behind.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from router.audit import gathering as refusals
from router.clock import Clock
from router.config.settings import Settings
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command, echo_rsp, failure_rsp, store_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import Acceptance, AcceptedContext, AssociateRequest, negotiate
from router.errors import AssociationLost, AssociationTimeout, RemoteProtocolError, StorageError
from router.logs import get_logger
from router.model import Origin
from router.net.connection import Connection
from router.receive.admission import Admission, Refusal, admit, candidates
from router.receive.answers import Answers
from router.receive.intake import Intake, problem_with
from router.receive.quota import Quotas
from router.spool import Spool
from router.telemetry import Telemetry

WINDOW_BYTES = 8 * 1024 * 1024  # unanswered and in memory for one association; one instance may pass it

log = get_logger("receive")


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
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._on_refused = on_refused
        self.quotas = Quotas(spool, settings(), clock, telemetry)

    async def serve(self, connection: Connection) -> None:
        """Serve one association until it ends, in whatever way."""
        self._telemetry.association_opened("acceptor")
        try:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested) and await self._establish(connection, event.request):
                await self._converse(connection, event.request)
        except AssociationTimeout as error:
            log.info("association timed out", peer=connection.peer, detail=str(error))
        except AssociationLost as error:
            log.info("association lost", peer=connection.peer, detail=str(error))
        except RemoteProtocolError as error:
            log.warning("protocol error", peer=connection.peer, detail=str(error))
        finally:
            self._telemetry.association_closed("acceptor")

    async def _establish(self, connection: Connection, request: AssociateRequest) -> bool:
        settings = self._settings()
        addresses = await _resolve(settings, request.calling_ae)
        verdict = admit(
            settings,
            request,
            peer=connection.peer,
            addresses_of=lambda host: addresses[host],
            certificate_names=connection.certificate_names,
        )
        if isinstance(verdict, Refusal):
            self._telemetry.association_rejected(verdict.label)
            log.warning(
                "association rejected",
                reason=verdict.label,
                calling_ae=request.calling_ae,
                called_ae=request.called_ae,
                peer=connection.peer,
            )
            self._on_refused(_told(connection, request, verdict.label))
            connection.association.reject(verdict.result, verdict.source, verdict.reason)
            await connection.flush()
            return False
        connection.association.accept(_accept(request, verdict, connection.window))
        await connection.flush()
        log.debug("association accepted", calling_ae=request.calling_ae, peer=connection.peer)
        return True

    async def _converse(self, connection: Connection, request: AssociateRequest) -> None:
        origin = Origin(
            calling_ae=request.calling_ae,
            called_ae=request.called_ae,
            peer=connection.peer.removeprefix("::ffff:"),
            listener=connection.listener,
        )
        window = connection.association.window
        if window != 1:
            limit = window or connection.window
            answers = Answers(connection, limit=limit, cap_bytes=WINDOW_BYTES)
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
        if status == Status.SUCCESS and not self._spool.is_accepting:
            status, comment = Status.OUT_OF_RESOURCES, "the gateway's disk is nearly full"
        if status == Status.SUCCESS and (comment := self.quotas.problem(origin.calling_ae)):
            status = Status.OUT_OF_RESOURCES
        if status != Status.SUCCESS:
            await _discard(connection, command)
            return store_rsp(command, status, comment)
        large = self._settings().spool.large_object_bytes
        intake = Intake(self._spool, origin, context, command, large_object_bytes=large)
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
        except BaseException:
            await intake.abandon()
            raise

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


def _accept(request: AssociateRequest, admission: Admission, window: int) -> Acceptance:
    return negotiate(request, allowed=admission.allows, async_ops=(window, 1))


def _told(connection: Connection, request: AssociateRequest, label: str) -> refusals.Refusal:
    """A rejected association, for the audit."""
    return refusals.Refusal(
        what=refusals.Refused.CALLER,
        where=connection.listener,
        because=f"association rejected: {label}",
        who=request.calling_ae,
        address=connection.peer.removeprefix("::ffff:"),
    )


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


async def _resolve(settings: Settings, calling_ae: str) -> dict[str, set[str]]:
    """The addresses of the hosts against which this caller is checked."""
    loop = asyncio.get_running_loop()
    found: dict[str, set[str]] = {}
    for modality in candidates(settings, calling_ae):
        if modality.check_host and modality.host not in found:
            try:
                infos = await loop.getaddrinfo(modality.host, None, type=socket.SOCK_STREAM)
            except OSError as error:
                log.warning("host cannot be resolved", host=modality.host, detail=str(error))
                infos = []
            found[modality.host] = {str(info[4][0]) for info in infos}
    return found
