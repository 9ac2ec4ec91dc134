"""The records that cross floors: an instance, its deliveries, their attempts and what became of them.

All are frozen values. Instants (``*_at``) are seconds since the Unix epoch, durations (``*_s``) seconds,
sizes (``*_bytes``) bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Buffer = bytes | bytearray | memoryview


class DeliveryState(StrEnum):
    """Where one delivery (an instance towards one destination) stands."""

    PENDING = "pending"  # due at ``due_at``; a first attempt, or a retry (``attempts`` > 0: deferred)
    ACTIVE = "active"  # leased by a lane
    DELIVERED = "delivered"
    HELD = "held"  # until an operator says otherwise
    DEAD = "dead"  # permanent failure, or attempts or age used up; kept, replayable
    DISCARDED = "discarded"  # given up by an operator

    @property
    def is_final(self) -> bool:
        """No further attempt is due, and nothing keeps the instance in the spool for it."""
        return self in (DeliveryState.DELIVERED, DeliveryState.DISCARDED)


class InstanceState(StrEnum):
    """Where a stored instance stands."""

    RECEIVED = "received"  # durable, no rule has looked at it yet
    ROUTED = "routed"  # its deliveries exist
    RELEASED = "released"  # every delivery is final; the bytes may be gone, the record stays as history
    CORRUPT = "corrupt"  # its bytes no longer match their hash; kept, never sent


class Reason(StrEnum):
    """Why a delivery changed its state, or an attempt ended as it did: a small closed set, fit for labels."""

    ROUTED = "routed"
    UNMATCHED = "unmatched"
    SUCCESS = "success"
    WARNING = "warning"  # stored, with coercion or a doubt: B000, B006, B007
    DUPLICATE = "duplicate"  # the peer has it already: 0111
    OUT_OF_RESOURCES = "out_of_resources"  # A7xx
    PROCESSING_FAILURE = "processing_failure"  # 0110, 0213 and statuses unknown to us
    DATA_SET_MISMATCH = "data_set_mismatch"  # A9xx
    CANNOT_UNDERSTAND = "cannot_understand"  # Cxxx
    SOP_CLASS_NOT_SUPPORTED = "sop_class_not_supported"  # 0122
    NOT_AUTHORISED = "not_authorised"  # 0124
    INVALID_INSTANCE = "invalid_instance"  # 0117, 0106 and the like
    NO_CONTEXT = "no_context"  # no presentation context accepted for it
    TRANSCODE = "transcode"  # it could not be brought into a form that the destination takes
    REJECTED_TRANSIENT = "rejected_transient"
    REJECTED_PERMANENT = "rejected_permanent"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"  # connected, and no TLS handshake: certificates, versions, a plain peer
    CONNECTION_LOST = "connection_lost"
    ABORTED = "aborted"
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol_error"
    CORRUPT = "corrupt"  # our own copy is damaged
    DISK = "disk"  # a folder destination could not write, or the spool could not be read
    MISCONFIGURED = "misconfigured"  # the destination no longer exists in the configuration
    LEASE_EXPIRED = "lease_expired"  # whoever held it went away
    STOPPED = "stopped"  # the gateway was asked to stop
    MAX_ATTEMPTS = "max_attempts"
    MAX_AGE = "max_age"
    FAILED_OVER = "failed_over"  # one member of its group is down; another one takes it
    OPERATOR = "operator"
    REDIRECTED = "redirected"  # an operator gave it to another destination


class Priority(StrEnum):
    """In which order a lane takes what is due."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who sent an instance, as the wire said it."""

    calling_ae: str
    called_ae: str
    peer: str  # the address, without port
    listener: str  # the listener's name in the configuration, or its port


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is known of an instance when its last byte has come in; the spool adds key, place and hash."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    origin: Origin
    received_at: float
    priority: Priority = Priority.NORMAL  # the sender's (0000,0700)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the Part 10 object of an instance lies: a segment and offset, or a file of its own."""

    segment: int  # number of the segment; -1 for a large object's own file
    offset: int  # of the Part 10 object (not of the record header) within its file
    length_bytes: int  # the whole Part 10 object
    data_set_offset: int  # from the start of the Part 10 object to the first byte of the data set


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One arrival that is durable. ``key`` is ours, time-ordered and unique; the SOP Instance UID is not."""

    key: int
    arrival: Arrival
    place: Place
    content_hash: bytes  # XXH3-128 of the Part 10 object
    state: InstanceState

    @property
    def size_bytes(self) -> int:
        """Length of the data set as it was received."""
        return self.place.length_bytes - self.place.data_set_offset


class EditKind(StrEnum):
    """What is done to an element before an instance leaves."""

    SET = "set"
    BLANK = "blank"  # no value is left in it
    REMOVE = "remove"
    REPLACE = "replace"  # what a regular expression finds in its values
    REMOVE_PRIVATE = "remove_private"  # every private element, wherever it is
    DEIDENTIFY = "deidentify"  # by the Basic Profile of PS3.15 Annex E


class Retain(StrEnum):
    """What a de-identification leaves all the same: the options of PS3.15 §E.3 that only retain."""

    UIDS = "uids"
    DATES = "dates"
    DATES_SHIFTED = "dates-shifted"  # all of a patient's by as many days
    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT_CHARACTERISTICS = "patient-characteristics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change to a data set before it leaves. The stored original is never changed."""

    kind: EditKind
    path: str = ""  # of the element, as rules write it
    value: str = ""  # to set, with {placeholders}; or what comes in the place of ``pattern``
    pattern: str = ""
    retain: tuple[Retain, ...] = ()  # of a de-identification
    keeps_burned_in: bool = False  # what may be written in the pixels is let through

    def __str__(self) -> str:
        """A sentence for the operator."""
        if self.kind is EditKind.DEIDENTIFY:
            kept = [*self.retain, *(["what is burned in"] if self.keeps_burned_in else [])]
            return "de-identify by the Basic Profile" + (f", but keep {', '.join(kept)}" if kept else "")
        if self.kind is EditKind.SET:
            return f"set {self.path} to {self.value!r}"
        if self.kind is EditKind.REPLACE:
            return f"replace {self.pattern!r} by {self.value!r} in {self.path}"
        return f"{self.kind} {self.path}" if self.path else "remove private elements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an instance is to leave: a transfer syntax, for a lossy one how much may be lost, and edits.

    Of ``quality``, ``ratio`` and ``max_error`` a lossy one has exactly one.
    """

    transfer_syntax_uid: str
    quality: int | None = None  # 1 to 100, as libjpeg counts
    ratio: float | None = None  # of uncompressed to compressed, as JPEG 2000 aims at
    max_error: int | None = None  # of each sample, as JPEG-LS keeps to
    edits: tuple[Edit, ...] = ()  # in order; with any, it is never what was received

    @property
    def is_lossy(self) -> bool:
        return self.quality is not None or self.ratio is not None or self.max_error is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of one delivery's form, beside what its destination takes and prefers."""

    form: Form | None = None  # by the rule that sends it
    avoid: tuple[str, ...] = ()  # transfer syntaxes in which the destination could not make sense of it
    edits: tuple[Edit, ...] = ()  # by the rules that send it: without them it must not leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcoding:
    """How an instance was brought into another form, and the proof of it."""

    source_uid: str  # transfer syntaxes
    target_uid: str
    codecs: str  # who decoded and who encoded, with versions; empty where no pixels were touched
    frames: int  # 0: it has no pixel data
    frames_hash: str  # XXH3-128 of the decoded frames of the source
    is_lossless: bool  # those of the result have the same
    max_error: float | None = None  # where it is not: the largest difference of any sample
    sop_instance_uid: str = ""  # the new one of a lossy (PS3.3 C.7.6.1.1.5) or de-identified result
    took_s: float = 0.0
    edited: tuple[str, ...] = ()  # what was changed in the data set, without values


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrace:
    """What one rule said of one instance: the sentence for the operator comes from the deciding code."""

    rule: str
    matched: bool
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the rules decided for one instance."""

    destinations: tuple[str, ...]  # in the order in which rules named them, no name twice
    priority: Priority
    hold: bool  # unmatched: hold: no destination, kept visible
    trace: tuple[RuleTrace, ...]
    forms: tuple[tuple[str, Form], ...] = ()  # by destination, where a rule says in which to send
    edits: tuple[tuple[str, tuple[Edit, ...]], ...] = ()  # by destination, where rules edit

    def wish_for(self, destination: str) -> Wish | None:
        """What the rules ask of the form in which it is sent there."""
        if not self.forms and not self.edits:
            return None
        form = next((form for name, form in self.forms if name == destination), None)
        edits = next((edits for name, edits in self.edits if name == destination), ())
        return Wish(form=form, edits=edits) if form is not None or edits else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A decision for an instance, ready for the ledger: one transaction makes the deliveries from it."""

    key: int
    decision: Decision
    instance: Instance | None = None  # where it is given, a lane that waits for work may have it at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An instance on its way to one destination, as a lane has leased it."""

    delivery_id: int
    destination: str
    attempts: int  # made before this one
    created_at: float
    priority: Priority
    instance: Instance
    wish: Wish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended, and the state the delivery goes to."""

    delivery_id: int
    key: int
    destination: str
    state: DeliveryState
    reason: Reason
    started_at: float
    ended_at: float
    status: int | None = None  # the DIMSE status, where one came
    comment: str = ""  # (0000,0902) or the error's text; never a tag's value
    transfer_syntax_uid: str = ""  # what it was sent in, where it was sent
    retry_at: float | None = None  # set where ``state`` is PENDING
    counts: bool = True  # False: not this instance's fault, and no attempt of its budget
    carried_by: str = ""  # the member of the group that ``destination`` is; empty: ``destination`` itself
    wish: Wish | None = None  # from now on, where it changes
    transcoding: Transcoding | None = None  # how it came into the form in which it was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One line of a delivery's history."""

    number: int
    started_at: float
    ended_at: float
    reason: Reason
    status: int | None
    comment: str
    transfer_syntax_uid: str
    carried_by: str = ""  # which member of a group made it
    transcoding: Transcoding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which deliveries are asked for: those that match everything that is given, by rising id."""

    destination: str | None = None
    state: DeliveryState | None = None
    sop_instance_uid: str | None = None
    calling_ae: str | None = None
    limit: int = 100
    after: int | None = None  # from the one behind this id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery as an operator sees it."""

    delivery_id: int
    key: int
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
    last_status: int | None
    last_comment: str
    history: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTrace:
    """Everything that happened to one arrival: who sent it, which rules matched and why, each attempt."""

    instance: Instance
    decision: Decision | None  # None: not routed yet
    routed_at: float | None
    deliveries: tuple[DeliveryRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How many deliveries of a destination stand in a state, and since when the oldest does."""

    destination: str
    state: DeliveryState
    count: int
    oldest_at: float | None
