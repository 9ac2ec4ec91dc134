"""deploy/dicom-router.service: what systemd thinks of it, and that it gives no more than is needed."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from router.config.settings import Settings
from tests.peers import require

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
UNIT = DEPLOY / "dicom-router.service"


def keys() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if match := re.fullmatch(r"([A-Za-z]+)=(.*)", line):
            found[match[1]].append(match[2])
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with a program that exists, for a machine on which ours is not installed."""
    text = UNIT.read_text()
    assert "ExecStart=/opt/dicom-router/bin/dicom-router serve " in text
    path = tmp_path / UNIT.name
    path.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("systemd-analyze"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_systemd_finds_nothing_wrong(installed: Path) -> None:
    result = analyze("verify", "--man=no", str(installed))
    assert (result.returncode, result.stderr) == (0, "")


def test_systemd_finds_it_well_closed(installed: Path) -> None:
    result = analyze("security", "--offline=true", "--threshold=20", str(installed))  # 2.0 of 10
    assert result.returncode == 0, result.stdout[-2000:]


def test_it_may_bind_port_104_and_nothing_else_that_root_may() -> None:
    unit = keys()
    assert unit["User"] == ["dicom-router"]
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "MemoryDenyWriteExecute"):
        assert unit[key] == ["yes"], key
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["UMask"] == ["0027"]
    assert set(unit["RestrictAddressFamilies"][0].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}
    assert unit["SystemCallFilter"][0] == "@system-service"


def test_it_fits_what_the_gateway_does() -> None:
    unit = keys()
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert int(unit["TimeoutStopSec"][0].removesuffix("s")) > Settings().drain
    assert unit["StateDirectory"] == ["dicom-router"]
    users = (DEPLOY / "dicom-router.sysusers.conf").read_text()
    assert "u dicom-router " in users and "/var/lib/dicom-router" in users
