"""Deliveries, a queue in memory and a scripted peer, for the tests of delivery."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import anyio

from router.clock import Clock
from router.config.settings import Deliver, Modality, Retry
from router.dicom.association import Association
from router.dicom.codes import CommandField
from router.dicom.dimse import Command, echo_rsp, encode_command
from router.dicom.events import (
    Aborted,
    AssociationAccepted,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    DataReceived,
    Event,
    ReleaseRequested,
)
from router.dicom.negotiation import Acceptance, AcceptedContext, AssociateRequest, negotiate
from router.errors import (
    AssociationAborted,
    AssociationLost,
    CorruptRecord,
    RemoteProtocolError,
    RouterError,
    StorageError,
)
from router.model import (
    Arrival,
    Delivery,
    DeliveryState,
    Instance,
    InstanceState,
    Origin,
    Outcome,
    Place,
    Priority,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.70"
META = b"M" * 340

FAST = Retry(initial=0.001, maximum=0.005)


def instance(key: int, *, size: int = 1000, sop_class: str = CT, transfer_syntax: str = EXPLICIT) -> Instance:
    return Instance(
        key=key,
        arrival=Arrival(
            sop_class_uid=sop_class,
            sop_instance_uid=f"1.2.3.{key}",
            transfer_syntax_uid=transfer_syntax,
            origin=Origin(calling_ae="CT1", called_ae="ROUTER", peer="10.0.0.1", listener="11112"),
            received_at=1_699_999_999.0,
        ),
        place=Place(segment=0, offset=0, length_bytes=len(META) + size, data_set_offset=len(META)),
        content_hash=bytes(16),
        state=InstanceState.ROUTED,
    )


def delivery(
    number: int,
    *,
    destination: str = "pacs",
    attempts: int = 0,
    created_at: float | None = None,
    priority: Priority = Priority.NORMAL,
    of: Instance | None = None,
) -> Delivery:
    return Delivery(
        delivery_id=number,
        destination=destination,
        attempts=attempts,
        created_at=1_700_000_000.0 if created_at is None else created_at,
        priority=priority,
        instance=of if of is not None else instance(number),
    )


def modality(*, associations: int = 2, response_timeout: float = 5.0, retry: Retry = FAST) -> Modality:
    return Modality(
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        deliver=Deliver(
            associations=associations, response_timeout=response_timeout, connect_timeout=2.0, retry=retry
        ),
    )


class AllBut:
    """All pairs but those of some transfer syntaxes: what a peer may refuse."""

    def __init__(self, *transfer_syntaxes: str) -> None:
        self._taken = transfer_syntaxes

    def __contains__(self, pair: object) -> bool:
        assert isinstance(pair, tuple)
        return pair[1] not in self._taken


def data_set(of: Instance) -> bytes:
    """The data set that the queue in memory has for an instance."""
    return bytes((of.key + at) & 0xFF for at in range(256)) * (of.size_bytes // 256 + 1)


def content(of: Instance) -> bytes:
    return META + data_set(of)[: of.size_bytes]


class MemoryQueue:
    """What the spool promises to delivery, without a disk."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pending: list[tuple[float, Delivery]] = []
        self.leased: dict[int, Delivery] = {}
        self.outcomes: list[Outcome] = []
        self.groups: list[int] = []
        self.given_back: list[int] = []
        self.recalled: list[str] = []
        self.corrupt: set[int] = set()
        self.unreadable: set[int] = set()
        self.reads: list[int] = []
        self.failures = 0  # so many calls of ``record`` fail
        self.ledger = anyio.Event()  # ``record`` waits for it
        self.ledger.set()
        self._news = anyio.Event()
        self._urgent = anyio.Event()

    def put(self, *deliveries: Delivery, due_at: float = 0.0) -> None:
        self.pending += [(due_at, item) for item in deliveries]
        if any(item.priority is Priority.HIGH for item in deliveries):
            self._urgent.set()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def until(self, holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Wait until something that happens here makes ``holds`` true."""
        with anyio.fail_after(within_s):
            while not holds():
                await self._news.wait()

    def states(self) -> dict[int, DeliveryState]:
        """The last recorded state of each delivery."""
        return {outcome.delivery_id: outcome.state for outcome in self.outcomes}

    async def all_delivered(self, numbers: Sequence[int]) -> None:
        await self.until(lambda: all(self.states().get(n) is DeliveryState.DELIVERED for n in numbers))

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        await anyio.lowlevel.checkpoint()
        order = list(Priority)
        mine = (entry for entry in self.pending if entry[1].destination == destination)
        wanted = (entry for entry in mine if only is None or entry[1].priority is only)
        due = sorted(
            (entry for entry in wanted if entry[0] <= now),
            key=lambda entry: (order.index(entry[1].priority), entry[0], entry[1].delivery_id),
        )[:limit]
        for entry in due:
            self.pending.remove(entry)
            self.leased[entry[1].delivery_id] = entry[1]
        return [entry[1] for entry in due]

    def wake(self, destination: str) -> None:
        self._tell()

    async def wait_for_urgent(self, destination: str) -> None:
        await self._urgent.wait()
        self._urgent = anyio.Event()

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        dues = [due for due, item in self.pending if item.destination == destination]
        until = min([*dues, *([] if until is None else [until])], default=None)
        if until is not None and until <= self.clock.now():
            return
        with anyio.move_on_after(None if until is None else until - self.clock.now()):
            await self._news.wait()

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None:
        await anyio.lowlevel.checkpoint()
        await self.ledger.wait()
        if self.failures:
            self.failures -= 1
            raise StorageError("the ledger is ill", out_of_resources=False)
        self.groups.append(len(outcomes))
        for outcome in outcomes:
            held = self.leased.pop(outcome.delivery_id)
            self.outcomes.append(outcome)
            if outcome.state is DeliveryState.PENDING:
                assert outcome.retry_at is not None
                attempts = held.attempts + outcome.counts
                again = replace(held, attempts=attempts, wish=outcome.wish or held.wish)
                self.pending.append((outcome.retry_at, again))
        self._tell()

    def recall(self, destination: str) -> None:
        self.recalled.append(destination)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        await anyio.lowlevel.checkpoint()
        for item in deliveries:
            self.pending.append((0.0, self.leased.pop(item.delivery_id)))
            self.given_back.append(item.delivery_id)
        self._tell()

    async def read(self, of: Instance, buffers: Sequence[memoryview]) -> None:
        self.reads.append(of.key)
        if of.key in self.corrupt:
            raise CorruptRecord("not what arrived")
        if of.key in self.unreadable:
            raise StorageError("input/output error", out_of_resources=False)
        _fill(content(of), 0, buffers)
        assert sum(map(len, buffers)) == of.place.length_bytes

    async def read_head(self, of: Instance, limit: int) -> bytes:
        return data_set(of)[: min(limit, of.size_bytes)]

    async def read_range(self, of: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        await anyio.lowlevel.checkpoint()
        if of.key in self.unreadable and offset > len(META):
            raise StorageError("input/output error", out_of_resources=False)
        _fill(content(of), offset, buffers)

    async def verify(self, of: Instance) -> None:
        await anyio.lowlevel.checkpoint()
        if of.key in self.corrupt:
            raise CorruptRecord("not what arrived")


def _fill(source: bytes, offset: int, buffers: Sequence[memoryview]) -> None:
    for buffer in buffers:
        buffer[:] = source[offset : offset + len(buffer)]
        offset += len(buffer)


class Deed(Enum):
    """What a scripted peer may do instead of answering properly."""

    SILENCE = "silence"
    ABORT = "abort"
    DROP = "drop"  # the connection is lost
    RELEASE = "release"
    WRONG_ID = "wrong message id"
    WRONG_CONTEXT = "wrong context"
    ECHO_RSP = "the response to another kind of request"
    NO_STATUS = "no status"


Answer = int | Deed


@dataclass
class Peer:
    """A scripted acceptor. ``answer`` says what to do with the n-th instance (from 0) and its key."""

    answer: Callable[[int, int], Answer] = lambda number, key: 0x0000
    refuses: Container[tuple[str, str]] = frozenset()
    max_pdu_bytes: int = 16384
    opening: Callable[[int], RouterError | None] = lambda number: None
    opened: int = 0
    tried: int = 0
    released: int = 0
    echoes: int = 0
    holds_back: int = 0  # answers are given when so many wait, the last first
    outstanding_max: int = 0
    window: int = 1
    proposals: list[tuple[tuple[str, str], ...]] = field(default_factory=list)
    received: list[tuple[int, bytes]] = field(default_factory=list)  # key, data set
    wires: list[MemoryWire] = field(default_factory=list)

    async def open(self, to: Modality, request: AssociateRequest) -> MemoryWire:
        await anyio.lowlevel.checkpoint()
        self.tried += 1
        error = self.opening(self.tried - 1)
        if error is not None:
            raise error
        self.opened += 1
        self.proposals.append(tuple((c.abstract_syntax, c.transfer_syntaxes[0]) for c in request.contexts))
        wire = MemoryWire(self, request)
        self.wires.append(wire)
        return wire

    def keys(self) -> list[int]:
        return [key for key, _ in self.received]


class MemoryWire:
    """Two associations mouth to mouth: real bytes, no socket."""

    def __init__(self, peer: Peer, request: AssociateRequest) -> None:
        self._peer = peer
        self.association = Association.requestor(request, now=0.0)
        self._other = Association.acceptor(now=0.0, max_pdu_bytes=peer.max_pdu_bytes)
        self._events: deque[Event] = deque()
        self._arrived = anyio.Event()
        self._failure: RouterError | None = None
        self._command: tuple[AcceptedContext, Command] | None = None
        self._parts: list[bytes] = []
        self._held: list[tuple[int, Command, int]] = []
        self.flushes = 0
        self._exchange()
        assert isinstance(self._events.popleft(), AssociationAccepted)

    @property
    def is_closed(self) -> bool:
        return self._failure is not None or self.association.is_closed

    @property
    def has_event(self) -> bool:
        return bool(self._events) or self._failure is not None

    async def next_event(self) -> Event:
        while not self._events:
            if self._failure is not None:
                raise self._failure
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    async def flush(self) -> None:
        self.flushes += 1
        self._exchange()

    def abort(self) -> None:
        self.association.abort()
        self._lose(AssociationLost("closed by us"))

    async def close(self, grace_s: float) -> None:
        self._lose(AssociationLost("closed by us"))

    async def release(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._peer.released += 1
        self.abort()

    def hang_up(self, deed: Deed) -> None:
        """The peer does it while nothing is outstanding."""
        self._do(deed)
        self._exchange()

    def _exchange(self) -> None:
        """Move bytes both ways until nobody has more to say."""
        while self._failure is None and (self.association.has_data_to_send or self._other.has_data_to_send):
            for piece in self.association.data_to_send():
                for event in self._other.receive_data(memoryview(piece), 0.0):
                    self._hear(event)
            for piece in self._other.data_to_send():
                try:
                    events = self.association.receive_data(memoryview(piece), 0.0)
                except RemoteProtocolError as error:
                    self._lose(error)
                    return
                for event in events:
                    self._notice(event)

    def _notice(self, event: Event) -> None:
        if isinstance(event, Aborted):
            self._lose(AssociationAborted("the peer aborted"))
        elif not isinstance(event, ConnectionClosed):
            self._events.append(event)
            self._arrived.set()

    def _lose(self, failure: RouterError) -> None:
        self._failure = self._failure or failure
        self._arrived.set()

    def _hear(self, event: Event) -> None:
        if isinstance(event, AssociationRequested):
            self._other.accept(self._negotiate(event.request))
        elif isinstance(event, CommandReceived):
            self._command, self._parts = (event.context, event.command), []
            if event.command.field == CommandField.C_ECHO_RQ:
                self._peer.echoes += 1
                self._other.send_message(event.context.id, echo_rsp(event.command))
        elif isinstance(event, DataReceived):
            self._parts += [bytes(fragment) for fragment in event.fragments]
            if event.last:
                self._answer()
        elif isinstance(event, ReleaseRequested):
            self._other.confirm_release()

    def _negotiate(self, request: AssociateRequest) -> Acceptance:
        refused = {
            context.id
            for context in request.contexts
            if (context.abstract_syntax, context.transfer_syntaxes[0]) in self._peer.refuses
        }
        acceptance = negotiate(request, async_ops=(self._peer.window, 1))
        answers = tuple(
            replace(answer, result=4, transfer_syntax="") if answer.id in refused else answer
            for answer in acceptance.answers
        )
        contexts = {number: c for number, c in acceptance.contexts.items() if number not in refused}
        return replace(acceptance, answers=answers, contexts=contexts)

    def answer_held(self) -> None:
        """Give the answers that were held back, the last first, as of an asynchronous peer."""
        while self._held and self._failure is None:
            self._respond(*self._held.pop())
        self._exchange()

    def _answer(self) -> None:
        assert self._command is not None
        context, command = self._command
        key = int(command.sop_instance_uid.rpartition(".")[2])
        answer = self._peer.answer(len(self._peer.received), key)
        self._peer.received.append((key, b"".join(self._parts)))
        if isinstance(answer, Deed):
            self._do(answer)
        elif self._peer.holds_back:
            self._held.append((context.id, command, answer))
            self._peer.outstanding_max = max(self._peer.outstanding_max, len(self._held))
            if len(self._held) >= self._peer.holds_back:
                while self._held:
                    self._respond(*self._held.pop())
        else:
            self._respond(context.id, command, answer)

    def _respond(
        self,
        context_id: int,
        command: Command,
        status: int | None,
        *,
        message_id: int | None = None,
        kind: int = CommandField.C_STORE_RSP,
    ) -> None:
        response = encode_command(
            field=kind,
            responded_to=command.message_id if message_id is None else message_id,
            sop_class_uid=command.sop_class_uid,
            status=status,
        )
        self._other.send_message(context_id, response)

    def _do(self, deed: Deed) -> None:
        if deed is Deed.ABORT:
            self._other.abort()
        elif deed is Deed.DROP:
            self._lose(AssociationLost("the peer closed the connection"))
        elif deed is Deed.RELEASE:
            self._other.request_release()
        elif deed is not Deed.SILENCE:
            assert self._command is not None
            context, command = self._command
            if deed is Deed.WRONG_ID:
                self._respond(context.id, command, 0, message_id=command.message_id + 7)
            elif deed is Deed.WRONG_CONTEXT:
                other = next(number for number in self._other.contexts if number != context.id)
                self._respond(other, command, 0)
            elif deed is Deed.ECHO_RSP:
                self._respond(context.id, command, 0, kind=CommandField.C_ECHO_RSP)
            else:
                self._respond(context.id, command, None)
