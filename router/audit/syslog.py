"""Syslog as PS3.15 A.6 and A.7 have it: RFC 5424 messages, framed for TLS by RFC 5425. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.audit.codes import EventOutcome
from router.audit.message import timestamp

FACILITY = 10  # security and authorization (PS3.15 A.6)
NOTICE, WARNING = 5, 4
MSGID = "DICOM+RFC3881"
APP_NAME = "dicom-router"
_BOM = "\ufeff"  # RFC 5424 §6.4: a MSG in UTF-8 begins with it
_HOSTNAME_CHARS, _PROCID_CHARS = 255, 128
_NO_PRINTUSASCII = re.compile("[^!-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What stands in the header of each message."""

    host: str
    process: str


def syslog_message(xml: str, *, sender: Sender, at: float, outcome: EventOutcome) -> bytes:
    """A SYSLOG-MSG (RFC 5424 §6)."""
    priority = FACILITY * 8 + (NOTICE if outcome is EventOutcome.SUCCESS else WARNING)
    host, process = _header(sender.host, _HOSTNAME_CHARS), _header(sender.process, _PROCID_CHARS)
    header = f"<{priority}>1 {timestamp(at)} {host} {APP_NAME} {process} {MSGID} - "
    return (header + _BOM + xml).encode()


def frame(message: bytes) -> bytes:
    """A SYSLOG-FRAME (RFC 5425 §4.3): octet counting."""
    return b"%d %b" % (len(message), message)


def _header(value: str, limit: int) -> str:
    return _NO_PRINTUSASCII.sub("", value)[:limit] or "-"
