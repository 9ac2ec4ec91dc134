"""Every seed and some changes of each, without a fuzzer: what was found once stays found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from tests.fuzz import seeds
from tests.fuzz.engine import inputs
from tests.fuzz.mutation import apply, random_edits
from tests.fuzz.shrinking import shrink
from tests.fuzz.targets import TABLE, Target

each_target = pytest.mark.parametrize("target", TABLE, ids=lambda target: target.name)


class Planted(BaseException):
    """No parser expects it, nor catches it."""


def _or_skip(target: Target) -> None:
    if target.missing:
        pytest.skip(f"there is no {target.missing}")


@each_target
def test_seeds_and_changes_of_them(target: Target, tmp_path: Path) -> None:
    _or_skip(target)
    if target.is_native:  # what ends the process must not end this one
        command = [sys.executable, "-m", "tests.fuzz.engine", target.name, "--engine", "replay"]
        ended = subprocess.run([*command, "--directory", str(tmp_path)], check=False, capture_output=True)
        assert ended.returncode == 0, ended.stderr.decode()
        return
    run = target.bounded()
    for data in inputs(target):
        try:
            run(data)
        except Exception as error:
            error.add_note(f"input:\n{seeds.shown(data)}")
            raise


@each_target
def test_error_inside_of_a_target_would_be_seen(target: Target) -> None:
    _or_skip(target)
    run = target.bounded()
    with patch(target.reaches, side_effect=Planted), pytest.raises(Planted):
        for seed in seeds.load(target.name):
            run(seed.data)


@each_target
def test_every_target_has_seeds_with_names_of_their_own(target: Target) -> None:
    names = [seed.name for seed in seeds.load(target.name)]
    assert len(names) == len(set(names)) > 0


def test_seeds_are_read_as_they_are_shown() -> None:
    data = bytes(range(256)) + b'a "text" (with signs)' + bytes(3)
    assert seeds.unhex(seeds.shown(data)) == data
    assert seeds.unhex('41 ("x" 00) * 3 "end"') == b"Ax\0x\0x\0end"


def test_edits_stay_within_their_bounds() -> None:
    edits = random_edits(Random(1))
    changed = {apply(b"seed" * 10, next(edits), (b"word",), max_bytes=500) for _ in range(500)}
    assert len(changed) > 400
    assert max(map(len, changed)) <= 500


def test_finding_is_made_small() -> None:
    def run(data: bytes) -> None:
        if b"\x07" in data and len(data) > 3:
            raise ValueError

    assert sorted(shrink(run, bytes(range(1, 200)))) == [0, 0, 0, 7]
    assert shrink(run, b"nothing") == b"nothing"
