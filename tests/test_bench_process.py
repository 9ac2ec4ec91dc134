"""What the comparisons find on a machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.process import find_program


def _install(directory: Path, name: str) -> Path:
    directory.mkdir(parents=True)
    program = directory / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_a_peer_is_not_looked_for_in_our_own_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom brings a ``storescp``, and ``activate`` puts it before DCMTK's."""
    _install(tmp_path / "venv" / "bin", "storescp")
    peer = _install(tmp_path / "usr" / "bin", "storescp")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("PATH", os.pathsep.join((str(tmp_path / "venv" / "bin"), str(peer.parent))))
    assert find_program("storescp") == str(peer)
    monkeypatch.setenv("PATH", str(tmp_path / "venv" / "bin"))
    assert find_program("storescp") is None
