"""The verdict table: what an answer or an error means for the delivery, and whose fault it is.

The table is design.md's, over the status codes of PS3.4 Table B.2-1 (C-STORE) and PS3.7 Annex C. What no row
names is transient: an unknown answer is no proof that the instance can never be stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from router.errors import (
    AssociationAborted,
    AssociationLost,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    CorruptRecord,
    RemoteProtocolError,
    StorageError,
    TlsFailed,
    TranscodeFailed,
)
from router.model import Reason


class Kind(Enum):
    """What becomes of the delivery."""

    DELIVERED = "delivered"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


class Fault(Enum):
    """Who has to wait after a failure."""

    NOBODY = "nobody"
    INSTANCE = "instance"  # this delivery alone backs off
    ASSOCIATION = "association"  # it broke while the instance was outstanding: either may be to blame
    DESTINATION = "destination"  # the instance was never sent: all of the destination backs off


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement on one attempt."""

    kind: Kind
    reason: Reason
    fault: Fault

    @property
    def is_delivered(self) -> bool:
        return self.kind is Kind.DELIVERED

    @property
    def is_permanent(self) -> bool:
        return self.kind is Kind.PERMANENT


def _delivered(reason: Reason) -> Verdict:
    return Verdict(kind=Kind.DELIVERED, reason=reason, fault=Fault.NOBODY)


def _permanent(reason: Reason) -> Verdict:
    return Verdict(kind=Kind.PERMANENT, reason=reason, fault=Fault.INSTANCE)


def _transient(reason: Reason, fault: Fault = Fault.INSTANCE) -> Verdict:
    return Verdict(kind=Kind.TRANSIENT, reason=reason, fault=fault)


SUCCESS = _delivered(Reason.SUCCESS)
NO_CONTEXT = _permanent(Reason.NO_CONTEXT)
NO_FORM = _permanent(Reason.TRANSCODE)  # what it takes, the instance cannot be brought into

# It came through and the destination could make no sense of it: perhaps it can in another form.
CURABLE = frozenset({Reason.DATA_SET_MISMATCH, Reason.CANNOT_UNDERSTAND})

_WARNING = _delivered(Reason.WARNING)
_INVALID = _permanent(Reason.INVALID_INSTANCE)
_UNSUPPORTED = _permanent(Reason.SOP_CLASS_NOT_SUPPORTED)
_UNKNOWN = _transient(Reason.PROCESSING_FAILURE)

_BY_STATUS = {
    0x0000: SUCCESS,
    0x0001: _WARNING,  # requested optional attributes are not supported
    0x0107: _WARNING,  # attribute list error
    0x0116: _WARNING,  # attribute value out of range
    0x0111: _delivered(Reason.DUPLICATE),
    0x0106: _INVALID,  # invalid attribute value
    0x0117: _INVALID,  # invalid SOP Instance
    0x0119: _INVALID,  # class-instance conflict
    0x0120: _INVALID,  # missing attribute
    0x0121: _INVALID,  # missing attribute value
    0x0118: _UNSUPPORTED,  # no such SOP Class
    0x0122: _UNSUPPORTED,
    0x0124: _permanent(Reason.NOT_AUTHORISED),
    0x0110: _UNKNOWN,  # processing failure
    0x0213: _UNKNOWN,  # resource limitation
}
_BY_HIGH_NIBBLE = {0xB: _WARNING, 0xC: _permanent(Reason.CANNOT_UNDERSTAND)}
_BY_HIGH_BYTE = {0xA7: _transient(Reason.OUT_OF_RESOURCES), 0xA9: _permanent(Reason.DATA_SET_MISMATCH)}


def of_status(status: int) -> Verdict:
    """Judge the status of a C-STORE response."""
    return (
        _BY_STATUS.get(status)
        or _BY_HIGH_BYTE.get(status >> 8)
        or _BY_HIGH_NIBBLE.get(status >> 12)
        or _UNKNOWN
    )


def of_opening(error: Exception) -> Verdict:
    """Judge a failure to open an association: no instance was sent, so none is to blame."""
    if isinstance(error, AssociationRejected):
        reason = Reason.REJECTED_PERMANENT if error.result == 1 else Reason.REJECTED_TRANSIENT
    elif isinstance(error, AssociationTimeout):
        reason = Reason.TIMEOUT
    elif isinstance(error, RemoteProtocolError):
        reason = Reason.PROTOCOL_ERROR
    elif isinstance(error, AssociationLost):
        reason = _lost(error)
    elif isinstance(error, TlsFailed):
        reason = Reason.TLS_FAILED
    elif isinstance(error, ConnectFailed | OSError):
        reason = Reason.CONNECT_FAILED
    else:
        reason = Reason.PROCESSING_FAILURE
    return _transient(reason, Fault.DESTINATION)


def of_error(error: Exception) -> Verdict:
    """Judge what was raised while an instance was read, sent or awaited."""
    if isinstance(error, CorruptRecord):
        return _permanent(Reason.CORRUPT)
    if isinstance(error, TranscodeFailed):
        return _transient(Reason.TRANSCODE)
    if isinstance(error, StorageError | OSError):
        return _transient(Reason.DISK)
    if isinstance(error, AssociationTimeout):
        return _transient(Reason.TIMEOUT, Fault.ASSOCIATION)
    if isinstance(error, AssociationLost):
        return _transient(_lost(error), Fault.ASSOCIATION)
    if isinstance(error, RemoteProtocolError):
        return _transient(Reason.PROTOCOL_ERROR, Fault.ASSOCIATION)
    return _UNKNOWN


def _lost(error: AssociationLost) -> Reason:
    return Reason.ABORTED if isinstance(error, AssociationAborted) else Reason.CONNECTION_LOST
