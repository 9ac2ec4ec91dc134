"""``transcode`` and ``codecs``: files into other transfer syntaxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.dicom.part10 import read_file_meta
from router.dicom.syntaxes import JPEG_2000, RLE_LOSSLESS, SYNTAXES
from router.samples import generate
from router.transform import listing
from router.transform.codecs import Codec
from tests.cli.conftest import Run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("study")
    generate(directory / "patient", ct_slices=1, mr_slices=1, bundled=False)
    (directory / "notes.txt").write_text("no DICOM")
    return directory


def one(study: Path, title: str) -> Path:
    return next(path for path in (study / "patient").iterdir() if path.stem.endswith(title))


def test_one_file_to_one_file_with_its_proof(run: Run, study: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    result = run("transcode", one(study, "-ct"), "--to", "rle-lossless", "-o", made)
    assert result.exit_code == 0, result.output
    assert read_file_meta(made).transfer_syntax_uid == RLE_LOSSLESS
    assert "1 frame identical, XXH3" in result.output
    assert "explicit-vr-little-endian → rle-lossless, written by pylibjpeg-rle" in result.output


def test_a_directory_keeps_its_shape_and_says_what_was_not_had(run: Run, study: Path, tmp_path: Path) -> None:
    result = run("transcode", study, "--to", "rle-lossless", "-o", tmp_path / "made", "-n", 1)
    assert result.exit_code == 1
    assert "notes.txt: left out" in result.output
    assert "it has no pixel data that can be compressed" in result.output  # the report
    assert "it has that transfer syntax already" in result.output
    made = {path.name for path in (tmp_path / "made" / "patient").iterdir()}
    assert one(study, "-ct").name in made
    assert not [name for name in made if name.startswith(".")]


def test_nothing_is_replaced(run: Run, study: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    made.write_text("mine")
    result = run("transcode", one(study, "-ct"), "--to", "rle-lossless", "-o", made)
    assert result.exit_code == 1
    assert "exists already" in result.output
    assert made.read_text() == "mine"


def test_lossy_says_how_far_it_is_off(run: Run, study: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    result = run("transcode", one(study, "-ct"), "--to", "jpeg-2000", "--ratio", 5, "-o", made)
    assert result.exit_code == 0, result.output
    assert "lossy, off by at most" in result.output
    meta = read_file_meta(made)
    assert meta.transfer_syntax_uid == JPEG_2000
    assert meta.sop_instance_uid != read_file_meta(one(study, "-ct")).sop_instance_uid


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--to", "jpeg-2000"], "say how lossy"),
        (["--to", "jpg"], "unknown transfer syntax 'jpg'"),
        (["--to", "rle-lossless", "--quality", "5"], "nothing is lost in it"),
    ],
)
def test_what_is_wrong_with_the_form_is_said(
    run: Run, study: Path, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    result = run("transcode", one(study, "-ct"), *arguments, "-o", tmp_path / "made.dcm")
    assert result.exit_code == 2
    assert problem in result.output


def test_several_files_need_a_directory(run: Run, study: Path, tmp_path: Path) -> None:
    made = tmp_path / "made.dcm"
    made.write_text("mine")
    result = run("transcode", study, "--to", "rle-lossless", "-o", made)
    assert result.exit_code == 2
    assert "is no directory" in result.output


def test_codecs_shows_every_transfer_syntax_once(run: Run) -> None:
    rows = json.loads(run("codecs", "--json").stdout)
    assert [row["uid"] for row in rows] == list(SYNTAXES)
    shown = run("codecs").output
    assert "OpenJPEG (pylibjpeg-openjpeg" in shown
    assert "Passed through only" in shown


def test_what_is_not_installed_is_told_with_how_to_have_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Codec, "missing", property(lambda self: "numpy not installed: pip install 'dicom-router[codecs]'")
    )
    assert "pip install 'dicom-router[codecs]'" in run("codecs").output
    assert not any(row.can_write for row in listing.listing() if row.pixels != "uncompressed")
