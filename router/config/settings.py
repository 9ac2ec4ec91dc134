"""The settings as frozen values: one class per block of the configuration, every default beside its name.

A field's name is its key in the YAML file, its log key and its metric label. Durations are seconds once
loaded (written ``30s``, ``10m``, ``3d``), sizes bytes (written ``64MB``, ``1GiB``).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.scalars import AeTitle, Count, Duration, ListenPort, PeerPort, Size

_STRICT = ConfigDict(extra="forbid")


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
    """How much a listener lets in at once. What is over a limit gets the standard's answer, not silence."""

    associations: Count = 2000
    associations_per_peer: Count = 1000  # by address
    max_pdu_bytes: Size = 131072  # what we offer; a longer P-DATA-TF is still read up to ``pdu_cap_bytes``
    pdu_cap_bytes: Size = 4 * 1024 * 1024
    command_set_bytes: Size = 65536
    request_s: Duration = 30.0  # ARTIM: connection made → A-ASSOCIATE-RQ read (PS3.8 §9.1.5)
    idle_s: Duration = 600.0  # nothing arrives on an association between messages
    message_s: Duration = 120.0  # nothing arrives in the middle of a message


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Listener:
    """One port that accepts associations. ``port: 0`` lets the system choose one."""

    port: ListenPort
    host: str = ""  # all addresses
    name: str = ""  # as in rules and traces; the port where not given
    limits: Limits = Field(default_factory=Limits)

    @property
    def label(self) -> str:
        """The name by which rules and traces know it."""
        return self.name or str(self.port)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Http:
    """Where the HTTP interface listens."""

    host: str = "127.0.0.1"
    port: ListenPort = 8080


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Retry:
    """When a failed attempt is made again: exponential, full jitter, until attempts or age are used up."""

    initial: Duration = 5.0
    maximum: Duration = 600.0
    max_attempts: Count | None = None  # None: no bound
    max_age: Duration = 3 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Deliver:
    """How a destination is served."""

    associations: int = Field(default=4, ge=1, le=64)
    idle: Duration = 10.0  # an association without work is kept open for so long
    connect_timeout: Duration = 10.0
    response_timeout: Duration = 60.0
    max_pdu_bytes: Size = 131072
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
    check_host: bool = False  # its associations must come from ``host``
    deliver: Deliver = Field(default_factory=Deliver)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class FolderDestination:
    """A directory on this machine. ``{Keyword}`` in its path becomes that element's value, made safe."""

    folder: str
    deliver: Deliver = Field(default_factory=Deliver)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SpoolSettings:
    """The store on disk."""

    segment_bytes: Size = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    spare_segments: int = Field(default=8, ge=1)  # empty segments kept for reuse
    large_object_bytes: Size = 4 * 1024 * 1024  # from here an object is streamed to a file of its own
    min_free_bytes: Size = 1024 * 1024 * 1024  # stop accepting (A700) below; resume 10 % above
    clean_below: float = Field(default=0.25, ge=0, le=0.9)  # copy live records forward below this share
    history: Duration = 30 * 86400.0  # how long the ledger remembers what it delivered


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Settings:
    """The whole configuration."""

    ae_title: AeTitle = "ROUTER"
    data_dir: Path = Path("./data")
    listeners: tuple[Listener, ...] = Field(default=(Listener(port=11112),), min_length=1)
    http: Http = Field(default_factory=Http)
    modalities: dict[str, Modality] = Field(default_factory=dict)
    destinations: dict[str, FolderDestination] = Field(default_factory=dict)
    rules: tuple[object, ...] = ()  # paths, globs and inline rules, mixed; router.rules reads them
    unmatched: str = "hold"  # hold | drop | a destination's name
    retention: Duration = 0.0
    accept_unknown: tuple[Operation, ...] = ()
    check_called_ae: bool = False  # reject associations that call another AE title than ours
    drain: Duration = 30.0  # how long SIGTERM waits for what is under way
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @property
    def destination_names(self) -> tuple[str, ...]:
        """Everything that a rule may name in ``send``."""
        return (*self.modalities, *self.destinations)
