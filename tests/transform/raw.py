"""Raw data sets for tests: made by hand, flattened to compare, and wrapped as files for other programs."""

from __future__ import annotations

from collections.abc import Sequence

from router.dicom import codes
from router.dicom.part10 import file_meta
from router.model import Arrival, Buffer, Origin
from router.transform.elements import DataSet, Element, Fragments
from router.transform.reading import parse
from router.transform.writing import encode

IMPLICIT = codes.IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT = codes.EXPLICIT_VR_LITTLE_ENDIAN
DEFLATED = codes.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
BIG = codes.EXPLICIT_VR_BIG_ENDIAN
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG)
CAP = 1 << 28

Flat = list[tuple[int, "bytes | Sequence[Flat] | Sequence[bytes]"]]


def read(content: Buffer, transfer_syntax_uid: str) -> DataSet:
    return parse(content, transfer_syntax_uid, inflate_cap_bytes=CAP)


def written(data_set: DataSet, transfer_syntax_uid: str) -> bytes:
    return b"".join(encode(data_set, transfer_syntax_uid))


def flat(data_set: DataSet) -> Flat:
    """Tags and values, padded to even length; without VRs, which a change of transfer syntax may change."""
    return [(element.tag, _value(element)) for element in data_set.elements]


def _value(element: Element) -> bytes | Sequence[Flat] | Sequence[bytes]:
    value = element.value
    if isinstance(value, list):
        return [flat(item) for item in value]
    if isinstance(value, Fragments):
        return [_padded(item) for item in value.items]
    return _padded(value)


def _padded(value: Buffer) -> bytes:
    value = bytes(value)
    return value if len(value) % 2 == 0 else value + b"\0"


def is_same(one: Flat, other: Flat) -> bool:
    """Whether the values are the same, but for a space or NUL at the end, and where one side could not know
    that an element is a sequence (implicit VR, private).
    """
    return len(one) == len(other) and all(
        a == b and _is_same_value(x, y) for (a, x), (b, y) in zip(one, other, strict=True)
    )


def _is_same_value(one: object, other: object) -> bool:
    if isinstance(one, bytes) and isinstance(other, bytes):
        return one == other or one.rstrip(b" \0") == other.rstrip(b" \0")
    if isinstance(one, bytes) or isinstance(other, bytes):
        return True
    assert isinstance(one, list)
    assert isinstance(other, list)
    return len(one) == len(other) and all(
        x == y if isinstance(x, bytes) else is_same(x, y) for x, y in zip(one, other, strict=True)
    )


def file_of(
    content: bytes, transfer_syntax_uid: str, sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.7"
) -> bytes:
    """A Part 10 file around a data set."""
    arrival = Arrival(
        sop_class_uid=sop_class_uid,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=transfer_syntax_uid,
        origin=Origin(calling_ae="A", called_ae="B", peer="", listener=""),
        received_at=0.0,
    )
    return file_meta(arrival) + content
