"""A byte limit is kept within 5 % over 30 s, whatever the size of the instances."""

from __future__ import annotations

import pytest

from bench.rate import TOLERANCE, measure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize(("limit", "size"), [(2_000_000, 40_000), (500_000, 5_000_000)])
def test_a_limit_is_kept(limit: int, size: int) -> None:
    kept = measure(limit=limit, seconds=30.0, size=size)
    print(kept)
    assert abs(kept.error) <= TOLERANCE, str(kept)
