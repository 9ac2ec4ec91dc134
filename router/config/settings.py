"""The settings as frozen values: one class per block of the configuration, every default beside its name.

A field's name is its key in the YAML file, its log key and its metric label. Durations are seconds once
loaded (written ``30s``, ``10m``, ``3d``), sizes bytes (written ``64MB``, ``1GiB``).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.access import Identity, IdentityPolicy, Network, User
from router.config.audit import Audit
from router.config.forms import Preferences
from router.config.hours import EVERY_DAY, Between, Days, TimeZone
from router.config.http import Http
from router.config.scalars import (
    AeTitle,
    Count,
    Duration,
    ListenPort,
    PduSize,
    PeerPort,
    Rate,
    Size,
    parse_rate,
)
from router.config.tls import ListenerTls, ModalityTls, TlsDefaults
from router.config.web import Auth, Headers, Url

_STRICT = ConfigDict(extra="forbid")
KEY_CHARS = 32  # of a key for de-identification; what the gateway makes has 64, of 256 bits


class Operation(StrEnum):
    """What one AE may ask of another."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"  # storage commitment


ALL_OPERATIONS = tuple(Operation)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Limits:
    """How much a listener bears. What is over a limit gets the standard's answer, not silence.

    Each counts under its own name in ``dicom_router_limits_reached_total``. "Peer" is an address, or the /64
    of an IPv6 address, which one machine may have whole.
    """

    # who comes
    associations: Count = 2000  # at once; where all are taken, who asks nothing makes room
    associations_per_peer: Count = 1000
    new_per_second: Count = 500  # over ten seconds; A-ASSOCIATE-RJ, or closed at once where they are too many
    new_per_second_per_peer: Count = 100
    handshakes: Count = 512  # TLS, under way at once; one more ends the oldest
    identity_failures_per_minute: Count = 10  # wrong passcodes from one peer, until it has to wait
    # what they ask for
    request_bytes: Size = Field(default=512 * 1024, ge=1024)  # A-ASSOCIATE-RQ; 128 full contexts are 430 kB
    contexts: int = Field(default=128, ge=1, le=128)  # in one request (PS3.8 §9.3.2.2: odd ids of one byte)
    window: int = Field(default=16, ge=1, le=256)  # unanswered on one association at once (PS3.7 D.3.3.3)
    queries: Count = 32  # queries and retrievals under way at once; one more is answered with A700
    queries_per_peer: Count = 8
    # what they send
    max_pdu_bytes: PduSize = 131072  # what we offer; a longer P-DATA-TF is still read up to ``pdu_cap_bytes``
    pdu_cap_bytes: Size = 4 * 1024 * 1024
    command_set_bytes: Size = 65536
    overhead_bytes: Size = 256 * 1024  # of one message of which less than a quarter is data
    data_set_bytes: Size = 16 * 1024**3  # more is answered with A700 (PS3.4 Table B.2-1)
    memory_bytes: Size = 8 * 1024 * 1024  # unanswered instances of one association; one may pass it
    memory_all_bytes: Size = 512 * 1024 * 1024  # over it instances go to disk as they come, not when whole
    # how long they take
    request_s: Duration = 30.0  # ARTIM: connection made → A-ASSOCIATE-RQ read (PS3.8 §9.1.5)
    idle_s: Duration = 600.0  # nothing arrives on an association between messages
    message_s: Duration = 120.0  # nothing arrives in the middle of a message
    message_bytes_per_second: Size = 1024  # of a message, over each ``message_s``; 0: no least rate
    message_total_s: Duration = Field(default=12 * 3600.0, gt=0)  # from a message's first byte to its last
    answer_s: Duration = Field(default=60.0, gt=0)  # the peer takes none of the answers that wait for it


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Listener:
    """One port that accepts associations. ``port: 0`` lets the system choose one."""

    port: ListenPort
    host: str = ""  # all addresses
    name: str = ""  # as in rules and traces; the port where not given
    tls: ListenerTls | None = None  # None: plain
    called_ae: tuple[AeTitle, ...] = ()  # what callers may call us here; none: see ``check_called_ae``
    addresses: tuple[Network, ...] = ()  # from where they may come; none: from anywhere
    accept_unknown: tuple[Operation, ...] | None = None  # here, instead of the one at the top
    identity: IdentityPolicy = IdentityPolicy.IGNORED
    limits: Limits = Field(default_factory=Limits)

    @property
    def label(self) -> str:
        """The name by which rules and traces know it."""
        return self.name or str(self.port)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Retry:
    """When a failed attempt is made again: exponential, full jitter, until attempts or age are used up."""

    initial: Duration = 5.0
    maximum: Duration = 600.0
    max_attempts: Count | None = None  # None: no bound
    max_age: Duration = 3 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Window:
    """A time of day on some days; one that ends before it begins ends on the day after."""

    days: Days = EVERY_DAY  # on which it begins
    between: Between = (0, 0)  # the whole day


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class RateWindow:
    """A limit, and when it holds."""

    bytes_per_second: Rate
    days: Days = EVERY_DAY
    between: Between = (0, 0)

    @property
    def is_always(self) -> bool:
        """It asks no clock."""
        return self.days == EVERY_DAY and self.between[0] == self.between[1]


