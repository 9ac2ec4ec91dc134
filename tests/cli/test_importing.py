"""``import``: a file that ``check`` takes, with the report at its head; nothing is overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ORTHANC = """{
  "DicomAet": "HOSPITAL", "LuaScripts": ["route.lua"], "StableAge": 60, // a comment
  "DicomModalities": {"ct": ["CT1", "10.1.0.21", 104]}
}"""


@pytest.fixture
def orthanc(tmp_path: Path) -> Path:
    path = tmp_path / "orthanc.json"
    path.write_text(ORTHANC)
    return path


def test_what_is_written_passes_check(run: Run, orthanc: Path, tmp_path: Path) -> None:
    made = tmp_path / "router.yaml"
    done = run("import", orthanc, "-o", made)
    assert done.exit_code == 0, done.output
    assert "LuaScripts: scripts are not run here" in done.stderr
    assert "1 more keys have no counterpart" in done.stderr
    text = made.read_text()
    assert text.startswith(f"# Made from {orthanc}")
    assert "# - LuaScripts: scripts are not run here" in text
    assert "StableAge" in text
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    checked = run("check", "-c", made)
    assert checked.exit_code == 0, checked.output
    assert "1 modality" in checked.output


def test_to_standard_output_without_a_file(run: Run, orthanc: Path) -> None:
    done = run("import", orthanc)
    assert done.exit_code == 0
    assert "ae_title: HOSPITAL" in done.stdout
    assert "ct: {ae_title: CT1, host: 10.1.0.21, port: 104}" in done.stdout


def test_nothing_is_overwritten_unasked(run: Run, orthanc: Path, tmp_path: Path) -> None:
    made = tmp_path / "router.yaml"
    made.write_text("mine")
    done = run("import", orthanc, "-o", made)
    assert (done.exit_code, made.read_text()) == (2, "mine")
    assert "--force" in done.stderr
    assert run("import", orthanc, "-o", made, "--force").exit_code == 0
    assert "HOSPITAL" in made.read_text()


def test_what_the_gateway_would_not_start_with_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text('{"DicomAet": "MORE THAN SIXTEEN CHARACTERS"}')
    done = run("import", path)
    assert done.exit_code == 0
    assert "has to be put right" in done.stderr
    assert "ae_title: expected an AE title: 1 to 16" in done.stderr


def test_files_that_cannot_be_read(run: Run, tmp_path: Path) -> None:
    missing = run("import", tmp_path / "no.json")
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    done = run("import", broken)
    assert (done.exit_code, f"{broken}:1:2:" in done.stderr) == (2, True)
    unwritable = run("import", broken, "-o", tmp_path / "no" / "router.yaml")
    assert unwritable.exit_code == 2
