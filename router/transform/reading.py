"""Takes a raw data set apart (PS3.5 §7): nothing is copied, but words of big endian and what was deflated.

It bears what ``router.dicom.scanner`` bears, because it is met: items and whole elements in implicit VR
inside of explicit VR, unknown VRs, an element twice. Group lengths are left out (retired: PS3.5 §7.2).
"""

from __future__ import annotations

import struct
import zlib
from array import array
from dataclasses import dataclass, field

from router.dicom.encoding import (
    BIG,
    ITEM,
    ITEM_END,
    LITTLE,
    NESTING_CAP,
    SEQUENCE_END,
    UNDEFINED,
    ByteOrder,
)
from router.dicom.syntaxes import Encoding, syntax_of
from router.errors import CannotTranscode
from router.model import Buffer
from router.transform import vrs
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments, shown

ELEMENTS_CAP = 4_000_000  # some 1.2 GB of Python objects; 10,000 frames with functional groups have a quarter

_BITS_ALLOCATED = 0x00280100
_DELIMITERS = 0xFFFE  # the group that has items and their ends, and no elements
_ARRAY_CODES = {2: "H", 4: "I", 8: "Q"}


@dataclass(slots=True)
class _Level:
    """One data set under way: a whole one or an item."""

    into: DataSet
    order: ByteOrder
    depth: int
    creators: dict[int, str] = field(default_factory=dict)  # by group and block
    is_ended: bool = False  # by an Item Delimitation Item


def parse(content: Buffer, transfer_syntax_uid: str, *, inflate_cap_bytes: int) -> DataSet:
    """The elements of a data set (without file meta information); values are views of ``content``.

    Raises :class:`CannotTranscode` where it is not understood, or inflates to more than the cap.
    """
    syntax = syntax_of(transfer_syntax_uid)
    if syntax.encoding is Encoding.UNKNOWN:
        raise CannotTranscode("its transfer syntax is private or unknown")
    view = memoryview(content).cast("B")
    if syntax.is_deflated:
        view = memoryview(_inflated(view, inflate_cap_bytes))
    order = BIG if syntax.is_big_endian else LITTLE
    reader = _Reader(view)
    level = _Level(DataSet(is_implicit=syntax.is_implicit), order, 0)
    at = reader.data_set(0, len(view), level)
    if level.is_ended or at != len(view):
        raise CannotTranscode("its data set ends inside an element, or other bytes follow it")
    return level.into


def swapped(value: Buffer, vr: str, tag: int) -> Buffer:
    """A value with the bytes of its words in the other order; the same where its VR has no words."""
    word_bytes = vrs.WORD_BYTES.get(vr)
    if word_bytes is None or not value:
        return value
    if len(value) % word_bytes:
        raise CannotTranscode(f"{shown(tag)} has a length that its VR cannot have")
    words = array(_ARRAY_CODES[word_bytes], bytes(value))
    words.byteswap()
    return memoryview(words).cast("B")


def check_big_endian(data_set: DataSet) -> None:
    """Refuse native pixel data whose big endian form is read in more ways than one.

    PS3.5 §7.3 has OW swapped in words of 16 bits whatever Bits Allocated is, as DCMTK and GDCM do; pydicom
    swaps whole cells of 32. In OB nothing is swapped, so cells of 16 bits should not be there.
    """
    pixels = data_set.get(PIXEL_DATA)
    bits = data_set.ints(_BITS_ALLOCATED)
    if pixels is None or not bits:
        return
    if bits[0] > 16:
        raise CannotTranscode("programs disagree on big endian pixel data of more than 16 bits")
    if bits[0] > 8 and pixels.vr == "OB":
        raise CannotTranscode("its pixel data has VR OB and cells of 16 bits: their byte order is in doubt")


