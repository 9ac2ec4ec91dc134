"""What operators see: frozen values with names and types fit for JSON.

Keys and numbers of deliveries are text (they do not fit a double), hashes and statuses hexadecimal, instants
seconds since the Unix epoch. Encoded as they are, they are the answers of ``/api/v1`` and of ``--json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from router.dicom.syntaxes import shown
from router.model import (
    Attempt,
    Decision,
    DeliveryRecord,
    DeliveryState,
    Instance,
    InstanceState,
    InstanceTrace,
    Priority,
    QueueDepth,
    Reason,
    RuleTrace,
    Transcoding,
)
from router.spool.orders import Operation

USER_HEADER = "X-Dicom-Router-User"  # who asks for an action, for the audit


class Phase(StrEnum):
    """Where the process stands between its start and its end."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the gateway takes instances now, and if not, why."""

    is_ready: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()  # what will be wrong unless somebody acts, e.g. a certificate's end


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt to deliver."""

    number: int
    started_at: float
    ended_at: float
    reason: Reason
    status: str | None
    comment: str
    transfer_syntax_uid: str
    carried_by: str = ""  # which member of a group made it
    transcoding: Transcoding | None = None  # how it came into that transfer syntax, and the proof


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery, as an operator sees it."""

    delivery_id: str
    key: str
    destination: str
    state: DeliveryState
    reason: Reason
    priority: Priority
    attempts: int
    created_at: float
    changed_at: float
    due_at: float | None
    sop_instance_uid: str
    sop_class_uid: str
    calling_ae: str
    size_bytes: int
    last_status: str | None
    last_comment: str
    history: tuple[AttemptView, ...] = ()
    opens_at: float | None = None  # its destination is closed by its schedule until then


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePage:
    """Some deliveries, and how many there are of each kind in all."""

    deliveries: tuple[DeliveryView, ...]
    next_after: str | None  # give it as ``after`` to read on; None: that was all
    totals: tuple[QueueDepth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """Which deliveries: by number, or those that match a whole filter, or everything. ``to``: where to."""

    # A misspelt filter must not widen what is changed; pydantic reads this where FastAPI reads a request.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ids: tuple[int, ...] = ()
    destination: str | None = None
    state: DeliveryState | None = None
    reason: Reason | None = None
    sop_instance_uid: str | None = None
    calling_ae: str | None = None
    everything: bool = False
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptRequest:
    """Which corrupt instances: by key, or everything."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    keys: tuple[int, ...] = ()
    everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What became of an order; what matched and could not be changed is counted by what was in the way."""

    count: int
    left_alone: dict[str, int]
    operation: int | None = None  # its number in the audit; None: nothing was changed


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """One line of the audit: who did what, from where, to how many."""

    number: int
    at: float
    ended_at: float | None  # None: under way, or cut short by the end of the process
    who: str
    address: str
    action: str
    target: str
    count: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some lines of the audit, the latest first."""

    operations: tuple[OperationView, ...]
    next_before: int | None  # give it as ``before`` to read on; None: that was all


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredView:
    """An instance whose bytes are in the spool."""

    key: str
    state: InstanceState
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    received_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceView:
    """All that happened to one arrival."""

    key: str
    state: InstanceState
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str
    peer: str
    listener: str
    received_at: float
    size_bytes: int
    content_hash: str
    routed_at: float | None
    hold: bool
    destinations: tuple[str, ...]
    rules: tuple[RuleTrace, ...]
    deliveries: tuple[DeliveryView, ...]
    forms: dict[str, str] = field(default_factory=dict)  # transfer syntax by destination, where a rule says
    edits: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by destination, where rules edit


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationStatus:
    """One destination, and what waits for it."""

    name: str
    kind: str
    is_up: bool | None  # None: nothing was tried yet
    pending: int
    active: int
    held: int
    dead: int
    oldest_s: float | None  # age of the oldest that waits
    paused_at: float | None = None  # an operator has stopped the sending to it
    paused_by: str | None = None
    opens_at: float | None = None  # closed by its schedule until then
    to: str = ""  # where it is, in one line
    reason: Reason | None = None  # why it is down


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextView:
    """What a destination said to a presentation context when one was proposed to it."""

    sop_class_uid: str
    transfer_syntax_uid: str
    is_accepted: bool
    expires_in_s: float | None  # until a refused one is proposed again


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolView:
    """The store on disk."""

    bytes_used: int
    bytes_live: int
    free_bytes: int
    segments: int
    large_objects: int
    unrouted: int
    is_accepting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainView:
    """How far an operator's drain is: nobody new comes in, what is here goes out."""

    since: float
    by: str
    associations: int  # that were open before, and still are
    waiting: int  # deliveries and instances to be routed
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The gateway at a glance."""

    version: str
    ae_title: str
    phase: Phase
    readiness: Readiness
    started_at: float
    uptime_s: float
    dicom_ports: tuple[int, ...]
    destinations: tuple[DestinationStatus, ...]
    held_unmatched: int
    spool: SpoolView
    drain: DrainView | None = None
    associations: int = 0  # that callers have open


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a file would go, and why."""

    file: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    destinations: tuple[str, ...]
    priority: Priority
    hold: bool
    rules: tuple[RuleTrace, ...]
    problems: tuple[str, ...]
    forms: dict[str, str] = field(default_factory=dict)  # transfer syntax by destination, where a rule says
    edits: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by destination, where rules edit


def delivery_view(record: DeliveryRecord) -> DeliveryView:
    """A delivery for operators."""
    return DeliveryView(
        delivery_id=str(record.delivery_id),
        key=str(record.key),
        destination=record.destination,
        state=record.state,
        reason=record.reason,
        priority=record.priority,
        attempts=record.attempts,
        created_at=record.created_at,
        changed_at=record.changed_at,
        due_at=record.due_at,
        sop_instance_uid=record.sop_instance_uid,
        sop_class_uid=record.sop_class_uid,
        calling_ae=record.calling_ae,
        size_bytes=record.size_bytes,
        last_status=_hexadecimal(record.last_status),
        last_comment=record.last_comment,
        history=tuple(map(_attempt_view, record.history)),
    )


def stored_view(instance: Instance) -> StoredView:
    """An instance in the spool for operators."""
    arrival = instance.arrival
    return StoredView(
        key=str(instance.key),
        state=instance.state,
        sop_instance_uid=arrival.sop_instance_uid,
        sop_class_uid=arrival.sop_class_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        calling_ae=arrival.origin.calling_ae,
        received_at=arrival.received_at,
        size_bytes=instance.size_bytes,
    )


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        reason=attempt.reason,
        status=_hexadecimal(attempt.status),
        comment=attempt.comment,
        transfer_syntax_uid=attempt.transfer_syntax_uid,
        carried_by=attempt.carried_by,
        transcoding=attempt.transcoding,
    )


