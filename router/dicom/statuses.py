"""What the statuses of queries mean (PS3.4 §C.4.1.1.4, §C.4.2.1.5, §C.4.3.1.4; PS3.7 Annex C)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from router.dicom.codes import CommandField, Status


class Outcome(Enum):
    """What kind of status it is."""

    PENDING = "pending"  # more responses follow
    SUCCESS = "success"
    WARNING = "warning"  # done, but not all of it as it should be
    CANCELLED = "cancelled"
    FAILURE = "failure"


PENDING_WITH_DOUBT = 0xFF01  # an optional key was not matched, or is not there
SUB_OPERATIONS_FAILED = 0xB000
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})

_EVERYWHERE = {
    0x0000: "success",
    0x0105: "it does not know an attribute of the request",
    0x0106: "a value of the request is invalid",
    0x0110: "processing failure",
    0x0115: "an argument of the request is invalid",
    0x0117: "an invalid SOP Instance UID",
    0x0118: "no such SOP class",
    0x0122: "the SOP class is not supported",
    0x0124: "not authorised",
    0x0210: "message id used twice",
    0x0211: "it does not perform this operation",
    0x0212: "a mistyped argument",
    0x0213: "resource limitation",
    0xA900: "what was asked does not fit the information model (a key that is missing or not allowed)",
}
_FIND = {
    0xA700: "out of resources",
    0xFE00: "matching ended, as it was cancelled",
    0xFF00: "more matches follow",
    0xFF01: "more matches follow; optional keys may not have been matched",
}
_RETRIEVE = {
    0xA701: "out of resources: the number of matches cannot be calculated",
    0xA702: "out of resources: the instances cannot be sent",
    0xB000: "ended, with failures or warnings of single instances",
    0xFE00: "ended, as it was cancelled",
    0xFF00: "still sending",
}
_MOVE = {
    **_RETRIEVE,
    0xA801: "move destination unknown: it knows no AE of the title to which it should send",
}
_WORDS: Mapping[int, Mapping[int, str]] = {
    CommandField.C_FIND_RQ: _FIND,
    CommandField.C_MOVE_RQ: _MOVE,
    CommandField.C_GET_RQ: _RETRIEVE,
}


def outcome_of(status: int) -> Outcome:
    """What kind of status it is; whatever the standard does not know is a failure."""
    if status in (Status.PENDING, PENDING_WITH_DOUBT):
        return Outcome.PENDING
    if status == Status.SUCCESS:
        return Outcome.SUCCESS
    if status == Status.CANCEL:
        return Outcome.CANCELLED
    if status >> 12 == 0xB or status in _WARNINGS:
        return Outcome.WARNING
    return Outcome.FAILURE


def describe_status(request: int, status: int) -> str:
    """A status in words, for the operation of the given command field, with its number."""
    words = _WORDS.get(request, {}).get(status) or _EVERYWHERE.get(status)
    if words is None:
        if status >> 12 == 0xC:
            words = "unable to process"
        elif status >> 8 == 0xA7:
            words = "out of resources"
        else:
            words = f"a {outcome_of(status).value} that the standard does not name"
    return f"{words} ({status:04X})"
