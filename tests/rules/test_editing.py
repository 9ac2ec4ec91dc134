"""``edit``: what may be written there, what is wrong with the rest, and what several rules make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.model import Edit, EditKind, Retain, Wish
from router.rules import explain
from router.rules.regex import replacer
from router.rules.templates import FromOrigin, parse_value
from tests.rules.test_ruleset import decide, problems, rules


def edits(tmp_path: Path, text: str) -> tuple[Edit, ...]:
    (rule,) = rules(tmp_path, f"- rule: a\n  send: pacs\n  edit:\n{text}").rules
    return rule.edits


def test_every_kind(tmp_path: Path) -> None:
    made = edits(
        tmp_path,
        """
    - set: {InstitutionName: SITE A, PatientID: "A-{PatientID}", PatientComments: ~}
      remove: PatientAddress
    - set: {AccessionNumber: 007, OtherPatientNames: [A^B, C^D]}
    - replace: {StudyID: {pattern: "^0+", with: ""}}
    - blank: [PatientName, RequestAttributesSequence.ScheduledProcedureStepID]
    - remove: ['(0019,"SIEMENS CT VA0",0C)', "(0009,1001)"]
    - remove_private: true
    - deidentify: basic
    - deidentify: {profile: basic, retain: [dates, uids, dates], burned_in: keep}
