"""Every real file in every form, and its pixels as DCMTK and GDCM decode them."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from router.dicom.syntaxes import (
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_PROGRESSIVE,
    JPEG_SPECTRAL_SELECTION,
    RLE_LOSSLESS,
    Encoding,
    label,
    syntax_of,
)
from router.errors import BrokenCodec, CannotTranscode
from router.model import Buffer, Form
from router.transform import codecs
from router.transform.elements import PIXEL_DATA, DataSet, Fragments
from router.transform.frames import Frame, from_native, numbers
from router.transform.image import Image
from router.transform.transcode import Limits, transcode
from tests.corpus import CorpusFile, Part10, read_part10, some_of_each, valid_files
from tests.peers import require
from tests.transform.raw import EXPLICIT, IMPLICIT, NATIVE, file_of, read

LIMITS = Limits(pixels_max=1 << 28, inflate_bytes_max=1 << 28)
# A file up to there is tried in every form; ``python -m bench.outcomes`` does it with every file.
SMALL_BYTES = 50_000
LOSSLESS = [uid for uid in codecs.WRITERS if syntax_of(uid).encoding is Encoding.LOSSLESS]

DCMTK_JPEG, DCMTK_JPLS, DCMTK_RLE, GDCM = (
    ("dcmdjpeg", "+cp"),
    ("dcmdjpls",),
    ("dcmdrle",),
    ("gdcmconv", "--raw"),
)
DECODERS: dict[str, tuple[tuple[str, ...], ...]] = {
    JPEG_BASELINE: (DCMTK_JPEG,),  # GDCM leaves YCbCr as it is
    JPEG_EXTENDED: (DCMTK_JPEG,),
    JPEG_SPECTRAL_SELECTION: (DCMTK_JPEG, GDCM),
    JPEG_PROGRESSIVE: (DCMTK_JPEG, GDCM),
    JPEG_LOSSLESS: (DCMTK_JPEG, GDCM),
    JPEG_LOSSLESS_SV1: (DCMTK_JPEG, GDCM),
    JPEG_LS_LOSSLESS: (DCMTK_JPLS, GDCM),
    JPEG_LS_NEAR_LOSSLESS: (DCMTK_JPLS, GDCM),
    JPEG_2000_LOSSLESS: (GDCM,),
    JPEG_2000: (GDCM,),
    RLE_LOSSLESS: (DCMTK_RLE, GDCM),
}
DIFFERENT = {  # and why
    (
        "gcphc__example.dcm",
        DCMTK_JPEG,
    ): "its stream is YCbCr (JFIF), its data set says RGB and DCMTK believes it",
    ("gcphc__example2.dcm", DCMTK_JPEG): "the same",
    ("pydicom__J2K_pixelrep_mismatch.dcm", GDCM): "the stream is unsigned, the data set signed",
    ("pydicomdata__JLSL_16_15_1_1F.dcm", DCMTK_JPLS): "15 bits, signed: no sign in the 16th bit there",
    ("pydicomdata__JLSL_16_15_1_1F.dcm", GDCM): "the same",
    ("pydicom__SC_rgb_rle_32bit.dcm", GDCM): "32 bits",
}

Decoded = tuple[Image, list[Frame]]


def frames_of(content: Buffer, uid: str) -> Decoded | None:
    """Native pixel data as frames; None where it is still compressed."""
    data_set = read(content, uid)
    pixels = data_set.buffer(PIXEL_DATA)
    if pixels is None:
        return None
    image = Image.from_data_set(data_set)
    return image, [from_native(image, pixels, index) for index in range(image.frames)]


def decoded_by(command: tuple[str, ...], part10_file: bytes, directory: Path) -> Decoded | None:
    """What another program makes of a file; None where it cannot read it."""
    source, result = directory / "source.dcm", directory / "result.dcm"
    source.write_bytes(part10_file)
    result.unlink(missing_ok=True)
    program = [require(command[0]), *command[1:], str(source), str(result)]
    subprocess.run(program, capture_output=True, check=False, timeout=60)
    try:
        part10 = read_part10(result)
        return frames_of(part10.data_set, part10.transfer_syntax_uid)
    except (OSError, ValueError, CannotTranscode):
        return None


def is_equal(one: Decoded, other: Decoded) -> bool:
    return len(one[1]) == len(other[1]) and all(
        mine.pixels.shape == theirs.pixels.shape
        and np.array_equal(numbers(one[0], mine), numbers(one[0], theirs))
        for mine, theirs in zip(one[1], other[1], strict=True)
    )


def transcoded(part10: Part10, uid: str) -> bytes:
    buffers, _ = transcode(
        part10.data_set, part10.transfer_syntax_uid, Form(transfer_syntax_uid=uid), limits=LIMITS
    )
    return b"".join(buffers)


@pytest.mark.interop
@pytest.mark.slow
def test_decoded_frames_are_those_of_other_decoders(manifest: tuple[CorpusFile, ...], tmp_path: Path) -> None:
    compared: Counter[tuple[str, str]] = Counter()
    for file in some_of_each(valid_files(manifest), 2):
        part10 = read_part10(file.path)
        uid = part10.transfer_syntax_uid
        for decoder in DECODERS.get(uid, ()):
            ours = frames_of(transcoded(part10, EXPLICIT), EXPLICIT)
            theirs = decoded_by(decoder, file.path.read_bytes(), tmp_path)
            if theirs is None or (file.name, decoder) in DIFFERENT:
                continue
            assert ours is not None
            assert is_equal(ours, theirs), (file.name, label(uid), decoder)
            compared[label(uid), decoder[0]] += 1
    assert len(compared) >= 14
    assert compared.total() > 60


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("uid", [u for u in LOSSLESS if u in DECODERS], ids=label)
def test_other_decoders_read_what_is_written(
    uid: str, manifest: tuple[CorpusFile, ...], tmp_path: Path
) -> None:
    compared = 0
    for file in valid_files(manifest):
        part10 = read_part10(file.path)
        if len(part10.data_set) > SMALL_BYTES or part10.transfer_syntax_uid == uid:
            continue
        try:
            encoded = transcoded(part10, uid)
        except CannotTranscode as error:
            assert not isinstance(error, BrokenCodec)
            continue
        again = Part10(
            sop_class_uid=part10.sop_class_uid,
            sop_instance_uid=part10.sop_instance_uid,
            transfer_syntax_uid=uid,
            data_set=encoded,
        )
        ours = frames_of(transcoded(again, EXPLICIT), EXPLICIT)
        assert ours is not None
        decoder = DECODERS[uid][0]
        theirs = decoded_by(decoder, file_of(encoded, uid, part10.sop_class_uid), tmp_path)
        if theirs is None or theirs[0].photometric != ours[0].photometric:
            continue  # DCMTK makes RGB of YBR_FULL
        image = ours[0]
        if image.is_signed and image.bits_stored < image.bits_allocated:
            continue  # DCMTK and GDCM leave the bits above the sign as the codec gives them
        assert is_equal(ours, theirs), (file.name, decoder)
        compared += 1
    assert compared > 40


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_small_file_in_every_form_is_the_same_or_refused_for_a_reason(
    manifest: tuple[CorpusFile, ...],
) -> None:
    outcomes: Counter[str] = Counter()
    for file in valid_files(manifest):
        part10 = read_part10(file.path)
        if len(part10.data_set) > SMALL_BYTES:
            continue
        hashes: set[str] = set()
        for uid in (*NATIVE, *LOSSLESS):
            form = Form(transfer_syntax_uid=uid)
            try:
                _, report = transcode(part10.data_set, part10.transfer_syntax_uid, form, limits=LIMITS)
            except BrokenCodec:
                raise
            except CannotTranscode:
                outcomes["refused"] += 1
                continue
            hashes.add(report.frames_hash)
            outcomes["lossless" if report.is_lossless else "lossy"] += 1
        assert len(hashes) <= 1, file.name  # the frames are the same, whatever they were brought into
    assert set(outcomes) == {"lossless", "refused"}
    assert outcomes["lossless"] > 1200


def test_every_compressed_file_that_has_a_reader_is_decoded(manifest: tuple[CorpusFile, ...]) -> None:
    refused = Counter(
        label(part10.transfer_syntax_uid)
        for file in valid_files(manifest)
        if not syntax_of((part10 := read_part10(file.path)).transfer_syntax_uid).is_native
        and len(part10.data_set) <= SMALL_BYTES
        and not _is_decoded(part10)
    )
    assert set(refused) <= {"mpeg-2-main", "mpeg-4-high", "hevc-main"}


def _is_decoded(part10: Part10) -> bool:
    try:
        content = read(transcoded(part10, IMPLICIT), IMPLICIT)
    except CannotTranscode:
        return False
    return not _has_fragments(content)


def _has_fragments(data_set: DataSet) -> bool:
    return any(
        isinstance(element.value, Fragments)
        for one in (data_set, *data_set.items())
        for element in one.elements
    )
