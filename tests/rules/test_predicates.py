"""Every predicate by what it says of values, and what is refused at load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from router.config.yaml_nodes import Problems, parse
from router.dicom import tagpath
from router.dicom.header import Header
from router.dicom.values import Value
from router.errors import ConfigurationError
from router.rules import Facts, RuleSet, load
from router.rules.loading import load_rules

CT_IMAGE, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
NOON = time.mktime((2026, 1, 31, 12, 0, 0, 0, 0, -1))
HOUR = 3600.0


def facts(
    *,
    peer: str = "10.1.0.21",
    calling_ae: str = "CT1",
    transfer_syntax: str = EXPLICIT,
    sop_class: str = CT_IMAGE,
    size_bytes: int = 524_288,
    received_at: float = NOON,
) -> Facts:
    return Facts(
        calling_ae=calling_ae,
        called_ae="ROUTER",
        peer=peer,
        listener="11112",
        transfer_syntax=transfer_syntax,
        sop_class=sop_class,
        size_bytes=size_bytes,
        received_at=received_at,
    )


def header(**values: tuple[Value, ...] | None) -> Header:
    return Header.of({tagpath.parse(keyword): value for keyword, value in values.items()})


def compiled(condition: str) -> tuple[RuleSet, list[str]]:
    problems = Problems()
    node = parse(f"- rule: r\n  when: {condition}\n  send: x\n", "r.yaml", {}, problems)
    assert node is not None
    inner = getattr(node, "items", ())
    rule_set = load_rules(
        inner, base=Path(), destination_names=["x"], unmatched="hold", environ={}, problems=problems
    )
    return rule_set, problems.lines


def holds(condition: str, given: Header, origin: Facts | None = None) -> bool:
    rule_set, problems = compiled(condition)
    assert not problems
    return rule_set.rules[0].matches(origin or facts(), given)


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("CT", ("CT",), True),
        ("CT", ("ct",), False),
        ("CT", ("MR", "CT"), True),
        ("CT", (), False),
        ("CT", None, False),
        ("[CT, PT]", ("PT",), True),
        ("[CT, PT]", ("MR",), False),
        ("{in: [CT, PT]}", ("CT",), True),
        ("{equals: ct, ignore_case: true}", ("CT",), True),
        ("{in: [ct], ignore_case: true}", ("CT",), True),
        ('""', (), True),
        ('""', None, False),
        ("{contains: rau}", ("Trauma",), True),
        ("{contains: TRAU}", ("Trauma",), False),
        ("{contains: TRAU, ignore_case: true}", ("Trauma",), True),
        ("{contains: [xx, rau]}", ("Trauma",), True),
        ("{starts_with: Tr}", ("Trauma",), True),
        ("{starts_with: rau}", ("Trauma",), False),
        ("{ends_with: ma}", ("Trauma",), True),
        ("{starts_with: T, ends_with: a}", ("Trauma",), True),
        ("{starts_with: T, ends_with: a}", ("Tx", "xa"), False),  # one value has to do it all
        ("{matches: '^NEURO'}", ("NEURO 1",), True),
        ("{matches: 'EUR'}", ("NEURO 1",), True),
        ("{matches: '^neuro', ignore_case: true}", ("NEURO 1",), True),
        ("{matches: '^$'}", (), True),
        ("{matches: ['a', 'b']}", ("xb",), True),
        ("{glob: 'CT*'}", ("CT1",), True),
        ("{glob: 'CT?'}", ("CT12",), False),
        ("{glob: 'CT[1-3]'}", ("CT2",), True),
        ("{glob: 'CT[!1-3]'}", ("CT2",), False),
        ("{glob: 'C.*'}", ("CT",), False),
        ("{glob: 'a[b'}", ("a[b",), True),
        ("{glob: '*x'}", ("CT\nx",), True),
        ("{exists: true}", (), True),
        ("{exists: true}", None, False),
        ("{exists: false}", None, True),
        ("{exists: false}", ("CT",), False),
    ],
)
def test_text(condition: str, values: tuple[Value, ...] | None, expected: bool) -> None:
    assert holds(f"{{StudyDescription: {condition}}}", header(StudyDescription=values)) is expected


@pytest.mark.parametrize(
    ("keyword", "condition", "value", "expected"),
    [
        ("SliceThickness", "1.5", 1.5, True),
        ("SliceThickness", "'1.50'", 1.5, True),
        ("SliceThickness", "{lt: 2}", 1.5, True),
        ("SliceThickness", "{lt: 1.5}", 1.5, False),
        ("SliceThickness", "{le: 1.5}", 1.5, True),
        ("SliceThickness", "{gt: 1, lt: 2}", 1.5, True),
        ("SliceThickness", "{between: [1, 2]}", 2, True),
        ("SliceThickness", "{between: [1, 2]}", 2.1, False),
        ("SliceThickness", "{lt: 2}", "abc", False),
        ("SliceThickness", "{starts_with: '1.'}", 1.5, True),
        ("InstanceNumber", "{ge: 10}", 9, False),
        ("InstanceNumber", "[1, 2]", 2, True),
        ("PatientID", "0012", "0012", True),
        ("PatientID", "0012", "12", False),
        ("PatientID", "12", "12.0", False),
        ("StudyID", "1.10", "1.10", True),
        ("PatientID", "{gt: 5}", "10", True),
        ("StudyDate", "2026-01-31", "20260131", True),
        ("StudyDate", "20260131", "20260131", True),
        ("StudyDate", "[2026-01-30, 2026-01-31]", "20260131", True),
        ("StudyDate", "{ge: 2026-01-01}", "20260131", True),
        ("StudyDate", "{lt: 20260131}", "20260131", False),
        ("StudyDate", "{between: [2026-01-01, 2026-12-31]}", "20270101", False),
        ("StudyDate", "{ge: 2026-01-01}", "2026.02.30", False),
        ("StudyTime", "{lt: '08:30'}", "082959.999", True),
        ("StudyTime", "{ge: '08:30'}", "0830", True),
        ("StudyTime", "'08:30'", "083000", True),
        ("StudyTime", "{between: ['22:00', '06:00']}", "233000", True),
        ("StudyTime", "{between: ['22:00', '06:00']}", "0559", True),
        ("StudyTime", "{between: ['22:00', '06:00']}", "12", False),
        ("AcquisitionDateTime", "{ge: '2026-01-31T08:00'}", "20260131080000.5+0100", True),
        ("AcquisitionDateTime", "{lt: 2026-01-31}", "20260130235959", True),
        ("PatientAge", "{lt: 18}", "017Y", True),
        ("PatientAge", "{ge: 018Y}", "011M", False),
    ],
)
def test_numbers_dates_times_ages(keyword: str, condition: str, value: Value, expected: bool) -> None:
    assert holds(f"{{{keyword}: {condition}}}", header(**{keyword: (value,)})) is expected


@pytest.mark.parametrize(
    ("condition", "origin", "expected"),
    [
        ("{calling_ae: CT1}", facts(), True),
        ("{calling_ae: {glob: 'CT*'}}", facts(), True),
        ("{called_ae: ROUTER}", facts(), True),
        ("{listener: 11112}", facts(), True),
        ("{peer: 10.1.0.21}", facts(), True),
        ("{peer: {cidr: 10.0.0.0/8}}", facts(), True),
        ("{peer: {cidr: 10.2.0.0/16}}", facts(), False),
        ("{peer: {cidr: [192.0.2.0/24, 10.1.0.21]}}", facts(), True),
        ("{peer: {cidr: 10.0.0.0/8}}", facts(peer="::ffff:10.9.9.9"), True),
        ("{peer: {cidr: 'fe80::/10'}}", facts(peer="fe80::1%eth0"), True),
        ("{peer: {cidr: 10.0.0.0/8}}", facts(peer="nowhere"), False),
        ("{transfer_syntax: 1.2.840.10008.1.2.1}", facts(), True),
        ("{transfer_syntax: Explicit VR Little Endian}", facts(), True),
        ("{transfer_syntax: [jpeg-2000-lossless]}", facts(transfer_syntax="1.2.840.10008.1.2.4.90"), True),
        ("{transfer_syntax: {starts_with: JPEG}}", facts(transfer_syntax="1.2.840.10008.1.2.4.90"), True),
        ("{transfer_syntax: {starts_with: JPEG}}", facts(), False),
        ("{sop_class: CTImageStorage}", facts(), True),
        ("{sop_class: CT Image Storage}", facts(), True),
        ("{sop_class: 1.2.840.10008.5.1.4.1.1.4}", facts(), False),
        ("{sop_class: {starts_with: '1.3.12.2'}}", facts(sop_class="1.3.12.2.1107.5.9.1"), True),
        ("{size_bytes: {ge: 512kB}}", facts(), True),
        ("{size_bytes: {gt: 512kB}}", facts(), False),
        ("{size_bytes: {between: [1, 64MB]}}", facts(), True),
        ("{size_bytes: 512kB}", facts(), True),
        ("{received_at: {ge: '08:00', lt: '18:00'}}", facts(), True),
        ("{received_at: {between: ['22:00', '06:00']}}", facts(), False),
        ("{received_at: {between: ['22:00', '06:00']}}", facts(received_at=NOON + 12 * HOUR), True),
        ("{received_at: {ge: 2026-01-31}}", facts(), True),
        ("{received_at: {lt: '2026-01-31T12:00'}}", facts(), False),
    ],
)
def test_origin(condition: str, origin: Facts, expected: bool) -> None:
    assert holds(condition, header(), origin) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{Modality: CT, PatientID: P1}", True),
        ("{Modality: CT, PatientID: P2}", False),
        ("{any: [{Modality: MR}, {PatientID: P1}]}", True),
        ("{any: [{Modality: MR}, {PatientID: P2}]}", False),
        ("{any: [{Modality: CT, PatientID: P2}]}", False),
        ("{any: {Modality: MR, PatientID: P1}}", True),
        ("{all: [{Modality: CT}, {PatientID: P1}]}", True),
        ("{all: {Modality: CT, PatientID: P2}}", False),
        ("{not: {Modality: MR}}", True),
        ("{not: {Modality: CT, PatientID: P2}}", True),
        ("{not: {Modality: CT, PatientID: P1}}", False),
        ("{not: [{Modality: MR}, {PatientID: P1}]}", False),
        ("{not: {any: [{Modality: MR}, {not: {PatientID: P2}}]}}", False),
        ("{not: {AccessionNumber: A}}", True),
    ],
)
def test_blocks(condition: str, expected: bool) -> None:
    assert holds(condition, header(Modality=("CT",), PatientID=("P1",))) is expected


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("{Modalty: CT}", "2:10: unknown DICOM keyword 'Modalty'; did you mean 'Modality'?"),
        ("{calling_aet: CT}", "2:10: unknown condition 'calling_aet'; did you mean 'calling_ae'?"),
        ("{MediaStorageSOPClassUID: x}", "2:10: MediaStorageSOPClassUID belongs to file meta information"),
        ("{anny: []}", "2:10: unknown condition 'anny'; did you mean 'any'?"),
        (
            "{TransferSyntaxUID: x}",
            "2:10: unknown condition 'TransferSyntaxUID'; did you mean 'transfer_syntax'?",
        ),
        ("{Modality: {contain: x}}", "2:21: Modality: unknown predicate 'contain'; did you mean 'contains'?"),
        ("{Modality: {matches: '('}}", "2:30: Modality: '(' is no regular expression: missing )"),
        ("{Modality: {matches: '(?=x)'}}", "is no regular expression"),
        ("{Modality: {exists: 'yes'}}", "2:29: Modality: 'exists' must be true or false"),
        ("{Modality: {exists: true, equals: CT}}", "'exists' stands alone"),
        ("{Modality: {ignore_case: true}}", "'ignore_case' needs a predicate"),
        ("{Modality: {}}", "2:20: Modality: no predicate stands here"),
        ("{Modality: }", '2:20: Modality: expected a value; write "" for an empty element'),
        ("{Modality: []}", "this list is empty"),
        ("{Modality: [[CT]]}", "expected plain values"),
        ("{Modality: {equals: [CT]}}", "expected one value"),
        ("{Modality: {in: CT}}", "expected a list of values"),
        ("{Modality: {contains: ''}}", "would match everything"),
        ("{Modality: {cidr: 10.0.0.0/8}}", "'cidr' is asked of 'peer' only"),
        ("{peer: {cidr: 10.0.0.0/33}}", "2:23: peer: '10.0.0.0/33' does not appear to be"),
        ("{peer: 10.0.0.0/8}", "a network is asked for with {cidr"),
        ("{calling_ae: {lt: 5}}", "compares numbers, dates and times, which this is not"),
        ("{calling_ae: {exists: true}}", "'exists' is asked of elements"),
        ("{size_bytes: {contains: 5}}", "compares text, which this is not"),
        ("{size_bytes: {lt: huge}}", "2:27: size_bytes: expected a size such as 64MB, not 'huge'"),
        ("{received_at: '12:00'}", "compares text, which this is not"),
        ("{received_at: {lt: noon}}", "expected a time"),
        ("{received_at: {between: ['22:00', 2026-01-01]}}", "two values of one kind"),
        ("{StudyDate: {ge: 2026-02-30}}", "expected a date such as 2026-01-31 or 20260131, not '2026-02-30'"),
        ("{StudyTime: {ge: '25:00'}}", "expected a time"),
        ("{SliceThickness: {lt: thin}}", "expected a number, not 'thin'"),
        ("{SliceThickness: {between: [2, 1]}}", "nothing is between 2 and 1"),
        ("{SliceThickness: {between: [1]}}", "takes two values"),
        ("{SliceThickness: {between: 1}}", "expected a list of values"),
        ("{transfer_syntax: JPEG2000Losless}", "did you mean 'JPEG2000Lossless'?"),
        ("{sop_class: CTImage}", "'CTImage' is neither a UID nor the name of a sop class"),
        ("{RequestAttributesSequence: X}", "this is a sequence; only 'exists'"),
        ("{PatientID.Modality: X}", "PatientID is no sequence"),
        ("{any: []}", "2:15: 'any' has nothing in it"),
        ("{any: [CT]}", "expected a mapping of conditions"),
        ("{not: CT}", "expected a mapping of conditions"),
        ("[CT]", "expected a mapping of conditions"),
        ("{}", "there is no condition here"),
    ],
)
def test_what_makes_no_sense_is_told_at_its_place(condition: str, problem: str) -> None:
    _, problems = compiled(condition)
    assert len(problems) == 1, problems
    assert problems[0].startswith("r.yaml:2:") and problem in problems[0], problems[0]


def test_hostile_expressions_take_linear_time() -> None:
    assert not holds("{PatientID: {matches: '(a+)+$'}}", header(PatientID=("a" * 5000 + "b",)))
    assert not holds("{PatientID: {glob: '*a*a*a*a*a*a*a*a*c'}}", header(PatientID=("a" * 5000,)))


def test_text_that_no_encoding_has_never_matches() -> None:
    assert not holds("{PatientID: {matches: 'x'}}", header(PatientID=("\ud800x",)))


def test_paths_asked_are_collected_from_everywhere() -> None:
    rule_set, _ = compiled("{Modality: CT, any: [{PatientID: x}, {not: {'(0008,0050)': y}}], calling_ae: z}")
    assert rule_set.asked == {tagpath.parse(k) for k in ("Modality", "PatientID", "AccessionNumber")}


def test_rules_from_plain_values_have_no_place() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load([{"rule": "r", "when": {"Modalty": "CT"}, "send": "x"}], Path(), ["x"], {}, unmatched="hold")
    assert caught.value.problems == [
        "configuration: unknown DICOM keyword 'Modalty'; did you mean 'Modality'?"
    ]
