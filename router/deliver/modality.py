"""Delivery to a DICOM peer by C-STORE: opens associations for what waits and ends them politely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from router.clock import Clock
from router.config.settings import Modality
from router.deliver.desk import Desk
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.store import Ending, StoreSession, Wire
from router.deliver.verdict import of_opening
from router.dicom.negotiation import AssociateRequest, propose_store
from router.errors import AssociationError, RemoteProtocolError
from router.logs import get_logger
from router.model import Delivery
from router.net.connection import Connection
from router.net.requestor import associate, release
from router.plan import MAX_CONTEXTS, Pair, choose_pairs, pair_of
from router.telemetry import Telemetry

ABORT_GRACE_S = 1.0  # for the transport to go after an abort; then it is cut

log = get_logger("deliver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How associations are opened and released: the seam for scripted peers."""

    open: Callable[[Modality, AssociateRequest], Awaitable[Wire]]
    release: Callable[[Wire], Awaitable[None]]


async def _open(modality: Modality, request: AssociateRequest) -> Wire:
    deliver = modality.deliver
    return await associate(
        host=modality.host,
        port=modality.port,
        request=request,
        connect_s=deliver.connect_timeout,
        reply_s=deliver.response_timeout,
        message_s=deliver.response_timeout,
    )


async def _release(wire: Wire) -> None:
    assert isinstance(wire, Connection)  # noqa: S101 - made by _open
    await release(wire)


TCP = Network(open=_open, release=_release)


class ModalitySender:
    """Serves the desks of one modality's lane."""

    def __init__(
        self,
        modality: Modality,
        *,
        calling_ae: str,
        content: Content,
        clock: Clock,
        telemetry: Telemetry,
        network: Network = TCP,
    ) -> None:
        self._modality = modality
        self._calling_ae = modality.local_ae_title or calling_ae
        self._content = content
        self._clock = clock
        self._telemetry = telemetry
        self._network = network
        self._recent: dict[Pair, None] = {}  # what this lane has sent, the latest last

    async def serve(self, desk: Desk) -> None:
        """Open associations one after the other, as long as there is something to send."""
        while (first := desk.take()) is not None:
            pairs = self._choose(first, desk)
            started_at = self._clock.now()
            try:
                wire = await self._network.open(self._modality, self._request(pairs))
            except (AssociationError, RemoteProtocolError, OSError) as error:
                if desk.concede(first):
                    return
                ended = Ended(started_at=started_at, ended_at=self._clock.now(), comment=str(error))
                desk.failed(first, of_opening(error), ended)
                return
            desk.put_back(first)
            await self._use(wire, desk, frozenset(pairs))

    async def _use(self, wire: Wire, desk: Desk, proposed: frozenset[Pair]) -> None:
        self._telemetry.association_opened("requestor")
        desk.is_open = True
        deliver = self._modality.deliver
        ending = Ending.BROKEN
        try:
            session = StoreSession(
                wire,
                desk,
                content=self._content,
                clock=self._clock,
                proposed=proposed,
                response_s=deliver.response_timeout,
                idle_s=deliver.idle,
            )
            ending = await session.run()
            if ending in (Ending.IDLE, Ending.REOPEN):
                await self._network.release(wire)
        finally:
            desk.is_open = False
            self._telemetry.association_closed("requestor")
            wire.abort()
            if ending is Ending.BROKEN:  # a peer that takes nothing more would hold the transport open
                with anyio.move_on_after(2 * ABORT_GRACE_S, shield=True):
                    await wire.close(ABORT_GRACE_S)

    def _choose(self, first: Delivery, desk: Desk) -> tuple[Pair, ...]:
        waiting = [pair_of(first.instance), *(pair_of(delivery.instance) for delivery in desk.waiting())]
        pairs = choose_pairs(waiting, reversed(self._recent))
        for pair in reversed(pairs):
            self._recent.pop(pair, None)
            self._recent[pair] = None
        while len(self._recent) > MAX_CONTEXTS:
            del self._recent[next(iter(self._recent))]
        return pairs

    def _request(self, pairs: tuple[Pair, ...]) -> AssociateRequest:
        return AssociateRequest(
            calling_ae=self._calling_ae,
            called_ae=self._modality.ae_title,
            contexts=propose_store(pairs),
            max_pdu_bytes=self._modality.deliver.max_pdu_bytes,
        )
