"""Decoded frames, all in one shape whatever they came from, and native pixel data from and to them.

A frame is an array of rows, columns and samples, of unsigned *cells* of Bits Allocated: the bits that native
pixel data in little endian would hold, so a negative value is there with its sign up to the top of the cell,
and what stands outside of Bits Stored stays. Single bits have one byte each. Two frames that are equal here
are equal in every transfer syntax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.errors import CannotTranscode
from router.model import Buffer
from router.transform.image import YBR_FULL_422, Image

Cells = NDArray[np.unsignedinteger]
Numbers = NDArray[np.integer]

_UNSIGNED: dict[int, np.dtype[np.unsignedinteger]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
}
_SIGNED: dict[int, np.dtype[np.signedinteger]] = {1: np.dtype("<i1"), 2: np.dtype("<i2"), 4: np.dtype("<i4")}


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded frame, and how its samples are to be understood."""

    pixels: Cells  # rows, columns, samples; contiguous
    photometric: str

    @property
    def content(self) -> memoryview:
        """The cells in little endian, colour by pixel: what a hash is taken of."""
        return self.pixels.data.cast("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far two frames are apart, in units of a sample."""

    largest: int
    mean_square: float


def cell_type(image: Image) -> np.dtype[np.unsignedinteger]:
    return _UNSIGNED[image.cell_bytes]


def number_type(image: Image) -> np.dtype[np.integer]:
    """That of the samples as numbers."""
    return _SIGNED[image.cell_bytes] if image.is_signed else _UNSIGNED[image.cell_bytes]


def shape(image: Image) -> tuple[int, int, int]:
    return image.rows, image.columns, image.samples


def from_native(image: Image, content: Buffer, index: int = 0) -> Frame:
    """One frame of native pixel data (in little endian); a view of it where that is possible.

    Raises :class:`CannotTranscode` where there are not bytes enough, or where chrominance is subsampled.
    """
    if image.photometric == YBR_FULL_422:
        raise CannotTranscode("uncompressed YBR_FULL_422 cannot be had in another form")
    first = index * image.frame_bits
    if (first + image.frame_bits + 7) // 8 > len(content):
        raise CannotTranscode("the pixel data is shorter than its description says")
    if image.bits_allocated == 1:
        return Frame(_bits(image, content, first), image.photometric)
    cells = np.frombuffer(content, cell_type(image), image.frame_samples, first // 8)
    return Frame(arranged(image, cells, by_plane=image.planar == 1), image.photometric)


def _bits(image: Image, content: Buffer, first: int) -> Cells:
    """Single bits, the first in the lowest place of the first byte (PS3.5 §8.1.1)."""
    last = first + image.frame_bits
    packed = np.frombuffer(content, np.uint8, (last + 7) // 8 - first // 8, first // 8)
    unpacked = np.unpackbits(packed, bitorder="little")
    return unpacked[first % 8 : first % 8 + image.frame_bits].reshape(shape(image))


def arranged(image: Image, cells: Cells, *, by_plane: bool) -> Cells:
    """Cells in the order of a frame: colour by pixel."""
    if by_plane and image.is_colour:
        planes = cells.reshape(image.samples, image.rows, image.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return cells.reshape(shape(image))


def to_native(image: Image, frames: Iterable[Frame]) -> Iterator[Buffer]:
    """Native pixel data, colour by pixel, in little endian and of even length, frame after frame."""
    if image.bits_allocated == 1:
        yield from _packed(frames)
        return
    total = 0
    for frame in frames:
        total += frame.pixels.nbytes
        yield frame.content
    if total % 2:
        yield b"\0"


def _packed(frames: Iterable[Frame]) -> Iterator[Buffer]:
    """Single bits, one frame right behind the other."""
    rest: Cells = np.zeros(0, np.uint8)
    total = 0
    for frame in frames:
        bits = np.concatenate((rest, frame.pixels.reshape(-1)))
        whole = len(bits) // 8 * 8
        rest = bits[whole:]
        total += whole // 8
        yield np.packbits(bits[:whole], bitorder="little").tobytes()
    tail = np.packbits(rest, bitorder="little").tobytes()
    yield tail + b"\0" * ((total + len(tail)) % 2)


def numbers(image: Image, frame: Frame) -> Numbers:
    """The samples as numbers, negative ones too."""
    return frame.pixels.view(number_type(image))


def uses_other_bits(image: Image, frame: Frame) -> bool:
    """Whether something stands outside of Bits Stored (overlays once did) that is not a number's sign."""
    values = numbers(image, frame)
    lowest, highest = int(values.min()), int(values.max())
    if image.is_signed:
        limit = 1 << (image.bits_stored - 1)
        return not -limit <= lowest <= highest < limit
    return highest >> image.bits_stored != 0


def difference(image: Image, first: Frame, second: Frame) -> Difference:
    """How far two frames of the same image are apart."""
    wide = numbers(image, first).astype(np.int64) - numbers(image, second)
    return Difference(
        largest=int(np.abs(wide).max()), mean_square=float(np.mean(np.square(wide, dtype=np.float64)))
    )
