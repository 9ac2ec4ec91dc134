"""What can be put in order, and how: numbers, dates, times, ages, sizes, the moment of arrival.

A kind turns an operand written in a rule into a number and gives the function that does the same to a value.
Dates and times are as written: the offset of a DT and the zone of the sender are not looked at; the moment of
arrival is taken in this machine's local time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from router.config.scalars import parse_size
from router.dicom.values import Value

Key = Callable[[Value], float | None]

_DATE = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d{1,6})?)?)?")
_DATE_TIME = re.compile(
    r"(\d{4}-?\d{2}-?\d{2})(?:[T ]?(\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?))?([-+]\d{4})?"
)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_AGE_DAYS = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to order values."""

    expected: str  # in an error: "expected ..."
    read: Callable[[str], tuple[float, Key] | None]  # an operand's text
    wraps: bool = False  # between 22:00 and 06:00 means the night


def number(value: Value) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def date(value: Value) -> float | None:
    """Days; 20260131, 2026-01-31 and the 2026.01.31 of ACR-NEMA."""
    match = _DATE.fullmatch(str(value))
    if match is None:
        return None
    try:
        return float(datetime(int(match[1]), int(match[2]), int(match[3])).toordinal())  # noqa: DTZ001
    except ValueError:
        return None


def time_of_day(value: Value) -> float | None:
    """Seconds since midnight; 0830, 083000.5, 08:30."""
    match = _TIME.fullmatch(str(value))
    if match is None:
        return None
    hours, minutes = int(match[1]), int(match[2] or 0)
    if hours > 23 or minutes > 59:
        return None
    return hours * 3600.0 + minutes * 60.0 + float(match[3] or 0) + float(match[4] or 0)


def date_time(value: Value) -> float | None:
    """Seconds since the year 1; a DT, 2026-01-31T08:30, or a date alone for its midnight."""
    match = _DATE_TIME.fullmatch(str(value))
    if match is None:
        return None
    day, seconds = date(match[1]), time_of_day(match[2]) if match[2] else 0.0
    return None if day is None or seconds is None else day * _DAY_S + seconds


def age(value: Value) -> float | None:
    """Days; an AS such as 045Y, or a number of years."""
    match = _AGE.fullmatch(str(value).strip().upper())
    if match is not None:
        return int(match[1]) * _AGE_DAYS[match[2]]
    years = number(value)
    return None if years is None else years * _AGE_DAYS["Y"]


def _same(key: Key) -> Callable[[str], tuple[float, Key] | None]:
    def read(text: str) -> tuple[float, Key] | None:
        operand = key(text)
        return None if operand is None else (operand, key)

    return read


def _size(text: str) -> tuple[float, Key] | None:
    try:
        return float(str(parse_size(int(text) if text.isascii() and text.isdigit() else text))), number
    except ValueError:
        return None


def _local(value: Value) -> time.struct_time:
    return time.localtime(float(value))


def arrival_time(value: Value) -> float | None:
    at = _local(value)
    return at.tm_hour * 3600.0 + at.tm_min * 60.0 + at.tm_sec


def _arrival_date(value: Value) -> float | None:
    at = _local(value)
    return date(f"{at.tm_year:04}{at.tm_mon:02}{at.tm_mday:02}")


def _arrival_date_time(value: Value) -> float | None:
    day, seconds = _arrival_date(value), arrival_time(value)
    return None if day is None or seconds is None else day * _DAY_S + seconds


def _arrival(text: str) -> tuple[float, Key] | None:
    for read, key in ((date, _arrival_date), (date_time, _arrival_date_time), (time_of_day, arrival_time)):
        operand = read(text)
        if operand is not None:
            return operand, key
    return None


NUMBER = Kind(expected="a number", read=_same(number))
DATE = Kind(expected="a date such as 2026-01-31 or 20260131", read=_same(date))
TIME = Kind(expected='a time such as "08:30" or "083000"', read=_same(time_of_day), wraps=True)
DATE_TIME = Kind(expected='a date and time such as "2026-01-31T08:30"', read=_same(date_time))
AGE = Kind(expected="an age such as 018Y or 18", read=_same(age))
SIZE = Kind(expected="a size such as 64MB", read=_size)
ARRIVAL = Kind(expected='a time ("22:00"), a date or both ("2026-01-31T08:30")', read=_arrival, wraps=True)

_BY_VR = {"DA": DATE, "TM": TIME, "DT": DATE_TIME, "AS": AGE}


def of_vr(vr: str) -> Kind:
    """How values of a VR are ordered: as numbers where it says nothing else."""
    return _BY_VR.get(vr, NUMBER)


def is_exact(vr: str) -> bool:
    """Whether two ways to write it mean the same: 2026-01-31 and 20260131."""
    return vr in _BY_VR
