"""C-FIND as service class user (PS3.4 §C.4.1, §K.4.1): a question, its matches, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from router.dicom.codes import CommandField
from router.dicom.dimse import find_rq
from router.dicom.identifier import Match, decode_identifier, encode_identifier
from router.dicom.negotiation import AcceptedContext, ProposedContext
from router.dicom.query import FIND_CLASSES, IDENTIFIER_SYNTAXES, Model, Query
from router.dicom.statuses import PENDING_WITH_DOUBT, Outcome, outcome_of
from router.errors import AssociationTimeout, RemoteProtocolError
from router.query.exchange import Cancellation, Exchange, open_exchange
from router.scu import Target

CANCEL_S = 10.0  # peers that know no C-CANCEL send all their matches


@dataclass(frozen=True, slots=True, kw_only=True)
class FindEnded:
    """How a C-FIND ended. ``status`` is None where the peer said nothing more after a C-CANCEL."""

    status: int | None
    matches: int  # that were given out
    comment: str = ""  # the peer's (0000,0902)
    is_cancelled: bool = False
    is_doubtful: bool = False  # FF01: some keys may not have been matched


class Questions:
    """An association on which one C-FIND after the other is made."""

    def __init__(self, exchange: Exchange, context: AcceptedContext) -> None:
        self._exchange = exchange
        self._context = context

    async def ask(
        self, query: Query, on_match: Callable[[Match], None], *, limit: int | None = None
    ) -> FindEnded:
        """Have ``on_match`` called with each match as it comes, ``limit`` times at most.

        Raises ``RouterError`` where the association is lost. Nothing may be asked after a cancelled one.
        """
        exchange, context = self._exchange, self._context
        identifier = encode_identifier(query, context.transfer_syntax)
        await exchange.ask(
            context,
            CommandField.C_FIND_RQ,
            lambda number: find_rq(number, context.abstract_syntax),
            identifier,
        )
        matches, is_doubtful = 0, False
        while True:
            try:
                received = await exchange.next_message()
                data = await exchange.read_identifier(received)
            except AssociationTimeout:
                if not exchange.is_cancelled:
                    raise
                exchange.abort()
                return FindEnded(status=None, matches=matches, is_cancelled=True, is_doubtful=is_doubtful)
            status = received.command.status
            if status is None or not received.command.is_response:
                raise RemoteProtocolError("a request where a response to C-FIND is due")
            if outcome_of(status) is not Outcome.PENDING:
                return FindEnded(
                    status=status,
                    matches=matches,
                    comment=received.command.comment,
                    is_cancelled=exchange.is_cancelled,
                    is_doubtful=is_doubtful,
                )
            if exchange.is_cancelled or not data:  # what was under way already
                continue
            is_doubtful |= status == PENDING_WITH_DOUBT
            on_match(decode_identifier(data, received.context.transfer_syntax))
            matches += 1
            if limit is not None and matches >= limit:
                await exchange.cancel()


@asynccontextmanager
async def open_questions(
    target: Target, model: Model, *, timeout_s: float, cancellation: Cancellation | None = None
) -> AsyncIterator[Questions]:
    """An association for queries; ``RouterError`` where there is none, or the peer takes no queries."""
    sop_class_uid = FIND_CLASSES[model]
    context = ProposedContext(id=1, abstract_syntax=sop_class_uid, transfer_syntaxes=IDENTIFIER_SYNTAXES)
    async with open_exchange(
        target, (context,), timeout_s=timeout_s, cancel_s=CANCEL_S, cancellation=cancellation
    ) as exchange:
        what = "worklist queries" if model is Model.WORKLIST else f"queries (C-FIND, {model} root)"
        yield Questions(exchange, exchange.context_for(sop_class_uid, what))


async def find(
    target: Target,
    query: Query,
    *,
    on_match: Callable[[Match], None],
    limit: int | None = None,
    timeout_s: float,
    cancellation: Cancellation | None = None,
) -> FindEnded:
    """One question on an association of its own: see ``Questions.ask``."""
    async with open_questions(
        target, query.model, timeout_s=timeout_s, cancellation=cancellation
    ) as questions:
        return await questions.ask(query, on_match, limit=limit)
