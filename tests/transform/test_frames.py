"""Frames from and to native pixel data, and what is asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router.errors import CannotTranscode
from router.transform.frames import Frame, difference, from_native, numbers, to_native, uses_other_bits
from router.transform.image import Image
from tests.transform.pictures import BITS, BYTES, COLOUR, GREY, image_of, picture

ODD_BITS = replace(BITS, rows=3, columns=3, frames=3)


def native(image: Image, frames: list[Frame]) -> bytes:
    return b"".join(to_native(image, frames))


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        image_of(GREY, bits_stored=12, is_signed=True),
        BYTES,
        replace(BYTES, rows=3, columns=3),
        COLOUR,
        replace(COLOUR, rows=1, columns=1),
        replace(GREY, bits_allocated=32),
        BITS,
        ODD_BITS,
    ],
)
def test_native_pixel_data_is_what_it_was(image: Image) -> None:
    image = replace(image, frames=3)
    frames = [picture(image, seed) for seed in range(3)]
    content = native(image, frames)
    assert len(content) == image.native_bytes + image.native_bytes % 2
    for index, frame in enumerate(frames):
        again = from_native(image, content, index)
        assert np.array_equal(again.pixels, frame.pixels)
        assert again.content == frame.content


def test_single_bits_follow_each_other_across_frames() -> None:
    ones, zeros = np.ones((3, 3, 1), np.uint8), np.zeros((3, 3, 1), np.uint8)
    frames = [Frame(cells, "MONOCHROME2") for cells in (ones, zeros, ones)]
    assert native(ODD_BITS, frames) == (0b111111111_000000000_111111111).to_bytes(4, "little")


def test_colour_by_plane_becomes_colour_by_pixel() -> None:
    image = replace(COLOUR, rows=1, columns=2, planar=1)
    frame = from_native(image, bytes([1, 2, 11, 12, 21, 22]))
    assert bytes(frame.content) == bytes([1, 11, 21, 2, 12, 22])


def test_native_frames_are_not_copied() -> None:
    content = bytearray(GREY.native_bytes)
    frame = from_native(GREY, content)
    content[0] = 7
    assert frame.pixels[0, 0, 0] == 7


@pytest.mark.parametrize("image", [GREY, BITS, replace(ODD_BITS, frames=1)])
def test_too_few_bytes_are_noticed(image: Image) -> None:
    with pytest.raises(CannotTranscode, match="shorter"):
        from_native(image, bytes(image.native_bytes - 1))
    with pytest.raises(CannotTranscode, match="shorter"):
        from_native(image, bytes(image.native_bytes), 1)


def test_subsampled_chrominance_is_refused() -> None:
    image = replace(COLOUR, photometric="YBR_FULL_422")
    with pytest.raises(CannotTranscode, match="YBR_FULL_422"):
        from_native(image, bytes(image.native_bytes))


@pytest.mark.parametrize(
    ("is_signed", "cell", "expected"),
    [
        (False, 0x0FFF, False),
        (False, 0x1000, True),
        (True, 0x07FF, False),
        (True, 0xF800, False),  # -2048, with its sign
        (True, 0x0800, True),  # the same without
        (True, 0xF7FF, True),
    ],
)
def test_bits_outside_of_those_stored_are_seen(is_signed: bool, cell: int, expected: bool) -> None:
    image = image_of(GREY, bits_stored=12, is_signed=is_signed)
    cells = np.zeros((40, 64, 1), np.uint16)
    cells[5, 5] = cell
    assert uses_other_bits(image, Frame(cells, "MONOCHROME2")) is expected


def test_numbers_have_their_sign() -> None:
    image = image_of(GREY, bits_stored=12, is_signed=True)
    assert numbers(image, picture(image)).min() == -2048
    assert numbers(GREY, picture(GREY)).max() == 4095


def test_the_difference_of_frames_is_that_of_numbers() -> None:
    image = replace(image_of(GREY, bits_stored=16, is_signed=True), rows=1, columns=2)
    first = from_native(image, b"\xff\xff\x00\x80")  # -1 and -32768
    second = from_native(image, b"\x01\x00\xff\x7f")  # 1 and 32767
    apart = difference(image, first, second)
    assert apart.largest == 65535
    assert apart.mean_square == (2**2 + 65535**2) / 2
