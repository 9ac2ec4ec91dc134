"""Raw data sets by hand: VRs that implicit VR leaves open, lengths, byte orders, and input that is none."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings, strategies as st

from router.dicom.encoding import NESTING_CAP
from router.dicom.syntaxes import JPEG_LS_LOSSLESS
from router.errors import CannotTranscode
from router.transform import reading, vrs
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.writing import encode
from tests.transform.raw import BIG, DEFLATED, EXPLICIT, IMPLICIT, NATIVE, flat, is_same, read, written

ITEM = bytes.fromhex("FEFF00E0")
ITEM_END = bytes.fromhex("FEFF0DE000000000")
SEQUENCE_END = bytes.fromhex("FEFFDDE000000000")
UNDEFINED = b"\xff\xff\xff\xff"


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def vr_in_explicit(tag: int, *others: bytes) -> str:
    """The VR that an element of implicit VR gets, among others."""
    raws: list[bytes] = sorted([implicit(tag, b"\1\0" * 4), *others], key=_tag)
    content = b"".join(raws)
    element = read(written(read(content, IMPLICIT), EXPLICIT), EXPLICIT).get(tag)
    assert element is not None
    return element.vr


def _tag(raw: bytes) -> int:
    group, element = struct.unpack_from("<HH", raw)
    return int(group << 16 | element)


SIGNED, UNSIGNED = implicit(0x00280103, b"\1\0"), implicit(0x00280103, b"\0\0")
CREATOR = implicit(0x00190010, b"SIEMENS CT VA0  COAD")


@pytest.mark.parametrize(
    ("tag", "others", "vr"),
    [
        (0x00100010, (), "PN"),
        (0x00280106, (UNSIGNED,), "US"),
        (0x00280106, (SIGNED,), "SS"),
        (0x00280106, (), "US"),
        (0x00189810, (SIGNED,), "SS"),  # stands before Pixel Representation
        (0x7FE00010, (), "OW"),
        (0x60003000, (), "OW"),
        (0x54001010, (), "OW"),
        (0x00281201, (), "OW"),
        (0x00283006, (implicit(0x00283002, struct.pack("<3H", 256, 0, 16)),), "OW"),
        (0x00283006, (implicit(0x00283002, struct.pack("<3H", 1, 0, 16)),), "US"),
        (0x00190010, (), "LO"),  # a private creator
        (0x00191099, (CREATOR,), "UN"),  # not in that creator's dictionary
        (0x001910B0, (CREATOR,), "DS"),
        (0x001910B0, (), "UN"),  # nobody has reserved the block
        (0x00080003, (), "UN"),  # in no dictionary
        (0x60020010, (), "US"),  # a repeating group
    ],
)
def test_the_vr_of_an_element_of_implicit_vr(tag: int, others: tuple[bytes, ...], vr: str) -> None:
    assert vr_in_explicit(tag, *others) == vr


def test_pixel_representation_may_stand_in_an_enclosing_data_set() -> None:
    inner = implicit(0x00280106, b"\xff\xff")
    sequence = implicit(0x00089215, ITEM + struct.pack("<I", len(inner)) + inner)
    outer = read(written(read(sequence + SIGNED, IMPLICIT), EXPLICIT), EXPLICIT).get(0x00089215)
    assert outer is not None
    assert isinstance(outer.value, list)
    assert outer.value[0].elements[0].vr == "SS"


def test_an_unknown_sequence_of_undefined_length_stays_in_implicit_vr() -> None:
    inner = implicit(0x00100010, b"A^B ")
    content = (
        bytes.fromhex("09001010") + UNDEFINED + ITEM + UNDEFINED + inner + ITEM_END + SEQUENCE_END
    )  # PS3.5 §6.2.2 note 2
    explicit = written(read(content, IMPLICIT), EXPLICIT)
    assert explicit == content[:4] + b"UN\0\0" + content[4:]
    big = written(read(content, IMPLICIT), BIG)
    assert big == bytes.fromhex("00091010") + b"UN\0\0" + content[4:]
    assert written(read(big, BIG), IMPLICIT) == content
    assert written(read(explicit, EXPLICIT), IMPLICIT) == content


def test_a_value_that_is_too_long_for_its_vr_becomes_un() -> None:
    content = implicit(0x00104000, b"x" * 65536)  # LT
    explicit = written(read(content, IMPLICIT), EXPLICIT)
    assert explicit[:12] == bytes.fromhex("10000040") + b"UN\0\0" + struct.pack("<I", 65536)
    assert written(read(explicit, EXPLICIT), IMPLICIT) == content


def test_values_of_words_that_became_un_stay_little_endian_in_big_endian() -> None:
    content = implicit(0x00280303, b"") + implicit(0x00091010, b"\1\0" * 2)
    big = written(read(content, IMPLICIT), BIG)
    assert big.endswith(b"\1\0" * 2)
    too_long = implicit(0x00281052, b"1 ") + implicit(0x00289503, b"\1\0" * 40000)  # SS
    assert written(read(written(read(too_long, IMPLICIT), BIG), BIG), IMPLICIT) == too_long


def test_group_lengths_are_dropped_at_every_level() -> None:
    length = implicit(0x00080000, struct.pack("<I", 99))
    inner = length + implicit(0x00080050, b"1 ")
    content = length + implicit(0x00081115, ITEM + struct.pack("<I", len(inner)) + inner)
    inner = inner[len(length) :]
    assert written(read(content, IMPLICIT), IMPLICIT) == implicit(
        0x00081115, ITEM + struct.pack("<I", len(inner)) + inner
    )


@pytest.mark.parametrize(("vr", "padding"), [("LO", b" "), ("UI", b"\0"), ("UN", b"\0"), ("OB", b"\0")])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_odd_values_are_padded(vr: str, padding: bytes, syntax: str) -> None:
    assert written(DataSet([Element(0x00091010, vr, b"abc")]), syntax).endswith(b"abc" + padding)


def test_deflated_is_padded_and_has_no_header() -> None:
    for count in range(20):
        data_set = DataSet([Element(0x00100010, "PN", bytes(range(2 * count)))])
        content = written(data_set, DEFLATED)
        assert len(content) % 2 == 0
        assert zlib.decompress(content, wbits=-15) == written(data_set, EXPLICIT)


def test_inflating_stops_at_the_cap() -> None:
    bomb = zlib.compress(b"\0" * 1_000_000, wbits=-15)
    with pytest.raises(CannotTranscode, match="more than 1000 bytes"):
        reading.parse(bomb, DEFLATED, inflate_cap_bytes=1000)


@pytest.mark.parametrize("trailer", [b"", b"\0", b"crc"])
def test_what_follows_the_deflated_data_set(trailer: bytes) -> None:
    plain = written(DataSet([Element(0x00100010, "PN", b"A^B ")]), EXPLICIT)
    if trailer == b"crc":  # of gzip, as in pydicom's image_dfl.dcm
        trailer = struct.pack("<II", zlib.crc32(plain), len(plain))
    deflated = zlib.compress(plain, wbits=-15)
    assert written(read(deflated + trailer, DEFLATED), EXPLICIT) == plain
    for broken in (deflated + b"rest", deflated[:-2], b"\xff" + deflated):
        with pytest.raises(CannotTranscode):
            read(broken, DEFLATED)


def test_words_are_swapped_by_their_size() -> None:
    data_set = DataSet(
        [
            Element(0x00280009, "AT", bytes.fromhex("1800 6310")),
            Element(0x00281050, "FL", bytes(range(4))),
            Element(0x00281051, "FD", bytes(range(8))),
            Element(0x00281052, "DS", b"1 "),
        ]
    )
    big = written(data_set, BIG)
    assert big == (
        bytes.fromhex("0028 0009") + b"AT" + bytes.fromhex("0004 0018 1063")
        + bytes.fromhex("0028 1050") + b"FL" + bytes.fromhex("0004 03020100")
        + bytes.fromhex("0028 1051") + b"FD" + bytes.fromhex("0008 0706050403020100")
        + bytes.fromhex("0028 1052") + b"DS" + bytes.fromhex("0002") + b"1 "
    )  # fmt: skip
    assert flat(read(big, BIG)) == flat(data_set)


def test_a_value_that_is_no_whole_number_of_words_is_refused_in_big_endian_only() -> None:
    data_set = DataSet([Element(0x00281050, "FL", b"abcdef")])
    assert written(data_set, EXPLICIT).endswith(b"abcdef")
    with pytest.raises(CannotTranscode, match=r"\(0028,1050\)"):
        written(data_set, BIG)


@pytest.mark.parametrize(("bits", "vr"), [(32, "OW"), (16, "OB")])
def test_big_endian_pixels_on_which_programs_disagree_are_refused(bits: int, vr: str) -> None:
    bits_allocated = Element(0x00280100, "US", struct.pack("<H", bits))
    data_set = DataSet([bits_allocated, Element(PIXEL_DATA, vr, b"\0" * 8)])
    with pytest.raises(CannotTranscode):
        written(data_set, BIG)
    big = bytes.fromhex("0028 0100") + b"US" + struct.pack(">HH", 2, bits)
    big += bytes.fromhex("7FE0 0010") + vr.encode() + bytes.fromhex("0000 00000008") + b"\0" * 8
    with pytest.raises(CannotTranscode):
        read(big, BIG)


def test_an_unknown_vr_is_kept_but_for_big_endian() -> None:
    content = bytes.fromhex("0900 1010") + b"ZZ" + bytes.fromhex("0200") + b"ab"
    data_set = read(content, EXPLICIT)
    assert written(data_set, EXPLICIT) == content
    assert written(data_set, IMPLICIT) == implicit(0x00091010, b"ab")
    with pytest.raises(CannotTranscode, match="unknown VR"):
        written(data_set, BIG)


def test_items_of_the_other_byte_order_are_no_items() -> None:  # written so once, and then not read again
    value = bytes.fromhex("fffee000 00000000")
    content = bytes.fromhex("0040 0275") + b"UN\0\0" + bytes.fromhex("00000008") + value
    implicit_vr = written(read(content, BIG), IMPLICIT)
    assert implicit_vr == implicit(0x00400275, value)
    assert written(read(implicit_vr, IMPLICIT), IMPLICIT) == implicit_vr


@pytest.mark.parametrize("vr", [b"CS", b"OB\0\0\0\0", b"ZZ"])
def test_element_in_the_group_of_delimiters_is_refused(
    vr: bytes,
) -> None:  # in implicit VR nobody can read it
    with pytest.raises(CannotTranscode, match=r"\(FFFE,FF00\) stands where no element"):
        read(bytes.fromhex("feff00ff") + vr + bytes(2), EXPLICIT)


def test_group_length_of_unknown_vr_is_left_out_as_any_other() -> None:
    content = bytes.fromhex("0900 0000") + b"ZZ" + bytes.fromhex("0400 08000000")
    assert written(read(content, EXPLICIT), EXPLICIT) == b""


def test_elements_in_implicit_vr_inside_of_explicit_vr_get_their_vr() -> None:
    inner = implicit(0x00080050, b"1 ")
    sequence = bytes.fromhex("0800 1511") + b"SQ\0\0" + struct.pack("<I", 8 + len(inner))
    content = sequence + ITEM + struct.pack("<I", len(inner)) + inner
    explicit = written(read(content, EXPLICIT), EXPLICIT)
    assert explicit.endswith(bytes.fromhex("0800 5000") + b"SH" + bytes.fromhex("0200") + b"1 ")
    assert explicit == written(read(explicit, EXPLICIT), EXPLICIT)


def test_a_private_element_that_is_no_sequence_whatever_the_dictionary_says_is_kept() -> None:
    content = implicit(0x31010010, b"AMI Annotations_01") + implicit(0x31011010, b"nothing!")
    assert vrs.vr_of(0x31011010, "AMI Annotations_01") == "SQ"
    explicit = read(written(read(content, IMPLICIT), EXPLICIT), EXPLICIT)
    assert [element.vr for element in explicit.elements] == ["LO", "UN"]


def test_an_element_twice_is_kept_and_the_later_one_counts() -> None:
    content = implicit(0x00280010, b"\1\0") + implicit(0x00280010, b"\2\0")
    data_set = read(content, IMPLICIT)
    assert data_set.ints(0x00280010) == (2,)
    assert written(data_set, IMPLICIT) == content
    data_set.put(Element(0x00280010, "US", b"\3\0"))
    assert written(data_set, IMPLICIT) == implicit(0x00280010, b"\3\0")


def test_put_keeps_the_order_of_tags_and_remove_bears_what_is_not_there() -> None:
    data_set = DataSet([Element(tag, "LO", b"") for tag in (0x00080016, 0x00100010, 0x7FE00010)])
    data_set.put(Element(0x00080018, "UI", b"1\0"))
    data_set.put(Element(0x00080005, "CS", b""))
    data_set.put(Element(0xFFFCFFFC, "OB", b""))
    data_set.remove(0x00100010)
    data_set.remove(0x00100010)
    tags = [element.tag for element in data_set.elements]
    assert tags == [0x00080005, 0x00080016, 0x00080018, 0x7FE00010, 0xFFFCFFFC]
    assert data_set.text(0x00080018) == "1"
    assert data_set.get(0x00100010) is None


@pytest.mark.parametrize(
    ("vr", "value", "numbers"),
    [
        ("US", b"\1\0\2\0", (1, 2)),
        ("SS", b"\xff\xff", (-1,)),
        ("UL", b"\1\0\0\0", (1,)),
        ("UN", b"\1\0", (1,)),  # Rows is US
        ("IS", b"12\\ 3 ", (12, 3)),
        ("IS", b"", ()),
    ],
)
def test_numbers(vr: str, value: bytes, numbers: tuple[int, ...]) -> None:
    assert DataSet([Element(0x00280010, vr, value)]).ints(0x00280010) == numbers


@pytest.mark.parametrize(
    ("vr", "value"),
    [("US", b"\1"), ("IS", b"1.5 "), ("IS", b"many"), ("IS", b"1_0 "), ("US", b"\1\0" * 1000)],
)
def test_what_is_no_number(vr: str, value: bytes) -> None:
    with pytest.raises(CannotTranscode, match=r"\(0028,0010\)"):
        DataSet([Element(0x00280010, vr, value)]).ints(0x00280010)


def test_fragments_are_kept_and_only_where_the_transfer_syntax_has_them() -> None:
    pixels = Element(PIXEL_DATA, "OB", Fragments([b"", b"abc", b"defg"]), is_undefined=True)
    content = written(DataSet([pixels]), JPEG_LS_LOSSLESS)
    assert content == (
        bytes.fromhex("E07F 1000") + b"OB\0\0" + UNDEFINED
        + ITEM + struct.pack("<I", 0)
        + ITEM + struct.pack("<I", 4) + b"abc\0"
        + ITEM + struct.pack("<I", 4) + b"defg"
        + SEQUENCE_END
    )  # fmt: skip
    assert written(read(content, JPEG_LS_LOSSLESS), JPEG_LS_LOSSLESS) == content
    for syntax in NATIVE:
        with pytest.raises(CannotTranscode, match="encapsulated"):
            written(DataSet([pixels]), syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, JPEG_LS_LOSSLESS])
def test_pixel_data_is_never_copied(syntax: str) -> None:
    content = written(DataSet([Element(PIXEL_DATA, "OW", bytes(range(256)) * 100)]), EXPLICIT)
    last = encode(read(content, EXPLICIT), syntax)[-1]
    assert isinstance(last, memoryview)
    assert last.obj is content


def test_nesting_has_a_cap() -> None:
    inner = b""
    for _ in range(NESTING_CAP + 1):
        inner = bytes.fromhex("0800 1511") + UNDEFINED + ITEM + UNDEFINED + inner + ITEM_END + SEQUENCE_END
    with pytest.raises(CannotTranscode, match="nested"):
        read(inner, IMPLICIT)


def test_private_transfer_syntaxes_are_refused() -> None:
    for syntax in ("1.2.840.113619.5.2", "1.2.3", ""):
        with pytest.raises(CannotTranscode, match="private or unknown"):
            read(b"", syntax)
        with pytest.raises(CannotTranscode, match="private or unknown"):
            written(DataSet(), syntax)


# Tags with the VR of the dictionary, so that a passage through implicit VR loses nothing.
_TAGS = {
    0x00080005: "CS",
    0x00100010: "PN",
    0x00104000: "LT",
    0x00189005: "SH",
    0x00280009: "AT",
    0x00280010: "US",
    0x00281050: "DS",
    0x00289503: "SS",
    0x00431027: "UN",
    0x0040A073: "SQ",
    0x00420011: "OB",
    0x0066002F: "SQ",
    0x00660016: "OF",
    0x00660022: "OD",
    0x00660040: "OL",
    0x00081195: "UI",
    0x00720082: "SV",
    0x00720083: "UV",
    0x7FE00010: "OW",
}


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0) -> DataSet:
    made = DataSet(is_undefined=draw(st.booleans()) if depth else False)
    for tag in sorted(draw(st.sets(st.sampled_from(sorted(_TAGS)), max_size=6))):
        vr = _TAGS[tag]
        if vr == "SQ":
            items = draw(st.lists(data_sets(depth + 1), max_size=2)) if depth < 3 else []
            made.put(Element(tag, "SQ", items, draw(st.booleans())))
        else:
            words = draw(st.binary(max_size=6))
            made.put(Element(tag, vr, words * vrs.WORD_BYTES.get(vr, 2)))
    return made


@given(data_sets())
@settings(max_examples=200)
def test_every_way_through_the_transfer_syntaxes_ends_where_it_began(data_set: DataSet) -> None:
    plain = written(data_set, EXPLICIT)
    assert written(read(plain, EXPLICIT), EXPLICIT) == plain
    for first in NATIVE:
        once = read(written(data_set, first), first)
        assert is_same(flat(once), flat(data_set))
        for second in NATIVE:
            twice = read(written(once, second), second)
            assert written(twice, EXPLICIT) == plain


@given(data_sets(), st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.data())
@settings(max_examples=200)
def test_a_data_set_that_is_cut_or_damaged_is_read_or_refused(
    data_set: DataSet, syntax: str, choice: st.DataObject
) -> None:
    content = bytearray(written(data_set, syntax))
    for _ in range(choice.draw(st.integers(0, 3))):
        if content:
            content[choice.draw(st.integers(0, len(content) - 1))] = choice.draw(st.integers(0, 255))
    cut = bytes(content[: choice.draw(st.integers(0, len(content)))])
    try:
        found = read(cut, syntax)
        for other in NATIVE:
            assert len(written(found, other)) % 2 == 0
    except CannotTranscode as error:
        assert str(error)


@given(st.binary(max_size=60), st.sampled_from(NATIVE))
def test_garbage_is_read_or_refused(content: bytes, syntax: str) -> None:
    try:
        read(content, syntax)
    except CannotTranscode as error:
        assert str(error)
