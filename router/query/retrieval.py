"""C-MOVE and C-GET as service class provider (PS3.4 §C.4.2, §C.4.3): what is sent, how far it is, its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from router.config.settings import Modality, Settings
from router.config.tls import ModalityTls
from router.deliver.queue import Content
from router.deliver.renditions import Maker
from router.dicom.codes import Status
from router.dicom.dimse import SubOperations as Counts
from router.dicom.inquiry import encode_failed
from router.dicom.negotiation import AssociateRequest, propose_store
from router.dicom.statuses import SUB_OPERATIONS_FAILED, Outcome, outcome_of
from router.errors import AssociationError, RemoteProtocolError
from router.logs import get_logger
from router.model import Instance
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.requestor import associate, release, user_identity
from router.plan import Pair, choose_pairs, pair_of
from router.query.dialogue import Dialogue, Ended
from router.query.sending import Forms, Originator, SubOperations
from router.query.telling import Teller

MOST_INSTANCES = 0xFFFF  # the counts of a response are of VR US
CHUNK = 64  # instances looked up at once
_DUPLICATE = 0x0111  # it is there already: what was wanted
CANNOT_COUNT = 0xA701
CANNOT_SEND = 0xA702
UNKNOWN_DESTINATION = 0xA801

log = get_logger("query")


class Store(Content, Protocol):
    """What is asked of the spool; the contracts are those of :class:`router.spool.Spool`."""

    async def held(self, keys: Sequence[int]) -> list[Instance]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One instance that is to be sent."""

    key: int
    sop_instance_uid: str


