"""The ``audit`` block: where DICOM's audit messages (PS3.15 Annex A.5) go, and of what there are any.

Off unless it is there. This is the trail for a hospital's audit repository; what operators did is in the
gateway's own ledger as well, with or without it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.scalars import PeerPort
from router.config.tls import ModalityTls, TlsDefaults, absolute_path, whole_block
from router.config.yaml_nodes import Block, Problems, Scalar, walk

if TYPE_CHECKING:
    from router.config.settings import Settings

_STRICT = ConfigDict(extra="forbid")
_TEXT_CHARS = 255
SYSLOG_TLS_PORT = 6514  # RFC 5425 §4.1
SYSLOG_UDP_PORT = 514  # RFC 5426 §3.3


class AuditEvent(StrEnum):
    """What there are messages of."""

    APPLICATION = "application"  # start and stop
    AUTHENTICATION = "authentication"  # nodes and users that were refused, either way
    IMPORT = "import"  # instances that were received
    EXPORT = "export"  # instances that were delivered, or given up
    BEGIN = "begin"  # instances that are to be delivered
    CONFIGURATION = "configuration"  # reloads
    QUERY = "query"  # what callers asked for
    OPERATORS = "operators"  # orders: retry, discard, redirect, pause, drain, ...


ALL_EVENTS = tuple(AuditEvent)


class AuditPatient(StrEnum):
    """What the messages say of a patient, beside the Study Instance UID."""

    NONE = "none"
    ID = "id"


class SyslogTransport(StrEnum):
    """How syslog messages travel."""

    TLS = "tls"  # RFC 5425, PS3.15 A.6
    UDP = "udp"  # RFC 5426, PS3.15 A.7: unencrypted, and what is lost is not noticed


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Syslog:
    """The audit record repository."""

    host: str = Field(min_length=1, max_length=_TEXT_CHARS)
    port: PeerPort | None = None
    transport: SyslogTransport = SyslogTransport.TLS
    tls: ModalityTls | None = None  # as towards a modality

    @property
    def port_or_default(self) -> int:
        """The port, or else the standard's for this transport."""
        default = SYSLOG_TLS_PORT if self.transport is SyslogTransport.TLS else SYSLOG_UDP_PORT
        return self.port or default


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Audit:
    """Where audit messages go: to a repository, into a file, or both."""

    syslog: Syslog | None = None
    file: str | None = Field(default=None, min_length=1)  # one message a line
    source_id: str | None = Field(default=None, min_length=1, max_length=_TEXT_CHARS)  # None: our AE title
    enterprise_site_id: str | None = Field(default=None, min_length=1, max_length=_TEXT_CHARS)
    events: tuple[AuditEvent, ...] = ALL_EVENTS
    patient: AuditPatient = AuditPatient.NONE


def check_audit(settings: Settings, tree: Block, problems: Problems) -> None:
    """There is somewhere for the messages to go, and TLS is asked for only where there is any."""
    audit, given = settings.audit, tree.get("audit")
    if isinstance(given, Scalar) and given.value is None:  # it would mean none, and looks like the opposite
        problems.add(given.mark, "audit: say where to: syslog, file or both")
    if audit is None:
        return
    if audit.syslog is None and audit.file is None:
        problems.add(walk(tree, ("audit",)).mark, "audit: say where to: syslog, file or both")
    if audit.syslog is None or audit.syslog.tls is None:
        return
    if audit.syslog.transport is not SyslogTransport.TLS:
        mark = walk(tree, ("audit", "syslog", "tls")).mark
        problems.add(mark, f"audit.syslog.tls: transport {audit.syslog.transport} has no TLS")
    elif audit.syslog.tls.key and not audit.syslog.tls.certificate:
        mark = walk(tree, ("audit", "syslog", "tls", "key")).mark
        problems.add(mark, "audit.syslog.tls.key: its certificate is missing beside it")


def resolve_audit(audit: Audit | None, top: TlsDefaults, base: Path) -> Audit | None:
    """Paths absolute, and ``tls`` whole: there always is one where the transport is TLS."""
    if audit is None:
        return None
    syslog, file = audit.syslog, audit.file
    if syslog is not None and syslog.transport is SyslogTransport.TLS:
        syslog = replace(syslog, tls=whole_block(syslog.tls or ModalityTls(), top, base))
    return replace(audit, syslog=syslog, file=None if file is None else absolute_path(file, base))
