"""A byte limit is kept within 5 % over 30 s, whatever the size of the instances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.rate import TOLERANCE, measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_limits_are_kept() -> None:
    """Two gateways side by side: neither has much to do."""
    with ThreadPoolExecutor() as pool:
        small = pool.submit(measure, limit=2_000_000, seconds=30.0, size=40_000)
        large = pool.submit(measure, limit=500_000, seconds=30.0, size=5_000_000)
        for kept in (small.result(), large.result()):
            print(kept)
            assert abs(kept.error) <= TOLERANCE, str(kept)
