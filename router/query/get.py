"""C-GET as service class user (PS3.4 §C.4.3): what is asked for comes on the same association, and is filed.

A C-STORE is answered with success only when its file is durable and has its name. One instance is taken at a
time, in pieces of what the connection reads ahead, however large it is.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import move_on_after, to_thread

from router.dicom.codes import CommandField, Status
from router.dicom.dimse import SubOperations, failure_rsp, get_rq, store_rsp
from router.dicom.events import CommandReceived
from router.dicom.get_contexts import propose_get
from router.dicom.identifier import encode_identifier
from router.dicom.query import GET_CLASSES, IDENTIFIER_SYNTAXES, Query
from router.errors import AssociationTimeout
from router.model import Arrival, Origin
from router.query.arrivals import Incoming
from router.query.exchange import Cancellation, Exchange, open_exchange
from router.query.retrieve import CANCEL_S, Progress, RetrieveEnded
from router.scu import Target

CLOSING_S = 5.0  # for taking an unfinished file away
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What became of one instance that came: its file, or why there is none."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_bytes: int = 0
    path: Path | None = None
    is_new: bool = True  # False: the same file was there already
    problem: str = ""


async def get(
    target: Target,
    query: Query,
    directory: Path,
    *,
    sop_class_uids: Sequence[str] = (),
    on_progress: Callable[[SubOperations], None],
    on_fetched: Callable[[Fetched], None],
    timeout_s: float,
    cancellation: Cancellation | None = None,
) -> RetrieveEnded:
    """Fetch what ``query`` names into ``directory``. ``sop_class_uids``: of what; none: the commonest.

    Raises ``RouterError`` where there is no association or it is lost; what came before is there.
    """
    sop_class_uid = GET_CLASSES[query.model]
    proposal = propose_get(sop_class_uid, IDENTIFIER_SYNTAXES, sop_class_uids)
    async with open_exchange(
        target,
        proposal.contexts,
        roles=proposal.roles,
        timeout_s=timeout_s,
        cancel_s=CANCEL_S,
        cancellation=cancellation,
    ) as exchange:
        accepted = exchange.context_for(sop_class_uid, f"retrieval by C-GET ({query.model} root)")
        identifier = encode_identifier(query, accepted.transfer_syntax)
        await exchange.ask(
            accepted, CommandField.C_GET_RQ, lambda number: get_rq(number, sop_class_uid), identifier
        )
        progress = Progress(exchange, on_progress)
        desk = _Desk(exchange, target, directory)
        while progress.ended is None:
            try:
                received = await exchange.next_message()
                if received.command.is_response:
                    await progress.take(received)
                elif (fetched := await desk.serve(received)) is not None:
                    on_fetched(fetched)
            except AssociationTimeout:
                if not exchange.is_cancelled:
                    raise
                progress.give_up()
        return progress.ended


class _Desk:
    """Takes what the peer sends meanwhile."""

    def __init__(self, exchange: Exchange, target: Target, directory: Path) -> None:
        self._exchange = exchange
        self._target = target
        self._directory = directory

    async def serve(self, received: CommandReceived) -> Fetched | None:
        """One request: a C-STORE is carried out, anything else refused. A late C-CANCEL has no answer."""
        context, command = received.context, received.command
        if command.field == CommandField.C_CANCEL_RQ:
            return None
        if command.field != CommandField.C_STORE_RQ:
            await self._drain(received)
            await self._exchange.answer(context, failure_rsp(command, Status.UNRECOGNIZED_OPERATION))
            return None
        # Whether the peer answered the role selection is not asked: some send without, as we want it.
        status, comment = Status.INVALID_ARGUMENT, command.problem
        if not comment and command.sop_class_uid != context.abstract_syntax:
            status = Status.SOP_CLASS_NOT_SUPPORTED
            comment = "the SOP class is not that of the presentation context"
        if comment:
            await self._drain(received)
            await self._exchange.answer(context, failure_rsp(command, status, comment))
            return self._refused(received, comment)
        try:
            fetched = await self._file(received)
            status, comment = Status.SUCCESS, ""
        except OSError as error:
            status = Status.OUT_OF_RESOURCES if error.errno in _NO_ROOM else Status.PROCESSING_FAILURE
            comment = error.strerror or str(error)
            fetched = self._refused(received, comment)
        await self._exchange.answer(context, store_rsp(command, status, comment))
        return fetched

    async def _file(self, received: CommandReceived) -> Fetched:
        """Take one data set to its end; ``OSError`` where it could not be kept."""
        incoming = Incoming(self._directory, self._arrival(received))
        try:
            failure = await self._gather(incoming)
            if failure is not None:
                raise failure
            path, is_new = await to_thread.run_sync(incoming.keep)
        finally:
            with move_on_after(CLOSING_S, shield=True):
                await to_thread.run_sync(incoming.close)
        return Fetched(
            sop_instance_uid=received.command.sop_instance_uid,
            transfer_syntax_uid=received.context.transfer_syntax,
            data_set_bytes=incoming.size_bytes,
            path=path,
            is_new=is_new,
        )

    async def _gather(self, incoming: Incoming) -> OSError | None:
        """Read a data set to its end, whatever the disk says of it."""
        failure: OSError | None = None
        is_complete = False
        while not is_complete:
            data = await self._exchange.next_data()
            is_complete = data.last
            if failure is None:
                try:
                    await to_thread.run_sync(incoming.take, data.fragments)
                except OSError as error:
                    failure = error
        return failure

    async def _drain(self, received: CommandReceived) -> None:
        is_complete = not received.command.has_data_set
        while not is_complete:
            is_complete = (await self._exchange.next_data()).last

    def _arrival(self, received: CommandReceived) -> Arrival:
        return Arrival(
            sop_class_uid=received.command.sop_class_uid,
            sop_instance_uid=received.command.sop_instance_uid,
            transfer_syntax_uid=received.context.transfer_syntax,
            origin=Origin(
                calling_ae=self._target.called_ae,  # who sends it: (0002,0016)
                called_ae=self._target.calling_ae,
                peer=self._target.host,
                listener="",
            ),
            received_at=time.time(),
        )

    @staticmethod
    def _refused(received: CommandReceived, problem: str) -> Fetched:
        return Fetched(
            sop_instance_uid=received.command.sop_instance_uid,
            transfer_syntax_uid=received.context.transfer_syntax,
            problem=problem,
        )
