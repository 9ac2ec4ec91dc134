"""The headers of JPEG XL (ISO/IEC 18181-1 Annex D) up to the bit depth, bare or in a container."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from router.errors import CannotTranscode
from router.model import Buffer

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
_BOX = Struct(">I4s")
_BOXES_CAP = 1000
_HEAD_BYTES = 16  # more than the size header takes
_BITS = (9, 13, 18, 30)  # of a side, where it is no multiple of eight
_DEPTHS = (8, 10, 12)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height


@dataclass(frozen=True, slots=True, kw_only=True)
class JxlHeader:
    """What can be told without decoding."""

    rows: int
    columns: int
    precision: int


def parse(stream: Buffer) -> JxlHeader:
    """Read the size and the bit depth; :class:`CannotTranscode` where it is no plain still image."""
    head = _head(memoryview(stream))
    if not head.startswith(_CODESTREAM):
        raise CannotTranscode("the stream does not begin like JPEG XL")
    bits = _Bits(int.from_bytes(head[2:], "little"))
    rows, columns = _size(bits)
    return JxlHeader(rows=rows, columns=columns, precision=_precision(bits))


class _Bits:
    """Bits of a number, the lowest first."""

    def __init__(self, number: int) -> None:
        self._number = number

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.take(1)
    rows = _side(bits, is_small)
    ratio = bits.take(3)
    if ratio == 0:
        return rows, _side(bits, is_small)
    wide, high = _RATIOS[ratio]
    return rows, rows * wide // high


def _precision(bits: _Bits) -> int:
    """Bits of a sample (§D.3.1). Orientation, previews and animation are of no DICOM image."""
    if bits.take(1):  # all_default
        return 8
    if bits.take(1) and bits.take(6):  # extra_fields: anything of them
        raise CannotTranscode("a JPEG XL stream that is turned, animated or has a preview is not supported")
    if bits.take(1):
        raise CannotTranscode("floating point in JPEG XL is not supported")
    choice = bits.take(2)
    return _DEPTHS[choice] if choice < len(_DEPTHS) else bits.take(6) + 1


def _side(bits: _Bits, is_small: int) -> int:
    if is_small:
        return (bits.take(5) + 1) * 8
    return bits.take(_BITS[bits.take(2)]) + 1


def _head(stream: memoryview) -> bytes:
    """The first bytes of the codestream: in a container behind its first box of one."""
    if bytes(stream[: len(_CONTAINER)]) != _CONTAINER:
        return bytes(stream[:_HEAD_BYTES])
    at = 0
    for _ in range(_BOXES_CAP):
        if at + 16 > len(stream):
            break
        length, kind = _BOX.unpack_from(stream, at)
        start = at + 8
        if length == 1:
            length, start = int.from_bytes(stream[at + 8 : at + 16], "big"), at + 16
        if kind == b"jxlc":
            return bytes(stream[start : start + _HEAD_BYTES])
        if kind == b"jxlp":  # a part of it, behind its number
            return bytes(stream[start + 4 : start + 4 + _HEAD_BYTES])
        if length < 8:
            break
        at += length
    raise CannotTranscode("there is no codestream in the JPEG XL container")
