"""Times of day, days of the week and time zones as the configuration writes them.

``between: [19:00, 06:00]`` is a night: it begins on one of its ``days`` and ends on the day after. The same
time twice is a whole day. 24:00 is the midnight at the end of a day.
"""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = tuple(range(7))

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DAY_S = 86400


def parse_time_of_day(value: object) -> int:
    """``19:00`` or ``06:30:15`` → seconds since midnight, by the clock on the wall."""
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        hours, minutes, seconds = int(match[1]), int(match[2]), int(match[3] or 0)
        total = hours * 3600 + minutes * 60 + seconds
        if minutes < 60 and seconds < 60 and total <= _DAY_S:
            return total
    raise ValueError("expected a time of day such as 06:00 or 19:30")


def parse_between(value: object) -> object:
    """``[19:00, 06:00]`` → seconds since midnight, twice."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(one if isinstance(one, int) else parse_time_of_day(one) for one in value)
    raise ValueError("expected two times of day such as [19:00, 06:00]")


def parse_days(value: object) -> object:
    """``mon-fri``, ``sat, sun`` or a list of such → numbers of days, Monday is 0."""
    if isinstance(value, tuple) and all(isinstance(day, int) for day in value):
        return value
    parts = value if isinstance(value, list) else [value]
    days: set[int] = set()
    for part in parts:
        if not isinstance(part, str):
            raise ValueError("expected days such as mon-fri or sat, sun")
        for word in part.split(","):
            days |= _days_of(word)
    return tuple(sorted(days))


def _days_of(word: str) -> set[int]:
    first, dash, last = (name.strip().casefold()[:3] for name in word.partition("-"))
    if first not in DAY_NAMES or (dash and last not in DAY_NAMES):
        raise ValueError(f"expected days such as mon-fri or sat, sun, not {word.strip()!r}")
    start = DAY_NAMES.index(first)
    length = (DAY_NAMES.index(last) - start) % 7 if dash else 0
    return {(start + day) % 7 for day in range(length + 1)}


def check_time_zone(value: object) -> object:
    """A name of the IANA database that this machine knows."""
    if isinstance(value, str) and value:
        try:
            ZoneInfo(value)
            return value
        except (KeyError, ValueError, OSError):  # unknown, a path out of the database, a directory of it
            pass
    raise ValueError("expected a time zone of the IANA database such as Europe/Berlin or UTC")


Days = Annotated[tuple[int, ...], BeforeValidator(parse_days)]
Between = Annotated[tuple[int, int], BeforeValidator(parse_between)]
TimeZone = Annotated[str, BeforeValidator(check_time_zone)]
