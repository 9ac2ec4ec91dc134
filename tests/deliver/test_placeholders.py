"""Paths filled from what peers send."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from router.deliver.placeholders import COMPONENT_BYTES, fill, make_safe, parse_template
from router.dicom.header import Header
from router.dicom.tagpath import parse
from tests.deliver.samples import instance


def filled(template: str, **values: str) -> str:
    header = Header.of({parse(name): (value,) for name, value in values.items()})
    return str(fill(parse_template(template), header, instance(7)))


def test_placeholders_are_replaced() -> None:
    path = filled(
        "/a/{StudyInstanceUID}/{Modality}-{SOPInstanceUID}.dcm", StudyInstanceUID="1.2", Modality="CT"
    )
    assert path == "/a/1.2/CT-1.2.3.7.dcm"


@pytest.mark.parametrize("template", ["/a/b", "/a/b/"])
def test_a_directory_gets_a_name_for_each_instance(template: str) -> None:
    assert filled(template) == "/a/b/1.2.3.7.dcm"


def test_missing_is_unknown() -> None:
    assert filled("/a/{PatientID}/{SOPInstanceUID}") == "/a/UNKNOWN/1.2.3.7"


def test_asked_is_what_the_placeholders_need() -> None:
    template = parse_template('/a/{PatientID}/x.{(0019,"ACME",0C)}')
    assert template.asked == {parse("PatientID"), parse('(0019,"ACME",0C)')}
    assert template.root == PurePath("/a")


def test_unknown_keyword_is_the_users_error() -> None:
    with pytest.raises(ValueError, match="PatienID"):
        parse_template("/a/{PatienID}")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("DOE^JANE", "DOE^JANE"),
        ("../../etc/passwd", "_._.._etc_passwd"),
        ("..", "UNKNOWN"),
        (".", "UNKNOWN"),
        ("/", "UNKNOWN"),
        ("", "UNKNOWN"),
        ("   ", "UNKNOWN"),
        (".hidden", "_hidden"),
        ("a\0b\nc", "a_b_c"),
        ("a\\b:c*d?", "a_b_c_d_"),
        ("Müller^Käthe", "Müller^Käthe"),
        ("山田^太郎", "山田^太郎"),
        ("\u202egnp", "_gnp"),
    ],
)
def test_values_stay_one_component(value: str, expected: str) -> None:
    assert filled("/root/{PatientName}/x{SOPInstanceUID}", PatientName=value) == f"/root/{expected}/x1.2.3.7"


def test_components_are_not_longer_than_file_systems_allow() -> None:
    path = PurePath(
        filled(
            "/r/{PatientID}{PatientName}{PatientComments}.dcm", PatientID="山" * 300, PatientName="a" * 300
        )
    )
    assert max(len(part.encode()) for part in path.parts) <= COMPONENT_BYTES


def test_multiple_values_are_joined() -> None:
    header = Header.of({parse("ImageType"): ("ORIGINAL", "PRIMARY")})
    assert fill(parse_template("/a/{ImageType}.dcm"), header, instance(7)).name == "ORIGINAL_PRIMARY.dcm"


def test_make_safe_leaves_uids_alone() -> None:
    assert make_safe("1.2.840.10008.1.2") == "1.2.840.10008.1.2"
