"""router.throughput: rates from totals, in bounded memory."""

from __future__ import annotations

import pytest

from router.telemetry import Telemetry, Totals
from router.throughput import EVERY_S, SAMPLES, Throughput


def totals(count: int) -> Totals:
    return Totals(received=count, received_bytes=count * 100, delivered=count * 2, delivered_bytes=count * 10)


def test_the_rates_are_those_between_samples() -> None:
    kept = Throughput()
    kept.look(100.0, lambda: totals(0))
    assert kept.rates() == ()
    kept.look(100.0 + EVERY_S, lambda: totals(50))
    (rate,) = kept.rates()
    assert (rate.ended_at, rate.received_per_s, rate.received_bytes_per_s) == (105.0, 10.0, 1000.0)
    assert (rate.delivered_per_s, rate.delivered_bytes_per_s) == (20.0, 100.0)


def test_what_is_asked_too_early_is_not_counted() -> None:
    kept = Throughput()
    kept.look(100.0, lambda: totals(0))
    kept.look(100.0 + EVERY_S / 2, lambda: pytest.fail("it was not due"))
    assert kept.rates() == ()


def test_a_sample_that_comes_late_makes_no_peak() -> None:
    kept = Throughput()
    kept.look(0.0, lambda: totals(0))
    kept.look(20.0, lambda: totals(100))
    assert [rate.received_per_s for rate in kept.rates()] == [5.0]


def test_it_keeps_a_quarter_of_an_hour() -> None:
    kept = Throughput()
    for number in range(SAMPLES * 2):
        kept.look(number * EVERY_S, lambda: totals(0))
    rates = kept.rates()
    assert len(rates) == SAMPLES - 1
    assert rates[-1].ended_at - rates[0].ended_at + EVERY_S == 15 * 60


def test_the_totals_are_those_of_the_metrics() -> None:
    telemetry = Telemetry()
    assert telemetry.totals() == Totals()
    telemetry.received(100)
    for destination in ("a", "b"):
        telemetry.delivery_finished(destination, "delivered")
        telemetry.delivered(destination, 0.1, 100)
    telemetry.delivery_finished("a", "dead")
    assert telemetry.totals() == Totals(received=1, received_bytes=100, delivered=2, delivered_bytes=200)
