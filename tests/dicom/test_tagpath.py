"""The four spellings of an element, and what is said of every other one."""

from __future__ import annotations

import pytest

from router.dicom.tagpath import DEPTH_CAP, Step, parse


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Modality", [Step(tag=0x00080060)]),
        ("(0008,0060)", [Step(tag=0x00080060)]),
        ("(0019,100c)", [Step(tag=0x0019100C)]),
        ('(0019,"SIEMENS CT VA0",0C)', [Step(tag=0x0019000C, creator="SIEMENS CT VA0")]),
        ('( 0019, "A.B, C" , 0c )', [Step(tag=0x0019000C, creator="A.B, C")]),
        (
            "RequestAttributesSequence.ScheduledProcedureStepID",
            [Step(tag=0x00400275), Step(tag=0x00400009)],
        ),
        (
            '(0040,0275).(0009,"X",01).PatientID',
            [Step(tag=0x00400275), Step(tag=0x00090001, creator="X"), Step(tag=0x00100020)],
        ),
    ],
)
def test_spellings(text: str, steps: list[Step]) -> None:
    parsed = parse(text)
    assert parsed.steps == tuple(steps)
    assert str(parsed) == text


def test_two_spellings_of_one_path_are_equal() -> None:
    assert parse("Modality") == parse("(0008,0060)")
    assert len({parse("Modality"), parse("(0008,0060)"), parse("PatientID")}) == 2


def test_steps_are_written_as_keywords_where_there_is_one() -> None:
    assert [str(s) for s in parse('(0040,0275).(0009,"X",01)').steps] == [
        "RequestAttributesSequence",
        '(0009,"X",01)',
    ]


@pytest.mark.parametrize(
    ("text", "vr"),
    [("Modality", "CS"), ("(0008,0060)", "CS"), ("(0019,100C)", ""), ('(0019,"X",0C)', "")],
)
def test_value_representation(text: str, vr: str) -> None:
    assert parse(text).vr == vr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Modalty", "did you mean 'Modality'"),
        ("modality", "did you mean 'Modality'"),
        ("RequestAttributesSequence.Modallity", "did you mean 'Modality'"),
        ("xyzzy", r"unknown DICOM keyword 'xyzzy'$"),
        ("", "is no element"),
        ("Modality.", "is no element"),
        (".Modality", "is no element"),
        ("Modality Modality", "is no element"),
        ("(0008,006)", "is no element"),
        ("(0008,0060", "is no element"),
        ('(0019,"",0C)', "is no element"),
        ('(0019,"X",100C)', "is no element"),
        ('(0018,"X",0C)', "no private group"),
        ("PatientID.Modality", "PatientID is no sequence"),
        ("TransferSyntaxUID", "file meta information"),
        ("(0000,0100)", "command"),
        (".".join(["RequestAttributesSequence"] * (DEPTH_CAP + 1)), "more than 8"),
    ],
)
def test_what_is_no_element_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(text)
