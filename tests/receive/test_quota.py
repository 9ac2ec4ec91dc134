"""Quotas: each source against its own limit, counted by the ledger now and then and here in between."""

from __future__ import annotations

import anyio
import pytest

from router.clock import ManualClock
from router.config.settings import Modality, Settings
from router.errors import StorageError
from router.receive.quota import UNKNOWN, Quota, Quotas, Usage, quota_of
from router.telemetry import Telemetry


def modality(ae_title: str, quota: int | None = None) -> Modality:
    return Modality(ae_title=ae_title, host="h", port=104, quota=quota)


SETTINGS = Settings(
    modalities={
        "ct1": modality("CT1", 1000),
        "mr1": modality("MR1"),
        "us-a": modality("US", 500),
        "us-b": modality("US", 700),
        "x-a": modality("X", 500),
        "x-b": modality("X"),
    },
    quota_unknown=100,
)


@pytest.mark.parametrize(
    ("caller", "quota"),
    [
        ("CT1", Quota(source="ct1", limit_bytes=1000)),
        ("MR1", None),
        ("US", Quota(source="us-a", limit_bytes=700)),
        ("X", None),
        ("WHO", Quota(source=UNKNOWN, limit_bytes=100)),
    ],
)
def test_whose_quota_holds(caller: str, quota: Quota | None) -> None:
    assert quota_of(SETTINGS, caller) == quota


def test_usage_between_two_counts() -> None:
    usage = Usage(SETTINGS)
    usage.add("ct1", 300)
    usage.begin_count()
    usage.add("ct1", 50)
    assert usage.used_bytes("ct1") == 350
    usage.counted({"CT1": 300, "WHO": 40, "ELSE": 50, "MR1": 10**9})
    assert usage.used_bytes("ct1") == 350  # stored while the ledger was asked: perhaps not in its answer
    usage.begin_count()
    usage.counted({"CT1": 20})
    assert usage.sources == {"ct1": 20, "us-a": 0, "us-b": 0, "x-a": 0, UNKNOWN: 0}


def test_a_count_that_failed_forgets_nothing() -> None:
    usage = Usage(SETTINGS)
    usage.add("ct1", 300)
    usage.begin_count()
    usage.begin_count()
    assert usage.used_bytes("ct1") == 300


class Ledger:
    """What the spool says."""

    def __init__(self) -> None:
        self.has: dict[str, int] = {}
        self.fails = False
        self.asked = anyio.Event()

    async def undelivered_bytes(self) -> dict[str, int]:
        self.asked.set()
        if self.fails:
            raise StorageError("ill", out_of_resources=False)
        return self.has


async def test_a_source_over_its_quota_is_refused_and_it_alone() -> None:
    ledger, telemetry = Ledger(), Telemetry()
    quotas = Quotas(ledger, SETTINGS, ManualClock(), telemetry)
    quotas.stored("CT1", 999)
    assert quotas.problem("CT1") == ""
    quotas.stored("CT1", 1)
    assert quotas.problem("CT1") == "the quota for undelivered data from here is used up"
    assert not any(map(quotas.problem, ("MR1", "US", "WHO")))
    assert b'dicom_router_quota_refusals_total{source="ct1"} 1.0' in telemetry.render()
    await quotas.count()  # all of it was delivered meanwhile
    assert quotas.problem("CT1") == ""
    ledger.has = {"CT1": 5000}
    await quotas.count()
    assert quotas.problem("CT1")
    assert b'dicom_router_undelivered_bytes{source="ct1"} 5000.0' in telemetry.render()


async def test_the_unknown_share_one_quota() -> None:
    quotas = Quotas(Ledger(), SETTINGS, ManualClock(), Telemetry())
    quotas.stored("A", 60)
    quotas.stored("B", 60)
    assert quotas.problem("C")


async def test_no_quota_asks_nobody() -> None:
    ledger = Ledger()
    quotas = Quotas(ledger, Settings(), ManualClock(), Telemetry())
    quotas.stored("A", 10**12)
    assert quotas.problem("A") == ""
    await quotas.run()
    assert not ledger.asked.is_set()


async def test_a_ledger_that_fails_is_asked_again() -> None:
    ledger = Ledger()
    ledger.fails = True
    quotas = Quotas(ledger, SETTINGS, ManualClock(), Telemetry())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(quotas.run)
        await ledger.asked.wait()
        tasks.cancel_scope.cancel()
    assert quotas.problem("CT1") == ""
