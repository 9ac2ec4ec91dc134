"""Pixel data in fragments (PS3.5 §A.4): which fragments are one frame, and frames as fragments again.

Where there are as many fragments as frames, each is one: no frame is without a fragment, and none shares it.
Else an offset table says where each frame starts, counted from the first byte behind the Basic Offset Table's
item; it is believed only where it fits the fragments. Without one a frame goes on until the next codestream
starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from struct import Struct, error as StructError, iter_unpack

from router.errors import CannotTranscode
from router.model import Buffer
from router.transform.elements import Fragments

_ITEM_HEADER_BYTES = 8
_OFFSET_CAP = 0xFFFFFFFF  # of the Basic Offset Table
_U32 = Struct("<I")
_OFFSETS, _LENGTHS = "<Q", "<Q"  # the Extended Offset Table and its lengths are of VR OV

# How codestreams begin and end. A JP2 file is no codestream, but met (PS3.5 §A.4.4 forbids its header).
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"  # JPEG and JPEG-LS; EOC of JPEG 2000 is the same
_SOC_SIZ = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
_STARTS = (_SOC_SIZ, _JP2)


def split(
    fragments: Fragments,
    frames: int,
    *,
    extended_offsets: Buffer | None = None,
    extended_lengths: Buffer | None = None,
    is_rle: bool = False,
) -> list[Buffer]:
    """One codestream for each frame: views where a frame is one fragment, else joined.

    ``is_rle``: streams without markers (RLE, but also deflated frames and the like), which can only be told
    apart by an offset table, by one fragment for each, or by there being one frame. Raises
    :class:`CannotTranscode` where the fragments cannot be so many frames.
    """
    if len(fragments.items) < 2:
        raise CannotTranscode("there are no fragments of pixel data")
    table, *items = (memoryview(item) for item in fragments.items)
    starts = [0, *accumulate(len(item) + _ITEM_HEADER_BYTES for item in items)][:-1]
    if len(items) == frames:
        streams: list[Buffer] = list(items)
    elif extended_offsets is not None and len(extended_offsets):
        streams = _by_offsets(items, starts, _extended(extended_offsets, frames))
    elif len(table):
        streams = _by_offsets(items, starts, _basic(table, frames))
    elif not is_rle:
        streams = _by_markers(items, frames)
    elif frames == 1:
        streams = [_joined(items)]
    else:
        raise CannotTranscode(f"{len(items)} fragments cannot be told apart into {frames} frames")
    return streams if extended_lengths is None else _cut(streams, extended_lengths)


def _basic(table: memoryview, frames: int) -> list[int]:
    try:
        offsets = [offset for (offset,) in _U32.iter_unpack(table)]
    except StructError:
        raise CannotTranscode("the Basic Offset Table has an impossible length") from None
    if len(offsets) != frames:
        raise CannotTranscode(f"the Basic Offset Table has {len(offsets)} entries for {frames} frames")
    return offsets


def _extended(table: Buffer, frames: int) -> list[int]:
    if len(table) != 8 * frames:
        raise CannotTranscode(f"the Extended Offset Table has not one entry for each of {frames} frames")
    return [offset for (offset,) in iter_unpack(_OFFSETS, table)]


def _by_offsets(items: Sequence[memoryview], starts: Sequence[int], offsets: Sequence[int]) -> list[Buffer]:
    """Frames where a table says that they start; each offset has to be that of a fragment."""
    index = {start: number for number, start in enumerate(starts)}
    numbers = [index.get(offset, -1) for offset in offsets]
    if numbers[0] != 0 or any(later <= earlier for earlier, later in pairwise(numbers)):
        raise CannotTranscode("the offset table does not fit the fragments")
    return [_joined(items[first:last]) for first, last in pairwise([*numbers, len(items)])]


def _cut(streams: list[Buffer], lengths: Buffer) -> list[Buffer]:
    """Without the padding that the Extended Offset Table Lengths leave out (PS3.3 §C.7.6.3.1.9)."""
    if len(lengths) != 8 * len(streams):
        raise CannotTranscode("the Extended Offset Table Lengths do not fit the Number of Frames")
    sizes = [size for (size,) in iter_unpack(_LENGTHS, lengths)]
    if any(not 0 < size <= len(stream) for size, stream in zip(sizes, streams, strict=True)):
        raise CannotTranscode("the Extended Offset Table Lengths do not fit the fragments")
    return [memoryview(stream)[:size] for size, stream in zip(sizes, streams, strict=True)]


def _by_markers(items: Sequence[memoryview], frames: int) -> list[Buffer]:
    """Frames that begin where a fragment begins like a codestream, the one before having come to its end.

    Both are asked for, because bytes of one codestream may look like the beginning of another.
    """
    numbers = [
        number
        for number, item in enumerate(items)
        if _is_start(item) and (number == 0 or _is_end(items[number - 1]))
    ]
    if len(numbers) != frames or numbers[0] != 0:
        raise CannotTranscode(f"{len(items)} fragments cannot be told apart into {frames} frames")
    return [_joined(items[first:last]) for first, last in pairwise([*numbers, len(items)])]


def _is_start(item: memoryview) -> bool:
    head = bytes(item[: len(_JP2)])
    return head.startswith(_SOI + b"\xff") or head.startswith(_STARTS)


def _is_end(item: memoryview) -> bool:
    """The last marker stands at the end, or one byte of padding before it."""
    return _EOI in (bytes(item[-2:]), bytes(item[-3:-1]))


def _joined(items: Sequence[memoryview]) -> Buffer:
    return items[0] if len(items) == 1 else b"".join(items)


def join(frames: Sequence[Buffer]) -> Fragments:
    """Frames as one fragment each, of even length, with a Basic Offset Table: empty where it cannot reach."""
    padded = [frame if len(frame) % 2 == 0 else bytes(frame) + b"\0" for frame in frames]
    offsets = [0, *accumulate(len(frame) + _ITEM_HEADER_BYTES for frame in padded)][:-1]
    table = b"" if offsets[-1] > _OFFSET_CAP else b"".join(map(_U32.pack, offsets))
    return Fragments((table, *padded))
