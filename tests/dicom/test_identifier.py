"""Identifiers: golden bytes, character sets both ways with pydicom as oracle, and what is made of garbage."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from router.dicom.identifier import (
    Match,
    check_identifier,
    decode_identifier,
    encode_identifier,
    failed_uids,
)
from router.dicom.query import Level, Model, Query, find_query, parse_keys
from router.dicom.tagpath import parse
from router.errors import RemoteProtocolError
from tests.dicom.wire import EXPLICIT, IMPLICIT, unhex

ASKED = ["PatientName=DOE*", "StudyInstanceUID", "RequestAttributesSequence.ScheduledProcedureStepID=X"]
IN_IMPLICIT = unhex("""
    0800 5200 06000000 "STUDY "                      # Query/Retrieve Level, padded
    1000 1000 04000000 "DOE*"                        # Patient's Name
    2000 0D00 00000000                               # Study Instance UID: asked for
    4000 7502 12000000                               # Request Attributes Sequence
      FEFF 00E0 0A000000                             #   one item
        4000 0900 02000000 "X "                      #     Scheduled Procedure Step ID
""")
IN_EXPLICIT = unhex("""
    0800 5200 "CS" 0600 "STUDY "
    1000 1000 "PN" 0400 "DOE*"
    2000 0D00 "UI" 0000
    4000 7502 "SQ" 0000 12000000
      FEFF 00E0 0A000000
        4000 0900 "SH" 0200 "X "