def _inflated(content: memoryview, cap_bytes: int) -> bytes:
    """PS3.5 §A.5: deflated without a header, and padded to even length."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(content, cap_bytes + 1)
    except zlib.error:
        raise CannotTranscode("its deflated data set is damaged") from None
    if len(inflated) > cap_bytes:
        raise CannotTranscode(f"its data set inflates to more than {cap_bytes} bytes")
    if not inflater.eof:
        raise CannotTranscode("its deflated data set is cut short")
    rest = inflater.unused_data.rstrip(b"\0")
    if rest and rest != _gzip_trailer(inflated).rstrip(b"\0"):
        raise CannotTranscode("other bytes follow its deflated data set")
    return inflated


def _gzip_trailer(inflated: bytes) -> bytes:
    """What some writers put behind: CRC and length (RFC 1952 §2.3.1)."""
    return struct.pack("<II", zlib.crc32(inflated), len(inflated) & 0xFFFFFFFF)


class _Reader:
    """One pass over a data set."""

    __slots__ = ("_left", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._left = ELEMENTS_CAP

    def data_set(self, at: int, end: int, level: _Level) -> int:
        """Read elements up to ``end`` or to what delimits an item; returns where they ended."""
        if level.depth > NESTING_CAP:
            raise CannotTranscode(f"sequences are nested more than {NESTING_CAP} deep")
        read = self._implicit if level.into.is_implicit else self._explicit
        at = read(at, end, level)
        self._left -= len(level.into.elements)
        if self._left < 0:
            raise CannotTranscode(f"it has more than {ELEMENTS_CAP} elements")
        if not level.order.is_little:
            check_big_endian(level.into)
        return at

    def _explicit(self, at: int, end: int, level: _Level) -> int:
        view, order = self._view, level.order
        unpack, short_vrs, is_little = order.explicit.unpack_from, order.short_vrs, order.is_little
        elements, last = level.into.elements, end - 8
        append, left = elements.append, self._left
        while at <= last and len(elements) <= left:
            group, number, letters, length = unpack(view, at)
            vr = short_vrs.get(letters)
            if vr is None:
                at = self._odd_one(at, end, group << 16 | number, letters, level)
                if level.is_ended:
                    break
                continue
            start = at + 8
            at = start + length
            if at > end:
                raise _ran_out(group << 16 | number)
            if number:
                tag = group << 16 | number
                if group == _DELIMITERS:
                    raise _misplaced(tag)
                value: Buffer = view[start:at]
                append(Element(tag, vr, value if is_little else swapped(value, vr, tag)))
                if group & 1 and number < 0x100:
                    self._reserve(tag, value, level)
        return at

    def _odd_one(self, at: int, end: int, tag: int, number: int, level: _Level) -> int:
        """An element in explicit VR that has a 32-bit length, or a VR that does not exist."""
        order, vr = level.order, level.order.long_vrs.get(number)
        if tag >> 16 == _DELIMITERS:
            return self._delimiter(at, tag, level)
        if vr is not None:
            if at + 12 > end:
                raise _ran_out(tag)
            (length,) = order.length.unpack_from(self._view, at + 8)
            return self._long(tag, vr, at + 12, length, end, level)
        if not order.is_little:
            raise _misplaced(tag)
        letters = bytes(self._view[at + 4 : at + 6])
        if not _are_letters(letters):
            return self._implicit_element(at, end, level)
        # As the scanner and pydicom have it: taken for a VR to come, with a 16-bit length.
        length = order.explicit.unpack_from(self._view, at)[3]
        if at + 8 + length > end:
            raise _ran_out(tag)
        if tag & 0xFFFF:
            level.into.elements.append(Element(tag, letters.decode(), self._view[at + 8 : at + 8 + length]))
        return at + 8 + int(length)

    def _delimiter(self, at: int, tag: int, level: _Level) -> int:
        if tag != ITEM_END:
            raise _misplaced(tag)
        level.is_ended = True
        return at + 8

    def _implicit(self, at: int, end: int, level: _Level) -> int:
        elements, last, left = level.into.elements, end - 8, self._left
        while at <= last and not level.is_ended and len(elements) <= left:
            at = self._implicit_element(at, end, level)
        return at

    def _implicit_element(self, at: int, end: int, level: _Level) -> int:
        view = self._view
        group, number, length = level.order.implicit.unpack_from(view, at)
        tag = group << 16 | number
        if group == _DELIMITERS:
            return self._delimiter(at, tag, level)
        start = at + 8
        vr = vrs.vr_of(tag, level.creators.get(tag >> 8) if group & 1 else None)
        if vr == "SQ" or length == UNDEFINED:
            return self._long(tag, vr, start, length, end, level)
        at = start + int(length)
        if at > end:
            raise _ran_out(tag)
        if number:
            value = view[start:at]
            level.into.elements.append(Element(tag, vr, value))
            if group & 1 and number < 0x100:
                self._reserve(tag, value, level)
        return at

    def _reserve(self, tag: int, value: Buffer, level: _Level) -> None:
        """A private creator: those of its block are in the dictionary of that name."""
        name = bytes(value[: vrs.CREATOR_LENGTH + 1]).decode("latin-1").strip(" \0")
        level.creators[(tag >> 16) << 8 | tag & 0xFF] = name

    def _long(self, tag: int, vr: str, at: int, length: int, end: int, level: _Level) -> int:
        """An element that may be a sequence, of undefined length or large: returns where the next begins."""
        is_undefined = length == UNDEFINED
        if not is_undefined and at + length > end:
            raise _ran_out(tag)
        value: Buffer | list[DataSet] | Fragments
        if is_undefined and (tag == PIXEL_DATA or vr in ("OB", "OW")):
            value, next_at = self._fragments(at, end)
            vr = "OB"
        elif is_undefined or (vr == "SQ" and self._has_items(at, length, level.order)):
            if vr not in ("SQ", "UN") and not level.into.is_implicit:
                raise CannotTranscode(f"{shown(tag)} is of undefined length, which its VR cannot be")
            value, next_at = self._items(at, length, end, vr, level)
            vr = vr if vr == "SQ" else "UN"
        else:
            next_at = at + length
            value = self._view[at:next_at]
            if vr == "SQ":
                vr, value = ("UN", value) if length else ("SQ", [])
            elif not level.order.is_little:
                value = swapped(value, vr, tag)
        if tag & 0xFFFF:
            level.into.elements.append(Element(tag, vr, value, is_undefined))
        return next_at

    def _has_items(self, at: int, length: int, order: ByteOrder) -> bool:
        """Private dictionaries are wrong at times: what has no item is no sequence, whatever they say."""
        return length >= 8 and order.implicit.unpack_from(self._view, at)[:2] == (ITEM >> 16, ITEM & 0xFFFF)

    def _fragments(self, at: int, end: int) -> tuple[Fragments, int]:
        items: list[Buffer] = []
        while True:
            if at + 8 > end:
                raise _ran_out(PIXEL_DATA)
            group, number, length = LITTLE.implicit.unpack_from(self._view, at)
            tag = group << 16 | number
            at += 8
            if tag == SEQUENCE_END:
                return Fragments(items), at
            if tag != ITEM:
                raise CannotTranscode(f"{shown(tag)} stands where a fragment of pixel data should")
            if at + length > end:
                raise _ran_out(PIXEL_DATA)
            items.append(self._view[at : at + length])
            self._left -= 1
            if self._left < 0:
                raise CannotTranscode(f"it has more than {ELEMENTS_CAP} fragments")
            at += int(length)

    def _items(self, at: int, length: int, end: int, vr: str, level: _Level) -> tuple[list[DataSet], int]:
        """The items of a sequence; those of UN are in implicit VR little endian (PS3.5 §6.2.2 note 2)."""
        is_undefined = length == UNDEFINED
        end = end if is_undefined else at + length
        is_explicit = vr == "SQ" and not level.into.is_implicit
        order = level.order if is_explicit or level.into.is_implicit else LITTLE
        items: list[DataSet] = []
        while is_undefined or at < end:
            if at + 8 > end:
                raise CannotTranscode("a sequence is cut short")
            group, number, item_length = order.implicit.unpack_from(self._view, at)
            tag = group << 16 | number
            at += 8
            if tag == SEQUENCE_END and is_undefined:
                break
            if tag != ITEM:
                raise CannotTranscode(f"{shown(tag)} stands where an item should")
            item, at = self._item(
                at, item_length, end, is_explicit, _Level(DataSet(), order, level.depth + 1)
            )
            items.append(item)
        return items, at

    def _item(self, at: int, length: int, end: int, is_explicit: bool, level: _Level) -> tuple[DataSet, int]:
        is_undefined = length == UNDEFINED
        if not is_undefined and at + length > end:
            raise CannotTranscode("an item is longer than its sequence")
        item_end = end if is_undefined else at + length
        item = level.into
        item.is_undefined = is_undefined
        item.is_implicit = not (is_explicit and self._looks_explicit(at, item_end))
        at = self.data_set(at, item_end, level)
        if at != item_end if not is_undefined else not level.is_ended:
            raise CannotTranscode("an item ends inside an element")
        self._left -= 1
        return item, at

    def _looks_explicit(self, at: int, end: int) -> bool:
        letters = bytes(self._view[at + 4 : min(at + 6, end)])
        return not letters or _are_letters(letters) or letters == b"\0\0"


def _are_letters(letters: bytes) -> bool:
    return letters.isalpha() and letters.isupper()


def _misplaced(tag: int) -> CannotTranscode:
    return CannotTranscode(f"{shown(tag)} stands where no element of that kind can")


def _ran_out(tag: int) -> CannotTranscode:
    return CannotTranscode(f"its data set ends inside {shown(tag)}, or a length there is wrong")
