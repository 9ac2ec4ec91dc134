"""Puts a raw data set together in a transfer syntax (PS3.5 §7 and Annex A): headers anew, values as they are.

Lengths that were defined are computed anew and undefined ones stay undefined. Values of odd length are padded
(PS3.5 §7.1.1): some writers make them, and receivers wait for the byte that is missing. What is written in
the same VR encoding as it was read is otherwise byte for byte the same, where that was as the standard says.
"""

from __future__ import annotations

import zlib
from struct import Struct

from router.dicom.encoding import ITEM, ITEM_END, LONG_VRS, SEQUENCE_END, SHORT_VRS, UNDEFINED
from router.dicom.syntaxes import Encoding, syntax_of
from router.errors import CannotTranscode
from router.model import Buffer
from router.transform import vrs
from router.transform.elements import DataSet, Element, Fragments, shown
from router.transform.reading import check_big_endian, swapped

_GATHERED_BYTES = 16384  # a buffer below is copied together with its neighbours; writev takes 1024 at once
_SHORT_LENGTH_CAP = 0xFFFE
_PIXEL_REPRESENTATION = 0x00280103
_LUT_DESCRIPTOR = 0x00283002
_DEFLATE_LEVEL = 6  # zlib's own

_NUL, _SPACE = b"\0", b" "


def encode(data_set: DataSet, transfer_syntax_uid: str) -> list[Buffer]:
    """The buffers of the encoded data set, in order, fit for ``writev``; their total length is even.

    Raises :class:`CannotTranscode` where that transfer syntax cannot hold it.
    """
    syntax = syntax_of(transfer_syntax_uid)
    if syntax.encoding is Encoding.UNKNOWN:
        raise CannotTranscode("the transfer syntax to write is private or unknown")
    writer = _BIG if syntax.is_big_endian else _IMPLICIT if syntax.is_implicit else _EXPLICIT
    if syntax.is_native and _has_fragments(data_set):
        raise CannotTranscode("it still has encapsulated pixel data")
    parts: list[Buffer] = []
    writer.data_set(data_set, (), parts)
    gathered = _gathered(parts)
    return _deflated(gathered) if syntax.is_deflated else gathered


def _has_fragments(data_set: DataSet) -> bool:
    for element in data_set.elements:
        value = element.value
        if isinstance(value, Fragments):
            return True
        if isinstance(value, list) and any(map(_has_fragments, value)):
            return True
    return False


def _gathered(parts: list[Buffer]) -> list[Buffer]:
    """Small buffers joined, large ones as they are."""
    gathered: list[Buffer] = []
    small: list[Buffer] = []
    for part in parts:
        if len(part) < _GATHERED_BYTES:
            small.append(part)
        else:
            gathered += [b"".join(small), part] if small else [part]
            small.clear()
    if small:
        gathered.append(b"".join(small))
    return gathered


def _deflated(parts: list[Buffer]) -> list[Buffer]:
    """PS3.5 §A.5: deflated without a header, and padded to even length."""
    deflater = zlib.compressobj(_DEFLATE_LEVEL, wbits=-zlib.MAX_WBITS)
    deflated: list[Buffer] = [chunk for part in parts if (chunk := deflater.compress(part))]
    deflated.append(deflater.flush())
    if sum(map(len, deflated)) & 1:
        deflated.append(_NUL)
    return deflated


