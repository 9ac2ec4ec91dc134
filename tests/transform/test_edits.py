"""Edits in a data set: what is changed, what stays as it lies, and what must not leave."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from router.dicom.syntaxes import JPEG_LS_LOSSLESS, RLE_LOSSLESS
from router.errors import CannotEdit, CannotTranscode
from router.model import Arrival, Edit, EditKind, Form, Origin
from router.transform.edits import apply
from router.transform.elements import PIXEL_DATA, DataSet, Element
from router.transform.job import Job, perform
from router.transform.transcode import Limits, transcode
from tests.transform.pictures import BYTES, data_set
from tests.transform.raw import EXPLICIT, IMPLICIT, NATIVE, file_of, flat, read, written

ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="10.1.0.21", listener="11112")
LIMITS = Limits(pixels_max=1 << 20, inflate_bytes_max=1 << 24)


def set_to(path: str, value: str) -> Edit:
    return Edit(kind=EditKind.SET, path=path, value=value)


def remove(path: str) -> Edit:
    return Edit(kind=EditKind.REMOVE, path=path)


def blank(path: str) -> Edit:
    return Edit(kind=EditKind.BLANK, path=path)


def replaced(path: str, pattern: str, value: str) -> Edit:
    return Edit(kind=EditKind.REPLACE, path=path, pattern=pattern, value=value)


PRIVATE = Edit(kind=EditKind.REMOVE_PRIVATE)


def patient(character_set: bytes = b"", name: bytes = b"A^B") -> DataSet:
    item = DataSet([Element(0x00400007, "LO", b"HEAD"), Element(0x00400009, "SH", b"1")])
    other = DataSet([Element(0x00110010, "LO", b"ACME"), Element(0x00111001, "LO", b"secret")])
    made = [
        Element(0x00080005, "CS", character_set),
        Element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        Element(0x00080018, "UI", b"1.2.3"),
        Element(0x00090010, "LO", b"OTHER "),
        Element(0x00090011, "LO", b"ACME"),
        Element(0x00091101, "LO", b"of acme"),
        Element(0x00100010, "PN", name),
        Element(0x00100020, "LO", b"0012"),
        Element(0x00101001, "PN", b"X^Y\\Z^Q"),
        Element(0x00400275, "SQ", [item, other], is_undefined=True),
    ]
    return DataSet([one for one in made if one.value])


def made(edits: list[Edit], of: DataSet | None = None, uid: str = EXPLICIT) -> DataSet:
    """Edited, and through writing and reading."""
    source = read(written(of or patient(), uid), uid)
    apply(source, edits, ORIGIN)
    return read(written(source, uid), uid)


@pytest.mark.parametrize("uid", NATIVE)
def test_what_is_not_named_stays_as_it_lies(uid: str) -> None:
    before = read(written(patient(), uid), uid)
    after = made([set_to("PatientID", "NEW")], uid=uid)
    assert [pair for pair in flat(after) if pair[0] != 0x00100020] == [
        pair for pair in flat(before) if pair[0] != 0x00100020
    ]
    assert after.text(0x00100020) == "NEW"


def test_set_takes_values_from_the_instance_and_its_origin_one_after_the_other() -> None:
    after = made(
        [
            set_to("InstitutionName", "{calling_ae} at {called_ae}"),
            set_to("OtherPatientIDs", "{PatientID}"),
            set_to("PatientID", "A-{PatientID}{StudyID}"),
            set_to("PatientComments", "{PatientID} {{x}} {OtherPatientNames}"),
        ]
    )
    assert after.text(0x00080080) == "CT1 at ROUTER"
    assert after.text(0x00101000) == "0012"
    assert after.text(0x00100020) == "A-0012"
    assert after.text(0x00104000) == "A-0012 {x} X^Y\\Z^Q"
    tags = [element.tag for element in after.elements]
    assert tags == sorted(tags)


def test_inside_of_sequences_every_item_is_meant() -> None:
    after = made([set_to("RequestAttributesSequence.ScheduledProcedureStepDescription", "X")])
    items = after.get(0x00400275)
    assert items is not None
    assert isinstance(items.value, list)
    assert [item.text(0x00400007) for item in items.value] == ["X", "X"]
    assert items.is_undefined
    assert not made([set_to("ReferencedStudySequence.StudyInstanceUID", "1.2")]).get(0x00081110)


def test_removing_and_blanking() -> None:
    data = patient()
    told = apply(
        data,
        [
            remove("PatientID"),
            remove("StudyID"),
            blank("PatientName"),
            blank("RequestAttributesSequence"),
            remove('(0009,"ACME",01)'),
            remove('(0011,"NOBODY",01)'),
        ],
        ORIGIN,
    )
    after = read(written(data, EXPLICIT), EXPLICIT)
    assert told == (
        "removed PatientID",
        "blanked PatientName",
        "blanked RequestAttributesSequence",
        'removed (0009,"ACME",01)',
    )
    assert after.get(0x00100020) is None
    assert after.get(0x00091101) is None
    assert after.text(0x00090011) == "ACME"
    name, sequence = after.get(0x00100010), after.get(0x00400275)
    assert name is not None
    assert sequence is not None
    assert (bytes(after.buffer(0x00100010) or b""), sequence.value) == (b"", [])


def test_private_elements_go_at_every_level() -> None:
    after = made([PRIVATE])
    assert not [e.tag for one in (after, *after.items()) for e in one.elements if e.tag & 0x10000]
    assert len(list(after.items())) == 2


def test_replacing_in_each_value() -> None:
    after = made([replaced("OtherPatientNames", r"^(\w)\^(\w)$", r"\2^\1"), replaced("PatientID", "^0+", "")])
    assert after.text(0x00101001) == "Y^X\\Q^Z"
    assert after.text(0x00100020) == "12"
    data = patient()
    assert apply(data, [replaced("PatientID", "^9", ""), replaced("StudyID", "a", "b")], ORIGIN) == ()


@pytest.mark.parametrize(
    ("character_set", "name", "text"),
    [
        (b"ISO_IR 100", "M\u00fcller^J\u00f6rg".encode("latin-1"), "K\u00f6ln"),
        (b"ISO_IR 192", "M\u00fcller^J\u00f6rg".encode(), "\u5c71\u7530"),
        (
            b"ISO_IR 144",
            "\u0418\u0432\u0430\u043d".encode("iso8859-5"),
            "\u041c\u043e\u0441\u043a\u0432\u0430",
        ),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "\u5c71\u7530 X"),
    ],
)
def test_text_is_written_in_the_character_set_of_the_instance(
    character_set: bytes, name: bytes, text: str
) -> None:
    after = made(
        [set_to("InstitutionName", text), set_to("OtherPatientNames", "{PatientName}")],
        patient(character_set, name),
    )
    seen = dcmread(BytesIO(file_of(written(after, EXPLICIT), EXPLICIT)))
    assert seen.InstitutionName == text
    assert seen.OtherPatientNames == seen.PatientName
    assert bytes(after.buffer(0x00100010) or b"").rstrip() == name.rstrip()


def test_an_instance_of_nothing_but_ascii_becomes_unicode_where_that_is_needed() -> None:
    after = made([set_to("InstitutionName", "K\u00f6ln")])
    assert after.text(0x00080005) == "ISO_IR 192"
    assert bytes(after.buffer(0x00080080) or b"").rstrip() == "K\u00f6ln".encode()
    assert made([set_to("InstitutionName", "Koeln")]).get(0x00080005) is None


@pytest.mark.parametrize(
    ("character_set", "edit", "because"),
    [
        (b"ISO_IR 100", set_to("InstitutionName", "\u5c71"), "character set cannot say .*ISO_IR 100"),
        (b"ISO_IR 100", set_to("PatientSex", "{PatientName}"), "is no value of VR CS"),
        (b"ISO_IR 192", set_to("SeriesNumber", "\u0661"), "is not ASCII, as its VR IS has to be"),
        (b"", set_to("PatientBirthDate", "{PatientID}"), "is no value of VR DA"),
        (b"", replaced("PatientID", "^", "x" * 61), "is no value of VR LO"),
        (b"ISO_IR 999", set_to("InstitutionName", "\u5c71"), "cannot say"),
        (b"utf-7", set_to("InstitutionName", "\u5c71"), "cannot say"),
        (b"ISO\x00R 192", set_to("InstitutionName", "\u5c71"), "cannot say"),
    ],
)
def test_what_cannot_be_written_is_refused_and_no_value_is_told(
    character_set: bytes, edit: Edit, because: str
) -> None:
    with pytest.raises(CannotEdit, match=because) as caught:
        apply(patient(character_set), [edit], ORIGIN)
    assert "A^B" not in str(caught.value)
    assert "0012" not in str(caught.value)


def test_bytes_of_an_unknown_meaning_are_not_declared_to_be_unicode() -> None:
    with pytest.raises(CannotEdit, match="declares no Specific Character Set"):
        apply(patient(name=b"M\xfcller"), [set_to("InstitutionName", "K\u00f6ln")], ORIGIN)


# -- with a transfer syntax --------------------------------------------------------------------------------


def turned(source: DataSet, uid: str, form: Form) -> tuple[DataSet, tuple[str, ...], str]:
    buffers, transcoding = transcode(written(source, uid), uid, form, limits=LIMITS, origin=ORIGIN)
    return read(b"".join(buffers), form.transfer_syntax_uid), transcoding.edited, transcoding.frames_hash


def image() -> DataSet:
    made = data_set(BYTES, bytes(BYTES.rows * BYTES.columns))
    made.put(Element(0x00080018, "UI", b"1.2.3.4"))
    made.put(Element(0x00100020, "LO", b"12"))
    return made


def edited(uid: str, *edits: Edit) -> Form:
    return Form(transfer_syntax_uid=uid, edits=edits)


def test_the_same_transfer_syntax_is_enough_and_no_pixel_is_touched() -> None:
    compressed, _, _ = turned(image(), EXPLICIT, Form(transfer_syntax_uid=RLE_LOSSLESS))
    after, told, _ = turned(
        compressed, RLE_LOSSLESS, edited(RLE_LOSSLESS, set_to("PatientID", "X{PatientID}"))
    )
    assert told == ("set PatientID",)
    assert after.text(0x00100020) == "X12"
    assert dict(flat(after))[PIXEL_DATA] == dict(flat(compressed))[PIXEL_DATA]
    with pytest.raises(CannotTranscode, match="already"):
        turned(compressed, RLE_LOSSLESS, Form(transfer_syntax_uid=RLE_LOSSLESS))


@pytest.mark.parametrize("uid", [IMPLICIT, JPEG_LS_LOSSLESS])
def test_edits_go_with_another_transfer_syntax(uid: str) -> None:
    after, told, frames_hash = turned(image(), EXPLICIT, edited(uid, remove("PatientID")))
    _, _, as_it_was = turned(image(), EXPLICIT, Form(transfer_syntax_uid=uid))
    assert told == ("removed PatientID",)
    assert after.get(0x00100020) is None
    assert frames_hash == as_it_was


def test_an_edit_that_cannot_be_made_is_in_the_way_of_every_form(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(written(image(), EXPLICIT))
    bad = set_to("PatientBirthDate", "{PatientID}")
    arrival = Arrival(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="1.2.3.4",
        transfer_syntax_uid=EXPLICIT, origin=ORIGIN, received_at=0.0,
    )  # fmt: skip
    job = Job(
        source=str(source), data_set_offset=0, target=str(tmp_path / "out"), arrival=arrival,
        forms=(edited(EXPLICIT, bad), edited(IMPLICIT, bad)),
    )  # fmt: skip
    result = perform(job, LIMITS)
    assert result.made is None
    assert [obstacle.transfer_syntax_uid for obstacle in result.obstacles] == [EXPLICIT, IMPLICIT]
    assert not (tmp_path / "out").exists()
