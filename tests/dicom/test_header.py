"""The tag scanner by hand: golden bytes, prefixes, private blocks, and input that is none."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings, strategies as st
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from router.dicom import header as header_module
from router.dicom.header import Header, scan
from router.dicom.part10 import read_file_meta
from router.dicom.tagpath import TagPath, parse

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
SYNTAXES = [IMPLICIT, EXPLICIT, BIG, DEFLATED]
STEP = parse("RequestAttributesSequence.ScheduledProcedureStepID")
SIEMENS = parse('(0019,"SIEMENS CT VA0",0C)')
ASKED = frozenset(
    [*map(parse, ("Modality", "PatientName", "StudyDate", "Rows", "ImageType", "(0019,100C)")), STEP, SIEMENS]
)


def encode(data_set: Dataset, transfer_syntax_uid: str) -> bytes:
    from pydicom.filebase import DicomBytesIO

    file = DicomBytesIO()
    file.is_little_endian = transfer_syntax_uid != BIG
    file.is_implicit_VR = transfer_syntax_uid == IMPLICIT
    write_dataset(file, data_set)
    encoded: bytes = file.getvalue()
    return deflate(encoded) if transfer_syntax_uid == DEFLATED else encoded


def deflate(plain: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(plain) + deflater.flush()


def sample(*, undefined_length: bool = False) -> Dataset:
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data_set.StudyDate = "20260131"
    data_set.Modality = "CT"
    data_set.PatientName = "Müller^Jürgen"
    block = data_set.private_block(0x0019, "SIEMENS CT VA0", create=True)
    block.add_new(0x0C, "LO", "private")
    data_set.Rows = 512
    items = [Dataset(), Dataset()]
    for number, item in enumerate(items):
        item.ScheduledProcedureStepID = f"STEP{number}"
        item.ScheduledProtocolCodeSequence = Sequence([Dataset()])
        item.is_undefined_length_sequence_item = undefined_length
    data_set.RequestAttributesSequence = Sequence(items)
    data_set["RequestAttributesSequence"].is_undefined_length = undefined_length
    data_set.PixelData = bytes(1000)
    data_set["PixelData"].VR = "OW"
    return data_set


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_encoding(syntax: str, undefined_length: bool) -> None:
    header = scan(encode(sample(undefined_length=undefined_length), syntax), syntax, ASKED)
    assert header.values(parse("Modality")) == ("CT",)
    assert header.values(parse("PatientName")) == ("Müller^Jürgen",)
    assert header.values(parse("StudyDate")) == ("20260131",)
    assert header.values(parse("Rows")) == (512,)
    assert header.values(parse("ImageType")) == ("ORIGINAL", "PRIMARY", "LOCALIZER")
    assert header.values(STEP) == ("STEP0", "STEP1")
    assert header.values(SIEMENS) == ("private",)
    assert (header.problem, header.truncated) == ("", False)


def test_golden_bytes() -> None:
    data_set = bytes.fromhex(
        "08006000 4353 0200 4354"  # (0008,0060) CS 2 "CT"
        "10001000 504e 0400 415e4220"  # (0010,0010) PN 4 "A^B "
        "40007502 5351 0000 ffffffff"  # (0040,0275) SQ, undefined length
        "feff00e0 ffffffff"  # item, undefined length
        "40000900 5348 0200 5831"  # (0040,0009) SH 2 "X1"
        "feff0de0 00000000 feffdde0 00000000"  # end of item, end of sequence
    )
    header = scan(data_set, EXPLICIT, [parse("Modality"), parse("PatientName"), STEP])
    assert [header.values(p) for p in (parse("Modality"), parse("PatientName"), STEP)] == [
        ("CT",),
        ("A^B",),
        ("X1",),
    ]


def test_private_element_on_both_sides_of_its_creator() -> (
    None
):  # asked by number and by creator: an IndexError
    element = bytes.fromhex("19000c10 4c4f 0200")
    data_set = element + b"X " + bytes.fromhex("19001000 4c4f 0e00") + b"SIEMENS CT VA0" + element + b"Y "
    by_number = parse("(0019,100C)")
    header = scan(data_set, EXPLICIT, [SIEMENS, by_number])
    assert (header.values(SIEMENS), header.values(by_number)) == (("Y",), ("Y",))


def test_element_twice_in_each_of_two_items() -> None:
    inner = bytes.fromhex("40000900 5348 0200") + b"A " + bytes.fromhex("40000900 5348 0200") + b"B "
    item = bytes.fromhex("feff00e0 14000000") + inner
    header = scan(bytes.fromhex("40007502 5351 0000 38000000") + item + item, EXPLICIT, [STEP])
    assert header.values(STEP) == ("B", "B")


def test_private_creator_in_implicit_vr_is_text_in_its_character_set() -> None:
    data_set = (
        bytes.fromhex("08000500 0a000000") + b"ISO_IR 192" + bytes.fromhex("19001000 02000000") + "é".encode()
    )
    creator = parse("(0019,0010)")
    assert scan(data_set, IMPLICIT, [creator]).values(creator) == ("é",)


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO 2022 IR 87"])
def test_empty_groups_of_a_name_are_the_same_in_every_character_set(character_set: str) -> None:
    data_set = bytes.fromhex("08000500 4353") + struct.pack("<H", len(character_set)) + character_set.encode()
    name = parse("PatientName")
    data_set += bytes.fromhex("10001000 504e 0800") + b"A^B==\\=" + b" "
    assert scan(data_set, EXPLICIT, [name]).values(name) == ("A^B", "")


def test_absent_empty_and_sequence() -> None:
    data_set = sample()
    data_set.PatientID = ""
    asked = [parse("PatientID"), parse("AccessionNumber"), parse("RequestAttributesSequence")]
    header = scan(encode(data_set, EXPLICIT), EXPLICIT, asked)
    assert [header.values(path) for path in asked] == [(), None, ()]
    with pytest.raises(KeyError):
        header.values(parse("Modality"))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_every_prefix_says_that_more_is_needed_and_what_it_gives_is_right(syntax: str) -> None:
    encoded = encode(sample(), syntax)
    whole = scan(encoded, syntax, ASKED)
    enough = 0
    for length in range(len(encoded)):
        header = scan(encoded[:length], syntax, ASKED, is_complete=False)
        for path in ASKED:
            values = header.values(path)
            assert not values or values == whole.values(path)[: len(values)]  # type: ignore[index]
        if header.truncated:
            assert not enough, "once it was enough, it stays enough"
        else:
            enough = enough or length
            assert [header.values(p) for p in ASKED] == [whole.values(p) for p in ASKED]
    assert 0 < enough <= len(encoded) - 900, "pixel data need not be there"


def test_a_prefix_of_deflated_data_says_so_too() -> None:
    encoded = encode(sample(), DEFLATED)
    assert scan(encoded[:40], DEFLATED, ASKED, is_complete=False).truncated
    assert not scan(encoded, DEFLATED, ASKED, is_complete=False).truncated


def test_a_complete_data_set_without_the_tags_is_not_truncated() -> None:
    data_set = Dataset()
    data_set.Modality = "CT"
    encoded = encode(data_set, EXPLICIT)
    assert not scan(encoded, EXPLICIT, ASKED).truncated
    assert scan(encoded, EXPLICIT, ASKED, is_complete=False).truncated


def test_private_creators_are_resolved_in_each_data_set_by_itself() -> None:
    data_set = Dataset()
    data_set.add_new(0x00190010, "LO", "OTHER")
    data_set.add_new(0x00190011, "LO", "SIEMENS CT VA0")
    data_set.add_new(0x0019100C, "LO", "of OTHER")
    data_set.add_new(0x0019110C, "LO", "of SIEMENS")
    item = Dataset()
    item.add_new(0x00190010, "LO", "SIEMENS CT VA0 ")
    item.add_new(0x0019100C, "LO", "inside")
    data_set.RequestAttributesSequence = Sequence([item])
    inside = parse('RequestAttributesSequence.(0019,"SIEMENS CT VA0",0C)')
    by_number = parse("(0019,110C)")
    for syntax in SYNTAXES:
        header = scan(encode(data_set, syntax), syntax, [SIEMENS, inside, by_number])
        assert header.values(SIEMENS) == header.values(by_number) == ("of SIEMENS",)
        assert header.values(inside) == ("inside",)


def test_an_element_twice_counts_by_its_later_value() -> None:
    one = bytes.fromhex("08006000435302004354")
    two = bytes.fromhex("08006000435302004d52")
    header = scan(one + two, EXPLICIT, [parse("Modality")])
    assert header.values(parse("Modality")) == ("MR",)


def test_character_set_of_an_item_counts_in_it_alone() -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 144"
    item.ScheduledProcedureStepID = "Люкceмбypг"
    data_set = Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.RequestAttributesSequence = Sequence([item])
    data_set.AcquisitionContextSequence = Sequence([])
    data_set.add_new(0x00402001, "LO", "grüß")
    late = parse("(0040,2001)")
    header = scan(encode(data_set, EXPLICIT), EXPLICIT, [STEP, late])
    assert header.values(STEP) == ("Люкceмбypг",)
    assert header.values(late) == ("grüß",)


@pytest.mark.parametrize(("signed", "expected"), [(0, 0xFFFE), (1, -2)])
def test_pixel_representation_decides_what_implicit_vr_leaves_open(signed: int, expected: int) -> None:
    data_set = Dataset()
    data_set.PixelRepresentation = signed
    data_set.add_new(0x00280106, "US", 0xFFFE)
    header = scan(encode(data_set, IMPLICIT), IMPLICIT, [parse("SmallestImagePixelValue")])
    assert header.values(parse("SmallestImagePixelValue")) == (expected,)


def test_numbers_remember_their_text_and_bad_ones_are_text() -> None:
    data_set = bytes.fromhex("18005000 4453 0400") + b"1.50" + bytes.fromhex("18005100 4453 0400") + b"abc "
    header = scan(data_set, EXPLICIT, [parse("SliceThickness"), parse("(0018,0051)")])
    values = header.values(parse("SliceThickness"))
    assert values == (1.5,) and str(values[0]) == "1.50"
    assert header.values(parse("(0018,0051)")) == ("abc",)


@pytest.mark.parametrize(
    ("said", "sent"), [(a, b) for a in SYNTAXES for b in SYNTAXES if a != b and b != DEFLATED]
)
def test_another_encoding_than_was_said_is_seen(said: str, sent: str) -> None:
    header = scan(encode(sample(), sent), said, ASKED)
    assert header.values(parse("Modality")) == ("CT",)
    assert header.values(STEP) == ("STEP0", "STEP1")
    if {said, sent} != {EXPLICIT, DEFLATED}:
        assert "transfer syntax" in header.problem


def test_a_deflate_bomb_is_inflated_up_to_the_cap_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "INFLATE_CAP_BYTES", 1 << 20)
    bomb = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 1 << 30) + bytes(64 << 20)
    header = scan(deflate(bomb), DEFLATED, ASKED)
    assert "inflates to more than 1048576 bytes" in header.problem
    assert not header.truncated


def test_sequences_without_end_are_given_up() -> None:
    nested = bytes.fromhex("40007502 5351 0000 ffffffff feff00e0 ffffffff") * 100_000
    header = scan(nested, EXPLICIT, [STEP])
    assert "nested" in header.problem
    assert header.values(STEP) is None


def test_what_was_read_before_the_garbage_stands() -> None:
    broken = bytes.fromhex("08006000 4353 0200 4354 40007502 5351 0000 ffffffff") + b"garbage!" * 4
    header = scan(broken, EXPLICIT, [parse("Modality"), STEP])
    assert header.values(parse("Modality")) == ("CT",)
    assert header.problem


def test_nothing_asked_and_nothing_there() -> None:
    assert scan(b"whatever", EXPLICIT, ()).problem == ""
    assert scan(b"", EXPLICIT, ASKED).problem == "the data set is empty"
    assert scan(b"", EXPLICIT, ASKED, is_complete=False).truncated


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.booleans())
@settings(max_examples=300, deadline=None)
def test_garbage_never_raises(garbage: bytes, syntax: str, is_complete: bool) -> None:
    header = scan(garbage, syntax, ASKED, is_complete=is_complete)
    for path in ASKED:
        header.values(path)


@given(st.data(), st.sampled_from(SYNTAXES))
@settings(max_examples=300, deadline=None)
def test_damaged_headers_never_raise(data: st.DataObject, syntax: str) -> None:
    encoded = bytearray(encode(sample(undefined_length=True), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    header = scan(memoryview(encoded), syntax, ASKED)
    for path in ASKED:
        header.values(path)


def test_bad_files_never_raise(corpus: Path) -> None:
    found = 0
    for file in sorted((corpus / "public" / "bad").rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            try:
                meta = read_file_meta(content)
            except ValueError:
                continue
            header = scan(content[meta.data_set_offset :], meta.transfer_syntax_uid, ASKED)
            found += header.values(parse("Modality")) is not None
    assert found > 50, "most of them can be read far enough"


def test_no_warning_reaches_the_log(recwarn: pytest.WarningsRecorder) -> None:
    data_set = (
        bytes.fromhex("08000500 4353 0800") + b"NONSENSE" + bytes.fromhex("10001000 504e 0400") + b"M\xfcl "
    )
    header = scan(data_set, EXPLICIT, [parse("PatientName")])
    assert header.values(parse("PatientName"))
    assert not recwarn.list


def test_a_header_of_values_for_tests_of_rules() -> None:
    paths: dict[TagPath, tuple[str | int | float, ...] | None] = {parse("Modality"): ("CT",)}
    header = Header.of(paths)
    assert header.values(parse("(0008,0060)")) == ("CT",)
    assert header.values(parse("PatientID")) is None


def test_pydicom_agrees_on_the_sample() -> None:
    read = pydicom.dcmread(BytesIO(encode(sample(), EXPLICIT)), force=True)
    assert read.Modality == "CT"