""")


def a_query(*keys: str, character_set: str = "", model: Model = Model.STUDY) -> Query:
    return Query(model=model, level=Level.STUDY, keys=parse_keys(keys), character_set=character_set)


def encoded(dataset: Dataset, *, is_implicit: bool) -> bytes:
    """By pydicom."""
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = is_implicit, True
    write_dataset(file, dataset)
    return file.getvalue()


def by_pydicom(data: bytes) -> Dataset:
    """An identifier in implicit VR, as pydicom reads it."""
    return dcmread(BytesIO(data), force=True)


def test_these_bytes() -> None:
    assert encode_identifier(a_query(*ASKED), IMPLICIT) == IN_IMPLICIT
    assert encode_identifier(a_query(*ASKED), EXPLICIT) == IN_EXPLICIT


@pytest.mark.parametrize(("data", "syntax"), [(IN_IMPLICIT, IMPLICIT), (IN_EXPLICIT, EXPLICIT)])
def test_it_reads(data: bytes, syntax: str) -> None:
    match = decode_identifier(data, syntax)
    assert [one.name for one in match.attributes] == [
        "QueryRetrieveLevel", "PatientName", "StudyInstanceUID", "RequestAttributesSequence"
    ]  # fmt: skip
    assert match.text(parse("PatientName")) == "DOE*"
    assert match.text(parse("StudyInstanceUID")) == ""
    assert match.text(parse("RequestAttributesSequence.ScheduledProcedureStepID")) == "X"


def test_a_worklist_query_has_no_level() -> None:
    identifier = by_pydicom(encode_identifier(find_query((), model=Model.WORKLIST), IMPLICIT))
    assert "QueryRetrieveLevel" not in identifier
    assert "Modality" in identifier.ScheduledProcedureStepSequence[0]


@pytest.mark.parametrize(
    ("name", "character_set", "sent"),
    [
        ("DOE^J", "", None),
        ("Müller*", "", "ISO_IR 192"),
        ("Müller*", "ISO_IR 100", "ISO_IR 100"),
        ("DOE^J", "ISO_IR 100", "ISO_IR 100"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87", ["", "ISO 2022 IR 87"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149", ["", "ISO 2022 IR 149"]),
        ("Люкceмбypг", "ISO_IR 144", "ISO_IR 144"),
    ],
)
def test_keys_go_out_in_a_character_set_that_has_them(
    name: str, character_set: str, sent: str | list[str] | None
) -> None:
    query = a_query(f"PatientName={name}", character_set=character_set)
    identifier = by_pydicom(encode_identifier(query, IMPLICIT))
    assert identifier.get("SpecificCharacterSet") == sent
    assert str(identifier.PatientName) == name


@pytest.mark.parametrize(
    ("keys", "character_set", "said"),
    [
        (["PatientName=山田"], "ISO_IR 100", "character set lacks"),
        (["PatientName=山田"], "ISO_IR 999", "no character set of DICOM"),
        (["Rows=a*"], "", "no value of VR US"),
        (["Rows=70000"], "", "no value of VR US"),
        (["Modality=Mö"], "", "ASCII characters only"),
        (["PatientComments=" + "x" * 70000], "", "longer than 64 kB"),
    ],
)
def test_what_does_not_go_into_its_element(keys: list[str], character_set: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        query = a_query(*keys, character_set=character_set)
        check_identifier(query)
        encode_identifier(query, EXPLICIT)


@pytest.mark.parametrize("is_implicit", [True, False])
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Wáng^XiǎoDōng=王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_answers_are_read_in_their_own_character_set(
    character_set: str | list[str], name: str, is_implicit: bool
) -> None:
    answer, item = Dataset(), Dataset()
    answer.SpecificCharacterSet = character_set
    answer.PatientName = name
    item.ScheduledPerformingPhysicianName = name
    answer.ScheduledProcedureStepSequence = [item]
    match = decode_identifier(encoded(answer, is_implicit=is_implicit), IMPLICIT if is_implicit else EXPLICIT)
    assert match.values(parse("PatientName")) == (name,)
    inner = parse("ScheduledProcedureStepSequence.ScheduledPerformingPhysicianName")
    assert match.values(inner) == (name,)
    assert "SpecificCharacterSet" not in {one.name for one in match.attributes}  # it is Unicode now


def test_several_values_are_a_list_also_where_there_is_one() -> None:
    answer = Dataset()
    answer.ModalitiesInStudy = ["CT", "SR"]
    answer.NumberOfStudyRelatedInstances = "12"
    answer.OtherPatientIDs = "1"
    match = decode_identifier(encoded(answer, is_implicit=True), IMPLICIT)
    attributes = {one.name: one for one in match.attributes}
    assert attributes["ModalitiesInStudy"].values == ("CT", "SR")
    assert attributes["NumberOfStudyRelatedInstances"].values == (12,)
    assert [attributes[name].is_multiple for name in attributes] == [True, True, False]


def test_a_value_that_its_vr_does_not_allow_is_shown_as_it_is() -> None:
    answer = unhex('0800 2000 0A000000 "last week " 2000 1300 04000000 "many"')
    match = decode_identifier(answer, IMPLICIT)
    assert match.text(parse("StudyDate")) == "last week"
    assert match.text(parse("InstanceNumber")) == "many"


def test_failed_uids() -> None:
    answer = unhex('0800 5800 0C000000 "1.2.3\\1.2.4" 00')
    assert failed_uids(decode_identifier(answer, IMPLICIT)) == ("1.2.3", "1.2.4")
    assert failed_uids(Match()) == ()


def test_sequences_without_end_are_the_peers_error() -> None:
    nested = unhex("4000 0001 FFFFFFFF FEFF 00E0 FFFFFFFF") * 20_000
    with pytest.raises(RemoteProtocolError, match="cannot be read"):
        decode_identifier(nested, IMPLICIT)


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT]))
def test_garbage_is_a_match_or_the_peers_error(garbage: bytes, syntax: str) -> None:
    try:
        decode_identifier(garbage, syntax)
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=20), st.integers(0, len(IN_EXPLICIT)))
def test_garbage_inside_is_a_match_or_the_peers_error(garbage: bytes, at: int) -> None:
    try:
        decode_identifier(IN_EXPLICIT[:at] + garbage + IN_EXPLICIT[at:], EXPLICIT)
    except RemoteProtocolError:
        pass
