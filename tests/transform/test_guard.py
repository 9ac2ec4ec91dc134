"""Headers of codestreams against their data set: what agrees, and what no codec may see."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Form
from router.transform import codecs, j2k_header, jpeg_header, jxl_header
from router.transform.guard import FAMILIES, Family, inspect
from router.transform.image import Image
from router.transform.jpeg_header import Colour
from tests.transform.pictures import BYTES, COLOUR, GREY, described, picture, stream_of

JFIF = bytes.fromhex("FFE0 0010 4A46494600 0101 00 0001 0001 0000")


def adobe(transform: int) -> bytes:
    return bytes.fromhex("FFEE 000E") + b"Adobe" + bytes([0, 100, 0, 0, 0, 0, transform])


def sof(
    marker: int = 0xC0, *, rows: int = 40, columns: int = 64, ids: bytes = b"", precision: int = 8
) -> bytes:
    parts = b"".join(bytes([name, 0x11, 0]) for name in ids or b"\1")
    content = struct.pack(">BHHB", precision, rows, columns, len(ids or b"\1")) + parts
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


SOS = bytes.fromhex("FFDA 0008 01 01 00 00 3F 00")


def jpeg(*segments: bytes, tail: bytes = b"\xff\xd9") -> bytes:
    return b"\xff\xd8" + b"".join(segments) + SOS + b"scan" + tail


def encoded(uid: str, image: Image) -> tuple[bytes, Image]:
    form = Form(transfer_syntax_uid=uid)
    return codecs.encode(picture(image), image, form), described(image, form, image.photometric)


def j2k(image: Image = GREY) -> bytes:
    return encoded(syntaxes.JPEG_2000_LOSSLESS, image)[0]


def refused(family: Family, stream: bytes, image: Image, match: str) -> None:
    with pytest.raises(CannotTranscode, match=match):
        inspect(family, stream, image)


@pytest.mark.parametrize("tail", [b"", b"\0", b"\xff", b" ", b"\0\0\0"])
def test_padding_is_no_part_of_a_stream(tail: bytes) -> None:
    header = inspect(Family.JPEG_DCT, jpeg(sof()) + tail, BYTES)
    assert header.stream == jpeg(sof())
    assert header.precision == 8


@pytest.mark.parametrize(
    ("segments", "colour"),
    [
        ((sof(ids=b"\1\2\3"),), Colour.UNSAID),
        ((sof(ids=b"\0\1\2"),), Colour.UNSAID),
        ((JFIF, sof(ids=b"\1\2\3")), Colour.YBR),
        ((JFIF, adobe(0), sof(ids=b"\1\2\3")), Colour.RGB),
        ((adobe(1), sof(ids=b"RGB")), Colour.YBR),
        ((adobe(2), sof(ids=b"\1\2\3")), Colour.UNSAID),
        ((sof(ids=b"RGB"),), Colour.RGB),
        ((JFIF, sof(ids=b"RGB")), Colour.RGB),
        ((JFIF, sof()), Colour.UNSAID),
    ],
)
def test_markers_say_what_colour_components_have(segments: tuple[bytes, ...], colour: Colour) -> None:
    assert jpeg_header.parse(jpeg(*segments)).colour is colour


@pytest.mark.parametrize(
    ("photometric", "segments", "is_ybr"),
    [
        ("RGB", (sof(ids=b"\1\2\3"),), False),
        ("RGB", (JFIF, sof(ids=b"\1\2\3")), True),
        ("YBR_FULL_422", (sof(ids=b"\1\2\3"),), True),
        ("YBR_FULL_422", (adobe(0), sof(ids=b"\1\2\3")), False),
        ("RGB", (sof(ids=b"\1\2\3").replace(b"\1\x11", b"\1\x21"),), True),  # half of the chrominance
    ],
)
def test_the_data_set_decides_where_the_markers_say_nothing(
    photometric: str, segments: tuple[bytes, ...], is_ybr: bool
) -> None:
    image = replace(COLOUR, photometric=photometric)
    assert inspect(Family.JPEG_DCT, jpeg(*segments), image).is_ybr is is_ybr


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (jpeg(sof(rows=41)), "Rows and Columns"),
        (jpeg(sof(columns=65)), "Rows and Columns"),
        (jpeg(sof(rows=0)), "Rows and Columns"),
        (jpeg(sof(ids=b"\1\2\3")), "Samples per Pixel"),
        (jpeg(sof(0xC1, precision=12)), "Bits Allocated"),
        (jpeg(sof(precision=9)), "does not exist"),
        (jpeg(sof(0xC3)), "not of the kind"),
        (jpeg(sof(0xC9)), "not of the kind"),
        (jpeg(sof(0xF7)), "not of the kind"),
        (jpeg(sof(), sof()), "two frame headers"),
        (jpeg(), "before its frame header"),
        (jpeg(sof()[:-1]), "damaged"),
        (jpeg(sof().replace(b"\1\x11", b"\1\x00")), "damaged"),
        (b"\xff\xd8", "damaged"),
        (b"\xff\xd8" + b"\xff" * 100, "damaged"),
        (b"\xff\xd8\xff\xe0\xff\xff", "damaged"),
        (b"", "begin"),
        (b"native", "begin"),
    ],
)
def test_jpeg_that_is_not_of_the_image_is_refused(stream: bytes, match: str) -> None:
    refused(Family.JPEG_DCT, stream, BYTES, match)


def test_a_truncated_jpeg_ls_stream_never_reaches_the_codec() -> None:
    stream, image = encoded(syntaxes.JPEG_LS_LOSSLESS, GREY)
    assert inspect(Family.JPEG_LS, stream, image).precision == 12
    refused(Family.JPEG_LS, stream[: len(stream) // 2], image, "end")


@pytest.mark.parametrize(("family", "marker"), [(Family.JPEG_LS, 0xF7), (Family.JPEG_LOSSLESS, 0xC3)])
def test_stream_of_no_bits_never_reaches_the_codec(family: Family, marker: int) -> None:
    refused(family, jpeg(sof(marker, precision=0)), BYTES, "damaged")


@pytest.mark.parametrize("family", [Family.JPEG_LS, Family.JPEG_LOSSLESS])
def test_components_of_different_size_are_of_lossy_jpeg_only(family: Family) -> None:
    marker = 0xF7 if family is Family.JPEG_LS else 0xC3
    stream = jpeg(sof(marker, ids=b"\1\2\3").replace(b"\1\x11", b"\1\x21"))
    refused(family, stream, COLOUR, "same size")


def test_high_bit_has_to_be_the_highest_unless_whole_cells_are_coded() -> None:
    image = replace(GREY, high_bit=15)
    stream = jpeg(sof(0xC3, precision=12))
    refused(Family.JPEG_LOSSLESS, stream, image, "High Bit")
    assert inspect(Family.JPEG_LOSSLESS, jpeg(sof(0xC3, precision=16)), image).precision == 16


@pytest.mark.parametrize("uid", [syntaxes.JPEG_2000_LOSSLESS, syntaxes.HTJ2K_LOSSLESS])
@pytest.mark.parametrize("image", [GREY, COLOUR])
def test_jpeg_2000_says_what_it_is(uid: str, image: Image) -> None:
    stream, result = encoded(uid, image)
    header = inspect(FAMILIES[uid], stream, result)
    assert header.stream == stream
    for padding in (b"\0", b"\xff", b"\0\0\0"):
        assert inspect(FAMILIES[uid], stream + padding, result).stream == stream
    assert header.precision == image.bits_stored
    assert header.has_transform is image.is_colour
    assert j2k_header.parse(stream).is_high_throughput is (uid == syntaxes.HTJ2K_LOSSLESS)


def test_htj2k_is_no_jpeg_2000() -> None:
    stream, image = encoded(syntaxes.HTJ2K_LOSSLESS, GREY)
    refused(Family.JPEG_2000, stream, image, "HTJ2K")


SIZ_AT = 4  # of the length of the segment, behind SOC and the marker


@pytest.mark.parametrize(
    ("at", "value", "match"),
    [
        (4, 63, "Rows and Columns"),  # Xsiz
        (8, 39, "Rows and Columns"),
        (8, 0, "damaged"),
        (12, 64, "damaged"),  # XOsiz
        (20, 1, "more than anybody means|truncated|missing"),  # XTsiz
        (20, 0, "tiles"),
        (28, 1, "tiles"),  # XTOsiz beyond the image's
    ],
)
def test_sizes_of_jpeg_2000_that_are_not_of_the_image_are_refused(at: int, value: int, match: str) -> None:
    stream = bytearray(j2k())
    struct.pack_into(">I", stream, SIZ_AT + at, value)
    refused(Family.JPEG_2000, bytes(stream), GREY, match)


def test_a_million_tiles_are_refused() -> None:
    stream = bytearray(j2k())
    struct.pack_into(">II", stream, SIZ_AT + 20, 1, 1)
    refused(Family.JPEG_2000, bytes(stream), GREY, "1?2560 tiles|truncated|missing")
    struct.pack_into(">II", stream, SIZ_AT + 4, 60000, 60000)
    refused(Family.JPEG_2000, bytes(stream), GREY, "more than anybody means")


def test_components_of_jpeg_2000_are_alike() -> None:
    stream = bytearray(j2k(COLOUR))
    stream[SIZ_AT + 38] = 11  # the first has another precision
    refused(Family.JPEG_2000, bytes(stream), COLOUR, "not alike")


@pytest.mark.parametrize("cut", [1, 3, 100, 2000])
def test_truncated_jpeg_2000_is_refused(cut: int) -> None:
    stream = j2k()
    refused(Family.JPEG_2000, stream[: -2 - cut], GREY, "truncated|damaged|end")


def test_a_tile_part_up_to_the_end_is_followed() -> None:
    stream = bytearray(j2k())
    struct.pack_into(">I", stream, stream.index(b"\xff\x90\x00\x0a") + 6, 0)  # Psot
    assert inspect(Family.JPEG_2000, bytes(stream), GREY).stream == stream
    assert inspect(Family.JPEG_2000, bytes(stream) + b"\0\0", GREY).stream == stream
    refused(Family.JPEG_2000, bytes(stream[:-2]), GREY, "truncated")


def test_a_missing_end_of_jpeg_2000_is_put_in() -> None:
    stream = j2k()
    assert inspect(Family.JPEG_2000, stream[:-2], GREY).stream == stream


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


JP2 = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")


def test_the_codestream_in_a_jp2_file_is_found() -> None:
    stream = JP2 + box(b"jp2h", box(b"ihdr", bytes(14))) + box(b"jp2c", j2k())
    assert inspect(Family.JPEG_2000, stream, GREY).stream == j2k()


@pytest.mark.parametrize(
    "boxes",
    [b"", box(b"jp2h", box(b"pclr", bytes(8))) + box(b"jp2c", b""), struct.pack(">I4s", 3, b"jp2c")],
)
def test_a_jp2_file_that_recolours_or_has_no_codestream_is_refused(boxes: bytes) -> None:
    refused(Family.JPEG_2000, JP2 + boxes, GREY, "JP2")


def rle(*offsets: int, segments: int | None = None) -> bytes:
    count = len(offsets) if segments is None else segments
    return struct.pack("<16I", count, *offsets, *[0] * (15 - len(offsets))) + bytes(100)


def test_an_rle_header_of_the_image_is_let_through() -> None:
    assert inspect(Family.RLE, rle(64, 100), GREY).precision == 16


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (b"", "too short"),
        (rle(64), "number"),
        (rle(64, 100, 120), "number"),
        (rle(64, 100, segments=0xFFFFFFFF), "number"),
        (rle(60, 100), "behind"),
        (rle(64, 165), "behind"),
        (rle(64, 63), "behind"),
    ],
)
def test_an_rle_header_that_is_not_of_the_image_is_refused(stream: bytes, match: str) -> None:
    refused(Family.RLE, stream, GREY, match)


def bits(*fields: tuple[int, int]) -> bytes:
    """Fields of a value and a width, the first in the lowest bits."""
    number, at = 0, 0
    for value, width in fields:
        number |= value << at
        at += width
    return b"\xff\x0a" + number.to_bytes(16, "little")


TWELVE = (0, 1), (0, 1), (0, 1), (2, 2)  # not all_default, no extra_fields, no float, 12 bits


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (bits((1, 1), (4, 5), (0, 3), (7, 5), *TWELVE), (40, 64, 12)),  # in units of eight
        (bits((1, 1), (4, 5), (7, 3), *TWELVE), (40, 80, 12)),  # two to one
        (bits((0, 1), (1, 2), (4999, 13), (0, 3), (0, 2), (9, 9), (1, 1)), (5000, 10, 8)),
        (bits((1, 1), (0, 5), (1, 3), (0, 1), (0, 1), (0, 1), (3, 2), (15, 6)), (8, 8, 16)),
    ],
)
def test_sizes_and_precision_of_jpeg_xl(stream: bytes, expected: tuple[int, int, int]) -> None:
    for whole in (
        stream,
        jxl_container(box(b"jxlc", stream)),
        jxl_container(box(b"jxlp", bytes(4) + stream)),
    ):
        header = jxl_header.parse(whole)
        assert (header.rows, header.columns, header.precision) == expected


def jxl_container(content: bytes) -> bytes:
    return box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + content


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (bits((1, 1), (3, 5), (0, 3), (7, 5), *TWELVE), "Rows"),
        (bits((1, 1), (4, 5), (0, 3), (7, 5), (0, 1), (1, 1), (1, 6)), "turned"),
        (bits((1, 1), (4, 5), (0, 3), (7, 5), (0, 1), (0, 1), (1, 1)), "floating point"),
        (b"", "begin"),
        (jxl_container(b""), "no codestream"),
        (jxl_container(struct.pack(">I4s", 0, b"free") + bytes(8)), "no codestream"),
    ],
)
def test_jpeg_xl_that_is_no_plain_image_of_that_size_is_refused(stream: bytes, match: str) -> None:
    refused(Family.JPEG_XL, stream, GREY, match)


@pytest.mark.parametrize(
    "name",
    [
        "J2K_pixelrep_mismatch.dcm",
        "JPEGLSNearLossless_16.dcm",
        "JPGExtended.dcm",
        "MR_small_RLE.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
    ],
)
def test_real_streams_are_let_through(name: str) -> None:
    uid, stream, image = stream_of(name)
    inspect(FAMILIES[uid], stream, image)