def _as_rates(value: object) -> object:
    """One limit for all times, or a list by time of day; the first that holds counts."""
    if isinstance(value, list | tuple):
        return value
    return ({"bytes_per_second": parse_rate(value)},)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Deliver:
    """How a destination is served."""

    associations: int = Field(default=16, ge=1, le=64)  # at most; as many are open as speed it up
    window: int = Field(default=16, ge=1, le=256)  # outstanding on one association at most, where it agrees
    idle: Duration = 10.0  # an association without work is kept open for so long
    connect_timeout: Duration = 10.0
    response_timeout: Duration = 60.0
    max_pdu_bytes: PduSize = 131072
    in_flight: Count | None = None  # instances sent and not answered, over all associations; None: no bound
    schedule: tuple[Window, ...] = ()  # nothing is sent outside of these; none: at any time
    time_zone: TimeZone | None = None  # in which ``schedule`` and times of ``bytes_per_second`` are meant
    bytes_per_second: Annotated[tuple[RateWindow, ...], BeforeValidator(_as_rates)] = ()  # none: no limit
    transcode: bool = True  # False: what it does not take as it was received is not sent
    transfer_syntaxes: Preferences = ()  # what it prefers, the most wanted first; none: as received
    retry: Retry = Field(default_factory=Retry)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Modality:
    """A DICOM peer. ``accept``: what it may ask of us. ``send``: what we may ask of it."""

    ae_title: AeTitle
    host: str
    port: PeerPort
    accept: tuple[Operation, ...] = ALL_OPERATIONS
    send: tuple[Operation, ...] = ALL_OPERATIONS
    local_ae_title: AeTitle | None = None  # our calling AE title towards it, if not the gateway's own
    tls: ModalityTls | None = None  # towards it; None: plain
    check_host: bool = False  # its associations must come from ``host``
    addresses: tuple[Network, ...] = ()  # or from here, where given
    listeners: tuple[str, ...] = ()  # by which it may come in; none: by any
    users: tuple[str, ...] = ()  # its associations must be of one of these, by user identity
    identity: Identity | None = None  # as which user we come in at it
    certificate_names: tuple[str, ...] = ()  # its associations must show a certificate with one of these
    quota: Size | None = None  # bytes from it that are not delivered yet; more are answered with A700
    deliver: Deliver = Field(default_factory=Deliver)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Destination:
    """A directory on this machine, or a DICOMweb service (STOW-RS): exactly one of both.

    ``{Keyword}`` in a path becomes that element's value, made safe.
    """

    folder: str | None = None
    dicomweb: Url | None = None
    auth: Auth | None = None
    headers: Headers = Field(default_factory=dict, repr=False)  # keys of services may be among them
    tls: ModalityTls | None = None  # None: what this machine trusts, where the address is https
    deliver: Deliver = Field(default_factory=Deliver)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Group:
    """Destinations of which one gets each instance: the first that is up, or its study's own."""

    first_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        """Its destinations, in the order in which they are named."""
        return self.first_of or self.one_of