def _hexadecimal(status: int | None) -> str | None:
    return None if status is None else f"{status:04X}"


def trace_view(trace: InstanceTrace) -> TraceView:
    """An arrival for operators."""
    instance, decision = trace.instance, trace.decision
    arrival = instance.arrival
    return TraceView(
        key=str(instance.key),
        state=instance.state,
        sop_instance_uid=arrival.sop_instance_uid,
        sop_class_uid=arrival.sop_class_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        calling_ae=arrival.origin.calling_ae,
        called_ae=arrival.origin.called_ae,
        peer=arrival.origin.peer,
        listener=arrival.origin.listener,
        received_at=arrival.received_at,
        size_bytes=instance.size_bytes,
        content_hash=instance.content_hash.hex(),
        routed_at=trace.routed_at,
        hold=decision is not None and decision.hold,
        destinations=decision.destinations if decision is not None else (),
        rules=decision.trace if decision is not None else (),
        deliveries=tuple(map(delivery_view, trace.deliveries)),
        forms=forms_view(decision) if decision is not None else {},
        edits=edits_view(decision) if decision is not None else {},
    )


def edits_view(decision: Decision) -> dict[str, tuple[str, ...]]:
    """What is changed in what each destination gets, in sentences."""
    return {name: tuple(map(str, edits)) for name, edits in decision.edits}


def forms_view(decision: Decision) -> dict[str, str]:
    """The transfer syntaxes that rules ask for, by destination."""
    return {name: shown(form.transfer_syntax_uid) for name, form in decision.forms}


def operation_view(operation: Operation) -> OperationView:
    """A line of the audit for operators."""
    return OperationView(
        number=operation.number,
        at=operation.at,
        ended_at=operation.ended_at,
        who=operation.who,
        address=operation.address,
        action=operation.action.value,
        target=operation.target,
        count=operation.count,
        detail=operation.detail,
    )


def audit_page(found: Sequence[Operation], limit: int) -> AuditPage:
    """A page of the audit from one line more than it has, where there are more."""
    return AuditPage(
        operations=tuple(map(operation_view, found[:limit])),
        next_before=found[limit - 1].number if len(found) > limit else None,
    )
