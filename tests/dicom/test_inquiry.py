from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.holdings import LEVEL_OF, tag_of
from router.dicom.identifier import Match, decode_identifier, encode_identifier, failed_uids
from router.dicom.inquiry import (
    MOST_FAILED,
    Inquiry,
    Unanswerable,
    encode_answer,
    encode_failed,
    read_inquiry,
)
from router.dicom.query import DEFAULT_KEYS, Key, Level, Model, Query
from router.dicom.tagpath import parse

SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


def inquire(
    level: Level, keys: Mapping[str, str], *, model: Model = Model.STUDY, is_retrieval: bool = False
) -> Inquiry:
    """The identifier as it reads once it has come over the wire."""
    asked_for = tuple(Key(path=parse(keyword), value=value) for keyword, value in keys.items())
    query = Query(model=model, level=level, keys=asked_for)
    identifier = decode_identifier(encode_identifier(query, SYNTAXES[0]), SYNTAXES[0])
    return read_inquiry(model, identifier, is_retrieval=is_retrieval)


def asked(level: Level, **keys: str) -> Inquiry:
    return inquire(level, keys)


def values(**texts: str) -> dict[int, tuple[str, ...]]:
    return {tag_of(keyword): tuple(text.split("\\")) for keyword, text in texts.items()}


def test_what_must_match_and_what_is_only_asked_for() -> None:
    inquiry = asked(Level.STUDY, PatientName="DOE*", StudyDate="20260101-", AccessionNumber="")
    assert inquiry.level is Level.STUDY
    assert set(inquiry.asked) == set(map(tag_of, ("PatientName", "StudyDate", "AccessionNumber")))
    assert not inquiry.is_doubtful
    assert not inquiry.wants_counts
    assert inquiry.fits(values(PatientName="Doe^Jane", StudyDate="20260102"))
    assert not inquiry.fits(values(PatientName="Doe^Jane", StudyDate="20251231"))
    assert not inquiry.fits(values(PatientName="Doe^Jane"))


def test_what_is_counted_is_matched_on_its_own() -> None:
    inquiry = asked(Level.STUDY, ModalitiesInStudy="CT", NumberOfStudyRelatedInstances="")
    assert inquiry.wants_counts
    assert inquiry.fits({})
    assert inquiry.fits_counts(values(ModalitiesInStudy="MR\\CT"))
    assert not inquiry.fits_counts(values(ModalitiesInStudy="MR"))


@pytest.mark.parametrize("keyword", ["Modality", "BarcodeValue", "InstanceNumber"])
def test_what_is_below_or_not_known_is_doubtful(keyword: str) -> None:
    inquiry = asked(Level.STUDY, **{keyword: ""})
    assert inquiry.is_doubtful
    assert inquiry.asked == ()


def test_a_sequence_is_doubtful() -> None:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.ProcedureCodeSequence = [Dataset()]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    inquiry = read_inquiry(Model.STUDY, decode_identifier(buffer.getvalue(), SYNTAXES[0]))
    assert inquiry.is_doubtful


@pytest.mark.parametrize(
    ("model", "level", "keys", "says"),
    [
        (Model.STUDY, Level.PATIENT, {}, "Query/Retrieve Level"),
        (Model.STUDY, Level.SERIES, {}, "StudyInstanceUID"),
        (Model.STUDY, Level.SERIES, {"StudyInstanceUID": "*"}, "StudyInstanceUID"),
        (Model.STUDY, Level.SERIES, {"StudyInstanceUID": "1.2\\1.3"}, "StudyInstanceUID"),
        (Model.STUDY, Level.INSTANCE, {"StudyInstanceUID": "1.2"}, "SeriesInstanceUID"),
        (Model.PATIENT, Level.STUDY, {"StudyInstanceUID": "1.2"}, "PatientID"),
        (Model.PATIENT, Level.STUDY, {"PatientID": "4*"}, "PatientID"),
        (Model.STUDY, Level.STUDY, {"StudyDate": "soon"}, "(0008,0020)"),
    ],
)
def test_what_fits_no_model(model: Model, level: Level, keys: dict[str, str], says: str) -> None:
    with pytest.raises(Unanswerable) as raised:
        inquire(level, keys, model=model)
    assert says in str(raised.value)


def test_no_level_at_all() -> None:
    with pytest.raises(Unanswerable):
        read_inquiry(Model.STUDY, Match())


def test_a_retrieval_names_what_it_wants() -> None:
    inquiry = inquire(Level.STUDY, {"StudyInstanceUID": "1.2\\1.3"}, is_retrieval=True)
    assert inquiry.unique == {Level.STUDY: ("1.2", "1.3")}
    for keys in ({}, {"StudyInstanceUID": "*"}, {"PatientID": "4711"}):
        with pytest.raises(Unanswerable):
            inquire(Level.STUDY, keys, is_retrieval=True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_answer_says_what_was_asked(syntax: str) -> None:
    inquiry = asked(
        Level.STUDY, PatientName="", StudyDate="", ModalitiesInStudy="", InstanceAvailability="", StudyID=""
    )
    found = values(PatientName="Müller^Jörg=山田", StudyDate="20260101", ModalitiesInStudy="CT\\SR")
    encoded = encode_answer(inquiry, found, ae_title="US", transfer_syntax_uid=syntax)
    answer = decode_identifier(encoded, syntax)
    said = {attribute.name: "\\".join(map(str, attribute.values)) for attribute in answer.attributes}
    assert said == {
        "PatientName": "Müller^Jörg=山田",
        "StudyDate": "20260101",
        "ModalitiesInStudy": "CT\\SR",
        "InstanceAvailability": "ONLINE",
        "StudyID": "",
        "QueryRetrieveLevel": "STUDY",
        "RetrieveAETitle": "US",
    }


def test_a_value_that_is_none_of_its_vr_is_left_empty() -> None:
    """Senders have them, and an answer with them would be refused whole by who reads it strictly."""
    inquiry = asked(Level.INSTANCE, StudyInstanceUID="1.2", SeriesInstanceUID="1.3", Rows="", ImageType="")
    found = values(Rows="many", ImageType="ORIGINÄL", StudyInstanceUID="1.2")
    encoded = encode_answer(inquiry, found, ae_title="US", transfer_syntax_uid=SYNTAXES[0])
    answer = decode_identifier(encoded, SYNTAXES[0])
    assert answer.values(parse("Rows")) == ()
    assert answer.values(parse("ImageType")) == ()
    assert answer.text(parse("StudyInstanceUID")) == "1.2"


def test_everything_that_our_own_find_asks_for_by_default_is_known() -> None:
    for level, keywords in DEFAULT_KEYS.items():
        for keyword in keywords:
            assert tag_of(keyword) in LEVEL_OF, (level, keyword)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_list_of_what_failed(syntax: str) -> None:
    few = ("1.2.3", "1.2.4")
    assert failed_uids(decode_identifier(encode_failed(few, syntax), syntax)) == few
    many = [f"{'1' * 58}.{number:05}" for number in range(10_000, 12_000)]
    listed = failed_uids(decode_identifier(encode_failed(many, syntax), syntax))
    assert list(listed) == (many if syntax == IMPLICIT_VR_LITTLE_ENDIAN else many[:MOST_FAILED])
