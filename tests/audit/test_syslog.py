"""router.audit.syslog: RFC 5424 headers, and frames as RFC 5425 has them."""

from __future__ import annotations

import pytest

from router.audit.codes import EventOutcome
from router.audit.syslog import Sender, frame, syslog_message

SENDER = Sender(host="gw.example", process="4711")


def made(sender: Sender = SENDER, outcome: EventOutcome = EventOutcome.SUCCESS) -> bytes:
    return syslog_message("<AuditMessage/>", sender=sender, at=1_700_000_000.5, outcome=outcome)


def test_the_whole_message() -> None:
    assert made() == (
        b"<85>1 2023-11-14T22:13:20.500Z gw.example dicom-router 4711 DICOM+RFC3881 - "
        b"\xef\xbb\xbf<AuditMessage/>"
    )


@pytest.mark.parametrize("outcome", [EventOutcome.MINOR_FAILURE, EventOutcome.SERIOUS_FAILURE])
def test_failures_are_warnings(outcome: EventOutcome) -> None:
    assert made(outcome=outcome).startswith(b"<84>1 ")


def test_a_header_is_ascii_without_spaces() -> None:
    header = made(Sender(host="gw räume 1", process="")).split(b" ")
    assert (header[2], header[4]) == (b"gwrume1", b"-")
    assert made(Sender(host="x" * 1000, process="1")).split(b" ")[2] == b"x" * 255


def test_a_frame_counts_octets() -> None:
    assert frame("é".encode()) == b"2 \xc3\xa9"
