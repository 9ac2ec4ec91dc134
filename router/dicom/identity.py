"""Whose data set is this: SOP Class and SOP Instance UID from the first bytes, without parsing more.

(0008,0016) and (0008,0018) stand at the very start of a data set, so that a look costs some microseconds. It
is a look, not a judgement: where the start cannot be read, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error as struct_error

from router.dicom.codes import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.encoding import LONG_VRS_AS_BYTES, UNDEFINED
from router.model import Buffer

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018

_IMPLICIT = Struct("<HHI")
_EXPLICIT = {False: Struct("<HH2sH"), True: Struct(">HH2sH")}
_LENGTH = {False: Struct("<I"), True: Struct(">I")}


def identify(data: Buffer, transfer_syntax_uid: str) -> tuple[str, str] | None:
    """SOP Class and SOP Instance UID of a data set: empty where it has none, None where it cannot be told."""
    sop_class = ""
    try:
        if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
            elements = _implicit(data)
        else:
            elements = _explicit(data, transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN)
        for tag, start, length in elements:
            if tag > SOP_INSTANCE_UID:
                return sop_class, ""
            if start + length > len(data):
                return None
            if tag == SOP_CLASS_UID:
                sop_class = _uid(data, start, length)
            elif tag == SOP_INSTANCE_UID:
                return sop_class, _uid(data, start, length)
    except struct_error:
        pass  # the prefix ended, or it is no data set
    return None


def _implicit(data: Buffer) -> Iterator[tuple[int, int, int]]:
    at = 0
    while True:
        group, element, length = _IMPLICIT.unpack_from(data, at)
        yield group << 16 | element, at + 8, length
        if length == UNDEFINED:
            return
        at += 8 + length


def _explicit(data: Buffer, is_big: bool) -> Iterator[tuple[int, int, int]]:
    head, long_length = _EXPLICIT[is_big], _LENGTH[is_big]
    at = 0
    while True:
        group, element, vr, length = head.unpack_from(data, at)
        at += 8
        if vr in LONG_VRS_AS_BYTES:
            (length,) = long_length.unpack_from(data, at)
            at += 4
        yield group << 16 | element, at, length
        if length == UNDEFINED:
            return
        at += length


def _uid(data: Buffer, start: int, length: int) -> str:
    return bytes(data[start : start + length]).rstrip(b"\0 ").decode("ascii", "replace")
