"""Questions as people ask them: what is completed, and what is refused before anybody is connected to."""

from __future__ import annotations

import pytest

from router.dicom.query import Key, Level, Model, Query, find_query, parse_keys, retrieve_query
from router.dicom.tagpath import parse


def key(name: str, value: str = "") -> Key:
    return Key(path=parse(name), value=value)


def values(query: Query) -> dict[str, str]:
    return {str(one.path): one.value for one in query.keys}


def test_keys_in_all_spellings() -> None:
    assert parse_keys(
        [
            "PatientName=DOE^J=山田^太郎",
            "(0010,0020)=4711",
            "ScheduledProcedureStepSequence.Modality=CT",
            "Rows",
        ]
    ) == (
        key("PatientName", "DOE^J=山田^太郎"),
        key("PatientID", "4711"),
        key("ScheduledProcedureStepSequence.Modality", "CT"),
        key("Rows"),
    )


def test_a_uid_that_is_given_several_times_is_a_list() -> None:
    keys = parse_keys(["StudyInstanceUID=1.2.3", "StudyInstanceUID", "(0020,000D)=1.2.4"])
    assert keys == (key("StudyInstanceUID", "1.2.3\\1.2.4"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PatientNam=X", "did you mean 'PatientName'"),
        ("StudyDate=2026-01-01", "no date"),
        ("StudyDate=20260101-20260131-", "no date"),
        ("StudyTime=10:30", "no time"),
        ("StudyInstanceUID=1.2*", "without wildcards"),
        ("StudyInstanceUID=1." + "2" * 63, "at most 64"),
        ("PixelData=1", "cannot be matched"),
        ("PatientName=A\nB", "control character"),
        ("ScheduledProcedureStepSequence=CT", "give a key inside of it"),
        ("QueryRetrieveLevel=STUDY", "set by --level"),
        ("SpecificCharacterSet=ISO_IR 100", "set by --character-set"),
        ('(0019,"ACME",0C)=1', "by its creator"),
        ("=", "no element"),
    ],
)
def test_a_key_that_makes_no_sense(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_keys([text])


def test_only_uids_are_given_twice() -> None:
    with pytest.raises(ValueError, match="PatientName is given twice"):
        parse_keys(["PatientName=A", "PatientName=B"])


@pytest.mark.parametrize("value", ["20260101", "20260101-", "-20260131", "20260101-20260131"])
def test_dates_and_ranges_of_them(value: str) -> None:
    assert parse_keys([f"StudyDate={value}"]) == (key("StudyDate", value),)


def test_what_people_look_for_is_asked_for_in_the_same_order_always() -> None:
    query = find_query(parse_keys(["InstitutionName", "StudyDate=20260101-", "PatientName=DOE*"]))
    assert (query.model, query.level) == (Model.STUDY, Level.STUDY)
    names = list(values(query))
    assert names[:3] == ["PatientName", "PatientID", "StudyDate"]
    assert names[-1] == "InstitutionName"
    assert values(query)["PatientName"] == "DOE*"
    assert "StudyInstanceUID" in names
    assert len(names) == len(set(names))


def test_a_patient_is_looked_for_in_the_patient_root() -> None:
    assert find_query((), level=Level.PATIENT).model is Model.PATIENT
    with pytest.raises(ValueError, match="no patient level"):
        find_query((), level=Level.PATIENT, model=Model.STUDY)


def test_a_study_of_the_patient_root_has_no_attributes_of_its_patient() -> None:
    query = find_query(parse_keys(["PatientID=1"]), level=Level.STUDY, model=Model.PATIENT)
    assert values(query)["PatientID"] == "1"
    assert "PatientName" not in values(query)


@pytest.mark.parametrize(
    ("level", "model", "keys", "missing"),
    [
        (Level.SERIES, None, [], "add -k StudyInstanceUID=..."),
        (Level.SERIES, None, ["StudyInstanceUID"], "add -k StudyInstanceUID=..."),
        (Level.INSTANCE, None, [], "add -k StudyInstanceUID=... -k SeriesInstanceUID=..."),
        (Level.INSTANCE, None, ["StudyInstanceUID=1.2"], "add -k SeriesInstanceUID=..."),
        (Level.STUDY, Model.PATIENT, [], "add -k PatientID=..."),
        (Level.SERIES, None, ["StudyInstanceUID=1.2\\1.3"], "must name one study"),
        (Level.STUDY, Model.PATIENT, ["PatientID=47*"], "must name one patient"),
    ],
)
def test_what_is_above_must_be_named(
    level: Level, model: Model | None, keys: list[str], missing: str
) -> None:
    with pytest.raises(ValueError) as caught:
        find_query(parse_keys(keys), level=level, model=model)
    assert missing in str(caught.value)


def test_a_worklist_has_no_levels() -> None:
    query = find_query(parse_keys(["ScheduledProcedureStepSequence.Modality=CT"]), model=Model.WORKLIST)
    assert values(query)["ScheduledProcedureStepSequence.Modality"] == "CT"
    assert "PatientName" in values(query)
    with pytest.raises(ValueError, match="leave --level out"):
        find_query((), model=Model.WORKLIST, level=Level.SERIES)


@pytest.mark.parametrize(
    ("keys", "model", "level"),
    [
        (["PatientID=1"], Model.PATIENT, Level.PATIENT),
        (["StudyInstanceUID=1.2"], Model.STUDY, Level.STUDY),
        (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3\\1.4"], Model.STUDY, Level.SERIES),
        (["StudyInstanceUID=1", "SeriesInstanceUID=2", "SOPInstanceUID=3"], Model.STUDY, Level.INSTANCE),
    ],
)
def test_what_is_retrieved_is_at_the_level_of_its_lowest_key(
    keys: list[str], model: Model, level: Level
) -> None:
    query = retrieve_query(parse_keys(keys))
    assert (query.model, query.level, query.keys) == (model, level, parse_keys(keys))


def test_the_patient_is_no_key_of_the_study_root() -> None:
    assert values(retrieve_query(parse_keys(["PatientID=1", "StudyInstanceUID=1.2"]))) == {
        "StudyInstanceUID": "1.2"
    }


@pytest.mark.parametrize(
    ("keys", "level", "model", "said"),
    [
        ([], None, None, "say what to retrieve, with -k StudyInstanceUID"),
        (["StudyInstanceUID"], None, None, "say what to retrieve"),
        (["PatientName=DOE"], None, None, "no unique key"),
        (["PatientID=47*"], None, None, "without wildcards"),
        (["SeriesInstanceUID=1.3"], None, None, "add -k StudyInstanceUID"),
        (["StudyInstanceUID=1.2"], Level.SERIES, None, "add -k SeriesInstanceUID"),
        (["StudyInstanceUID=1.2", "SeriesInstanceUID=1.3"], Level.STUDY, None, "below the level study"),
        (["StudyInstanceUID=1.2"], None, Model.PATIENT, "add -k PatientID"),
        (["StudyInstanceUID=1.2"], None, Model.WORKLIST, "from a worklist"),
    ],
)
def test_what_cannot_be_retrieved(
    keys: list[str], level: Level | None, model: Model | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        retrieve_query(parse_keys(keys), level=level, model=model)
