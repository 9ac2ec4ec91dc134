"""One association as acceptor: admit it, answer C-ECHO, and make C-STORE durable before it is answered.

This is the one place where success is said. The order for each instance is: the last byte has arrived, the
spool has synced bytes and ledger, the response goes out. Whatever fails before that is answered with a
failure status, or with nothing where the association is gone; then nothing of the instance is left behind.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

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
from router.receive.intake import Intake, problem_with
from router.spool import Spool
from router.telemetry import Telemetry

log = get_logger("receive")


class Receiver:
    """Serves the associations of every listener. ``settings`` is asked anew for each association."""

    def __init__(
        self, spool: Spool, settings: Callable[[], Settings], clock: Clock, telemetry: Telemetry
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry

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
        verdict = admit(settings, request, peer=connection.peer, addresses_of=lambda host: addresses[host])
        if isinstance(verdict, Refusal):
            self._telemetry.association_rejected(verdict.label)
            log.warning(
                "association rejected",
                reason=verdict.label,
                calling_ae=request.calling_ae,
                called_ae=request.called_ae,
                peer=connection.peer,
            )
            connection.association.reject(verdict.result, verdict.source, verdict.reason)
            await connection.flush()
            return False
        connection.association.accept(_accept(request, verdict))
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
        if command.field == CommandField.C_STORE_RQ and command.has_data_set and not command.problem:
            response = await self._store(connection, origin, context, command)
        else:
            await _discard(connection, command)
            if command.field == CommandField.C_ECHO_RQ and not command.problem:
                response = echo_rsp(command, Status.SUCCESS)
            elif command.status is not None or command.field == CommandField.C_CANCEL_RQ:
                return  # a response to nothing, or a cancel of nothing: neither is answered
            else:
                response = failure_rsp(command, _refused_status(command), command.problem)
        connection.association.send_message(context.id, response)
        await connection.flush()

    async def _store(
        self, connection: Connection, origin: Origin, context: AcceptedContext, command: Command
    ) -> bytes:
        """Take one instance in; the response says what has become of it."""
        status, comment = problem_with(context, command)
        if status == Status.SUCCESS and not self._spool.is_accepting:
            status, comment = Status.OUT_OF_RESOURCES, "the gateway's disk is nearly full"
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
            complete_at = self._clock.monotonic()
            status, comment = await intake.commit(now=self._clock.now())
        except StorageError as error:
            log.error("instance not stored", detail=str(error), calling_ae=origin.calling_ae)
            if not is_complete:
                await _discard(connection, command)
            status = Status.OUT_OF_RESOURCES if error.out_of_resources else Status.PROCESSING_FAILURE
            return store_rsp(command, status, "the gateway could not store it")
        finally:
            await intake.abandon()
        self._telemetry.received(intake.size_bytes)
        self._telemetry.store_answered(self._clock.monotonic() - complete_at)
        return store_rsp(command, status, comment)


def _accept(request: AssociateRequest, admission: Admission) -> Acceptance:
    return negotiate(request, allowed=admission.allows)


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
