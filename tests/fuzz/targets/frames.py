"""Fragments told apart into frames, and what a codestream's headers say held against the image.

The first byte chooses the codec's family (and whether there is an Extended Offset Table), then come rows,
columns, samples and bits of the image, the number of frames, and the lengths of four pieces; then the pieces:
an offset table and three fragments.
"""

from __future__ import annotations

from router.errors import CannotTranscode
from router.transform.elements import Fragments
from router.transform.fragments import join, split
from router.transform.guard import WITHOUT_MARKERS, Family, inspect
from router.transform.image import Image

_FAMILIES = tuple(Family)
WORDS = (
    b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x04\x00\x04\x01\x01\x11\x00",
    b"\xff\xc3\x00\x0b\x10",
    b"\xff\xf7\x00\x0b\x08",
    b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00",
    b"\xff\xd9",
    b"\xff\x4f\xff\x51\x00\x29\x00\x00",
    b"\xff\x52\x00\x0c",
    b"\xff\x90\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x01",
    b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a",
    b"jp2c",
    b"jp2h",
    b"\xff\x0a",
    b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a",
    b"jxlc",
    b"\x01\x00\x00\x00\x40\x00\x00\x00",
)
_HEAD = 10


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < _HEAD:
        return
    choice, rows, columns, samples, bits, frames, *lengths = data[:_HEAD]
    family = _FAMILIES[(choice & 0x7F) % len(_FAMILIES)]
    pieces, at = [], _HEAD
    for length in lengths:
        pieces.append(data[at : at + length * 4])
        at += length * 4
    pieces[-1] += data[at:]
    table, *items = pieces
    image = Image(
        rows=rows + 1, columns=columns + 1, samples=3 if samples & 1 else 1,
        bits_allocated=16 if bits > 8 else 8, bits_stored=bits % 16 + 1 if bits > 8 else bits % 8 + 1,
        high_bit=bits % 16 if bits > 8 else bits % 8, is_signed=bool(samples & 2),
        photometric="RGB" if samples & 1 else "MONOCHROME2", planar=0, frames=frames % 4 + 1,
    )  # fmt: skip
    for stream in _split(
        table, [item for item in items if item], image, family, has_table=bool(choice & 0x80)
    ):
        _inspect(family, stream, image)
    _inspect(family, b"".join(pieces), image)


def _split(table: bytes, items: list[bytes], image: Image, family: Family, *, has_table: bool) -> list[bytes]:
    """Every frame gets something, nothing is used twice, and frames put together are told apart again."""
    try:
        streams = split(
            Fragments((b"" if has_table else table, *items)),
            image.frames,
            extended_offsets=table if has_table else None,
            is_rle=family in WITHOUT_MARKERS,
        )
    except CannotTranscode:
        return []
    assert len(streams) == image.frames
    assert sum(map(len, streams)) <= sum(map(len, items))
    whole = [bytes(stream) for stream in streams]
    again = split(join(whole), image.frames, is_rle=family in WITHOUT_MARKERS)
    for one, other in zip(whole, again, strict=True):
        assert bytes(other)[: len(one)] == one
        assert len(other) - len(one) in (0, 1)
    return whole


def _inspect(family: Family, stream: bytes, image: Image) -> None:
    try:
        header = inspect(family, stream, image)
    except CannotTranscode:
        return
    assert 1 <= header.precision <= image.bits_allocated
    assert len(header.stream) <= len(stream) + 2  # an end marker may be added
