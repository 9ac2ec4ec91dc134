"""A data set in another form: the pixels, the attributes, the report; what is refused, and what is caught."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as st
from xxhash import xxh3_128

from router.dicom import syntaxes
from router.dicom.syntaxes import (
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
    Encoding,
    syntax_of,
)
from router.errors import BrokenCodec, CannotTranscode
from router.model import Buffer, Form, Transcoding
from router.transform import codecs
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.fragments import join
from router.transform.frames import Frame, to_native
from router.transform.image import Image
from router.transform.recode import EXTENDED_LENGTHS, EXTENDED_OFFSETS, Codecs
from router.transform.transcode import Limits, transcode
from tests.transform.pictures import BITS, BYTES, COLOUR, GREY, data_set, image_of, picture
from tests.transform.raw import BIG, DEFLATED, EXPLICIT, IMPLICIT, NATIVE, flat, read, written

LIMITS = Limits(pixels_max=1 << 20, inflate_bytes_max=1 << 24)
LOSSLESS = [uid for uid in codecs.WRITERS if syntax_of(uid).encoding is Encoding.LOSSLESS]
NEAR = Form(transfer_syntax_uid=JPEG_LS_NEAR_LOSSLESS, max_error=3)
LOSSY = [
    NEAR,
    Form(transfer_syntax_uid=JPEG_2000, ratio=8),
    Form(transfer_syntax_uid=JPEG_BASELINE, quality=85),
]
CHANGED = {0x00280004, 0x00280006, PIXEL_DATA}  # Photometric Interpretation, Planar Configuration

IMAGES = {
    "grey": BYTES,
    "12 bits": GREY,
    "signed": image_of(GREY, bits_stored=13, is_signed=True),
    "16 bits": image_of(GREY, bits_stored=16),
    "odd": replace(BYTES, rows=33, columns=35),
    "several": replace(GREY, frames=3),
    "odd, several": replace(BYTES, rows=33, columns=35, frames=3),
    "colour": COLOUR,
    "by plane": replace(COLOUR, planar=1, frames=2),
    "palette": replace(BYTES, photometric="PALETTE COLOR"),
}
each_image = pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)


def native(image: Image) -> DataSet:
    """A data set with native pixel data, and something around it that must stay as it is."""
    frames = [picture(replace(image, frames=1), seed) for seed in range(image.frames)]
    pixels = b"".join(to_native(image, frames))
    if image.planar:
        size = image.rows * image.columns * image.samples
        pixels = b"".join(
            pixels[start + sample : start + size : image.samples]
            for start in range(0, size * image.frames, size)
            for sample in range(image.samples)
        )
    made = data_set(image, pixels)
    made.put(Element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7"))
    made.put(Element(0x00080018, "UI", b"1.2.3.4"))
    made.put(Element(0x00100010, "PN", b"A^B "))
    made.put(Element(0x00281050, "DS", b"40\\1"))
    return read(written(made, EXPLICIT), EXPLICIT)


def turned(
    made: DataSet, source: str, form: Form | str, *, by: Codecs | None = None, limits: Limits = LIMITS
) -> tuple[DataSet, Transcoding]:
    """A data set, written in one transfer syntax, transcoded and read again."""
    form = Form(transfer_syntax_uid=form) if isinstance(form, str) else form
    buffers, transcoding = transcode(written(made, source), source, form, limits=limits, codecs=by)
    content = b"".join(buffers)
    assert len(content) % 2 == 0
    return read(content, form.transfer_syntax_uid), transcoding


def rest(made: DataSet) -> object:
    return [pair for pair in flat(made) if pair[0] not in CHANGED]


def pixels_of(made: DataSet) -> bytes:
    return bytes(made.buffer(PIXEL_DATA) or b"")


@each_image
@pytest.mark.parametrize("uid", LOSSLESS, ids=map(syntaxes.label, LOSSLESS))
def test_lossless_there_and_back_again(uid: str, image: Image) -> None:
    before = native(image)
    between, there = turned(before, EXPLICIT, uid)
    after, back = turned(between, uid, EXPLICIT)
    assert there.is_lossless
    assert there.frames_hash == back.frames_hash
    assert (there.frames, back.frames) == (image.frames, image.frames)
    assert rest(between) == rest(after) == rest(before)
    assert after.text(0x00280004) == before.text(0x00280004)
    element = between.get(PIXEL_DATA)
    assert element is not None
    assert isinstance(element.value, Fragments)
    assert len(element.value.items) == image.frames + 1
    if image.planar:  # by pixel from now on
        again = native(replace(image, planar=0))
        assert after.ints(0x00280006) == (0,)
        assert pixels_of(after) == pixels_of(again)
    else:
        assert pixels_of(after) == pixels_of(before)


@each_image
def test_uncompressed_forms_keep_every_value(image: Image) -> None:
    before = native(image)
    _, compressed = turned(before, EXPLICIT, JPEG_LS_LOSSLESS)
    for source in NATIVE:
        for target in NATIVE:
            if source != target:
                after, report = turned(before, source, target)
                assert flat(after) == flat(before)
                assert report.frames_hash == compressed.frames_hash
                assert (report.codecs, report.is_lossless, report.frames) == ("", True, image.frames)


@pytest.mark.parametrize("target", NATIVE)
def test_compressed_to_every_uncompressed_form(target: str) -> None:
    for image in (BYTES, GREY, COLOUR):
        before = native(image)
        between, _ = turned(before, EXPLICIT, RLE_LOSSLESS)
        after, report = turned(between, RLE_LOSSLESS, target)
        assert pixels_of(after) == pixels_of(before)
        assert "pylibjpeg-rle" in report.codecs


def test_one_compressed_form_to_another() -> None:
    before = native(IMAGES["by plane"])
    between, first = turned(before, IMPLICIT, RLE_LOSSLESS)
    assert between.ints(0x00280006) == (1,)  # RLE is by plane
    after, second = turned(between, RLE_LOSSLESS, JPEG_2000_LOSSLESS)
    assert after.text(0x00280004) == "YBR_RCT"
    assert after.ints(0x00280006) == (0,)
    assert first.frames_hash == second.frames_hash
    assert second.codecs.startswith("read by pylibjpeg-rle")
    assert "written by imagecodecs" in second.codecs


def test_single_bits() -> None:
    image = replace(BITS, frames=3, rows=9, columns=11)
    before = native(image)
    between, there = turned(before, EXPLICIT, JPEG_2000_LOSSLESS)
    after, back = turned(between, JPEG_2000_LOSSLESS, IMPLICIT)
    assert pixels_of(after) == pixels_of(before)
    assert there.frames_hash == back.frames_hash
    assert turned(before, EXPLICIT, IMPLICIT)[1].frames_hash == there.frames_hash


def test_without_the_optional_codecs_values_are_re_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("frames", "recode", "readers", "writers"):
        monkeypatch.setitem(sys.modules, f"router.transform.{module}", None)
    before = native(replace(BITS, frames=3))
    after, report = turned(before, EXPLICIT, IMPLICIT)
    assert flat(after) == flat(before)
    assert report.frames_hash == xxh3_128(pixels_of(before)).hexdigest()


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_pixels_are_the_same_afterwards(choice: st.DataObject) -> None:
    image = replace(
        choice.draw(st.sampled_from([BYTES, image_of(GREY, bits_stored=16), COLOUR])), rows=8, columns=9
    )
    made = native(image)
    made.put(
        Element(PIXEL_DATA, "OW", choice.draw(st.binary(min_size=(n := image.native_bytes), max_size=n)))
    )
    uid = choice.draw(st.sampled_from(sorted({*LOSSLESS} - {JPEG_LS_LOSSLESS})))  # CharLS: noise, see codecs
    between, _ = turned(made, EXPLICIT, uid)
    after, _ = turned(between, uid, EXPLICIT)
    assert flat(after) == flat(made)


def test_an_icon_is_uncompressed_with_the_image() -> None:
    icon_image = replace(BYTES, rows=16, columns=16)
    icon = picture(icon_image)
    item = data_set(
        icon_image, join([codecs.encode(icon, icon_image, Form(transfer_syntax_uid=RLE_LOSSLESS))])
    )
    made, _ = turned(native(GREY), EXPLICIT, RLE_LOSSLESS)
    made.put(Element(0x00880200, "SQ", [item]))
    for target in (EXPLICIT, IMPLICIT, BIG, JPEG_LS_LOSSLESS):
        after, _ = turned(made, RLE_LOSSLESS, target)
        sequence = after.get(0x00880200)
        assert sequence is not None
        assert isinstance(sequence.value, list)
        assert pixels_of(sequence.value[0]) == bytes(icon.content)
    item.put(Element(PIXEL_DATA, "OB", join([b"nonsense"])))
    with pytest.raises(CannotTranscode):
        turned(made, RLE_LOSSLESS, EXPLICIT)


def test_icons_count_for_the_limit_on_samples() -> None:
    made, _ = turned(native(BYTES), EXPLICIT, RLE_LOSSLESS)
    icon = made.get(PIXEL_DATA)
    assert icon is not None
    assert isinstance(icon.value, Fragments)
    made.put(Element(0x00880200, "SQ", [data_set(BYTES, icon.value)]))
    enough = 2 * BYTES.total_samples
    turned(made, RLE_LOSSLESS, EXPLICIT, limits=replace(LIMITS, pixels_max=enough))
    with pytest.raises(CannotTranscode, match="more samples"):
        turned(made, RLE_LOSSLESS, EXPLICIT, limits=replace(LIMITS, pixels_max=enough - 1))


def test_offset_tables_of_the_old_form_are_dropped() -> None:
    made, _ = turned(native(replace(GREY, frames=2)), EXPLICIT, RLE_LOSSLESS)
    element = made.get(PIXEL_DATA)
    assert element is not None
    assert isinstance(element.value, Fragments)
    table, *items = element.value.items
    made.put(Element(PIXEL_DATA, "OB", Fragments([b"", *items]), is_undefined=True))
    offsets = struct.unpack("<2I", table)
    made.put(Element(EXTENDED_OFFSETS, "OV", struct.pack("<2Q", *offsets)))
    made.put(Element(EXTENDED_LENGTHS, "OV", struct.pack("<2Q", *map(len, items))))
    for target in (EXPLICIT, JPEG_LS_LOSSLESS):
        after, _ = turned(made, RLE_LOSSLESS, target)
        assert after.get(EXTENDED_OFFSETS) is None
        assert after.get(EXTENDED_LENGTHS) is None


@pytest.mark.parametrize("form", LOSSY, ids=lambda form: syntaxes.label(form.transfer_syntax_uid))
def test_a_lossy_form_is_an_instance_of_its_own(form: Form) -> None:
    before = native(replace(COLOUR, rows=64, columns=64))
    before.put(Element(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\AXIAL"))
    after, report = turned(before, EXPLICIT, form)
    assert not report.is_lossless
    assert report.max_error is not None
    assert report.max_error > 0
    assert after.text(0x00080018) == report.sop_instance_uid
    assert report.sop_instance_uid.startswith("2.25.")
    assert len(report.sop_instance_uid) <= 64
    assert turned(before, IMPLICIT, form)[1] == replace(report, source_uid=IMPLICIT)  # the same each time
    assert after.text(0x00080008) == "DERIVED\\PRIMARY\\AXIAL"
    assert after.text(0x00282110) == "01"
    assert float(after.text(0x00282112)) > 1
    assert after.text(0x00282114).startswith("ISO_1")
    assert "ratio" in after.text(0x00082111)
    codes, sources = after.get(0x00089215), after.get(0x00082112)
    assert codes is not None and isinstance(codes.value, list)
    assert sources is not None and isinstance(sources.value, list)
    assert [item.text(0x00080100) for item in codes.value] == ["113040"]
    assert [item.text(0x00081155) for item in sources.value] == ["1.2.3.4"]
    assert [code for item in after.items() if (code := item.text(0x00080100))] == ["121320", "113040"]


def test_what_was_lossy_before_stays_said() -> None:
    before = native(replace(GREY, rows=64, columns=64))
    once, first = turned(before, EXPLICIT, NEAR)
    twice, second = turned(once, NEAR.transfer_syntax_uid, LOSSY[1])
    assert first.sop_instance_uid != second.sop_instance_uid
    assert twice.text(0x00282114) == "ISO_14495_1\\ISO_15444_1"
    assert len(twice.text(0x00282112).split("\\")) == 2
    assert [item.text(0x00081155) for item in twice.items() if item.text(0x00081155)] == [
        "1.2.3.4",
        first.sop_instance_uid,
    ]
    assert twice.text(0x00082111).count("ratio") == 2
    decoded, _ = turned(twice, JPEG_2000, EXPLICIT)
    assert decoded.text(0x00282114) == "ISO_14495_1\\ISO_15444_1"


def test_the_frame_type_of_functional_groups_is_derived_too() -> None:
    before = native(BYTES)
    before.put(Element(0x00189226, "SQ", [DataSet([Element(0x00089007, "CS", b"ORIGINAL\\PRIMARY")])]))
    after, _ = turned(before, EXPLICIT, NEAR)
    assert [item.text(0x00089007) for item in after.items()][-1] == "DERIVED\\PRIMARY"


def test_decoding_a_lossy_stream_says_so() -> None:
    image = replace(BYTES, rows=64, columns=64)
    made, _ = turned(native(image), EXPLICIT, LOSSY[2])
    for tag in (0x00282110, 0x00282112, 0x00282114):
        made.remove(tag)
    for target in (EXPLICIT, JPEG_LS_LOSSLESS):
        after, _ = turned(made, JPEG_BASELINE, target)
        assert (after.text(0x00282110), after.text(0x00282114)) == ("01", "ISO_10918_1")
        assert float(after.text(0x00282112)) > 1


def test_the_error_of_near_lossless_is_kept_to() -> None:
    _, report = turned(native(GREY), EXPLICIT, NEAR)
    assert report.max_error is not None
    assert 0 < report.max_error <= 3


@pytest.mark.parametrize("form", LOSSY)
def test_segmentations_and_the_like_are_never_lossy(form: Form) -> None:
    made = native(BYTES)
    made.put(Element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.66.4"))
    with pytest.raises(CannotTranscode, match="a segmentation must not lose"):
        turned(made, EXPLICIT, form)


@dataclass(frozen=True, slots=True)
class Breaking:
    """Codecs that change one sample of what they decode in one transfer syntax."""

    uid: str
    by: int = 1
    photometric: str = ""

    def decode(self, uid: str, stream: Buffer, image: Image) -> Frame:
        frame = codecs.decode(uid, stream, image)
        if uid != self.uid:
            return frame
        pixels = frame.pixels.copy()
        pixels[3, 5, 0] ^= self.by
        return Frame(pixels, self.photometric or frame.photometric)

    def encode(self, frame: Frame, image: Image, form: Form) -> bytes:
        return codecs.encode(frame, image, form)


@dataclass(frozen=True, slots=True)
class Mixing:
    """Codecs that encode the frame upside down, or another one."""

    uid: str

    def decode(self, uid: str, stream: Buffer, image: Image) -> Frame:
        return codecs.decode(uid, stream, image)

    def encode(self, frame: Frame, image: Image, form: Form) -> bytes:
        return codecs.encode(Frame(frame.pixels[::-1].copy(), frame.photometric), image, form)


@pytest.mark.parametrize("uid", LOSSLESS, ids=map(syntaxes.label, LOSSLESS))
def test_a_codec_that_breaks_one_sample_is_caught(uid: str) -> None:
    with pytest.raises(BrokenCodec, match="not those of the source"):
        turned(native(replace(BYTES, frames=2)), EXPLICIT, uid, by=Breaking(uid))
    with pytest.raises(BrokenCodec, match="not those of the source"):
        turned(native(BYTES), EXPLICIT, uid, by=Mixing(uid))


def test_a_codec_that_changes_the_colour_model_is_caught() -> None:
    with pytest.raises(BrokenCodec, match="colour model"):
        turned(native(COLOUR), EXPLICIT, RLE_LOSSLESS, by=Breaking(RLE_LOSSLESS, 0, "YBR_FULL"))


def test_a_lossy_codec_that_loses_too_much_is_caught() -> None:
    with pytest.raises(BrokenCodec, match="more than 3"):
        turned(native(BYTES), EXPLICIT, NEAR, by=Breaking(JPEG_LS_NEAR_LOSSLESS, 64))
    for form in LOSSY[1:]:
        with pytest.raises(BrokenCodec, match="too far"):
            turned(native(replace(BYTES, rows=64)), EXPLICIT, form, by=Mixing(form.transfer_syntax_uid))


def without(made: DataSet, *tags: int) -> DataSet:
    for tag in tags:
        made.remove(tag)
    return made


def with_pixels(made: DataSet, vr: str, pixels: Buffer | Fragments) -> DataSet:
    made.put(Element(PIXEL_DATA, vr, pixels, is_undefined=isinstance(pixels, Fragments)))
    return made


REFUSED = [
    (native(GREY), EXPLICIT, Form(transfer_syntax_uid=EXPLICIT), "already"),
    (native(GREY), EXPLICIT, Form(transfer_syntax_uid=JPEG_2000), "told what may be lost"),
    (native(GREY), EXPLICIT, Form(transfer_syntax_uid=RLE_LOSSLESS, max_error=2), "is not lossy"),
    (native(GREY), EXPLICIT, Form(transfer_syntax_uid="1.2.840.10008.1.2.4.102"), "told what|no codec"),
    (native(GREY), EXPLICIT, Form(transfer_syntax_uid="1.2.3"), "no codec"),
    (without(native(GREY), PIXEL_DATA), EXPLICIT, Form(transfer_syntax_uid=RLE_LOSSLESS), "no pixel data"),
    (
        with_pixels(native(GREY), "OW", b"\0" * 100),
        EXPLICIT,
        Form(transfer_syntax_uid=RLE_LOSSLESS),
        "length",
    ),
    (
        with_pixels(native(GREY), "OW", b"\1" * 9999),
        EXPLICIT,
        Form(transfer_syntax_uid=RLE_LOSSLESS),
        "length",
    ),
    (without(native(GREY), 0x00280010), EXPLICIT, Form(transfer_syntax_uid=RLE_LOSSLESS), "Rows"),
    (native(GREY), RLE_LOSSLESS, Form(transfer_syntax_uid=EXPLICIT), "not of the kind"),
    (without(native(GREY), 0x00080018), EXPLICIT, NEAR, "no SOP Class or Instance UID"),
    (native(replace(GREY, frames=500, rows=1)), EXPLICIT, Form(transfer_syntax_uid=RLE_LOSSLESS), "samples"),
]


@pytest.mark.parametrize(("made", "source", "form", "because"), REFUSED)
def test_what_is_refused_and_why(made: DataSet, source: str, form: Form, because: str) -> None:
    with pytest.raises(CannotTranscode, match=because) as caught:
        turned(made, source, form, limits=replace(LIMITS, pixels_max=30_000))
    assert not isinstance(caught.value, BrokenCodec)


@pytest.mark.parametrize(
    "source", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.840.113619.5.2"]
)
def test_video_pixels_elsewhere_and_private_syntaxes_are_refused(source: str) -> None:
    with pytest.raises(CannotTranscode, match="cannot be had in another form"):
        transcode(b"", source, Form(transfer_syntax_uid=EXPLICIT), limits=LIMITS)


def test_fragments_in_an_uncompressed_transfer_syntax_are_refused() -> None:
    content = written(with_pixels(native(GREY), "OB", join([b"1234"])), RLE_LOSSLESS)
    for target in (IMPLICIT, RLE_LOSSLESS):
        with pytest.raises(CannotTranscode, match="not of the kind"):
            transcode(content, EXPLICIT, Form(transfer_syntax_uid=target), limits=LIMITS)


def test_what_has_no_pixels_is_re_encoded() -> None:
    made = without(native(GREY), PIXEL_DATA)
    for source in (EXPLICIT, DEFLATED, HTJ2K_LOSSLESS):  # the last one is met: SR in the syntax of its images
        after, report = turned(made, source, IMPLICIT)
        assert flat(after) == flat(made)
        assert (report.frames, report.frames_hash, report.codecs) == (0, "", "")


def test_floating_point_pixels_are_re_encoded_only() -> None:
    made = without(native(GREY), PIXEL_DATA)
    made.put(Element(0x7FE00008, "OF", bytes(range(64))))
    after, report = turned(made, EXPLICIT, BIG)
    assert flat(after) == flat(made)
    assert report.frames_hash == xxh3_128(bytes(range(64))).hexdigest()
    with pytest.raises(CannotTranscode, match="no pixel data that can be compressed"):
        turned(made, EXPLICIT, RLE_LOSSLESS)


def test_pixels_that_nobody_could_decode_are_re_encoded_all_the_same() -> None:
    made = native(GREY)
    made.put(Element(0x00280004, "CS", b"HSV "))
    after, report = turned(made, EXPLICIT, IMPLICIT)
    assert flat(after) == flat(made)
    assert report.frames_hash == xxh3_128(pixels_of(made)).hexdigest()


def test_padding_of_nul_behind_the_pixels_is_no_obstacle() -> None:
    made = native(BYTES)
    padded = with_pixels(native(BYTES), "OW", pixels_of(made) + b"\0" * 64)
    _, report = turned(padded, EXPLICIT, JPEG_LOSSLESS_SV1)
    assert report.frames_hash == turned(made, EXPLICIT, IMPLICIT)[1].frames_hash
    assert report.frames_hash == turned(padded, EXPLICIT, IMPLICIT)[1].frames_hash


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_data_sets_are_transcoded_or_refused(choice: st.DataObject) -> None:
    source = choice.draw(st.sampled_from([EXPLICIT, RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS]))
    small = native(replace(BYTES, rows=10, columns=12, frames=2))
    content = bytearray(written(small if source == EXPLICIT else turned(small, EXPLICIT, source)[0], source))
    for _ in range(choice.draw(st.integers(1, 4))):
        content[choice.draw(st.integers(0, len(content) - 1))] = choice.draw(st.integers(0, 255))
    target = choice.draw(st.sampled_from([IMPLICIT, BIG, JPEG_LOSSLESS_SV1]))
    try:
        transcode(content, source, Form(transfer_syntax_uid=target), limits=LIMITS)
    except CannotTranscode as error:
        assert str(error)
