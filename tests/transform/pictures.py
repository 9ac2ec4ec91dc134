"""Small pictures with every bit in use, and the data sets around them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file

from router.model import Buffer, Form
from router.transform import codecs
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.fragments import split
from router.transform.frames import Frame, cell_type, from_native, shape
from router.transform.image import Image
from tests.corpus import read_part10
from tests.transform.raw import read

GREY = Image(
    rows=40,
    columns=64,
    samples=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    is_signed=False,
    photometric="MONOCHROME2",
    planar=0,
    frames=1,
)
BYTES = replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7)
COLOUR = replace(BYTES, samples=3, photometric="RGB")
BITS = replace(GREY, bits_allocated=1, bits_stored=1, high_bit=0)


def image_of(base: Image, *, bits_stored: int, is_signed: bool = False, photometric: str = "") -> Image:
    """Another number of bits, with High Bit to match."""
    return replace(
        base,
        bits_stored=bits_stored,
        high_bit=bits_stored - 1,
        is_signed=is_signed,
        photometric=photometric or base.photometric,
    )


def picture(image: Image, seed: int = 0) -> Frame:
    """Waves with a little noise, the smallest and the largest number among them."""
    lowest = -(1 << (image.bits_stored - 1)) if image.is_signed else 0
    span = (1 << image.bits_stored) - 1
    y, x, sample = np.mgrid[0 : image.rows, 0 : image.columns, 0 : image.samples]
    waves = 0.5 + 0.3 * np.sin(x / 9 + sample) + 0.2 * np.cos(y / 7)
    noise = np.random.default_rng(seed).integers(0, 1 + span // 50, shape(image))
    numbers = np.clip(lowest + (waves * span).astype(np.int64) + noise, lowest, lowest + span)
    numbers.flat[0], numbers.flat[-1] = lowest, lowest + span
    return Frame(np.ascontiguousarray(numbers.astype(cell_type(image))), image.photometric)


def described(image: Image, form: Form, photometric: str) -> Image:
    """The description that belongs to a frame once it is encoded."""
    return replace(image, photometric=codecs.photometric_of(form, photometric), planar=codecs.planar_of(form))


def data_set(image: Image, pixels: Buffer | Fragments = b"") -> DataSet:
    """The data set that says what ``image`` says."""
    words = {
        0x00280002: image.samples,
        0x00280006: image.planar,
        0x00280010: image.rows,
        0x00280011: image.columns,
        0x00280100: image.bits_allocated,
        0x00280101: image.bits_stored,
        0x00280102: image.high_bit,
        0x00280103: int(image.is_signed),
    }
    result = DataSet(Element(tag, "US", struct.pack("<H", word)) for tag, word in words.items())
    result.put(Element(0x00280004, "CS", image.photometric.encode()))
    result.put(Element(0x00280008, "IS", str(image.frames).encode()))
    result.put(Element(PIXEL_DATA, "OW", pixels))
    return result


def decoded(path: Path) -> tuple[Image, list[Frame]]:
    """The frames of a file, by the product's own readers."""
    part10 = read_part10(path)
    content = read(part10.data_set, part10.transfer_syntax_uid)
    image = Image.from_data_set(content)
    return image, frames_of(content, part10.transfer_syntax_uid, image)


def frames_of(content: DataSet, uid: str, image: Image) -> list[Frame]:
    element = content.get(PIXEL_DATA)
    assert element is not None
    assert not isinstance(element.value, list)
    if isinstance(element.value, Fragments):
        streams = split(element.value, image.frames, is_rle=not codecs.has_markers(uid))
        return [codecs.decode(uid, stream, image) for stream in streams]
    return [from_native(image, element.value, index) for index in range(image.frames)]


def stream_of(name: str) -> tuple[str, bytes, Image]:
    """Transfer syntax, first frame's stream and description of a file that pydicom brings along."""
    part10 = read_part10(bundled(name))
    content = read(part10.data_set, part10.transfer_syntax_uid)
    image = replace(Image.from_data_set(content), frames=1)
    element = content.get(PIXEL_DATA)
    assert element is not None
    assert isinstance(element.value, Fragments)
    return part10.transfer_syntax_uid, bytes(element.value.items[1]), image


def bundled(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)
