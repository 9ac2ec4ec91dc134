"""Delivery to a DICOM peer by C-STORE: opens associations for what waits and ends them politely."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import cast

import anyio

from router.clock import Clock
from router.config.settings import Modality, Operation
from router.config.tls import ModalityTls
from router.deliver.desk import Desk
from router.deliver.learned import Learned
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.shaping import Shaper
from router.deliver.store import Ending, StoreSession, Wire
from router.deliver.verdict import NO_CONTEXT, NO_FORM, of_opening
from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
from router.dicom.dimse import echo_rq
from router.dicom.events import CommandReceived
from router.dicom.negotiation import AssociateRequest, propose_store
from router.errors import AssociationError, AssociationLost, AssociationTimeout, RemoteProtocolError
from router.logs import get_logger
from router.model import Delivery
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.requestor import associate, release, user_identity
from router.plan import MAX_CONTEXTS, Pair
from router.telemetry import Telemetry

_ECHO_ID = 0xFFFF  # the stores that follow count from 1
ABORT_GRACE_S = 1.0  # for the transport to go after an abort; then it is cut

Keys = Mapping[ModalityTls, Credentials]

log = get_logger("deliver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How associations are opened and released: the seam for scripted peers."""

    open: Callable[[Modality, AssociateRequest], Awaitable[Wire]]
    release: Callable[[Wire], Awaitable[None]]


async def _open(keys: Keys, modality: Modality, request: AssociateRequest) -> Wire:
    deliver = modality.deliver
    return await associate(
        host=modality.host,
        port=modality.port,
        request=request,
        connect_s=deliver.connect_timeout,
        reply_s=deliver.response_timeout,
        message_s=deliver.response_timeout,
        tls=keys[modality.tls] if modality.tls is not None else None,
    )


async def _release(wire: Wire) -> None:
    assert isinstance(wire, Connection)  # noqa: S101 - made by _open
    await release(wire)


def network(keys: Keys) -> Network:
    """Real sockets; ``keys`` has the credentials of every modality with TLS."""
    return Network(open=partial(_open, keys), release=_release)


