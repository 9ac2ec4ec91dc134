"""C-MOVE and C-GET as service class user (PS3.4 §C.4.2, §C.4.3): how far they are, and how they ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from router.dicom.codes import CommandField
from router.dicom.dimse import Command, SubOperations, move_rq
from router.dicom.events import CommandReceived
from router.dicom.identifier import decode_identifier, encode_identifier, failed_uids
from router.dicom.negotiation import ProposedContext
from router.dicom.query import IDENTIFIER_SYNTAXES, MOVE_CLASSES, Query
from router.dicom.statuses import Outcome, outcome_of
from router.errors import AssociationTimeout, RemoteProtocolError
from router.query.exchange import Cancellation, Exchange, open_exchange
from router.scu import Target

CANCEL_S = 60.0  # the sub-operation that is under way may be a large one


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveEnded:
    """How a C-MOVE or C-GET ended. ``status`` is None where the peer said nothing more after a C-CANCEL."""

    status: int | None
    counts: SubOperations  # the last that was said of each
    comment: str = ""
    failed_uids: tuple[str, ...] = ()
    is_cancelled: bool = False

    @property
    def is_complete(self) -> bool:
        """Every instance arrived: success, or a warning that is none of single failures."""
        if self.status is None or self.failed_uids or self.counts.failed:
            return False
        outcome = outcome_of(self.status)
        return outcome is Outcome.SUCCESS or (outcome is Outcome.WARNING and self.counts.failed == 0)


async def move(
    target: Target,
    query: Query,
    destination: str,
    *,
    on_progress: Callable[[SubOperations], None],
    timeout_s: float,
    cancellation: Cancellation | None = None,
) -> RetrieveEnded:
    """Have the peer send what ``query`` names to the AE ``destination``, which it has to know.

    Raises ``RouterError`` where there is no association or it is lost.
    """
    sop_class_uid = MOVE_CLASSES[query.model]
    context = ProposedContext(id=1, abstract_syntax=sop_class_uid, transfer_syntaxes=IDENTIFIER_SYNTAXES)
    async with open_exchange(
        target, (context,), timeout_s=timeout_s, cancel_s=CANCEL_S, cancellation=cancellation
    ) as exchange:
        accepted = exchange.context_for(sop_class_uid, f"retrieval by C-MOVE ({query.model} root)")
        identifier = encode_identifier(query, accepted.transfer_syntax)
        await exchange.ask(
            accepted,
            CommandField.C_MOVE_RQ,
            lambda number: move_rq(number, sop_class_uid, destination),
            identifier,
        )
        progress = Progress(exchange, on_progress)
        while progress.ended is None:
            try:
                received = await exchange.next_message()
                if not received.command.is_response:
                    raise RemoteProtocolError("a request where a response to C-MOVE is due")
                await progress.take(received)
            except AssociationTimeout:
                if not exchange.is_cancelled:
                    raise
                progress.give_up()
        return progress.ended


class Progress:
    """Reads the responses of a retrieval."""

    def __init__(self, exchange: Exchange, on_progress: Callable[[SubOperations], None]) -> None:
        self._exchange = exchange
        self._on_progress = on_progress
        self._counts = SubOperations()
        self.ended: RetrieveEnded | None = None

    async def take(self, received: CommandReceived) -> None:
        """One response, with its identifier where it has one."""
        command = received.command
        data = await self._exchange.read_identifier(received)
        assert command.status is not None  # noqa: S101 - ``next_message`` has checked it
        self._count(command)
        if outcome_of(command.status) is Outcome.PENDING:
            return
        failed: tuple[str, ...] = ()
        if data:
            failed = failed_uids(decode_identifier(data, received.context.transfer_syntax))
        self.ended = RetrieveEnded(
            status=command.status,
            counts=self._counts,
            comment=command.comment,
            failed_uids=failed,
            is_cancelled=self._exchange.is_cancelled,
        )

    def _count(self, command: Command) -> None:
        said = command.sub_operations
        if said is None:
            return
        before = self._counts
        self._counts = replace(
            before,
            remaining=said.remaining,  # left out where there are none (PS3.7 §9.1.4.1.7)
            completed=before.completed if said.completed is None else said.completed,
            failed=before.failed if said.failed is None else said.failed,
            warning=before.warning if said.warning is None else said.warning,
        )
        self._on_progress(self._counts)

    def give_up(self) -> None:
        """The peer did not end what was cancelled."""
        self._exchange.abort()
        self.ended = RetrieveEnded(status=None, counts=self._counts, is_cancelled=True)
