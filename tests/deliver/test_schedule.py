"""Windows of the week, over midnight and over both changes of summer time (Europe/Berlin, 2026)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from router.config.settings import Deliver, RateWindow, Window
from router.deliver.schedule import Hours, is_open, next_change

BERLIN = ZoneInfo("Europe/Berlin")
WORKDAYS = (0, 1, 2, 3, 4)
H = 3600
NIGHT = Window(days=WORKDAYS, between=(19 * H, 6 * H))


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def told(instant: float | None) -> str:
    assert instant is not None
    return datetime.fromtimestamp(instant, BERLIN).strftime("%a %d %H:%M %Z")


@pytest.mark.parametrize(
    ("now", "is_in", "until"),
    [
        ("2026-11-23T18:59:59", False, "Mon 23 19:00 CET"),
        ("2026-11-23T19:00", True, "Tue 24 06:00 CET"),
        ("2026-11-24T05:59:59", True, "Tue 24 06:00 CET"),
        ("2026-11-24T06:00", False, "Tue 24 19:00 CET"),
        ("2026-11-28T05:00", True, "Sat 28 06:00 CET"),  # Friday's night lasts into Saturday
        ("2026-11-28T20:00", False, "Mon 30 19:00 CET"),
        ("2026-11-23T05:00", False, "Mon 23 19:00 CET"),  # Sunday has no night
    ],
)
def test_a_night_of_the_week(now: str, is_in: bool, until: str) -> None:
    assert is_open([NIGHT], BERLIN, at(now)) is is_in
    assert told(next_change([NIGHT], BERLIN, at(now))) == until


def test_windows_that_touch_are_one() -> None:
    evening = Window(between=(18 * H, 24 * H))
    morning = Window(between=(0, 6 * H))
    assert told(next_change([evening, morning], BERLIN, at("2026-11-23T20:00"))) == "Tue 24 06:00 CET"


def test_always_and_never() -> None:
    assert is_open([], BERLIN, 0.0)
    assert next_change([], BERLIN, 0.0) is None
    always = Window()
    assert is_open([always], BERLIN, at("2026-11-23T00:00"))
    assert next_change([always], BERLIN, at("2026-11-23T00:00")) is None
    monday = Window(days=(0,))
    assert told(next_change([monday], BERLIN, at("2026-11-23T00:00"))) == "Tue 24 00:00 CET"
    assert told(next_change([monday], BERLIN, at("2026-11-24T00:00"))) == "Mon 30 00:00 CET"


def test_a_time_that_the_clocks_skip_is_the_instant_of_skipping() -> None:
    """On 29 March 2026 it is 03:00 one second after 01:59:59."""
    window = Window(between=(2 * H + 1800, 6 * H))
    assert told(next_change([window], BERLIN, at("2026-03-29T01:00"))) == "Sun 29 03:00 CEST"
    assert not is_open([window], BERLIN, at("2026-03-29T03:00") - 1)
    assert is_open([window], BERLIN, at("2026-03-29T03:00"))
    closes = Window(between=(22 * H, 2 * H + 1800))
    assert told(next_change([closes], BERLIN, at("2026-03-28T23:00"))) == "Sun 29 03:00 CEST"
    skipped = Window(between=(2 * H + 900, 2 * H + 2700))
    assert told(next_change([skipped], BERLIN, at("2026-03-29T01:00"))) == "Mon 30 02:15 CEST"


def test_a_night_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    night = Window(between=(19 * H, 6 * H))
    spring = next_change([night], BERLIN, at("2026-03-28T19:00"))
    autumn = next_change([night], BERLIN, at("2026-10-24T19:00"))
    assert spring == at("2026-03-28T19:00") + 10 * H
    assert autumn == at("2026-10-24T19:00") + 12 * H


def test_an_hour_that_comes_twice_is_in_both_times() -> None:
    """On 25 October 2026 it is 02:00 again one second after 02:59:59."""
    window = Window(between=(2 * H + 900, 2 * H + 2700))
    opens, closes = at("2026-10-25T02:15"), at("2026-10-25T02:45", fold=1)
    assert next_change([window], BERLIN, at("2026-10-25T01:00")) == opens
    assert next_change([window], BERLIN, opens) == closes == opens + 5400
    assert is_open([window], BERLIN, at("2026-10-25T02:50"))


def test_every_minute_of_both_nights_agrees_with_the_next_change() -> None:
    windows = [NIGHT, Window(days=(5, 6), between=(2 * H + 1800, 3 * H + 1800))]
    for start in ("2026-03-28T12:00", "2026-10-24T12:00"):
        now, end = at(start), at(start) + 36 * H
        while now < end:
            state, change = is_open(windows, BERLIN, now), next_change(windows, BERLIN, now)
            assert change is not None
            assert is_open(windows, BERLIN, change) is not state
            assert is_open(windows, BERLIN, change - 1) is state
            now += 600


def test_hours_follow_a_clock_that_is_set_in_either_direction() -> None:
    hours = Hours(Deliver(schedule=(NIGHT,), time_zone="Europe/Berlin"))
    evening, noon = at("2026-11-23T20:00"), at("2026-11-23T12:00")
    assert hours.is_open(evening)
    assert not hours.is_open(noon)
    assert hours.is_open(evening + 86400)
    assert (hours.opens_at(evening), told(hours.opens_at(noon))) == (None, "Mon 23 19:00 CET")
    assert told(hours.next_change(evening)) == "Tue 24 06:00 CET"


def test_no_hours_are_always() -> None:
    hours = Hours(Deliver())
    assert (hours.is_open(0.0), hours.next_change(0.0), hours.opens_at(0.0)) == (True, None, None)
    assert (hours.has_rate, hours.bytes_per_second(0.0)) == (False, None)


def test_the_first_limit_whose_time_it_is_holds() -> None:
    day = RateWindow(bytes_per_second=100, days=WORKDAYS, between=(7 * H, 18 * H))
    hours = Hours(
        Deliver(time_zone="Europe/Berlin", bytes_per_second=(day, RateWindow(bytes_per_second=900)))
    )
    assert hours.bytes_per_second(at("2026-11-23T08:00")) == 100
    assert hours.bytes_per_second(at("2026-11-23T20:00")) == 900
    assert hours.bytes_per_second(at("2026-11-22T08:00")) == 900
    only = Hours(Deliver(time_zone="Europe/Berlin", bytes_per_second=(day,)))
    assert only.bytes_per_second(at("2026-11-23T20:00")) is None
