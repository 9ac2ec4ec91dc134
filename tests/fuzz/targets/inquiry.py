"""Identifiers of requests to query and to retrieve: refused by A900, or answered from what we might hold."""

from __future__ import annotations

from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.holdings import LEVEL_OF
from router.dicom.identifier import decode_identifier
from router.dicom.inquiry import Unanswerable, encode_answer, read_inquiry
from router.dicom.query import Model
from router.errors import RemoteProtocolError

_HELD = dict.fromkeys(LEVEL_OF, ("1.2.3", "20260102", "Müller^Jörg=山田"))
WORDS = (
    b"\x08\0\x52\0CS",
    b"\x08\0\x52\0\x06\0\0\0",
    b"STUDY ",
    b"SERIES",
    b"IMAGE ",
    b"PATIENT ",
    b"\x20\0\x0d\0UI",
    b"\x20\0\x0e\0UI",
    b"\x10\0\x20\0LO",
    b"\x10\0\x10\0PN",
    b"\x08\0\x20\0DA",
    b"\x08\0\x30\0TM",
    b"20260101-",
    b'""',
    b"*?",
)


def target(data: bytes) -> None:
    """The first byte says transfer syntax, model, and whether it is to retrieve."""
    kind = data[0] if data else 0
    syntax = IMPLICIT_VR_LITTLE_ENDIAN if kind < 0x80 else EXPLICIT_VR_LITTLE_ENDIAN
    model = Model.PATIENT if kind & 1 else Model.STUDY
    try:
        identifier = decode_identifier(data[1:], syntax)
        inquiry = read_inquiry(model, identifier, is_retrieval=bool(kind & 2))
    except (RemoteProtocolError, Unanswerable):
        return
    inquiry.fits(_HELD)
    inquiry.fits_counts({})
    answer = encode_answer(inquiry, _HELD, ae_title="ROUTER", transfer_syntax_uid=syntax)
    tags = {attribute.tag for attribute in decode_identifier(answer, syntax).attributes}
    assert tags.issuperset(inquiry.asked)
