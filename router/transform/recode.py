"""Pixel data from one form to another, frame by frame, and the proof that it is still the same.

Every compressed frame is decoded again, by the codec that reads that transfer syntax, and compared with what
went in. So a codec that breaks pixels is found out before anybody has them, and at any time no more than a
few frames are in memory beside the result.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from xxhash import xxh3_128

from router.errors import BrokenCodec, CannotTranscode
from router.model import Buffer, Form
from router.transform import codecs as our_codecs
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.fragments import join, split
from router.transform.frames import Frame, difference, from_native, numbers, to_native
from router.transform.image import PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION, Image
from router.transform.native import frames_hash, is_whole

EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH = 0x7FE00001, 0x7FE00002, 0x7FE00003

# A lossy image must be nearer to its original than a tenth of the span of that frame's own values (root mean
# square): 20 dB. One of a single mean value, of shuffled bytes or of another frame is some 10 to 15 dB away,
# while what anybody would look at has more than 25. The span is not that of Bits Stored: a CT slice takes a
# twentieth of it, and a black image would pass.
SPAN_PER_ERROR = 10
_ROUNDING = 1.0  # a mean square error that a frame of few values may have


class Codecs(Protocol):
    """What decodes and encodes frames: ``router.transform.codecs``, or something broken in a test."""

    def decode(self, uid: str, stream: Buffer, image: Image) -> Frame: ...

    def encode(self, frame: Frame, image: Image, form: Form) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The frames of a data set, each decoded when it is asked for."""

    image: Image
    transfer_syntax_uid: str
    codecs: Codecs
    native: Buffer = b""
    streams: Sequence[Buffer] | None = None  # None: native

    def frame(self, index: int) -> Frame:
        if self.streams is None:
            return from_native(self.image, self.native, index)
        return self.codecs.decode(self.transfer_syntax_uid, self.streams[index], self.image)

    @property
    def encoded_bytes(self) -> int:
        """Of all streams together."""
        return sum(map(len, self.streams or ()))


def source_of(
    data_set: DataSet, transfer_syntax_uid: str, codecs: Codecs, *, is_native: bool, samples_max: int
) -> Source:
    """The frames of a data set that has pixel data, or of an item (an icon)."""
    image = Image.from_data_set(data_set)
    if image.total_samples > samples_max:
        raise CannotTranscode("it has more samples than max_pixels allows")
    pixels = data_set.get(PIXEL_DATA)
    value = pixels.value if pixels is not None else []
    if isinstance(value, list) or isinstance(value, Fragments) is is_native:
        raise CannotTranscode("its pixel data is not of the kind that its transfer syntax says")
    if not isinstance(value, Fragments):
        if not is_whole(image, value):
            raise CannotTranscode("the pixel data has not the length that its description says")
        return Source(image=image, transfer_syntax_uid=transfer_syntax_uid, codecs=codecs, native=value)
    streams = split(
        value,
        image.frames,
        extended_offsets=data_set.buffer(EXTENDED_OFFSETS),
        extended_lengths=data_set.buffer(EXTENDED_LENGTHS),
        is_rle=not our_codecs.has_markers(transfer_syntax_uid),
    )
    return Source(image=image, transfer_syntax_uid=transfer_syntax_uid, codecs=codecs, streams=streams)


