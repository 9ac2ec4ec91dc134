"""The description of pixels: what is read from a data set, and what is refused."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from router.errors import CannotTranscode
from router.transform.elements import Element
from router.transform.image import Image
from tests.transform.pictures import BITS, BYTES, COLOUR, GREY, data_set


@pytest.mark.parametrize("image", [GREY, BYTES, COLOUR, BITS, replace(COLOUR, frames=7, planar=1)])
def test_what_a_data_set_says_is_read(image: Image) -> None:
    assert Image.from_data_set(data_set(image)) == image


def test_what_may_be_left_out_has_its_default() -> None:
    content = data_set(GREY)
    for tag in (0x00280006, 0x00280008, 0x00280102):
        content.remove(tag)
    assert Image.from_data_set(content) == GREY


@pytest.mark.parametrize(
    "tag", [0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280103]
)
def test_what_must_be_there_is_missed(tag: int) -> None:
    content = data_set(GREY)
    content.remove(tag)
    with pytest.raises(CannotTranscode, match="missing"):
        Image.from_data_set(content)


def test_several_values_are_none() -> None:
    content = data_set(GREY)
    content.put(Element(0x00280010, "US", struct.pack("<2H", 40, 40)))
    with pytest.raises(CannotTranscode, match="Rows has several values"):
        Image.from_data_set(content)


@pytest.mark.parametrize(
    "image",
    [
        replace(GREY, rows=0),
        replace(GREY, columns=0),
        replace(GREY, samples=3),
        replace(COLOUR, samples=1),
        replace(COLOUR, samples=4),
        replace(COLOUR, photometric="CMYK"),
        replace(COLOUR, photometric="YBR_PARTIAL_420"),
        replace(GREY, bits_allocated=12),
        replace(GREY, bits_allocated=64),
        replace(GREY, bits_stored=0),
        replace(GREY, bits_stored=13),
        replace(GREY, high_bit=16),
        replace(BITS, is_signed=True),
        replace(BITS, samples=3, photometric="RGB"),
        replace(COLOUR, planar=2),
        replace(GREY, frames=0),
        replace(GREY, frames=-3),
        replace(GREY, frames=2**31),
    ],
)
def test_contradictions_are_refused(image: Image) -> None:
    with pytest.raises(CannotTranscode):
        Image.from_data_set(data_set(image))


@pytest.mark.parametrize(
    ("image", "frame_bytes", "native_bytes"),
    [
        (GREY, 40 * 64 * 2, 40 * 64 * 2),
        (replace(COLOUR, frames=3), 40 * 64 * 3, 40 * 64 * 9),
        (replace(BITS, rows=3, columns=3, frames=3), 2, 4),  # frames of 9 bits, 27 in all
        (replace(COLOUR, photometric="YBR_FULL_422"), 40 * 64 * 2, 40 * 64 * 2),
        (replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31), 40 * 64 * 4, 40 * 64 * 4),
    ],
)
def test_lengths(image: Image, frame_bytes: int, native_bytes: int) -> None:
    assert (image.frame_bytes, image.native_bytes) == (frame_bytes, native_bytes)


def test_a_limit_on_samples_counts_all_frames_and_colours() -> None:
    assert replace(COLOUR, frames=10).total_samples == 40 * 64 * 3 * 10
