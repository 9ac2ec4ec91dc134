"""The marker segments of JPEG and JPEG-LS streams in front of the first scan (ISO/IEC 10918-1 Annex B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from router.errors import CannotTranscode
from router.model import Buffer

_SOI, _SOS, _EOI = 0xD8, 0xDA, b"\xff\xd9"
_APP0, _APP1, _APP13, _APP14 = 0xE0, 0xE1, 0xED, 0xEE
_START = b"\xff\xd8"
_HEAD_BYTES = 1 << 20  # what stands in front of the first scan, with plenty of profiles and previews
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC
_SEGMENTS_CAP = 10_000  # in front of the first scan; met: below 20

_RGB_IDS = (b"RGB", b"rgb")


class Colour(Enum):
    """What the markers say of three components."""

    UNSAID = "unsaid"
    RGB = "RGB"
    YBR = "YBR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component of a frame header."""

    id: int
    horizontal: int  # sampling factors
    vertical: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegHeader:
    """A frame header, and what else matters for decoding."""

    stream: bytes  # without padding
    sof: int  # which frame header: 0xC0 to 0xCF, or 0xF7 for JPEG-LS
    precision: int
    rows: int
    columns: int
    components: tuple[Component, ...]
    colour: Colour
    is_ended: bool  # EOI stands at the end

    @property
    def is_subsampled(self) -> bool:
        return len({(part.horizontal, part.vertical) for part in self.components}) > 1


def parse(stream: Buffer) -> JpegHeader:
    """Read the segments up to the first scan; :class:`CannotTranscode` where they make no sense."""
    content = _without_padding(bytes(stream))
    if content[:2] != b"\xff\xd8":
        raise CannotTranscode("the stream does not begin like JPEG")
    frame: tuple[int, bytes] | None = None
    is_jfif, adobe = False, None
    for marker, segment in _segments(content):
        if marker in _FRAME_HEADERS:
            if frame is not None:
                raise CannotTranscode("the stream has two frame headers")
            frame = marker, segment
        elif marker == _APP0 and segment.startswith(b"JFIF\0"):
            is_jfif = True
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            adobe = segment[11]
    if frame is None:
        raise CannotTranscode("the stream has a scan before its frame header")
    sof, segment = frame
    components = _components(segment)
    return JpegHeader(
        stream=content,
        sof=sof,
        precision=segment[0],
        rows=int.from_bytes(segment[1:3], "big"),
        columns=int.from_bytes(segment[3:5], "big"),
        components=components,
        colour=_colour(components, is_jfif, adobe),
        is_ended=content.endswith(_EOI),
    )


def has_camera_data(stream: Buffer) -> bool:
    """Whether it brings what cameras and image programs write: Exif, XMP (APP1) or IPTC (APP13)."""
    head = bytes(memoryview(stream)[:_HEAD_BYTES])
    if not head.startswith(_START):
        return False
    try:
        return any(marker in (_APP1, _APP13) for marker, _ in _segments(head))
    except CannotTranscode:
        return False


def _without_padding(stream: bytes) -> bytes:
    """Up to EOI, where one byte or zeros follow it: fragments are of even length (PS3.5 §A.4), or longer."""
    for shorter in (stream.rstrip(b"\0"), stream[:-1]):
        if shorter.endswith(_EOI) and not stream.endswith(_EOI):
            return shorter
    return stream


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Markers with the bytes of their segments, up to the first scan."""
    at = 2
    for _ in range(_SEGMENTS_CAP):
        if stream[at : at + 1] != b"\xff":
            break
        while stream[at + 1 : at + 2] == b"\xff":  # fill bytes (§B.1.1.2)
            at += 1
        marker = stream[at + 1] if at + 1 < len(stream) else 0
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segment = stream[at + 4 : at + 2 + length]
        if marker < 0xC0 or marker == _SOI or length < 2 or len(segment) != length - 2:
            break
        if marker == _SOS:
            return
        yield marker, segment
        at += 2 + length
    raise CannotTranscode("the headers of the stream are damaged")


def _components(segment: bytes) -> tuple[Component, ...]:
    if len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
        raise CannotTranscode("the frame header of the stream is damaged")
    parts = (segment[at : at + 3] for at in range(6, len(segment), 3))
    components = tuple(Component(id=a, horizontal=b >> 4, vertical=b & 15) for a, b, _ in parts)
    if not all(1 <= part.horizontal <= 4 and 1 <= part.vertical <= 4 for part in components):
        raise CannotTranscode("the frame header of the stream is damaged")
    return components


def _colour(components: tuple[Component, ...], is_jfif: bool, adobe: int | None) -> Colour:
    """Who says something about the colour, in the order of how seldom they are wrong.

    Adobe's marker exists for this one purpose. Components are called R, G and B only on purpose. JFIF allows
    nothing but YCbCr; it is third because encoders write its marker by default.
    """
    if len(components) != 3:
        return Colour.UNSAID
    if adobe is not None and adobe <= 1:
        return Colour.YBR if adobe else Colour.RGB
    if bytes(part.id for part in components) in _RGB_IDS:
        return Colour.RGB
    return Colour.YBR if is_jfif else Colour.UNSAID