""",
    )
    assert made == (
        Edit(kind=EditKind.SET, path="InstitutionName", value="SITE A"),
        Edit(kind=EditKind.SET, path="PatientID", value="A-{PatientID}"),
        Edit(kind=EditKind.SET, path="PatientComments"),
        Edit(kind=EditKind.REMOVE, path="PatientAddress"),
        Edit(kind=EditKind.SET, path="AccessionNumber", value="007"),
        Edit(kind=EditKind.SET, path="OtherPatientNames", value="A^B\\C^D"),
        Edit(kind=EditKind.REPLACE, path="StudyID", pattern="^0+"),
        Edit(kind=EditKind.BLANK, path="PatientName"),
        Edit(kind=EditKind.BLANK, path="RequestAttributesSequence.ScheduledProcedureStepID"),
        Edit(kind=EditKind.REMOVE, path='(0019,"SIEMENS CT VA0",0C)'),
        Edit(kind=EditKind.REMOVE, path="(0009,1001)"),
        Edit(kind=EditKind.REMOVE_PRIVATE),
        Edit(kind=EditKind.DEIDENTIFY),
        Edit(kind=EditKind.DEIDENTIFY, retain=(Retain.DATES, Retain.UIDS), keeps_burned_in=True),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "'edit' has no edits; leave it out"),
        ("anonymize", "'edit' is a list of edits"),
        ("[{sett: {PatientID: X}}]", "unknown edit 'sett'; did you mean 'set'?"),
        ("[{deidentify: full}]", "'deidentify' is basic, or {profile: basic"),
        ("[{deidentify: true}]", "there is no other profile"),
        ("[{deidentify: [basic]}]", "there is no other profile"),
        ("[{deidentify: {retain: [uids]}}]", "there is no other profile"),
        ("[{deidentify: {profile: basic, retian: [uids]}}]", "'retian'; did you mean 'retain'?"),
        ("[{deidentify: {profile: basic, retain: [uid]}}]", "'uid' can be retained; did you mean 'uids'?"),
        (
            "[{deidentify: {profile: basic, retain: everything}}]",
            "; there are uids, dates, dates-shifted, device",
        ),
        ("[{deidentify: {profile: basic, retain: safe-private}}]", "'safe-private' is not supported yet"),
        ("[{deidentify: {profile: basic, retain: [dates, dates-shifted]}}]", "dates-shifted, not both"),
        ("[{deidentify: {profile: basic, retain: {uids: true}}}]", "'retain' takes some of uids, dates"),
        ("[{deidentify: {profile: basic, clean: [pixels]}}]", "'clean' is not supported yet"),
        ("[{deidentify: {profile: basic, burned_in: allow}}]", "'burned_in' is refuse"),
        ("[{set: [PatientID]}]", "'set' takes elements and their values"),
        ("[{set: {PatientId: X}}]", "did you mean 'PatientID'?"),
        ("[{set: {PatientBirthDate: 1.1.1970}}]", "'1.1.1970' is no value of VR DA"),
        ("[{set: {PatientSex: MALE_OR_FEMALE_OR}}]", "is no value of VR CS"),
        ("[{set: {PatientID: {PatientID: ~}}}]", 'has to stand in quotes: "{PatientID}"'),
        ("[{set: {PatientID: '{PatientIDD}'}}]", "unknown DICOM keyword 'PatientIDD'"),
        ("[{set: {PatientID: 'A}B'}}]", "a brace that belongs to no {placeholder}; }} stands for itself"),
        ("[{set: {PatientID: [[A]]}}]", "expected a value, or a list of values"),
        ("[{set: {PatientComments: [A, B]}}]", "an element of VR LT has one value"),
        ("[{set: {Rows: 1}}]", "Rows cannot be edited: it belongs to the pixels"),
        ("[{set: {SeriesNumber: x}}]", "'x' is no value of VR IS"),
        ("[{set: {RecommendedDisplayFrameRateInFloat: 1}}]", "has the VR FL; only elements of text"),
        ("[{set: {RequestAttributesSequence: X}}]", "has the VR SQ; only elements of text"),
        ("""[{set: {'(0019,"A",0C)': X}}]""", "is private or unknown"),
        ("[{set: {SpecificCharacterSet: ISO_IR 192}}]", "it says how all text is to be read"),
        ("[{set: {SOPInstanceUID: 1.2.3}}]", "it is what both peers know it by"),
        ("[{remove: [PixelData]}]", "it belongs to the pixels"),
        ("[{remove: ['(0028,0100)']}]", "it belongs to the pixels"),
        ("[{remove: ['(0002,0010)']}]", "belongs to file meta information"),
        ("[{remove: [[PatientID]]}]", "'remove' takes an element, or a list of them"),
        ("[{blank: {PatientID: ''}}]", "'blank' takes an element, or a list of them"),
        ("[{remove_private: false}]", "'remove_private' is true, or left out"),
        ("[{replace: {PatientID: X}}]", "expected {pattern: "),
        ("[{replace: {PatientID: {pattern: '(', with: ''}}}]", "is no regular expression"),
        ("[{replace: {PatientID: {pattern: 'a', with: '\\1'}}}]", "has no group 1"),
        ("[{replace: {PatientID: {pattern: '', with: 'x'}}}]", "'pattern' and 'with' are texts"),
    ],
)
def test_each_problem_is_told(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"- {{rule: a, send: pacs, edit: {text}}}")
    assert problem in found


def test_an_edit_needs_somebody_to_send_to(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "- {rule: a, stop: true, edit: [{remove: PatientID}]}")
    assert "'edit' changes what a rule sends, and this one has no 'send'" in found


SEVERAL = """
- {rule: plain, send: [pacs, research]}
- {rule: first, send: [research], edit: [{remove: PatientName}, {set: {PatientID: "A-{PatientID}"}}]}
- {rule: again, send: [research, cloud], edit: [{set: {PatientID: "A-{PatientID}"}}, {blank: StudyID}]}
"""


def test_the_edits_of_all_rules_that_name_a_destination_are_made_each_once(tmp_path: Path) -> None:
    decision = decide(rules(tmp_path, SEVERAL))
    made = {name: [str(edit) for edit in edits] for name, edits in decision.edits}
    assert made == {
        "research": ["remove PatientName", "set PatientID to 'A-{PatientID}'", "blank StudyID"],
        "cloud": ["set PatientID to 'A-{PatientID}'", "blank StudyID"],
    }
    assert decision.wish_for("pacs") is None
    assert decision.wish_for("cloud") == Wish(edits=dict(decision.edits)["cloud"])
    assert "=> for cloud: set PatientID to 'A-{PatientID}', blank StudyID" in explain(decision)


def test_values_have_parts() -> None:
    first, middle, last = parse_value("a{{b}}{PatientID}-{calling_ae}")[:3]
    assert (first, str(middle), last) == ("a{b}", "PatientID", "-")
    assert parse_value("{called_ae}") == (FromOrigin(name="called_ae"),)
    assert parse_value("") == ()


@pytest.mark.parametrize(
    ("pattern", "replacement", "text", "result"),
    [
        ("^0+", "", "00120", "120"),
        (r"^(\w+)-(\d+)$", r"\2/\1", "AB-12", "12/AB"),
        ("b*", "x", "abc", "xaxxcx"),
        ("ö", r"\\n", "Köln", r"K\nln"),
        (r"(a)|b", r"[\1]", "ab", "[a][]"),
    ],
)
def test_replacing(pattern: str, replacement: str, text: str, result: str) -> None:
    assert replacer(pattern, replacement)(text) == result
    assert replacer("a", "b")("a\udc80") == "a\udc80", "what no encoding has is left as it is"


def test_a_de_identification_is_told_with_what_it_leaves() -> None:
    assert str(Edit(kind=EditKind.DEIDENTIFY)) == "de-identify by the Basic Profile"
    kept = Edit(kind=EditKind.DEIDENTIFY, retain=(Retain.DATES,), keeps_burned_in=True)
    assert str(kept) == "de-identify by the Basic Profile, but keep dates, what is burned in"
