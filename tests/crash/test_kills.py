"""A few kills under load. ``make crash`` is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.kills import kill_repeatedly

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_acknowledged_instance_survives_kills(tmp_path: Path) -> None:
    report = kill_repeatedly(tmp_path, 3)
    print(report)
    assert report.is_good, f"{report}\n{report.lost[:5]} {report.damaged[:5]} {report.disagreements[:5]}"