@dataclass(slots=True)
class Tally:
    """How the sub-operations went."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, sop_instance_uid: str, status: int | None) -> bool:
        """One has ended; ``status`` is None where it could not be sent. Whether it has arrived."""
        self.remaining -= 1
        outcome = outcome_of(status) if status is not None else Outcome.FAILURE
        if outcome is Outcome.SUCCESS or status == _DUPLICATE:
            self.completed += 1
        elif outcome is Outcome.WARNING:
            self.warning += 1
        else:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)
            return False
        return True

    def counts(self, *, is_last: bool = False) -> Counts:
        """For a response; the last one says nothing of what remains (PS3.7 Table 9.3-9)."""
        return Counts(
            remaining=None if is_last else self.remaining,
            completed=self.completed,
            failed=self.failed,
            warning=self.warning,
        )

    @property
    def ended(self) -> tuple[int, Ended]:
        """The last status, where it was not cancelled (PS3.4 Tables C.4-2 and C.4-3)."""
        if not self.failed and not self.warning:
            return Status.SUCCESS, Ended.SUCCESS
        if self.completed or self.warning:
            return SUB_OPERATIONS_FAILED, Ended.WARNING
        return CANNOT_SEND, Ended.FAILED


class Retrieval:
    """Carries out one C-MOVE or C-GET, once it is known what is wanted."""

    def __init__(
        self,
        store: Store,
        maker: Maker | None,
        teller: Teller,
        dialogue: Dialogue,
        targets: Sequence[Target],
    ) -> None:
        self._store = store
        self._teller = teller
        self._destination: str | None = None  # the caller itself
        self._maker = maker
        self._dialogue = dialogue
        self._targets = targets
        self._tally = Tally(remaining=len(targets))

    async def move(
        self, destination: str, settings: Settings, keys: Mapping[ModalityTls, Credentials]
    ) -> Ended:
        """Send it to a modality, over an association of its own."""
        self._destination, modality = destination, settings.modalities[destination]
        if not self._targets:
            return await self._end()
        deliver = modality.deliver
        forms = Forms(maker=self._maker, preferred=deliver.transfer_syntaxes, may_transcode=deliver.transcode)
        try:
            pairs = await self._pairs(forms)
            if not pairs:
                return await self._give_up()  # all of it has been released meanwhile
            wire = await self._open(modality, settings, keys, pairs)
        except (AssociationError, RemoteProtocolError, OSError) as error:
            log.warning("C-MOVE: no association with its destination", detail=str(error))
            return await self._give_up()
        try:
            request = self._dialogue.connection.association.request
            originator = Originator(
                ae_title=request.calling_ae if request is not None else "",
                message_id=self._dialogue.command.message_id,
            )
            sub_operations = SubOperations(
                wire, self._store, forms, response_s=deliver.response_timeout, originator=originator
            )
            await self._send_all(sub_operations)
            await release(wire)
        except (AssociationError, RemoteProtocolError) as error:
            if self._dialogue.connection.is_closed:
                raise
            log.warning("C-MOVE: the association with its destination was lost", detail=str(error))
            return await self._give_up()
        finally:
            wire.abort()
        return await self._end()

    async def get(self) -> Ended:
        """Send it over the association on which it was asked for."""
        connection = self._dialogue.connection
        sub_operations = SubOperations(
            connection,
            self._store,
            Forms(maker=self._maker),
            response_s=connection.limits.answer_s,
            on_cancel=self._dialogue.cancelled,
        )
        await self._send_all(sub_operations)
        return await self._end()

    async def _open(
        self,
        modality: Modality,
        settings: Settings,
        keys: Mapping[ModalityTls, Credentials],
        pairs: tuple[Pair, ...],
    ) -> Connection:
        deliver = modality.deliver
        request = AssociateRequest(
            calling_ae=modality.local_ae_title or settings.ae_title,
            called_ae=modality.ae_title,
            contexts=propose_store(pairs),
            max_pdu_bytes=deliver.max_pdu_bytes,
            user_identity=user_identity(modality.identity),
        )
        return await associate(
            host=modality.host,
            port=modality.port,
            request=request,
            connect_s=deliver.connect_timeout,
            reply_s=deliver.response_timeout,
            message_s=deliver.response_timeout,
            tls=keys[modality.tls] if modality.tls is not None else None,
        )

    async def _pairs(self, forms: Forms) -> tuple[Pair, ...]:
        """What to propose: of each kind of instance the form in which it lies here first, then the others."""
        ladders: dict[Pair, tuple[Pair, ...]] = {}
        async for instance in self._instances():
            if isinstance(instance, Instance) and (pair := pair_of(instance)) not in ladders:
                ladders[pair] = forms.pairs(instance)
        return choose_pairs(ladders.values(), ())

    async def _send_all(self, sub_operations: SubOperations) -> None:
        """Send one after the other, and say after each how far it is. Stops where it is cancelled."""
        dialogue, tally = self._dialogue, self._tally
        async for instance in self._instances():
            if await dialogue.listen():
                return
            if isinstance(instance, Instance):
                status = await sub_operations.send(instance)
                if tally.count(instance.arrival.sop_instance_uid, status):
                    await self._teller.sent(dialogue, instance, self._destination)
            else:
                tally.count(instance.sop_instance_uid, None)
            if tally.remaining and not dialogue.is_cancelled:
                dialogue.queue(Status.PENDING, counts=tally.counts())
                await dialogue.flush()

    async def _instances(self) -> AsyncIterator[Instance | Target]:
        """What is to be sent, in order; of what is not there any more, what was wanted."""
        targets = iter(self._targets)
        while chunk := list(islice(targets, CHUNK)):
            here = {instance.key: instance for instance in await self._store.held([one.key for one in chunk])}
            for target in chunk:
                yield here.get(target.key, target)

    async def _give_up(self) -> Ended:
        """Nothing more can be sent: whatever is left has failed."""
        done = len(self._targets) - self._tally.remaining
        for target in self._targets[done:]:
            self._tally.count(target.sop_instance_uid, None)
        return await self._end()

    async def _end(self) -> Ended:
        dialogue, tally = self._dialogue, self._tally
        status, ended = tally.ended
        is_cancelled = dialogue.is_cancelled and tally.remaining > 0
        if is_cancelled:
            status, ended = Status.CANCEL, Ended.CANCELLED
        failed = b""
        if tally.failed_uids:
            failed = encode_failed(tally.failed_uids, dialogue.context.transfer_syntax)
        dialogue.queue(status, failed, counts=tally.counts(is_last=not is_cancelled))
        await dialogue.flush()
        return ended