@dataclass(slots=True)
class Proof:
    """What has been compared so far."""

    form: Form | None = None  # a lossy one; None: every frame has to be the same
    largest: int = 0  # difference of any sample
    _before: xxh3_128 = field(default_factory=xxh3_128)
    _after: xxh3_128 = field(default_factory=xxh3_128)

    @property
    def frames_hash(self) -> str:
        """Of the decoded frames of the source."""
        return self._before.hexdigest()

    def take(self, frame: Frame) -> None:
        """One frame of the source, in order."""
        self._before.update(frame.content)

    def compare(self, image: Image, before: Frame, after: Frame) -> None:
        """The same frame of the result. Raises :class:`BrokenCodec` where it is not what it should be."""
        if after.photometric != before.photometric or after.pixels.shape != before.pixels.shape:
            raise BrokenCodec("the codec changed the colour model or the size of a frame")
        if self.form is not None:
            self._compare_lossy(image, before, after, self.form)
            return
        self._after.update(after.content)
        if self._after.digest() != self._before.digest():
            raise BrokenCodec("the decoded frames of the result are not those of the source")

    def _compare_lossy(self, image: Image, before: Frame, after: Frame, form: Form) -> None:
        apart = difference(image, before, after)
        self.largest = max(self.largest, apart.largest)
        if form.max_error is not None:
            if apart.largest > form.max_error:
                raise BrokenCodec(f"a sample is off by {apart.largest}, more than {form.max_error}")
            return
        values = numbers(image, before)
        span = int(values.max()) - int(values.min())
        if apart.mean_square > max(_ROUNDING, (span / SPAN_PER_ERROR) ** 2):
            raise BrokenCodec("the decoded frames of the result are too far from those of the source")


def expand(data_set: DataSet, source: Source, proof: Proof) -> None:
    """Put native pixel data in the place of the encapsulated."""
    first = source.frame(0)
    image = replace(source.image, photometric=first.photometric, planar=0)
    native = bytearray(image.native_bytes + image.native_bytes % 2)
    at = 0
    for part in to_native(image, _frames(first, source, proof)):
        native[at : at + len(part)] = part
        at += len(part)
    if at != len(native):
        raise BrokenCodec("the decoded frames are not of the length of the image")
    if frames_hash(image, native) != proof.frames_hash:
        raise BrokenCodec("the decoded frames changed on their way")
    _describe(data_set, image)
    vr = "OW" if image.bits_allocated > 8 else "OB"
    data_set.put(Element(PIXEL_DATA, vr, native))


def _frames(first: Frame, source: Source, proof: Proof) -> Iterator[Frame]:
    """All frames, of which the first is there already; each is taken by the proof."""
    frame = first
    for index in range(source.image.frames):
        if index:
            frame = source.frame(index)
            if frame.photometric != first.photometric:
                raise CannotTranscode("its frames are not of the same colour model")
        proof.take(frame)
        yield frame


def compress(data_set: DataSet, source: Source, form: Form, proof: Proof) -> float:
    """Put pixel data in that form in the place of what is there; returns the ratio of compression."""
    first = source.frame(0)
    image = replace(source.image, photometric=first.photometric, planar=0)
    photometric = our_codecs.photometric_of(form, image.photometric)
    planar = our_codecs.planar_of(form) if image.is_colour else 0
    encoded = replace(image, photometric=photometric, planar=planar)
    streams: list[Buffer] = []
    for frame in _frames(first, source, proof):
        stream = source.codecs.encode(frame, image, form)
        again = source.codecs.decode(form.transfer_syntax_uid, stream, encoded)
        proof.compare(image, frame, again)
        streams.append(stream)
    _describe(data_set, encoded)
    data_set.put(Element(PIXEL_DATA, "OB", join(streams), is_undefined=True))
    return image.native_bytes / max(1, sum(map(len, streams)))


def _describe(data_set: DataSet, image: Image) -> None:
    """Say what has changed; every other attribute stays as it was."""
    if data_set.text(PHOTOMETRIC_INTERPRETATION) != image.photometric:
        data_set.put(Element(PHOTOMETRIC_INTERPRETATION, "CS", image.photometric.encode()))
    if image.is_colour and data_set.ints(PLANAR_CONFIGURATION) != (image.planar,):
        data_set.put(Element(PLANAR_CONFIGURATION, "US", struct.pack("<H", image.planar)))
    for tag in (EXTENDED_OFFSETS, EXTENDED_LENGTHS, TOTAL_LENGTH):
        data_set.remove(tag)
