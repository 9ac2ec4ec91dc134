"""What an answer to STOW-RS means (PS3.18 §10.5.3): a table of HTTP statuses, and the reasons inside. Pure.

One instance is sent in each request, so an answer is about that one. Delivered is what 200 and 202 name as
stored, and nothing else: there are services that answer 200 to what they have not read. A failure reason is a
status of C-STORE, and judged as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from router.deliver.verdict import SUCCESS, Fault, Kind, Verdict, of_status
from router.model import Reason

_REFERENCED, _FAILED = "00081199", "00081198"
_UID, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
_UNSAID = 0x0110  # processing failure


def _transient(reason: Reason, fault: Fault = Fault.DESTINATION) -> Verdict:
    return Verdict(kind=Kind.TRANSIENT, reason=reason, fault=fault)


def _permanent(reason: Reason) -> Verdict:
    return Verdict(kind=Kind.PERMANENT, reason=reason, fault=Fault.INSTANCE)


_WARNING = Verdict(kind=Kind.DELIVERED, reason=Reason.WARNING, fault=Fault.NOBODY)
_UNKNOWN = _transient(Reason.PROCESSING_FAILURE, Fault.INSTANCE)
_MISCONFIGURED = _transient(Reason.REJECTED_PERMANENT)  # backs off slowly, and nothing dies of it
_NOT_UNDERSTOOD = _permanent(Reason.CANNOT_UNDERSTAND)  # perhaps another form is

_BY_HTTP_STATUS = {
    400: _NOT_UNDERSTOOD,
    401: _MISCONFIGURED,  # who we are is not enough, or wrong
    403: _MISCONFIGURED,
    404: _MISCONFIGURED,  # there is no such service
    405: _MISCONFIGURED,
    407: _MISCONFIGURED,
    408: _transient(Reason.TIMEOUT, Fault.INSTANCE),
    409: _UNKNOWN,  # it failed, and it does not say why
    410: _MISCONFIGURED,
    413: _permanent(Reason.INVALID_INSTANCE),  # too large for it
    415: _NOT_UNDERSTOOD,
    422: _NOT_UNDERSTOOD,
    425: _transient(Reason.OUT_OF_RESOURCES),
    429: _transient(Reason.OUT_OF_RESOURCES),
    502: _transient(Reason.CONNECTION_LOST),
    503: _transient(Reason.OUT_OF_RESOURCES),
    504: _transient(Reason.TIMEOUT),
    507: _transient(Reason.OUT_OF_RESOURCES),
}
_STORED = (HTTPStatus.OK, HTTPStatus.ACCEPTED)
_NOT_FOR_US = (401, 403, 407)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The judgement, with what an operator is to see of the answer."""

    verdict: Verdict
    status: int | None  # of C-STORE, where the answer had one
    comment: str


def of_answer(http_status: int, body: bytes, sop_instance_uid: str) -> Judged:
    """Judge the answer to the request with this instance. Nothing of the body's texts is repeated."""
    comment = "" if http_status == HTTPStatus.OK else f"HTTP {http_status}{_phrase(http_status)}"
    told = _told(body, sop_instance_uid)
    if told.failure is not None:
        verdict = of_status(told.failure)
        if verdict.is_delivered and verdict.reason is not Reason.DUPLICATE:
            verdict = _UNKNOWN  # it failed, for a reason that is none
        return Judged(verdict=verdict, status=told.failure, comment=comment)
    if http_status in _STORED and told.is_stored:
        verdict = SUCCESS if told.warning is None else _WARNING
        return Judged(verdict=verdict, status=told.warning, comment=comment)
    if http_status in _STORED:
        comment = f"HTTP {http_status}{_phrase(http_status)}, but it does not name the instance as stored"
        return Judged(verdict=_UNKNOWN, status=None, comment=comment)
    if 300 <= http_status < 400:
        comment += ": the service is somewhere else, and the address has to say where"
        return Judged(verdict=_MISCONFIGURED, status=None, comment=comment)
    return Judged(verdict=_BY_HTTP_STATUS.get(http_status, _UNKNOWN), status=None, comment=comment)


def of_probe(http_status: int) -> Verdict:
    """Judge the answer to a question about no instance: is anybody there, and for us?

    That it does not know the question does not matter, nor where it would send us with it.
    """
    if http_status in _NOT_FOR_US:
        return _MISCONFIGURED
    if http_status < HTTPStatus.INTERNAL_SERVER_ERROR or http_status == HTTPStatus.NOT_IMPLEMENTED:
        return SUCCESS
    return _BY_HTTP_STATUS.get(http_status, _transient(Reason.PROCESSING_FAILURE))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    is_stored: bool = False
    warning: int | None = None
    failure: int | None = None


def _told(body: bytes, sop_instance_uid: str) -> _Told:
    """What an answer in DICOM's JSON says of one instance; nothing where it is none."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Told()
    if isinstance(answer, list) and len(answer) == 1:  # some servers make a list of it
        answer = answer[0]
    for item in _items(answer, _FAILED):
        if _first(item, _UID) in (sop_instance_uid, None):
            reason = _number(_first(item, _FAILURE_REASON))
            return _Told(failure=_UNSAID if reason is None else reason)
    for item in _items(answer, _REFERENCED):
        if _first(item, _UID) == sop_instance_uid:
            return _Told(is_stored=True, warning=_number(_first(item, _WARNING_REASON)) or None)
    return _Told()


def _items(answer: object, tag: str) -> list[Mapping[str, object]]:
    element = answer.get(tag) if isinstance(answer, Mapping) else None
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in values if isinstance(item, Mapping)] if isinstance(values, list) else []


def _first(item: Mapping[str, object], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _number(value: object) -> int | None:
    """A status, of 16 bits."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF else None


def _phrase(http_status: int) -> str:
    try:
        return f" {HTTPStatus(http_status).phrase}"
    except ValueError:
        return ""
