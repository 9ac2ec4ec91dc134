"""Files of tests: what may be written there, and that everything wrong is told at its place."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from router.config.yaml_nodes import Problems
from router.dicom.syntaxes import JPEG_2000, RLE_LOSSLESS
from router.dicom.tagpath import parse
from router.model import Priority
from router.rules.cases import Case, Names, load_cases

NAMES = Names(rules=["trauma", "all"], destinations=["pacs", "research"])


def load(tmp_path: Path, text: str) -> tuple[list[Case], list[str]]:
    path = tmp_path / "a.test.yaml"
    path.write_text(text)
    problems = Problems()
    cases = load_cases(path, NAMES, {"ID": "4711"}, problems)
    return cases, [line.removeprefix(f"{path}:") for line in problems.lines]


def test_everything_that_can_be_given_and_expected(tmp_path: Path) -> None:
    cases, problems = load(
        tmp_path,
        """
- test: one
  given:
    calling_ae: CT1
    called_ae: ROUTER
    peer: 10.1.0.1
    listener: modalities
    transfer_syntax: rle-lossless
    sop_class: CTImageStorage
    size_bytes: 400000
    received_at: 2026-01-31T22:30
    priority: low
    PatientID: ${ID}
    ImageType: [ORIGINAL, PRIMARY]
    PatientComments: ~
    RequestAttributesSequence.ScheduledProcedureStepID: "1.10"
  expect:
    rules: [trauma, all]
    send: pacs
    priority: high
    hold: false
    transcoded: {research: {to: jpeg-2000, ratio: 10}}
    edited: {research: {PatientID: A-4711, OtherPatientNames: [A^B, C^D], PatientComments: ~}}
- test: two
  given: {file: ct.dcm}
  expect: {send: []}
""",
    )
    assert not problems
    one, two = cases
    assert one.given.origin == {
        "calling_ae": "CT1", "called_ae": "ROUTER", "peer": "10.1.0.1", "listener": "modalities"
    }  # fmt: skip
    assert one.given.transfer_syntax_uid == RLE_LOSSLESS
    assert one.given.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert one.given.size_bytes == 400000
    assert datetime.fromtimestamp(one.given.received_at).isoformat() == "2026-01-31T22:30:00"  # noqa: DTZ006
    assert one.given.priority is Priority.LOW
    assert [(str(path), texts) for path, texts in one.given.elements] == [
        ("PatientID", ("4711",)),
        ("ImageType", ("ORIGINAL", "PRIMARY")),
        ("PatientComments", ()),
        ("RequestAttributesSequence.ScheduledProcedureStepID", ("1.10",)),
    ]
    assert one.expected.rules == frozenset(("trauma", "all"))
    assert one.expected.send == frozenset(("pacs",))
    assert (one.expected.priority, one.expected.hold) == (Priority.HIGH, False)
    assert one.expected.forms == {"research": JPEG_2000}
    edited = dict(one.expected.edited)["research"]
    assert dict(edited)[parse("OtherPatientNames")] == ("A^B", "C^D")
    assert dict(edited)[parse("PatientComments")] == ()
    assert two.given.file == tmp_path / "ct.dcm"
    assert (two.expected.rules, two.expected.send) == (None, frozenset())
    assert one.place.endswith("a.test.yaml:2:3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1", "1:1: a file of tests is a list: each begins with '- test: NAME'"),
        ("- 1", "1:3: expected a test: '- test: NAME'"),
        ("- {tst: a}", "1:3: expected a test: '- test: NAME'"),
        ("- {test: a, given: {}}", "1:3: test 'a' needs 'given: {...}' and 'expect: {...}'"),
        ("- {test: a, given: {}, expect: {}}", "1:3: test 'a' needs"),
        ("- {test: a, givn: {}, given: {}, expect: {send: []}}", "unknown key 'givn'; did you mean 'given'?"),
        ("- {test: a, given: {calling: X}, expect: {send: []}}", "did you mean 'calling_ae'?"),
        ("- {test: a, given: {PatientId: X}, expect: {send: []}}", "did you mean 'PatientID'?"),
        ("- {test: a, given: {Modality: {a: 1}}, expect: {send: []}}", "expected a value, or a list"),
        ("- {test: a, given: {size_bytes: x}, expect: {send: []}}", "1:33: given: "),
        ("- {test: a, given: {received_at: x}, expect: {send: []}}", "'x' is no date and time, such as"),
        ("- {test: a, given: {sop_class: x}, expect: {send: []}}", "is neither a UID nor the name of a sop"),
        ("- {test: a, given: {peer: [1]}, expect: {send: []}}", "expected one value"),
        ("- {test: a, given: {RequestAttributesSequence: x}, expect: {send: []}}", "an element inside of it"),
        ("- {test: a, given: {file: x, Modality: CT}, expect: {send: []}}", "or elements, but not both"),
        ("- {test: a, given: {}, expect: {sent: []}}", "of 'expect'; did you mean 'send'?"),
        ("- {test: a, given: {}, expect: {rules: traum}}", "unknown rule 'traum'; did you mean 'trauma'?"),
        ("- {test: a, given: {}, expect: {send: pac}}", "unknown destination 'pac'; did you mean 'pacs'?"),
        ("- {test: a, given: {}, expect: {priority: hihg}}", "normal or low; did you mean 'high'"),
        ("- {test: a, given: {}, expect: {hold: maybe}}", "expect: hold: is true or false"),
        ("- {test: a, given: {}, expect: {edited: [pacs]}}", "and what is expected there"),
        ("- {test: a, given: {}, expect: {edited: {pac: {}}}}", "'pac'; did you mean 'pacs'"),
        ("- {test: a, given: {}, expect: {edited: {pacs: x}}}", "pacs: expected elements and the values"),
        ("- {test: a, given: {}, expect: {transcoded: {pacs: xyz}}}", "unknown transfer syntax 'xyz'"),
    ],
)  # fmt: skip
def test_each_problem_is_told(tmp_path: Path, text: str, problem: str) -> None:
    _, problems = load(tmp_path, text)
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.test.yaml"
    path.write_bytes(b"- \xff")
    problems = Problems()
    assert load_cases(path, NAMES, {}, problems) == []
    assert "not UTF-8" in problems.lines[0]