TCP = network(MappingProxyType({}))


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
        shaper: Shaper | None = None,
    ) -> None:
        self._modality = modality
        self._shaper = shaper
        self._calling_ae = modality.local_ae_title or calling_ae
        self._content = content
        self._clock = clock
        self._telemetry = telemetry
        self._network = network
        self.learned = Learned()
        self.can_probe = True
        self._may_echo = Operation.ECHO in modality.send

    async def serve(self, desk: Desk) -> None:
        """Open associations one after the other, as long as there is something to send."""
        is_probe = desk.is_probe
        while True:
            first = self._first(desk)
            if first is None and not is_probe:
                return
            started_at = self._clock.now()
            pairs = self._pairs(first, desk)
            try:
                wire = await self._open(pairs, with_echo=is_probe and self._may_echo)
            except (AssociationError, RemoteProtocolError, OSError) as error:
                if first is None:
                    desk.judge.unreached(of_opening(error), str(error))
                elif not desk.concede(first):
                    self._fail(desk, first, error, started_at)
                return
            is_probe = False
            if first is None:
                await self._network.release(wire)
                wire.abort()
                desk.judge.reached()
                return
            desk.put_back(first)
            ending, was_of_use = await self._use(wire, desk)
            if ending is Ending.STALE and not was_of_use:
                # It is taken and ended at once: to go on would only open one after the other.
                if (first := desk.take()) is not None:
                    self._fail(desk, first, AssociationLost("ended as soon as it was opened"), started_at)
                return

    def _fail(self, desk: Desk, delivery: Delivery, error: Exception, started_at: float) -> None:
        ended = Ended(started_at=started_at, ended_at=self._clock.now(), comment=str(error))
        desk.failed(delivery, of_opening(error), ended)

    def _first(self, desk: Desk) -> Delivery | None:
        """The next delivery that the destination may take; what it has refused lately is not asked again."""
        while (delivery := desk.take()) is not None:
            pairs = desk.renditions.pairs(delivery)
            if not all(pair in self for pair in pairs):
                return delivery
            now = self._clock.now()
            because = desk.renditions.give_up(delivery)
            refused = "its presentation contexts were refused lately" if pairs else ""
            comment = "; ".join(filter(None, (because, refused)))
            ended = Ended(started_at=now, ended_at=now, comment=comment)
            desk.failed(delivery, NO_FORM if because else NO_CONTEXT, ended)
        return None

    def __contains__(self, pair: object) -> bool:
        """Whether a pair is refused: what a session asks."""
        return self.learned.is_refused(cast("Pair", pair), self._clock.monotonic())

    async def _open(self, pairs: tuple[Pair, ...], *, with_echo: bool) -> Wire:
        """An association that proposes ``pairs``; a probe asks by C-ECHO first, where that is agreed on."""
        pairs = pairs[: MAX_CONTEXTS - with_echo]
        request = self._request(pairs, with_echo=with_echo)
        wire = await self._network.open(self._modality, request)
        contexts = wire.association.contexts.values()
        accepted = {(c.abstract_syntax, c.transfer_syntax) for c in contexts if c.as_scu}
        self.learned.learn(pairs, accepted, self._clock.monotonic())
        for context in contexts:
            if with_echo and context.abstract_syntax == VERIFICATION:
                try:
                    await self._echo(wire, context.id)
                except BaseException:
                    wire.abort()
                    raise
        return wire

    async def _echo(self, wire: Wire, context_id: int) -> None:
        timeout_s = self._modality.deliver.response_timeout
        with anyio.move_on_after(timeout_s):
            wire.association.send_message(context_id, echo_rq(_ECHO_ID))
            await wire.flush()
            event = await wire.next_event()
            if isinstance(event, CommandReceived) and event.command.responded_to == _ECHO_ID:
                return
            raise RemoteProtocolError("C-ECHO was answered by something else")
        raise AssociationTimeout(f"no answer to C-ECHO within {timeout_s:g} s")

    async def _use(self, wire: Wire, desk: Desk) -> tuple[Ending, bool]:
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
                refused=self,
                response_s=deliver.response_timeout,
                idle_s=deliver.idle,
                shaper=self._shaper,
            )
            ending = await session.run()
            if ending in (Ending.IDLE, Ending.REOPEN):
                await self._network.release(wire)
            if desk.is_probe and not session.has_sent:
                desk.judge.reached()  # what it was opened for has to be transcoded first, or went elsewhere
            return ending, session.has_sent or session.has_rendered
        finally:
            desk.is_open = False
            self._telemetry.association_closed("requestor")
            wire.abort()
            if ending is Ending.BROKEN:  # a peer that takes nothing more would hold the transport open
                with anyio.move_on_after(2 * ABORT_GRACE_S, shield=True):
                    await wire.close(ABORT_GRACE_S)

    def _pairs(self, first: Delivery | None, desk: Desk) -> tuple[Pair, ...]:
        waiting = [desk.renditions.pairs(delivery) for delivery in desk.waiting()]
        if first is not None:
            waiting.insert(0, desk.renditions.pairs(first))
        return self.learned.choose(waiting, self._clock.monotonic())

    def _request(self, pairs: tuple[Pair, ...], *, with_echo: bool) -> AssociateRequest:
        deliver = self._modality.deliver
        # An association needs a context: where nothing is sent and nothing asked, that it opens is enough.
        verification = ((VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),) if with_echo or not pairs else ()
        return AssociateRequest(
            calling_ae=self._calling_ae,
            called_ae=self._modality.ae_title,
            contexts=propose_store((*verification, *pairs)),
            max_pdu_bytes=deliver.max_pdu_bytes,
            async_ops=(deliver.window, 1) if deliver.window > 1 else None,
            user_identity=user_identity(self._modality.identity),
        )