class Duplicates(StrEnum):
    """What becomes of an instance that has been delivered, or waits for that, under the same UID."""

    FORWARD = "forward"
    SKIP_IDENTICAL = "skip-identical"  # the same data set, byte for byte
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SpoolSettings:
    """The store on disk."""

    segment_bytes: Size = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    spare_segments: int = Field(default=8, ge=1)  # empty segments kept for reuse
    large_object_bytes: Size = 4 * 1024 * 1024  # from here an object is streamed to a file of its own
    min_free_bytes: Size = 1024 * 1024 * 1024  # stop accepting (A700) below; resume 10 % above
    clean_below: float = Field(default=0.25, ge=0, le=0.9)  # copy live records forward below this share
    retention_bytes: Size | None = None  # what ``retention`` may keep; the oldest goes first. None: no bound
    history: Duration = 30 * 86400.0  # how long the ledger remembers what it delivered


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Transcode:
    """The worker processes that bring instances into other transfer syntaxes, and what they may take."""

    workers: int = Field(default=0, ge=0, le=256)  # 0: one for each processor
    memory_bytes: Size = Field(default=2 * 1024**3, ge=256 * 1024**2)  # address space of each
    timeout: Duration = Field(default=120.0, ge=1)  # for one instance
    max_pixels: Count = 1_000_000_000  # samples of all frames of one instance
    max_inflated_bytes: Size = 1024**3  # of a deflated data set
    cache_bytes: Size = 256 * 1024**2  # results that another destination may want in the same form


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Deidentify:
    """What de-identifications of all rules share."""

    # Of which UIDs and patient IDs are made; ``${file:PATH}``. None: one in ``data_dir``, made when needed.
    key: str | None = Field(default=None, min_length=KEY_CHARS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Settings:
    """The whole configuration."""

    ae_title: AeTitle = "ROUTER"
    data_dir: Path = Path("./data")
    listeners: tuple[Listener, ...] = Field(default=(Listener(port=11112),), min_length=1)
    tls: TlsDefaults = Field(default_factory=TlsDefaults)  # what ``tls`` blocks leave out
    http: Http = Field(default_factory=Http)
    modalities: dict[str, Modality] = Field(default_factory=dict)
    destinations: dict[str, Destination] = Field(default_factory=dict)
    groups: dict[str, Group] = Field(default_factory=dict)  # written among the destinations
    rules: tuple[object, ...] = ()  # paths, globs and inline rules, mixed; router.rules reads them
    unmatched: str = "hold"  # hold | drop | a destination's name
    duplicates: Duplicates = Duplicates.FORWARD
    quota_unknown: Size | None = None  # ``quota`` of all callers that are no modality, together
    retention: Duration = 0.0
    index: bool = False  # True: callers may query what lies in the spool
    accept_unknown: tuple[Operation, ...] = ()
    users: dict[str, User] = Field(default_factory=dict)  # who may come in by user identity
    check_called_ae: bool = False  # reject associations that call another AE title than ours
    drain: Duration = 30.0  # how long SIGTERM waits for what is under way
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    transcode: Transcode = Field(default_factory=Transcode)
    deidentify: Deidentify = Field(default_factory=Deidentify)
    audit: Audit | None = None  # None: no audit messages
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @property
    def destination_names(self) -> tuple[str, ...]:
        """Everything that a rule may name in ``send``."""
        return (*self.modalities, *self.destinations, *self.groups)
