"""Well-formed data sets, read by the tag scanner and by pydicom: they must not disagree on a value.

The bytes are a recipe. The first chooses the encoding; then each element of a list gets a byte that says
whether it is there and how long it is, and that many bytes of value; a sequence gets its number of items.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from string import whitespace
from struct import pack
from typing import cast

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from router.dicom.header import Header, scan
from router.dicom.identity import identify
from router.dicom.tagpath import TagPath, parse
from router.dicom.values import Value
from tests.dicom.oracle import comparable

_ENCODINGS = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_LONG = frozenset({"OB", "OW", "SQ", "UC", "UN", "UR", "UT"})
_INNER = ((0x00080100, "SH"), (0x00080104, "LO"), (0x00400008, "SQ"), (0x00400009, "SH"), (0x00400280, "ST"))
_ELEMENTS = (
    (0x00080000, "UL"),
    (0x00080005, "CS"),
    (0x00080008, "CS"),
    (0x00080016, "UI"),
    (0x00080018, "UI"),
    (0x00080020, "DA"),
    (0x00080030, "TM"),
    (0x00080060, "CS"),
    (0x00081030, "LO"),
    (0x00081140, "SQ"),
    (0x00090010, "LO"),
    (0x00091010, "UN"),
    (0x00100010, "PN"),
    (0x00101010, "AS"),
    (0x00104000, "LT"),
    (0x00180050, "DS"),
    (0x00200013, "IS"),
    (0x00280009, "AT"),
    (0x00280010, "US"),
    (0x00280103, "US"),
    (0x00280106, "US"),
    (0x00281050, "DS"),
    (0x00400275, "SQ"),
    (0x00420011, "OB"),
    (0x00720054, "UT"),
    (0x00720076, "FL"),
    (0x7FE00010, "OW"),
)
_NESTED = ("00080100", "00080104", "00400009", "00400280")
_TAGS = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag, vr in _ELEMENTS if vr not in ("OB", "OW", "UN")]
_PATHS: tuple[TagPath, ...] = tuple(
    map(
        parse,
        [
            *_TAGS,
            *(f"RequestAttributesSequence.({tag[:4]},{tag[4:]})" for tag in _NESTED),
            "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue",
            "ReferencedImageSequence.ScheduledProtocolCodeSequence.ScheduledProcedureStepID",
        ],
    )
)
_ASKED = frozenset(_PATHS)
_AMBIGUOUS = "(0028,0106)"  # US or SS, in implicit VR by Pixel Representation
_SIGNED = parse("PixelRepresentation")
_DEPTH = 3
_PADDING = whitespace + "\x1c\x1d\x1e\x1f\x85\xa0\0"
WORDS = (
    b"ISO_IR 100",
    b"ISO_IR 192",
    b"ISO 2022 IR 87",
    b"\\ISO 2022 IR 149",
    b"GB18030",
    b"\\",
    b"^",
    b"=",
    b"1E5",
)


class _Recipe:
    """Bytes, taken from the front; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        return self.bytes(1)[0]

    def bytes(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        self._at += count
        return taken.ljust(count, b"\0")


class _Writer:
    """A data set in one of the three encodings (PS3.5 §7.1)."""

    def __init__(self, recipe: _Recipe, transfer_syntax_uid: str) -> None:
        self._recipe = recipe
        self._is_explicit = transfer_syntax_uid != _ENCODINGS[0]
        self._sign = ">" if transfer_syntax_uid == _ENCODINGS[2] else "<"

    def data_set(self, elements: tuple[tuple[int, str], ...], depth: int = 0) -> bytes:
        out = bytearray()
        for tag, vr in elements:
            choice = self._recipe.number()
            if not choice:
                continue
            if vr == "SQ":
                if depth < _DEPTH:
                    out += self._sequence(tag, choice, depth)
            else:
                out += self._head(tag, vr, choice & 0x3E) + self._recipe.bytes(choice & 0x3E)
        return bytes(out)

    def _sequence(self, tag: int, choice: int, depth: int) -> bytes:
        items = bytearray()
        for _ in range(choice & 3):
            item = self.data_set(_INNER, depth + 1)
            if choice & 4:
                items += self._tag(0xFFFEE000) + b"\xff\xff\xff\xff" + item + self._tag(0xFFFEE00D) + bytes(4)
            else:
                items += self._tag(0xFFFEE000) + pack(self._sign + "I", len(item)) + item
        if choice & 8:
            return self._head(tag, "SQ", 0xFFFFFFFF) + bytes(items) + self._tag(0xFFFEE0DD) + bytes(4)
        return self._head(tag, "SQ", len(items)) + bytes(items)

    def _tag(self, tag: int) -> bytes:
        return pack(self._sign + "HH", tag >> 16, tag & 0xFFFF)

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        if not self._is_explicit:
            return self._tag(tag) + pack(self._sign + "I", length)
        if vr in _LONG:
            return self._tag(tag) + vr.encode() + b"\0\0" + pack(self._sign + "I", length)
        return self._tag(tag) + vr.encode() + pack(self._sign + "H", length)


def target(data: bytes) -> None:
    """See the module."""
    recipe = _Recipe(data)
    syntax = _ENCODINGS[recipe.number() % len(_ENCODINGS)]
    content = _Writer(recipe, syntax).data_set(_ELEMENTS)
    header = scan(content, syntax, _ASKED)
    assert not header.problem or not content, header.problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = read_dataset(BytesIO(content), syntax == _ENCODINGS[0], syntax != _ENCODINGS[2])
        except ValueError:  # a character set whose name has a NUL inside
            return
        for path in _PATHS:
            ours = header.values(path)
            try:
                expected = _values(theirs, path, 0)
            except Exception:  # what pydicom cannot decode is compared as the text that it is
                assert ours is not None
                continue
            assert _bare(ours) == _bare(expected) or _is_in_doubt(path, header, ours), path.text
    _check_identity(content, syntax, theirs)


def _is_in_doubt(path: TagPath, header: Header, ours: tuple[Value, ...] | None) -> bool:
    """What it is depends on what cannot be: a Pixel Representation, a character set with that escape."""
    if path.text == _AMBIGUOUS:
        return header.values(_SIGNED) not in ((0,), (1,))
    return any("\x1b" in str(value) for value in ours or ())


def _bare(values: tuple[Value, ...] | None) -> str:
    """To compare: NaN is not equal to itself, and pydicom takes white space off some texts."""
    if values is None:
        return "absent"
    texts = [
        value.strip(_PADDING).rstrip("=" + _PADDING) if isinstance(value, str) else repr(value)
        for value in values
    ]
    return repr([text for text in texts if text])


def _values(data_set: Dataset, path: TagPath, depth: int) -> tuple[Value, ...] | None:
    element = cast("DataElement | None", data_set.get(path.steps[depth].tag))
    if element is None:
        return None
    if depth == len(path.steps) - 1:
        return () if element.VR == "SQ" else comparable(element.value)
    inner = [_values(item, path, depth + 1) for item in element.value]
    present = [values for values in inner if values is not None]
    return tuple(value for values in present for value in values) if present else None


def _check_identity(content: bytes, syntax: str, theirs: Dataset) -> None:
    found = identify(content, syntax)
    if found is None or len(content) < 8:
        return
    for ours, keyword in zip(found, ("SOPClassUID", "SOPInstanceUID"), strict=True):
        expected = theirs.get_item(keyword)
        raw = getattr(expected, "value", b"")
        if isinstance(raw, bytes):
            assert ours == raw.rstrip(b"\0 ").decode("ascii", "replace")
