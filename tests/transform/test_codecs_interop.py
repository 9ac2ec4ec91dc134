"""Our readers against DCMTK and GDCM over the real files, and those against what our writers wrote."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Form
from router.transform import codecs
from router.transform.elements import PIXEL_DATA, Element
from router.transform.fragments import join
from router.transform.frames import Frame, numbers
from router.transform.guard import FAMILIES, Family
from router.transform.image import Image
from tests.corpus import CorpusFile, valid_files
from tests.peers import require
from tests.transform.pictures import BYTES, COLOUR, GREY, data_set, decoded, described, image_of, picture
from tests.transform.raw import file_of, written

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(170)]

PROGRAM_S = 60
MR = "1.2.840.10008.5.1.4.1.1.4"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"  # GDCM writes neither signed frames nor YBR_FULL as any other
GDCM = ("gdcmconv", "--raw")
DCMTK = {
    Family.JPEG_DCT: ("dcmdjpeg", "+cp"),  # YCbCr becomes RGB, as in ours
    Family.JPEG_LOSSLESS: ("dcmdjpeg", "+cn"),
    Family.JPEG_LS: ("dcmdjpls",),
    Family.RLE: ("dcmdrle",),
}
GDCM_READS = frozenset(DCMTK) | {Family.JPEG_2000}

# What another program has otherwise, and why it is not us who are wrong.
KNOWN = {
    ("dcmdjpeg", "gcphc__example.dcm"): "JFIF, so YCbCr, in a data set that says RGB: DCMTK shows it in pink",
    ("dcmdjpeg", "gcphc__example2.dcm"): "the same",
    ("gdcmconv", "pydicom__SC_rgb_rle_32bit.dcm"): "GDCM makes noise of RLE in colour of more than 8 bits",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one program makes of a file; ``frames`` is None where it gives up."""

    program: str
    frames: list[NDArray[np.integer]] | None


def others(family: Family, path: Path, directory: Path) -> Iterator[Reading]:
    """Each program that knows the transfer syntax, over one file."""
    commands = [DCMTK[family]] if family in DCMTK else []
    if family in GDCM_READS:
        commands.append(GDCM)
    for program, *options in commands:
        target = directory / "native.dcm"
        target.unlink(missing_ok=True)
        command = [require(program), *options, str(path), str(target)]
        done = subprocess.run(command, capture_output=True, timeout=PROGRAM_S, check=False)
        read = done.returncode == 0 and target.is_file()
        yield Reading(program=program, frames=stored(*decoded(target)) if read else None)


def stored(image: Image, frames: list[Frame]) -> list[NDArray[np.integer]]:
    """The stored bits as numbers: programs differ in what they put above them."""
    unused = 8 * image.cell_bytes - image.bits_stored
    return [
        (numbers(image, frame) << unused) >> unused if image.bits_allocated > 1 else frame.pixels
        for frame in frames
    ]


def is_same(ours: list[NDArray[np.integer]], theirs: list[NDArray[np.integer]]) -> bool:
    """Numbers are compared: cells may be of another size."""
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def test_every_encapsulated_file_is_read_as_others_read_it(
    manifest: tuple[CorpusFile, ...], tmp_path: Path
) -> None:
    outcome: Counter[str] = Counter()
    wrong: list[str] = []
    for file in valid_files(manifest):
        family = FAMILIES.get(file.transfer_syntax_uid)
        if family is None:
            continue
        ours = stored(*decoded(file.path))
        outcome["read"] += 1
        for reading in others(family, file.path, tmp_path):
            if reading.frames is None:
                outcome[f"{reading.program} gives up"] += 1
            elif is_same(ours, reading.frames):
                outcome[f"{reading.program} agrees"] += 1
            elif reading.program == "gdcmconv" and family is Family.JPEG_DCT and ours[0].shape[2] == 3:
                outcome["gdcmconv leaves YCbCr as it is"] += 1
            elif (reading.program, file.name) not in KNOWN:
                wrong.append(f"{reading.program}: {file.name}")
    assert wrong == []
    assert outcome["read"] > 110
    assert outcome["dcmdjpeg agrees"] > 30
    assert outcome["dcmdjpls agrees"] > 18
    assert outcome["dcmdrle agrees"] > 14
    assert outcome["gdcmconv agrees"] > 75


FORMS = [
    *(Form(transfer_syntax_uid=uid) for uid in syntaxes.LOSSLESS_TARGETS),
    Form(transfer_syntax_uid=syntaxes.JPEG_BASELINE, quality=90),
    Form(transfer_syntax_uid=syntaxes.JPEG_EXTENDED, quality=90),
    Form(transfer_syntax_uid=syntaxes.JPEG_LS_NEAR_LOSSLESS, max_error=2),
    Form(transfer_syntax_uid=syntaxes.JPEG_2000, ratio=8.0),
]
OTHERS_READ = [form for form in FORMS if FAMILIES[form.transfer_syntax_uid] in GDCM_READS]
PICTURES = {
    "grey": GREY,
    "words": image_of(GREY, bits_stored=16),
    "signed": image_of(GREY, bits_stored=12, is_signed=True),
    "signed words": image_of(GREY, bits_stored=16, is_signed=True),
    "eight of sixteen": image_of(GREY, bits_stored=8),
    "bytes": BYTES,
    "seven of eight": image_of(BYTES, bits_stored=7),
    "signed bytes": image_of(BYTES, bits_stored=8, is_signed=True),
    "colour": COLOUR,
    "luminance": replace(COLOUR, photometric="YBR_FULL"),
    "colour of words": replace(image_of(GREY, bits_stored=12), samples=3, photometric="RGB"),
}


@pytest.mark.parametrize("form", OTHERS_READ, ids=lambda form: syntaxes.label(form.transfer_syntax_uid))
@pytest.mark.parametrize("name", PICTURES)
def test_what_we_write_is_read_by_others_as_by_us(form: Form, name: str, tmp_path: Path) -> None:
    image = replace(PICTURES[name], frames=2)
    uid = form.transfer_syntax_uid
    try:
        streams = [codecs.encode(picture(image, seed), image, form) for seed in range(2)]
    except CannotTranscode:
        return  # test_codecs says which and why
    result = described(image, form, image.photometric)
    content = data_set(result)
    content.put(Element(PIXEL_DATA, "OB", join(streams), is_undefined=True))
    path = tmp_path / "encoded.dcm"
    path.write_bytes(file_of(written(content, uid), uid, ULTRASOUND if image.is_colour else MR))

    ours = stored(result, [codecs.decode(uid, stream, result) for stream in streams])
    for reading in others(FAMILIES[uid], path, tmp_path):
        is_gdcm = reading.program == "gdcmconv"
        if is_gdcm and (uid == syntaxes.JPEG_BASELINE or name in ("seven of eight", "colour of words")):
            continue  # leaves YCbCr as it is; reads neither any 7 bits of 8 nor RLE in colour of words
        assert reading.frames is not None, reading.program
        assert is_same(ours, reading.frames), reading.program
