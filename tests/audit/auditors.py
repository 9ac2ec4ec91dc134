"""Auditors for tests."""

from __future__ import annotations

from random import Random

from router.audit.auditor import Auditor
from router.clock import ManualClock
from router.config.audit import Audit
from router.telemetry import Telemetry
from tests.audit.samples import IDENTITY, SETTINGS


def auditor(audit: Audit, clock: ManualClock, telemetry: Telemetry | None = None) -> Auditor:
    return Auditor(
        audit,
        SETTINGS,
        identity=IDENTITY,
        clock=clock,
        telemetry=telemetry or Telemetry(),
        rng=Random(1),
    )
