"""What the codecs read and write, what they refuse, and that nothing else ever comes out of them."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Form
from router.transform import codecs
from router.transform.codecs import READERS, WRITERS, Codec, Library
from router.transform.frames import Frame, difference, from_native
from router.transform.guard import FAMILIES, Family
from router.transform.image import Image
from tests.transform.pictures import (
    BITS,
    BYTES,
    COLOUR,
    GREY,
    bundled,
    decoded,
    described,
    image_of,
    picture,
    stream_of,
)

YBR = replace(COLOUR, photometric="YBR_FULL")
PALETTE = replace(BYTES, photometric="PALETTE COLOR")
LOSSLESS = syntaxes.LOSSLESS_TARGETS
IMAGES = {
    "grey": GREY,
    "whole words": image_of(GREY, bits_stored=16),
    "signed": image_of(GREY, bits_stored=12, is_signed=True),
    "signed words": image_of(GREY, bits_stored=16, is_signed=True),
    "nine bits": image_of(GREY, bits_stored=9),
    "eight of sixteen": image_of(GREY, bits_stored=8),
    "five of sixteen, signed": image_of(GREY, bits_stored=5, is_signed=True),
    "bytes": BYTES,
    "seven of eight": image_of(BYTES, bits_stored=7),
    "signed bytes": image_of(BYTES, bits_stored=8, is_signed=True),
    "inverted": replace(GREY, photometric="MONOCHROME1"),
    "palette": PALETTE,
    "colour": COLOUR,
    "colour by plane": replace(COLOUR, planar=1),
    "luminance": YBR,
    "colour of words": replace(image_of(GREY, bits_stored=12), samples=3, photometric="RGB"),
    "tiny": replace(COLOUR, rows=3, columns=3),
    "wide": replace(GREY, rows=1, columns=500),
}


def round_trip(image: Image, form: Form) -> tuple[Frame, Frame]:
    frame = picture(image)
    stream = codecs.encode(frame, image, form)
    after = codecs.decode(form.transfer_syntax_uid, stream, described(image, form, image.photometric))
    return frame, after


def assert_same(frame: Frame, other: Frame) -> None:
    assert other.photometric == frame.photometric
    assert other.pixels.dtype == frame.pixels.dtype
    assert other.pixels.flags.c_contiguous
    assert np.array_equal(frame.pixels, other.pixels)


@pytest.mark.parametrize("uid", LOSSLESS, ids=syntaxes.label)
@pytest.mark.parametrize("name", IMAGES)
def test_lossless_is_lossless(uid: str, name: str) -> None:
    assert_same(*round_trip(IMAGES[name], Form(transfer_syntax_uid=uid)))


@pytest.mark.parametrize("uid", [syntaxes.JPEG_2000_LOSSLESS, syntaxes.DEFLATED_IMAGE_FRAME])
@pytest.mark.parametrize("image", [BITS, replace(BITS, rows=13, columns=11)])
def test_single_bits_are_kept(uid: str, image: Image) -> None:
    assert_same(*round_trip(image, Form(transfer_syntax_uid=uid)))


def test_cells_of_32_bits_are_deflated() -> None:
    image = replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31)
    assert_same(*round_trip(image, Form(transfer_syntax_uid=syntaxes.DEFLATED_IMAGE_FRAME)))


@pytest.mark.parametrize("image", [GREY, BYTES, COLOUR, YBR])
@pytest.mark.parametrize("near", [1, 3, 20])
def test_near_lossless_keeps_to_its_error(image: Image, near: int) -> None:
    form = Form(transfer_syntax_uid=syntaxes.JPEG_LS_NEAR_LOSSLESS, max_error=near)
    assert 0 < difference(image, *round_trip(image, form)).largest <= near


@pytest.mark.parametrize(
    ("image", "form"),
    [
        (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90)),
        (COLOUR, Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90)),
        (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_EXTENDED, quality=90)),
        (GREY, Form(transfer_syntax_uid=syntaxes.JPEG_EXTENDED, quality=90)),
        (GREY, Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=4.0)),
        (COLOUR, Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=4.0)),
        (IMAGES["signed"], Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=4.0)),
    ],
)
def test_lossy_is_near(image: Image, form: Form) -> None:
    before, after = round_trip(image, form)
    assert after.photometric == before.photometric
    apart = difference(image, before, after)
    assert 0 < apart.mean_square < ((1 << image.bits_stored) / 40) ** 2


@pytest.mark.parametrize("image", [IMAGES["grey"], IMAGES["whole words"], COLOUR])
@pytest.mark.parametrize("ratio", [8.0, 20.0])
def test_the_ratio_is_that_of_whole_cells(image: Image, ratio: float) -> None:
    image = replace(image, rows=256, columns=256)
    form = Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=ratio)
    stream = codecs.encode(picture(image), image, form)
    assert ratio * 0.95 < image.frame_bytes / len(stream) < ratio * 1.5


@pytest.mark.parametrize(
    ("uid", "photometric", "planar"),
    [
        (syntaxes.JPEG_2000_LOSSLESS, "YBR_RCT", 0),
        (syntaxes.HTJ2K_LOSSLESS, "YBR_RCT", 0),
        (syntaxes.JPEG_LS_LOSSLESS, "RGB", 0),
        (syntaxes.JPEG_LOSSLESS_SV1, "RGB", 0),
        (syntaxes.RLE_LOSSLESS, "RGB", 1),
    ],
)
def test_how_colour_is_described_once_encoded(uid: str, photometric: str, planar: int) -> None:
    form = Form(transfer_syntax_uid=uid)
    assert (codecs.photometric_of(form, "RGB"), codecs.planar_of(form)) == (photometric, planar)
    assert codecs.photometric_of(form, "YBR_FULL") == "YBR_FULL"
    assert codecs.photometric_of(form, "MONOCHROME2") == "MONOCHROME2"


def test_how_lossy_colour_is_described() -> None:
    baseline = Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=80)
    assert codecs.photometric_of(baseline, "RGB") == "YBR_FULL_422"
    assert codecs.photometric_of(Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=9.0), "RGB") == "YBR_ICT"


@pytest.mark.parametrize("uid", [syntaxes.JPEG_LS_LOSSLESS, syntaxes.JPEG_2000_LOSSLESS])
def test_the_stream_has_the_precision_of_bits_stored(uid: str) -> None:
    stream = codecs.encode(picture(GREY), GREY, Form(transfer_syntax_uid=uid))
    assert stream[42] == 11 if uid == syntaxes.JPEG_2000_LOSSLESS else stream[6] == 12


def test_htj2k_with_fewer_bits_is_read_by_another_decoder() -> None:
    for image in (GREY, IMAGES["signed"], IMAGES["colour of words"], IMAGES["seven of eight"]):
        stream = codecs.encode(picture(image), image, Form(transfer_syntax_uid=syntaxes.HTJ2K_LOSSLESS))
        again = imagecodecs.htj2k_decode(stream, planar=False).reshape(picture(image).pixels.shape)
        assert np.array_equal(again.astype(picture(image).pixels.dtype), picture(image).pixels)


@pytest.mark.parametrize(("columns", "decompositions"), [(64, 5), (2048, 5), (2049, 6), (5000, 7)])
def test_htj2k_rpcl_has_a_thumbnail_and_its_markers(columns: int, decompositions: int) -> None:
    image = replace(BYTES, rows=8, columns=columns)
    stream = codecs.encode(picture(image), image, Form(transfer_syntax_uid=syntaxes.HTJ2K_LOSSLESS_RPCL))
    style = stream.index(b"\xff\x52")
    assert stream[style + 5] == 2  # RPCL
    assert stream[style + 9] == decompositions
    assert b"\xff\x55" in stream[: stream.index(b"\xff\x90")]  # TLM


@pytest.mark.parametrize(
    "uid", [uid for uid in LOSSLESS if FAMILIES[uid] not in (Family.RLE, Family.DEFLATED)]
)
@pytest.mark.parametrize("is_signed", [False, True])
def test_what_stands_outside_of_bits_stored_is_not_lost(uid: str, is_signed: bool) -> None:
    image = image_of(GREY, bits_stored=12, is_signed=is_signed)
    cells = picture(image).pixels.copy()
    cells[3, 3] ^= 0x8000  # an overlay, or a negative number without its sign
    with pytest.raises(CannotTranscode, match="outside of Bits Stored"):
        codecs.encode(Frame(cells, "MONOCHROME2"), image, Form(transfer_syntax_uid=uid))


@pytest.mark.parametrize("uid", [syntaxes.RLE_LOSSLESS, syntaxes.DEFLATED_IMAGE_FRAME])
def test_whole_cells_take_what_stands_outside_of_bits_stored_with_them(uid: str) -> None:
    cells = picture(GREY).pixels.copy()
    cells[3, 3] |= 0x8000
    frame = Frame(cells, "MONOCHROME2")
    assert_same(frame, codecs.decode(uid, codecs.encode(frame, GREY, Form(transfer_syntax_uid=uid)), GREY))


NEAR = Form(transfer_syntax_uid=syntaxes.JPEG_LS_NEAR_LOSSLESS, max_error=2)
BASELINE = Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90)
EXTENDED = Form(transfer_syntax_uid=syntaxes.JPEG_EXTENDED, quality=90)
RATIO = Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=8.0)
WORDS_32 = replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31)


@pytest.mark.parametrize(
    ("image", "form", "match"),
    [
        (PALETTE, NEAR, "PALETTE"),
        (PALETTE, BASELINE, "PALETTE"),
        (PALETTE, EXTENDED, "PALETTE"),
        (PALETTE, RATIO, "PALETTE"),
        (BITS, RATIO, "Bits Allocated"),
        (BITS, Form(transfer_syntax_uid=syntaxes.JPEG_LS_LOSSLESS), "Bits Allocated"),
        (BITS, Form(transfer_syntax_uid=syntaxes.RLE_LOSSLESS), "Bits Allocated"),
        (WORDS_32, Form(transfer_syntax_uid=syntaxes.JPEG_2000_LOSSLESS), "Bits Allocated"),
        (WORDS_32, Form(transfer_syntax_uid=syntaxes.RLE_LOSSLESS), "Bits Allocated"),
        (GREY, BASELINE, "Bits Allocated"),
        (image_of(BYTES, bits_stored=7), BASELINE, "Bits Stored of 8"),
        (image_of(GREY, bits_stored=10), EXTENDED, "Bits Stored of 12"),
        (IMAGES["signed"], EXTENDED, "signed"),
        (COLOUR, EXTENDED, "RGB"),
        (YBR, BASELINE, "YBR_FULL"),
        (IMAGES["signed"], NEAR, "ends of their range"),
        (image_of(BYTES, bits_stored=7), NEAR, "more bits"),
        (GREY, replace(NEAR, max_error=256), "max_error"),
        (replace(COLOUR, is_signed=True), Form(transfer_syntax_uid=syntaxes.JPEG_LS_LOSSLESS), "signed"),
        (
            replace(IMAGES["colour of words"], photometric="YBR_FULL"),
            Form(transfer_syntax_uid=syntaxes.RLE_LOSSLESS),
            "YBR_FULL of 8",
        ),
        (replace(GREY, high_bit=15), Form(transfer_syntax_uid=syntaxes.JPEG_LS_LOSSLESS), "High Bit"),
        (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE), "quality"),
        (BYTES, replace(BASELINE, quality=None, ratio=8.0), "cannot be told a ratio"),
        (BYTES, replace(RATIO, ratio=None, quality=80), "cannot be told a quality"),
        (BYTES, replace(RATIO, ratio=1.0), "more than 1"),
        (replace(BYTES, rows=8), RATIO, "too small"),
        (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_LOSSLESS, max_error=1), "cannot be told"),
        (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_XL), "no codec"),
        (BYTES, Form(transfer_syntax_uid="1.2.3"), "no codec for 1.2.3"),
    ],
)
def test_what_a_form_cannot_express_is_refused(image: Image, form: Form, match: str) -> None:
    with pytest.raises(CannotTranscode, match=match):
        codecs.encode(picture(image), image, form)


def test_the_sign_of_a_stream_gives_way_to_that_of_the_data_set() -> None:
    image, (frame,) = decoded(bundled("J2K_pixelrep_mismatch.dcm"))
    assert image.is_signed
    assert image.bits_stored == 13
    numbers = frame.pixels.view(np.int16)
    assert (numbers.min(), numbers.max()) == (-2000, 1896)  # as gdcmconv has it


@pytest.mark.parametrize("is_signed", [True, False])
def test_a_signed_stream_of_an_unsigned_image_keeps_its_bits(is_signed: bool) -> None:
    image = image_of(GREY, bits_stored=12, is_signed=is_signed)
    stream = imagecodecs.jpeg2k_encode(
        (picture(GREY).pixels[:, :, 0].astype(np.int16) - 2048),
        codecformat="J2K",
        reversible=True,
        bitspersample=12,
    )
    frame = codecs.decode(syntaxes.JPEG_2000_LOSSLESS, stream, image)
    shifted = picture(GREY).pixels.astype(np.int32) - 2048
    expected = shifted.astype(np.uint16) if is_signed else (shifted & 0xFFF).astype(np.uint16)
    assert np.array_equal(frame.pixels, expected)


@pytest.mark.parametrize(
    ("name", "photometric"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", "YBR_FULL"),
        ("SC_rgb_dcmtk_+eb+cr.dcm", "RGB"),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "YBR_FULL"),
        ("SC_rgb_small_odd_jpeg.dcm", "YBR_FULL"),
    ],
)
def test_lossy_colour_comes_out_as_rgb(name: str, photometric: str) -> None:
    image, (frame,) = decoded(bundled(name))
    assert (image.photometric, frame.photometric) == (photometric, "RGB")
    if image.rows == 100:  # the same bars in all of these: red on top
        assert np.abs(frame.pixels[5, 50].astype(int) - (255, 0, 0)).max() <= 2


def test_a_stream_that_calls_its_components_rgb_is_not_converted() -> None:
    rgb = imagecodecs.jpeg8_encode(picture(COLOUR).pixels, 95, colorspace="RGB", outcolorspace="RGB")
    ybr = imagecodecs.jpeg8_encode(picture(COLOUR).pixels, 95, colorspace="RGB", outcolorspace="YCBCR")
    for photometric in ("RGB", "YBR_FULL_422"):
        image = replace(COLOUR, photometric=photometric)
        for stream in (rgb, ybr):
            frame = codecs.decode(syntaxes.JPEG_BASELINE, stream, image)
            assert difference(image, picture(COLOUR), frame).mean_square < 60


@pytest.mark.parametrize(
    ("photometric", "transform", "match"),
    [("YBR_RCT", False, "disagree"), ("YBR_FULL", True, "disagree"), ("XYB", False, "XYB")],
)
def test_components_that_nobody_can_be_sure_of_are_refused(
    photometric: str, transform: bool, match: str
) -> None:
    stream = imagecodecs.jpeg2k_encode(
        picture(COLOUR).pixels, codecformat="J2K", reversible=True, mct=transform, planar=False
    )
    with pytest.raises(CannotTranscode, match=match):
        codecs.decode(syntaxes.JPEG_2000, stream, replace(COLOUR, photometric=photometric))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_whole_components_of_a_lossless_stream_are_ybr_full(photometric: str) -> None:
    stream = codecs.encode(picture(YBR), YBR, Form(transfer_syntax_uid=syntaxes.JPEG_LS_LOSSLESS))
    frame = codecs.decode(syntaxes.JPEG_LS_LOSSLESS, stream, replace(COLOUR, photometric=photometric))
    assert_same(picture(YBR), frame)


@pytest.mark.parametrize("image", [BYTES, COLOUR])
def test_jpeg_xl_is_read(image: Image) -> None:
    pixels = picture(image).pixels
    stream = imagecodecs.jpegxl_encode(pixels[:, :, 0] if image is BYTES else pixels, lossless=True)
    assert_same(picture(image), codecs.decode(syntaxes.JPEG_XL_LOSSLESS, stream, image))
    with pytest.raises(CannotTranscode, match="not supported"):
        codecs.decode(syntaxes.JPEG_XL_LOSSLESS, stream, replace(COLOUR, photometric="YBR_FULL"))


def test_frames_in_fragments_that_are_not_compressed_are_read() -> None:
    stream = bytes(picture(GREY).content)
    assert_same(picture(GREY), codecs.decode("1.2.840.10008.1.2.1.98", stream, GREY))
    with pytest.raises(CannotTranscode, match="length"):
        codecs.decode("1.2.840.10008.1.2.1.98", stream[:-1], GREY)


def test_rle_of_single_bits_is_read_as_it_is_met() -> None:
    image = replace(BITS, rows=1, columns=32)
    header = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    frame = codecs.decode(syntaxes.RLE_LOSSLESS, header + b"\3\1\2\3\x80", image)
    assert_same(from_native(image, b"\1\2\3\x80"), frame)


TRUNCATABLE = [
    (BYTES, Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90)),
    (COLOUR, Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90)),
    (GREY, Form(transfer_syntax_uid=syntaxes.JPEG_EXTENDED, quality=90)),
    *((GREY, Form(transfer_syntax_uid=uid)) for uid in LOSSLESS),
]


@pytest.mark.parametrize(("image", "form"), TRUNCATABLE)
@pytest.mark.parametrize("left", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("tail", [b"", b"\xff\xd9"])
def test_a_truncated_stream_is_never_an_image(image: Image, form: Form, left: float, tail: bytes) -> None:
    """Not even where somebody has put an end to it: most decoders make it grey from there on."""
    stream = codecs.encode(picture(image), image, form)
    damaged = stream[: int(len(stream) * left)] + tail
    with pytest.raises(CannotTranscode):
        codecs.decode(form.transfer_syntax_uid, damaged, described(image, form, image.photometric))


def test_jpeg_without_its_end_is_an_image_where_nothing_else_is_missing() -> None:
    form = Form(transfer_syntax_uid=syntaxes.JPEG_LOSSLESS)
    stream = codecs.encode(picture(GREY), GREY, form).removesuffix(b"\xff\xd9")
    assert_same(picture(GREY), codecs.decode(form.transfer_syntax_uid, stream, GREY))


@pytest.mark.parametrize(("image", "form"), TRUNCATABLE)
def test_damaged_streams_are_refused_or_decoded(image: Image, form: Form) -> None:
    stream = codecs.encode(picture(image), image, form)
    result = described(image, form, image.photometric)
    rng = random.Random(7)
    for _ in range(60):
        damaged = bytearray(stream)
        for _ in range(rng.choice((1, 1, 3))):
            end = len(stream) if rng.random() < 0.5 else min(len(stream), 120)
            damaged[rng.randrange(end)] = rng.choice((0, 255, rng.randrange(256)))
        try:
            frame = codecs.decode(form.transfer_syntax_uid, bytes(damaged), result)
        except CannotTranscode as problem:
            assert str(problem)
        else:
            assert frame.pixels.shape == (image.rows, image.columns, image.samples)


def test_a_panic_of_rust_code_is_a_refusal() -> None:
    image = replace(GREY, rows=2, columns=4)
    segments = b"\x81\x01" * 3  # runs of 128: more than a plane of this image, which pylibjpeg-rle overruns
    with pytest.raises(CannotTranscode, match="index out of bounds"):
        codecs.decode(syntaxes.RLE_LOSSLESS, struct.pack("<16I", 2, 64, 65, *[0] * 13) + segments, image)


def test_the_tables_name_library_licence_and_version() -> None:
    for codec in (*READERS.values(), *WRITERS.values()):
        assert codec.missing == ""
        assert codec.version
        assert codec.shown == f"{codec.library.name} {codec.version}"
        assert "GPL" not in codec.library.licence + codec.engine_licence
        assert codec.engine


def test_everything_that_is_promised_can_be_written_and_read_again() -> None:
    for uid in (*LOSSLESS, *syntaxes.LOSSY_TARGETS):
        assert codecs.can_write(uid), codecs.missing_writer(uid)
        assert codecs.can_read(uid), codecs.missing(uid)


def test_what_is_not_installed_is_said() -> None:
    absent = Library(name="no-such-thing", module="no_such_module", licence="MIT")
    codec = Codec(transfer_syntax_uid="1.2.3", library=absent, engine="", engine_licence="")
    assert codec.version == ""
    assert "no-such-thing not installed" in codec.missing
    assert codecs.EXTRA in codec.missing


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94", "1.2.3.4"])
def test_video_references_and_private_syntaxes_have_no_codec(uid: str) -> None:
    assert not codecs.can_read(uid)
    assert not codecs.can_write(uid)
    with pytest.raises(CannotTranscode, match="no codec"):
        codecs.decode(uid, b"", GREY)


def test_only_streams_with_markers_can_be_told_apart() -> None:
    assert codecs.has_markers(syntaxes.JPEG_2000)
    assert not codecs.has_markers(syntaxes.RLE_LOSSLESS)
    assert not codecs.has_markers(syntaxes.DEFLATED_IMAGE_FRAME)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm"),
    ],
)
def test_lossless_files_are_what_their_originals_are(name: str, reference: str) -> None:
    _, frames = decoded(bundled(name))
    _, originals = decoded(bundled(reference))
    for frame, original in zip(frames, originals, strict=True):
        assert_same(original, frame)


def test_a_stream_of_another_image_is_refused() -> None:
    uid, stream, image = stream_of("MR_small_jp2klossless.dcm")
    with pytest.raises(CannotTranscode, match="Rows"):
        codecs.decode(uid, stream, replace(image, rows=65))
