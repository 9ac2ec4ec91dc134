"""Identifiers of responses to queries: read to a record, or refused as a whole; and shown as JSON."""

from __future__ import annotations

import json

from router.cli.matches import as_json, printable
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.identifier import decode_identifier, failed_uids
from router.dicom.tagpath import parse
from router.errors import RemoteProtocolError

_PATHS = tuple(map(parse, ("PatientName", "StudyDate", "ScheduledProcedureStepSequence.Modality")))
WORDS = (
    b"\x08\0\x05\0CS",
    b"\x08\0\x05\0\x0a\0\0\0",
    b"\\ISO 2022 IR 87",
    b"ISO_IR 192",
    b"\x1b$B",
    b"\x10\0\x10\0PN",
    b"\x40\0\x00\x01SQ\0\0\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
)


def target(data: bytes) -> None:
    """The first byte says which transfer syntax."""
    syntax = IMPLICIT_VR_LITTLE_ENDIAN if data[:1] < b"\x80" else EXPLICIT_VR_LITTLE_ENDIAN
    try:
        match = decode_identifier(data[1:], syntax)
    except RemoteProtocolError:
        return
    json.loads(json.dumps(as_json(match), allow_nan=False))
    assert all(printable(match.text(path)).isprintable() for path in _PATHS)
    assert all(failed_uids(match))
