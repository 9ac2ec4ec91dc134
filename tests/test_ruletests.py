"""Running tests of rules: each way in which one can fail, and that what passes would fail otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config, ruletests, samples
from router.config.yaml_nodes import Problems
from router.dicom.header import scan
from router.dicom.tagpath import parse
from router.rules.cases import Names, load_cases
from router.ruletests import Verdict, data_set_of, found_tests, run
from router.transform.pseudonyms import TEST_KEY, Pseudonyms
from router.transform.writing import encode

CONFIGURATION = """
modalities:
  pacs: {ae_title: PACS, host: h, port: 104}
  partner: {ae_title: PARTNER, host: h, port: 104}
rules:
  - more.yaml
  - {rule: ct, when: {Modality: CT}, send: pacs}
  - rule: edited
    when: {StudyDescription: {contains: second}}
    send: partner
    edit: [{set: {PatientID: "{calling_ae}-{PatientID}"}}, {remove: PatientAddress}]
    transcode: jpeg-2000-lossless
    priority: high
"""
MORE = "- {rule: from-ct1, when: {calling_ae: CT1, size_bytes: {lt: 10kB}}, send: pacs}\n"


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    (tmp_path / "more.yaml").write_text(MORE)
    path = tmp_path / "router.yaml"
    path.write_text(CONFIGURATION)
    return path


def tried(configuration: Path, given: str, expect: str, file: str = "router.test.yaml") -> Verdict:
    settings, rule_set = config.load_all(configuration, {})
    path = configuration.parent / file
    path.write_text(f"- test: it\n  given: {given}\n  expect: {expect}\n")
    tested = ruletests.tested_by(path, configuration, rule_set)
    assert tested is not None
    problems = Problems()
    names = Names(rules=[rule.name for rule in tested.rules], destinations=settings.destination_names)
    (case,) = load_cases(path, names, {}, problems)
    assert not problems.lines
    return run(case, tested, settings)


SECOND = "{Modality: CT, StudyDescription: second opinion, PatientID: 4711, PatientAddress: X, calling_ae: A}"


@pytest.mark.parametrize(
    ("given", "expect", "failure"),
    [
        ("{Modality: CT}", "{rules: [ct], send: pacs, priority: normal, hold: false}", ""),
        ("{Modality: CT}", "{rules: [edited]}", "rules: expected edited; got ct"),
        ("{Modality: CT}", "{rules: []}", "rules: expected none; got ct"),
        ("{Modality: CT}", "{send: [pacs, partner]}", "send: expected pacs, partner; got pacs"),
        ("{Modality: MR}", "{send: [], hold: true, rules: []}", ""),
        ("{Modality: MR}", "{hold: false}", "it is held"),
        ("{Modality: CT}", "{hold: true}", "it is not held"),
        ("{Modality: CT}", "{priority: high}", "priority: expected high, got normal"),
        ("{Modality: CT, priority: low}", "{priority: low}", ""),
        ("{calling_ae: CT1}", "{rules: [from-ct1]}", ""),
        ("{calling_ae: CT1, size_bytes: 20000}", "{rules: []}", ""),
        (SECOND, "{priority: high, transcoded: {partner: jpeg-2000-lossless}}", ""),
        (SECOND, "{transcoded: {partner: rle-lossless}}", "partner: expected rle-lossless, got jpeg-2000-l"),
        (SECOND, "{transcoded: {pacs: rle-lossless}}", "got as the destination takes it"),
        (SECOND, "{edited: {partner: {PatientID: A-4711, PatientAddress: ~}, pacs: {PatientID: 4711}}}", ""),
        (SECOND, "{edited: {pacs: {PatientID: A-4711}}}", "pacs: PatientID: expected A-4711; got 4711"),
        (SECOND, "{edited: {pacs: {PatientAddress: ~}}}", "PatientAddress: expected no value; got X"),
        ("{Modality: CT}", "{edited: {partner: {PatientID: X}}}", "edited: partner: it is not sent there"),
        ("{Rows: many}", "{send: []}", "given: Rows: 'many' is no value of VR US"),
        ("{PixelData: x}", "{send: []}", "given: PixelData has the VR OB: it cannot be given as a text"),
        ("{file: no.dcm}", "{send: []}", "given: No such file or directory"),
    ],
)
def test_what_is_expected_is_compared(configuration: Path, given: str, expect: str, failure: str) -> None:
    verdict = tried(configuration, given, expect)
    assert verdict.has_passed == (not failure)
    if failure:
        assert len(verdict.failures) == 1
        assert failure in verdict.failures[0]


def test_an_edit_that_cannot_be_made_fails_the_test(configuration: Path) -> None:
    given = SECOND.replace("4711", "x" * 64)
    verdict = tried(configuration, given, "{edited: {partner: {PatientAddress: ~}}}")
    assert "PatientID: what it is to be set to is no value of VR LO" in verdict.failures[0]


def test_a_file_says_for_itself_what_it_is(configuration: Path, tmp_path: Path) -> None:
    made = samples.generate(tmp_path / "study", ct_slices=1, mr_slices=0, bundled=False)
    given = f"{{file: {made[0].path.relative_to(tmp_path)}, calling_ae: CT1}}"
    assert tried(configuration, given, "{rules: [ct], send: pacs}").has_passed


def test_a_file_of_tests_is_about_the_rules_beside_it(configuration: Path) -> None:
    given = "{calling_ae: CT1, Modality: CT}"
    assert tried(configuration, given, "{rules: [from-ct1]}", "more.test.yaml").has_passed
    assert tried(configuration, given, "{rules: [from-ct1, ct]}").has_passed
    settings, rule_set = config.load_all(configuration, {})
    other = configuration.parent / "other.test.yaml"
    assert ruletests.tested_by(other, configuration, rule_set) is None
    assert [path.name for path in found_tests(configuration, rule_set)] == [
        "router.test.yaml", "more.test.yaml"
    ]  # fmt: skip
    assert settings.ae_title == "ROUTER"


def test_elements_are_found_where_they_were_given() -> None:
    texts = {
        "PatientName": ("Müller^Jörg",),
        "ImageType": ("ORIGINAL", "PRIMARY"),
        "Rows": ("512",),
        "PatientComments": (),
        "RequestAttributesSequence.ScheduledProcedureStepID": ("A",),
        "RequestAttributesSequence.ScheduledProcedureStepDescription": ("B",),
        '(0019,"ACME",01)': ("x",),
        '(0019,"OTHER",01)': ("y",),
        "(0021,1001)": ("z",),
    }
    paths = {name: parse(name) for name in texts}
    content = b"".join(
        map(bytes, encode(data_set_of([(paths[n], t) for n, t in texts.items()]), "1.2.840.10008.1.2.1"))
    )
    header = scan(content, "1.2.840.10008.1.2.1", frozenset(paths.values()))
    found = {name: tuple(map(str, header.values(path) or ())) for name, path in paths.items()}
    assert found == texts


RESEARCH = """
modalities: {research: {ae_title: RESEARCH, host: h, port: 104}}
rules:
  - rule: research
    send: research
    edit: [{deidentify: basic}, {set: {PatientName: "HEART7-{PatientID}"}}]
"""


def test_what_is_de_identified_can_be_expected(tmp_path: Path) -> None:
    """With a key of its own, as a test must give the same everywhere."""
    path = tmp_path / "router.yaml"
    path.write_text(RESEARCH)
    given = "{PatientName: A^B, PatientID: 4711, StudyDate: 20240101, Modality: CT, StudyDescription: X}"
    expect = (
        "{edited: {research: {PatientName: HEART7-PLACE, PatientID: PLACE, StudyDate: ~, "
        "StudyDescription: ~, Modality: CT, PatientIdentityRemoved: 'YES'}}}"
    )
    pseudonym = Pseudonyms(TEST_KEY).patient_id("4711")
    assert not tried(path, given, expect.replace("PLACE", pseudonym)).failures
    (failure,) = tried(path, given, "{edited: {research: {PatientID: 4711}}}").failures
    assert failure == f"edited: research: PatientID: expected 4711; got {pseudonym}"
    sound = "{sop_class: 1.2.840.10008.5.1.4.1.1.9.4.1}"
    (failure,) = tried(path, sound, "{edited: {research: {PatientID: ~}}}").failures
    assert "it is recorded sound, which cannot be de-identified" in failure
