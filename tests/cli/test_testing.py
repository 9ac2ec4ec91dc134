"""``test``: what it prints, how it ends, and the report for CI."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Run

CHECKOUT = Path(__file__).resolve().parents[2]
CONFIGURATION = """
modalities: {pacs: {ae_title: PACS, host: h, port: 104}}
rules: [{rule: ct, when: {Modality: CT}, send: pacs}]
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "router.yaml"
    path.write_text(CONFIGURATION)
    return path


def test_the_examples_pass(run: Run) -> None:
    done = run("test", "-c", CHECKOUT / "deploy" / "router.sample.yaml")
    assert done.exit_code == 0, done.output
    for name in ("router.sample", "trauma-first", "by-modality", "research"):
        assert f"{name}.test.yaml" in done.stdout
    assert "0 failed" in done.stdout


def test_a_failure_says_what_each_rule_said(run: Run, configuration: Path, tmp_path: Path) -> None:
    tests = tmp_path / "router.test.yaml"
    tests.write_text(
        "- {test: passes, given: {Modality: CT}, expect: {send: pacs}}\n"
        "- {test: fails, given: {Modality: MR}, expect: {send: pacs}}\n"
    )
    report = tmp_path / "report.xml"
    done = run("test", "-c", configuration, "--junit", report)
    assert done.exit_code == 1
    assert "✓ passes" in done.stdout
    assert f"✗ fails  ({tests}:2:3)" in done.stdout
    assert "send: expected pacs; got none" in done.stdout
    assert "- ct: Modality MR is not CT" in done.stdout
    assert "2 tests, 1 failed" in done.stdout
    (suite,) = ElementTree.fromstring(report.read_bytes())  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["fails"]
    quiet = run("test", "-c", configuration, "--quiet", tests)
    assert "passes" not in quiet.stdout
    assert "✗ fails" in quiet.stdout


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("router.test.yaml", "- {test: a, given: {}, expect: {send: pac}}", "did you mean 'pacs'?"),
        ("other.test.yaml", "", "it is named as its rules are"),
        (None, "", "There is no NAME.test.yaml beside"),
    ],
)
def test_what_is_wrong_with_the_files(
    run: Run, configuration: Path, tmp_path: Path, name: str | None, text: str, told: str
) -> None:
    if name is not None:
        (tmp_path / name).write_text(text)
    done = run("test", "-c", configuration, *([tmp_path / name] if name else []))
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_file_that_is_not_there(run: Run, configuration: Path, tmp_path: Path) -> None:
    done = run("test", "-c", configuration, tmp_path / "router.test.yaml")
    assert (done.exit_code, "No such file" in done.stderr) == (2, True)