class _Writer:
    """Writes one VR encoding in one byte order."""

    __slots__ = ("_is_explicit", "_is_little", "_item", "_long", "_short")

    def __init__(self, sign: str, *, is_explicit: bool) -> None:
        self._is_little = sign == "<"
        self._is_explicit = is_explicit
        self._short = Struct(sign + "HH2sH").pack
        self._long = Struct(sign + "HH2sHI").pack
        self._item = Struct(sign + "HHI").pack  # and any element in implicit VR

    def data_set(self, data_set: DataSet, above: tuple[DataSet, ...], parts: list[Buffer]) -> int:
        """Append a data set's buffers: returns their length. ``above`` are those around it, nearest first."""
        if not self._is_little:
            check_big_endian(data_set)
        element_of = self._explicit if self._is_explicit else self._implicit
        around = (data_set, *above)
        return sum([element_of(element, around, parts) for element in data_set.elements])

    def _implicit(self, element: Element, around: tuple[DataSet, ...], parts: list[Buffer]) -> int:
        tag, value = element.tag, element.value
        if isinstance(value, list):
            at = len(parts)
            parts.append(b"")
            length = self._items(value, around, parts, is_undefined=element.is_undefined)
            parts[at] = self._item(tag >> 16, tag & 0xFFFF, UNDEFINED if element.is_undefined else length)
            return 8 + length
        if isinstance(value, Fragments):
            raise CannotTranscode("implicit VR cannot hold encapsulated pixel data")
        length = len(value) + (len(value) & 1)
        parts += self._item(tag >> 16, tag & 0xFFFF, _checked(length, tag)), value
        if length != len(value):
            parts.append(_SPACE if element.vr in vrs.TEXT else _NUL)
        return 8 + length

    def _explicit(self, element: Element, around: tuple[DataSet, ...], parts: list[Buffer]) -> int:
        tag, vr, value = element.tag, element.vr, element.value
        if isinstance(value, list | Fragments):
            return self._nested(element, around, parts)
        if not vr:
            vr = _resolved(tag, around)
        length = len(value)
        padding = length & 1
        length += padding
        if vr in LONG_VRS:
            header = self._long(tag >> 16, tag & 0xFFFF, vr.encode(), 0, _checked(length, tag))
        elif length <= _SHORT_LENGTH_CAP:
            header = self._short(tag >> 16, tag & 0xFFFF, vr.encode(), length)
        else:  # too long for its VR's length (PS3.5 §6.2.2, UN): little endian, whatever is around it
            vr = "UN"
            header = self._long(tag >> 16, tag & 0xFFFF, b"UN", 0, _checked(length, tag))
        if not self._is_little:
            value = self._big(value, vr, tag)
        parts += header, value
        if padding:
            parts.append(_SPACE if vr in vrs.TEXT else _NUL)
        return len(header) + length

    def _big(self, value: Buffer, vr: str, tag: int) -> Buffer:
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            raise CannotTranscode(f"{shown(tag)} has an unknown VR, whose byte order is unknown")
        return swapped(value, vr, tag)

    def _nested(self, element: Element, around: tuple[DataSet, ...], parts: list[Buffer]) -> int:
        tag, value = element.tag, element.value
        at = len(parts)
        parts.append(b"")
        if isinstance(value, Fragments):
            vr, length, is_undefined = b"OB", self._fragments(value, parts), True
        else:
            assert isinstance(value, list)  # noqa: S101
            vr, is_undefined = element.vr.encode(), element.is_undefined
            inner = self if element.vr == "SQ" else _IMPLICIT  # PS3.5 §6.2.2 note 2, for UN
            length = inner._items(value, around, parts, is_undefined=is_undefined)
        parts[at] = self._long(
            tag >> 16, tag & 0xFFFF, vr, 0, UNDEFINED if is_undefined else _checked(length, tag)
        )
        return 12 + length

    def _fragments(self, fragments: Fragments, parts: list[Buffer]) -> int:
        total = 0
        for item in fragments.items:
            length = len(item) + (len(item) & 1)
            parts += self._item(ITEM >> 16, ITEM & 0xFFFF, length), item
            if length != len(item):
                parts.append(_NUL)
            total += 8 + length
        parts.append(self._item(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0))
        return total + 8

    def _items(
        self, items: list[DataSet], around: tuple[DataSet, ...], parts: list[Buffer], *, is_undefined: bool
    ) -> int:
        total = 0
        for item in items:
            at = len(parts)
            parts.append(b"")
            length = self.data_set(item, around, parts)
            parts[at] = self._item(ITEM >> 16, ITEM & 0xFFFF, UNDEFINED if item.is_undefined else length)
            if item.is_undefined:
                parts.append(self._item(ITEM_END >> 16, ITEM_END & 0xFFFF, 0))
                length += 8
            total += 8 + length
        if is_undefined:
            parts.append(self._item(SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0))
            total += 8
        return total


_IMPLICIT = _Writer("<", is_explicit=False)
_EXPLICIT = _Writer("<", is_explicit=True)
_BIG = _Writer(">", is_explicit=True)


def _checked(length: int, tag: int) -> int:
    if length >= UNDEFINED:
        raise CannotTranscode(f"{shown(tag)} is longer than an element can be")
    return length


def _resolved(tag: int, around: tuple[DataSet, ...]) -> str:
    """The VR where implicit VR left it open; Pixel Representation is that of the nearest that has one."""
    representation = next((found for one in around if (found := one.ints(_PIXEL_REPRESENTATION))), (0,))
    entries = around[0].ints(_LUT_DESCRIPTOR)
    return vrs.resolved(tag, is_signed=representation[0] == 1, lut_entries=entries[0] if entries else 0)
