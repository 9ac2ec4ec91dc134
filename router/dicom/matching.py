"""Whether an attribute's values match what a query says of it (PS3.4 §C.2.2.2). Pure.

Names match whatever their case, and by any of their component groups; accents count. Everything else matches
as it is written. Several values, wanted or there, match when any two of them do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from itertools import zip_longest

NUMERIC_VRS = frozenset("DS FD FL IS SL SS SV UL US UV".split())
_EMPTY = '""'  # matches what has no value (PS3.4 §C.2.2.2.7)
_WILDCARDS = frozenset("*?")
_EXACT_VRS = NUMERIC_VRS | {"DA", "TM", "UI"}  # no wildcards in these (PS3.4 §C.2.2.2.4)
_FIRST_TIME, _LAST_TIME = "000000.000000", "235959.999999"
_FIRST_DATE, _LAST_DATE = "00000101", "99991231"

Matches = Callable[[Sequence[str]], bool]  # the values that are there; none of them where it is empty


def matcher(vr: str, wanted: Sequence[str]) -> Matches | None:
    """What decides about an attribute of this VR; None where anything matches, also nothing.

    ``ValueError`` where what is wanted is no date, time or number.
    """
    wanted = [value for value in wanted if value]
    if not wanted or any(set(value) == {"*"} for value in wanted):
        return None
    if wanted == [_EMPTY]:
        return lambda values: not any(values)
    each = [_of_value(vr, value) for value in wanted]
    return lambda values: any(one(value) for value in values if value for one in each)


def _of_value(vr: str, wanted: str) -> Callable[[str], bool]:
    if vr in ("DA", "TM"):
        return _of_time(vr, wanted)
    if vr == "PN":
        return _of_name(wanted)
    if vr in NUMERIC_VRS:
        number = float(wanted)
        return lambda value: _number(value) == number
    if vr not in _EXACT_VRS and _WILDCARDS.intersection(wanted):
        pattern = _normal(wanted)
        return lambda value: fits(pattern, _normal(value))
    exactly = _normal(wanted)
    return lambda value: _normal(value) == exactly


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _normal(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


# Dates and times


def _of_time(vr: str, wanted: str) -> Callable[[str], bool]:
    first, dash, last = (part.strip() for part in wanted.partition("-"))
    if not dash:
        last = first
    low, high = _bound(vr, first, is_last=False), _bound(vr, last, is_last=True)

    def is_within(value: str) -> bool:
        try:
            return low <= _bound(vr, value, is_last=False) <= high
        except ValueError:  # what is no date is in no range
            return False

    return is_within


def _bound(vr: str, text: str, *, is_last: bool) -> str:
    """A date or time in full, so that text compares as time does; "" is the first or the last there is.

    What a time leaves out is as early, or as late, as can be: 1430 as an end is 14:30:59.999999.
    """
    if vr == "DA":
        digits = text.replace(".", "")  # 1999.12.31 is what ACR-NEMA wrote (PS3.5 §6.2)
        whole = digits or (_LAST_DATE if is_last else _FIRST_DATE)
        if len(whole) != 8 or not _is_digits(whole):
            raise ValueError(text)
        return whole
    clock, _, fraction = text.replace(":", "").partition(".")
    fill = _LAST_TIME if is_last else _FIRST_TIME
    if len(clock) not in (0, 2, 4, 6) or (clock and not _is_digits(clock)):
        raise ValueError(text)
    if not fraction:
        return clock + fill[len(clock) :]
    if len(clock) != 6 or len(fraction) > 6 or not _is_digits(fraction):
        raise ValueError(text)
    return f"{clock}.{fraction}{fill[7 + len(fraction) :]}"


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


# Text


def _of_name(wanted: str) -> Callable[[str], bool]:
    """A name by one component group, or by all that are given (PS3.5 §6.2.1)."""
    patterns = _groups(wanted)
    if len(patterns) == 1:
        return lambda value: any(fits(patterns[0], group) for group in _groups(value))
    return lambda value: all(
        fits(pattern, group)
        for pattern, group in zip_longest(patterns, _groups(value), fillvalue="")
        if pattern
    )


def _groups(name: str) -> list[str]:
    """Its component groups, to be compared; components that are empty at the end may be left out."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return [group.strip(" ").rstrip("^ ") for group in folded.split("=")]


def fits(pattern: str, text: str) -> bool:
    """Whether all of ``text`` is what ``pattern`` says, with ``*`` and ``?``.

    Only the last ``*`` is ever tried anew, so that no pattern takes more than the product of both lengths.
    """
    at = in_text = 0
    star, resume = -1, 0
    while in_text < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, in_text
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[in_text]):
            at += 1
            in_text += 1
        elif star >= 0:
            resume += 1
            at, in_text = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")
