"""The main header and the tile-parts of JPEG 2000 codestreams (ISO/IEC 15444-1 Annex A)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from router.errors import CannotTranscode
from router.model import Buffer

_SOC_SIZ = b"\xff\x4f\xff\x51"
_EOC = b"\xff\xd9"
_CAP, _COD, _SIZ, _SOT = 0xFF50, 0xFF52, 0xFF51, 0xFF90
_PART_15 = 1 << 17  # Pcap: the capability of HTJ2K (ISO/IEC 15444-15 §A.3)

_SIZE = Struct(">H8IH")  # Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz, XTOsiz, YTOsiz, Csiz
_TILE_PART = Struct(">HIBB")  # Isot, Psot, TPsot, TNsot
_SOT_BYTES = 12  # the marker segment, counted in Psot
_SEGMENTS_CAP = 10_000  # of the main header; met: below 20
_TILES_CAP = 4096  # whole slides are cut into instances of few tiles; hostile streams have millions
_TILE_PARTS_CAP = 65536

# JP2 (Annex I): boxes around a codestream, which PS3.5 §A.4.4 forbids, but which are met.
_JP2 = b"\x00\x00\x00\x0cjP  "
_BOX = Struct(">I4s")
_BOXES_CAP = 1000
_RECOLOURING = (b"pclr", b"cmap", b"cdef")  # a palette, or channels in another order


@dataclass(frozen=True, slots=True, kw_only=True)
class J2kHeader:
    """What the main header says. All components are alike, or it is refused."""

    stream: bytes  # the codestream alone
    rows: int
    columns: int
    components: int
    precision: int
    is_signed: bool
    has_transform: bool
    is_high_throughput: bool


def parse(stream: Buffer) -> J2kHeader:
    """Read the main header and follow the tile-parts to the end; :class:`CannotTranscode` where they fail."""
    content = _codestream(bytes(stream))
    if not content.startswith(_SOC_SIZ):
        raise CannotTranscode("the stream does not begin like JPEG 2000")
    segments, at = _main_header(content)
    size = segments[_SIZ]
    if len(size) < _SIZE.size or _COD not in segments or len(segments[_COD]) < 5:
        raise CannotTranscode("the headers of the stream are damaged")
    _, width, height, left, top, tile_width, tile_height, tile_left, tile_top, components = _SIZE.unpack_from(
        size
    )
    parts = size[_SIZE.size :]
    if left >= width or top >= height or not 0 < components == len(parts) // 3:
        raise CannotTranscode("the image size in the stream is damaged")
    if parts != parts[:3] * components or parts[1:3] != b"\x01\x01":
        raise CannotTranscode("its components are not alike")
    tiles = _tiles(width, tile_left, tile_width, left) * _tiles(height, tile_top, tile_height, top)
    if tiles > _TILES_CAP:
        raise CannotTranscode(f"{tiles} tiles are more than anybody means")
    end = _follow_tile_parts(content, at, tiles)
    capabilities = segments.get(_CAP, b"")[:4]
    return J2kHeader(
        stream=content[:end] + _EOC,
        rows=height - top,
        columns=width - left,
        components=components,
        precision=(parts[0] & 0x7F) + 1,
        is_signed=bool(parts[0] & 0x80),
        has_transform=segments[_COD][4] == 1,
        is_high_throughput=bool(int.from_bytes(capabilities, "big") & _PART_15),
    )


def _codestream(stream: bytes) -> bytes:
    """The codestream in a JP2 file; anything else as it is."""
    if not stream.startswith(_JP2):
        return stream
    for kind, box in _boxes(stream):
        if kind == b"jp2h" and any(inner in _RECOLOURING for inner, _ in _boxes(box)):
            raise CannotTranscode("a JP2 file with a palette or channels of its own is not supported")
        if kind == b"jp2c":
            return box
    raise CannotTranscode("there is no codestream in the JP2 file")


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for _ in range(_BOXES_CAP):
        if at + _BOX.size > len(content):
            return
        length, kind = _BOX.unpack_from(content, at)
        head = _BOX.size
        if length == 1:
            length, head = int.from_bytes(content[at + 8 : at + 16], "big"), 16
        if length == 0:  # to the end
            length = len(content) - at
        if length < head:
            return
        yield kind, content[at + head : at + length]
        at += length


def _main_header(stream: bytes) -> tuple[dict[int, bytes], int]:
    """The marker segments of the main header by marker, the first of each, and where the tile-parts begin."""
    segments: dict[int, bytes] = {}
    at = 2
    for _ in range(_SEGMENTS_CAP):
        marker = int.from_bytes(stream[at : at + 2], "big")
        if marker == _SOT:
            return segments, at
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at + 4 : at + 2 + length]
        if marker < 0xFF00 or length < 2 or len(segment) != length - 2:
            break
        segments.setdefault(marker, segment)
        at += 2 + length
    raise CannotTranscode("the headers of the stream are damaged")


def _tiles(image_end: int, tile_start: int, tile_size: int, image_start: int) -> int:
    """Tiles along one side (§B.3)."""
    if tile_size < 1 or tile_start > image_start or tile_start + tile_size <= image_start:
        raise CannotTranscode("the tiles of the stream are damaged")
    return -(-(image_end - tile_start) // tile_size)


def _follow_tile_parts(stream: bytes, at: int, tiles: int) -> int:
    """Where the last tile-part ends: every tile has one, and each lies in the stream as a whole (§A.4.2)."""
    found: set[int] = set()
    for _ in range(_TILE_PARTS_CAP):
        if stream[at : at + 2] != b"\xff\x90":
            break
        if at + _SOT_BYTES > len(stream):
            raise CannotTranscode("the stream is truncated")
        tile, length, _, _ = _TILE_PART.unpack_from(stream, at + 4)
        if length == 0:  # the last one, up to EOC
            length = max(stream.rfind(_EOC), 0) - at
        if tile >= tiles or length < _SOT_BYTES + 2 or at + length > len(stream):
            raise CannotTranscode("the stream is truncated")
        found.add(tile)
        at += length
    if len(found) != tiles:
        raise CannotTranscode("tiles of the stream are missing")
    if stream[at : at + 2] not in (_EOC, b""):  # what follows EOC is padding
        raise CannotTranscode("the stream does not come to its end")
    return at
