"""When a destination may be sent to, and how fast: windows of the week on a time line. Pure.

A window is written in local time, and lasts from the instant at which a clock on the wall begins to show its
first time to the one at which that clock last shows its second. So, where summer time begins or ends:

- a time that the clocks skip is the instant at which they skip it: a window from 02:30 opens at 03:00,
- an hour that the clocks show twice belongs to a window both times, and the window is closed once, not twice.

Instants are wall time, seconds since the Unix epoch. :class:`Hours` remembers the answer and between which
instants it holds; a wall clock that is set in either direction is out of these, and it is asked anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from router.config.settings import Deliver, RateWindow, Window

_DAY_S = 86400
_HORIZON_DAYS = 9  # a week, a day before it for what lasts over midnight, and one for what opens after it
_Interval = tuple[float, float]


def is_open(windows: Iterable[Window | RateWindow], zone: ZoneInfo, now: float) -> bool:
    """Whether ``now`` is in one of ``windows``. None at all are always open."""
    return _span(windows, zone, now)[0]


def next_change(windows: Iterable[Window | RateWindow], zone: ZoneInfo, now: float) -> float | None:
    """The first instant after ``now`` at which :func:`is_open` changes; None where it never does."""
    until = _span(windows, zone, now)[2]
    return None if math.isinf(until) else until


def _span(windows: Iterable[Window | RateWindow], zone: ZoneInfo, now: float) -> tuple[bool, float, float]:
    """Whether it is open at ``now``, and from when until when that is so, as far as a week shows."""
    chosen = tuple(windows)
    if not chosen:
        return True, -math.inf, math.inf
    merged = _merged(sorted(interval for window in chosen for interval in _intervals(window, zone, now)))
    before = -math.inf
    for start, end in merged:
        if now < start:
            return False, before, start
        if now < end:
            is_endless = end - start > (_HORIZON_DAYS - 1) * _DAY_S
            return True, start, math.inf if is_endless else end
        before = end
    return False, before, math.inf


def _merged(intervals: Iterable[_Interval]) -> list[_Interval]:
    """Sorted intervals, with those that touch made one."""
    merged: list[_Interval] = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _intervals(window: Window | RateWindow, zone: ZoneInfo, now: float) -> Iterator[_Interval]:
    opens, closes = window.between
    if closes <= opens:
        closes += _DAY_S
    yesterday = datetime.fromtimestamp(now, zone).date() - timedelta(days=1)
    for number in range(_HORIZON_DAYS + 1):
        day = yesterday + timedelta(days=number)
        if day.weekday() in window.days:
            start = _instant(day, opens, zone, fold=0)
            end = _instant(day, closes, zone, fold=1)
            if start < end:  # not wholly within an hour that is skipped
                yield start, end


def _instant(day: date, seconds: int, zone: ZoneInfo, *, fold: int) -> float:
    """When a clock in ``zone`` shows that time; of two such instants the first (fold 0) or the second."""
    days, rest = divmod(seconds, _DAY_S)
    wall = datetime.combine(day + timedelta(days=days), time()) + timedelta(seconds=rest)
    instant = wall.replace(tzinfo=zone, fold=fold).timestamp()
    if datetime.fromtimestamp(instant, zone).replace(tzinfo=None) == wall:
        return instant
    return _skip(wall, zone)


def _skip(wall: datetime, zone: ZoneInfo) -> float:
    """The instant at which the clocks of ``zone`` skip ``wall``: where the offset from UTC changes."""
    # Of a skipped time, the earlier reading is that with the later offset (PEP 495).
    low = wall.replace(tzinfo=zone, fold=1).timestamp()
    high = wall.replace(tzinfo=zone, fold=0).timestamp()
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high


class _Remembered:
    """Some windows with the last answer."""

    __slots__ = ("_from", "_is_open", "_windows", "_zone", "until")

    def __init__(self, windows: tuple[Window | RateWindow, ...], zone: ZoneInfo) -> None:
        self._windows = windows
        self._zone = zone
        self._is_open, self._from, self.until = True, math.inf, -math.inf

    def is_open(self, now: float) -> bool:
        if not self._from <= now < self.until:
            self._is_open, self._from, self.until = _span(self._windows, self._zone, now)
        return self._is_open


class Hours:
    """The schedule and the rates of one destination, asked for each instance: cheap between two changes."""

    __slots__ = ("_limits", "_schedule")

    def __init__(self, deliver: Deliver) -> None:
        zone = ZoneInfo(deliver.time_zone if deliver.time_zone is not None else "UTC")
        self._schedule = _Remembered(deliver.schedule, zone)
        self._limits = tuple((limit, _Remembered((limit,), zone)) for limit in deliver.bytes_per_second)

    def is_open(self, now: float) -> bool:
        """Whether it may be sent to now."""
        return self._schedule.is_open(now)

    def next_change(self, now: float) -> float | None:
        """When that changes; None: never."""
        self._schedule.is_open(now)
        return None if math.isinf(self._schedule.until) else self._schedule.until

    def opens_at(self, now: float) -> float | None:
        """When it opens; None where it is open, or never does."""
        return None if self.is_open(now) else self.next_change(now)

    @property
    def has_rate(self) -> bool:
        """Whether it is limited at any time."""
        return bool(self._limits)

    def bytes_per_second(self, now: float) -> int | None:
        """The limit that holds now: the first in the list whose time it is. None: there is none."""
        for limit, window in self._limits:
            if limit.is_always or window.is_open(now):
                return limit.bytes_per_second
        return None
