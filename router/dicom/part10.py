"""The DICOM file format (PS3.10 §7.1): writes the file meta information of an arrival, reads that of a file.

Writing is on the hot path of reception, one for each instance: whatever is the same for all instances of a
series (everything but the SOP Instance UID) is encoded once and kept. Reading is for files that people hand
to us (``send``, ``explain``): it takes what is commonly met (no preamble, no group length, no file meta at
all) and otherwise says plainly what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct

from router.dicom.codes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from router.dicom.encoding import LONG_VRS_AS_BYTES
from router.model import Arrival, Buffer

# A command may carry any nonsense as a UID; what goes into file meta must fit a 16-bit length. 1024 is
# sixteen times what PS3.5 §9.1 allows.
UID_CAP_BYTES = 1024
META_READ_BYTES = 8192  # of a file at first; file meta is seldom over 500 bytes
META_CAP_BYTES = 1 << 20  # private information (0002,0102) may be large; beyond this it is no file meta

_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_VERSION = b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
_SOP_INSTANCE = b"\x02\x00\x03\x00UI"
_U16 = Struct("<H")
_U32 = Struct("<I")
_TAG = Struct("<HH")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the head of a file says of it; an empty string where it does not say."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str  # never empty: seen from the data set where the file meta lacks it
    data_set_offset: int


def file_meta(arrival: Arrival) -> bytes:
    """Preamble, ``DICM`` and group 2 for an arrival: the data set as received follows as it is."""
    length, before, after = _constant_parts(
        arrival.sop_class_uid, arrival.transfer_syntax_uid, arrival.origin.calling_ae
    )
    uid = arrival.sop_instance_uid.encode("latin-1", "replace")
    size = len(uid)
    if size & 1:
        uid += b"\0"
        size += 1
    if size > UID_CAP_BYTES:
        uid = uid[:UID_CAP_BYTES]
        size = UID_CAP_BYTES
    return b"".join(
        (
            _PREAMBLE,
            _GROUP_LENGTH,
            _U32.pack(length + size),
            before,
            _SOP_INSTANCE,
            _U16.pack(size),
            uid,
            after,
        )
    )


@lru_cache(maxsize=1024)
def _constant_parts(
    sop_class_uid: str, transfer_syntax_uid: str, calling_ae: str
) -> tuple[int, bytes, bytes]:
    """Group length without the SOP Instance UID's value, and what stands before and behind that element."""
    before = _VERSION + _short(0x0002, b"UI", sop_class_uid)
    after = (
        _short(0x0010, b"UI", transfer_syntax_uid)
        + _short(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _short(0x0013, b"SH", IMPLEMENTATION_VERSION)
        + _short(0x0016, b"AE", calling_ae)
    )
    return len(before) + len(_SOP_INSTANCE) + _U16.size + len(after), before, after


def _short(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("latin-1", "replace")[:UID_CAP_BYTES]
    if len(value) & 1:
        value += b"\0" if vr == b"UI" else b" "
    return _TAG.pack(0x0002, element) + vr + _U16.pack(len(value)) + value


def read_file_meta(source: Path | Buffer) -> FileMeta:
    """Read the head of a Part 10 file, or of something near enough to one.

    Raises ``ValueError`` with a sentence for the user where this is no DICOM file, and ``OSError`` where a
    path cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _read(lambda size: b"" if file.seek(0) else file.read(size))
    view = memoryview(source).cast("B")
    return _read(lambda size: bytes(view[:size]))


def _read(take: Callable[[int], bytes]) -> FileMeta:
    size = META_READ_BYTES
    while True:
        head = take(size)
        try:
            return _parse(head, complete=len(head) < size or size >= META_CAP_BYTES)
        except _Short:
            size *= 8


class _Short(ValueError):
    """The bytes at hand end inside the file meta, and there are more to be had."""


def _parse(head: bytes, *, complete: bool) -> FileMeta:
    start = _meta_offset(head)
    values, end = _group_2(head, start, complete)
    if start and not values:
        raise ValueError("no file meta information after DICM")
    if 0x0010 not in values and not complete and len(head) - end < 8:
        raise _Short
    transfer_syntax_uid = values.get(0x0010, "") or _guess_transfer_syntax(
        head[end : end + 8], has_meta=bool(values)
    )
    return FileMeta(
        sop_class_uid=values.get(0x0002, ""),
        sop_instance_uid=values.get(0x0003, ""),
        transfer_syntax_uid=transfer_syntax_uid,
        data_set_offset=end,
    )


def _meta_offset(head: bytes) -> int:
    if not head:
        raise ValueError("not a DICOM file: it is empty")
    if head[128:132] == b"DICM":
        return 132
    return 4 if head[:4] == b"DICM" else 0


def _group_2(head: bytes, start: int, complete: bool) -> tuple[dict[int, str], int]:
    """The text values of group 2 by element number, and where the data set begins.

    The group length is not believed: writers get it wrong, and the next group's first tag says it better.
    """
    values: dict[int, str] = {}
    at = start
    while head[at : at + 2] == b"\x02\x00":
        vr = head[at + 4 : at + 6]
        if at + (12 if vr in LONG_VRS_AS_BYTES else 8) > len(head):
            raise _cut(complete)
        element = _U16.unpack_from(head, at + 2)[0]
        if vr in LONG_VRS_AS_BYTES:
            length, at = _U32.unpack_from(head, at + 8)[0], at + 12
        elif vr.isalpha():
            length, at = _U16.unpack_from(head, at + 6)[0], at + 8
        else:  # implicit VR, against PS3.10 §7.1, but written by some
            length, at = _U32.unpack_from(head, at + 4)[0], at + 8
        if length > META_CAP_BYTES:
            raise ValueError(f"file meta element (0002,{element:04X}) has an absurd length of {length} bytes")
        if at + length > len(head):
            raise _cut(complete)
        if element in (0x0002, 0x0003, 0x0010):
            values[element] = head[at : at + length].decode("latin-1").strip("\0 ")
        else:
            values[element] = ""
        at += length
    return values, at


def _cut(complete: bool) -> ValueError:
    return ValueError("the file ends inside its file meta information") if complete else _Short()


def _guess_transfer_syntax(element: bytes, *, has_meta: bool) -> str:
    """From the first element of a data set, which begins with a low group (8 in nearly all of them)."""
    if len(element) == 8:
        explicit = element[4:6].isalpha() and element[4:6].isupper()
        if 0x0002 < int.from_bytes(element[:2], "little") <= 0x0010:
            return EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
        if 0x0002 < int.from_bytes(element[:2], "big") <= 0x0010 and explicit:
            return EXPLICIT_VR_BIG_ENDIAN
    why = (
        "its file meta names no transfer syntax" if has_meta else "neither DICM at offset 128 nor a data set"
    )
    raise ValueError(f"not a DICOM file: {why}")
