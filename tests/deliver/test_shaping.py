"""The token bucket: the limit is kept in whatever pieces, and time not used is not saved up."""

from __future__ import annotations

from random import Random

import pytest

from router.clock import ManualClock
from router.config.settings import Deliver, RateWindow
from router.deliver.schedule import Hours
from router.deliver.shaping import BURST_S, SLICE_MAX_BYTES, SLICE_MIN_BYTES, Shaper, TokenBucket, slice_bytes


@pytest.mark.parametrize("rate", [50_000.0, 1_000_000.0, 80_000_000.0])
def test_thirty_seconds_at_the_limit(rate: float) -> None:
    rng = Random(3)
    bucket, now, sent = TokenBucket(), 100.0, 0
    while now < 130.0:
        count = rng.randint(1, slice_bytes(rate))
        now += bucket.take(count, bytes_per_second=rate, now=now)
        sent += count
    assert sent == pytest.approx(rate * 30, rel=0.01)


def test_associations_share_one_limit() -> None:
    bucket = TokenBucket()
    waits = [bucket.take(1000, bytes_per_second=1000.0, now=5.0) for _ in range(4)]
    assert waits == pytest.approx([0.0, 1.0 - BURST_S, 2.0 - BURST_S, 3.0 - BURST_S])


def test_time_not_used_is_not_saved_up() -> None:
    bucket = TokenBucket()
    bucket.take(1000, bytes_per_second=1000.0, now=0.0)
    assert bucket.take(1000, bytes_per_second=1000.0, now=3600.0) == 0.0
    assert bucket.take(1000, bytes_per_second=1000.0, now=3600.0) == pytest.approx(1.0 - BURST_S)


def test_a_change_of_the_limit_holds_from_the_next_byte_on() -> None:
    bucket = TokenBucket()
    bucket.take(1000, bytes_per_second=1000.0, now=0.0)
    assert bucket.take(1000, bytes_per_second=10_000.0, now=0.9) == 0.0
    assert bucket.take(1000, bytes_per_second=10_000.0, now=0.9) == pytest.approx(0.1)


def test_slices() -> None:
    assert slice_bytes(1.0) == SLICE_MIN_BYTES
    assert slice_bytes(1e9) == SLICE_MAX_BYTES
    assert slice_bytes(1_000_000.0) == 50_000


def shaper(*limits: int) -> Shaper:
    rates = tuple(RateWindow(bytes_per_second=limit) for limit in limits)
    return Shaper(Hours(Deliver(bytes_per_second=rates)), ManualClock())


def test_a_limited_buffer_goes_in_pieces() -> None:
    limited, left, pieces, waits = shaper(100_000), 12_000, [], []
    while left:
        piece, wait_s = limited.grant(left)
        pieces.append(piece)
        waits.append(wait_s)
        left -= piece
    assert pieces == [5000, 5000, 2000]
    assert waits == pytest.approx([0.0, 0.0, 0.0])  # within the burst
    assert limited.grant(5000)[1] == pytest.approx(0.02)
    assert limited.is_limited


async def test_without_a_limit_nothing_is_cut() -> None:
    assert shaper().grant(10_000_000) == (10_000_000, 0.0)
    await shaper().pass_through(10**12)
    assert not shaper().is_limited


async def test_what_passes_in_one_piece_waits_for_all_of_it() -> None:
    limited = shaper(1_000_000)
    await limited.pass_through(120_000)
    assert limited.grant(1000)[1] == pytest.approx(0.02)
