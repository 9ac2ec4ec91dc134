"""Table E.1-1 of PS3.15, against another transcription of it and by its own rules."""

from __future__ import annotations

import hashlib

import pytest
from pydicom.datadict import keyword_dict

from router.model import Retain
from router.transform.confidentiality import RESOLVED, RETAINED, TABLE, Action, action_of, vr_of

# Of the table 2026c in dicom-anonymizer 2.1.0 (BSD): its lists D_TAGS to X_Z_U_STAR_TAGS without patterns,
# as sorted lines "GGGGEEEE CODE".
ROWS, DIGEST = 652, "3346188245b8625457c9b2c2fedb317c41c18b0f1657c7a69817bf198a729e34"


def tag(keyword: str) -> int:
    return keyword_dict[keyword]


def test_it_is_the_table_that_others_have() -> None:
    rows = sorted(f"{number:08X} {code}" for number, code in TABLE.items())
    assert (len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()) == (ROWS, DIGEST)


@pytest.mark.parametrize(
    ("keyword", "action"),
    [
        ("PatientName", Action.EMPTY),
        ("PatientID", Action.PSEUDONYM),
        ("PatientAddress", Action.REMOVE),
        ("StudyInstanceUID", Action.UID),
        ("SeriesDate", Action.DUMMY),
        ("ContentDate", Action.DUMMY),
        ("InstitutionName", Action.DUMMY),
        ("AcquisitionDate", Action.EMPTY),
        ("AcquisitionContextSequence", Action.EMPTY),
        ("SourceImageSequence", Action.KEEP),
        ("ReferencedPerformedProcedureStepSequence", Action.KEEP),
        ("PersonIdentificationCodeSequence", Action.DUMMY),
        ("GraphicAnnotationSequence", Action.REMOVE),
        ("WaveformAnnotationSequence", Action.REMOVE),
        ("IconImageSequence", Action.REMOVE),
        # what the table does not have
        ("Modality", Action.KEEP),
        ("SOPClassUID", Action.KEEP),
        ("ReferencedSOPClassUID", Action.KEEP),
        ("PixelData", Action.KEEP),
        ("SharedFunctionalGroupsSequence", Action.KEEP),
        ("CodeMeaning", Action.KEEP),
        ("SOPInstanceUIDOfConcatenationSource", Action.UID),
        ("EvaluatorName", Action.DUMMY),
        ("RetrieveURL", Action.DUMMY),
        ("SegmentDescription", Action.DUMMY),
        ("DoseComment", Action.DUMMY),
        ("NTPSourceAddress", Action.DUMMY),
        ("DocumentAuthorTrial", Action.REMOVE),
        ("ReferencedOverlaySequence", Action.REMOVE),
        ("EncryptedAttributesSequence", Action.REMOVE),
        ("RequestingPhysicianIdentificationSequence", Action.REMOVE),
        ("RecordKey", Action.DUMMY),
        ("ICCProfile", Action.KEEP),
        ("ObjectBinaryIdentifierTrial", Action.REMOVE),
    ],
)
def test_actions(keyword: str, action: Action) -> None:
    assert action_of(tag(keyword)) is action


@pytest.mark.parametrize(
    "number",
    [
        0x00091001, 0x00090010, 0x00191010, 0x7FE11010,  # private
        0x00000110, 0x00020016, 0x00041130,  # commands, file meta, directories
        0x50000005, 0x501E3000, 0x60000010, 0x60003000, 0x601E4000,  # curves, overlays
        0x7F000010, 0x7FDE0010, 0xFFFAFFFA, 0xFFFCFFFC,
        0x0008FFFF, 0x12345678,  # in no dictionary
    ],
)  # fmt: skip
def test_groups_that_go_whatever_is_in_them(number: int) -> None:
    assert action_of(number) is Action.REMOVE
    assert action_of(number, frozenset(Retain)) is Action.REMOVE


def test_nothing_of_the_table_is_kept_but_sequences_of_references() -> None:
    kept = {number for number in TABLE if action_of(number) is Action.KEEP}
    assert kept == {
        tag("ReferencedImageSequence"),
        tag("SourceImageSequence"),
        tag("ReferencedPerformedProcedureStepSequence"),
    }


def test_what_may_need_a_value_gets_one_that_its_vr_has() -> None:
    for number, code in TABLE.items():
        action = action_of(number)
        if vr_of(number) == "SQ" or action in (Action.REMOVE, Action.PSEUDONYM):
            continue
        assert action is RESOLVED[code], f"{number:08X}"
        assert action is not Action.UID or vr_of(number) == "UI"


@pytest.mark.parametrize(
    ("option", "kept", "others"),
    [
        (Retain.UIDS, "StudyInstanceUID SOPInstanceUID AssertionUID", "DigitalSignatureUID PatientName"),
        (Retain.DATES, "StudyDate RadiopharmaceuticalStartTime", "PatientBirthDate PatientBirthTime"),
        (Retain.DEVICE, "StationName DeviceSerialNumber DeviceUID", "InstitutionName StudyInstanceUID"),
        (Retain.INSTITUTION, "InstitutionName InstitutionCodeSequence", "StationName PhysiciansOfRecord"),
        (Retain.PATIENT_CHARACTERISTICS, "PatientSex PatientAge PatientWeight", "PatientBirthDate Allergies"),
    ],
)
def test_an_option_retains_what_is_its_and_nothing_else(option: Retain, kept: str, others: str) -> None:
    retain = frozenset({option})
    for keyword in kept.split():
        assert action_of(tag(keyword), retain) is Action.KEEP
        rest = frozenset(Retain) - retain - {Retain.DATES_SHIFTED}
        assert action_of(tag(keyword), rest) is not Action.KEEP or keyword == "DeviceUID"
    for keyword in others.split():
        assert action_of(tag(keyword), retain) is not Action.KEEP


def test_no_option_retains_who_it_is() -> None:
    who = "PatientName PatientID PatientBirthDate PatientAddress OtherPatientIDs AccessionNumber StudyID"
    for keyword in who.split():
        assert action_of(tag(keyword), frozenset(Retain)) is not Action.KEEP
    assert all(numbers <= TABLE.keys() for numbers in RETAINED.values())


def test_dates_are_shifted_where_they_would_be_retained_and_times_stay() -> None:
    retain = frozenset({Retain.DATES_SHIFTED})
    actions = {number: action_of(number, retain) for number in TABLE}
    assert {vr_of(number) for number, action in actions.items() if action is Action.SHIFT} == {"DA", "DT"}
    assert actions[tag("StudyDate")] is Action.SHIFT
    assert actions[tag("StudyTime")] is Action.KEEP
    assert actions[tag("PatientBirthDate")] is Action.EMPTY
    assert actions[tag("PatientBirthTime")] is Action.REMOVE
    assert actions[tag("TimezoneOffsetFromUTC")] is Action.REMOVE
    shifted = {number for number, action in actions.items() if action is Action.SHIFT}
    assert shifted <= RETAINED[Retain.DATES]
