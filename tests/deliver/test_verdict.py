"""The verdict table of design.md, row by row."""

from __future__ import annotations

import pytest

from router.deliver.verdict import Fault, Kind, of_error, of_opening, of_status
from router.errors import (
    AssociationAborted,
    AssociationLost,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    CorruptRecord,
    RemoteProtocolError,
    StorageError,
)
from router.model import Reason


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (0x0000, Kind.DELIVERED, Reason.SUCCESS),
        (0x0001, Kind.DELIVERED, Reason.WARNING),
        (0x0107, Kind.DELIVERED, Reason.WARNING),
        (0x0116, Kind.DELIVERED, Reason.WARNING),
        (0xB000, Kind.DELIVERED, Reason.WARNING),
        (0xB006, Kind.DELIVERED, Reason.WARNING),
        (0xB007, Kind.DELIVERED, Reason.WARNING),
        (0xBFFF, Kind.DELIVERED, Reason.WARNING),
        (0x0111, Kind.DELIVERED, Reason.DUPLICATE),
        (0xA700, Kind.TRANSIENT, Reason.OUT_OF_RESOURCES),
        (0xA7FF, Kind.TRANSIENT, Reason.OUT_OF_RESOURCES),
        (0x0110, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0x0213, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0xA900, Kind.PERMANENT, Reason.DATA_SET_MISMATCH),
        (0xA9FF, Kind.PERMANENT, Reason.DATA_SET_MISMATCH),
        (0xC000, Kind.PERMANENT, Reason.CANNOT_UNDERSTAND),
        (0xCFFF, Kind.PERMANENT, Reason.CANNOT_UNDERSTAND),
        (0x0122, Kind.PERMANENT, Reason.SOP_CLASS_NOT_SUPPORTED),
        (0x0118, Kind.PERMANENT, Reason.SOP_CLASS_NOT_SUPPORTED),
        (0x0124, Kind.PERMANENT, Reason.NOT_AUTHORISED),
        (0x0117, Kind.PERMANENT, Reason.INVALID_INSTANCE),
        (0x0106, Kind.PERMANENT, Reason.INVALID_INSTANCE),
        # in no row: transient, for an unknown answer proves nothing
        (0x0002, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0x0211, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0xA800, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0xFE00, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (0xFF00, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
    ],
)
def test_status(status: int, kind: Kind, reason: Reason) -> None:
    verdict = of_status(status)
    assert (verdict.kind, verdict.reason) == (kind, reason)
    assert verdict.fault is (Fault.NOBODY if kind is Kind.DELIVERED else Fault.INSTANCE)


def test_nothing_but_success_warning_and_duplicate_is_delivered() -> None:
    delivered = {status for status in range(0x10000) if of_status(status).is_delivered}
    assert delivered == {0x0000, 0x0001, 0x0107, 0x0111, 0x0116, *range(0xB000, 0xC000)}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectFailed("refused"), Reason.CONNECT_FAILED),
        (OSError("unreachable"), Reason.CONNECT_FAILED),
        (AssociationRejected(result=1, source=1, reason=7, text=""), Reason.REJECTED_PERMANENT),
        (AssociationRejected(result=2, source=3, reason=2, text=""), Reason.REJECTED_TRANSIENT),
        (AssociationTimeout("no answer"), Reason.TIMEOUT),
        (AssociationAborted("abort"), Reason.ABORTED),
        (AssociationLost("lost"), Reason.CONNECTION_LOST),
        (RemoteProtocolError("nonsense"), Reason.PROTOCOL_ERROR),
    ],
)
def test_opening_is_never_the_fault_of_an_instance(error: Exception, reason: Reason) -> None:
    verdict = of_opening(error)
    assert (verdict.kind, verdict.reason, verdict.fault) == (Kind.TRANSIENT, reason, Fault.DESTINATION)


@pytest.mark.parametrize(
    ("error", "kind", "reason", "fault"),
    [
        (CorruptRecord("hash"), Kind.PERMANENT, Reason.CORRUPT, Fault.INSTANCE),
        (StorageError("EIO", out_of_resources=False), Kind.TRANSIENT, Reason.DISK, Fault.INSTANCE),
        (OSError("EIO"), Kind.TRANSIENT, Reason.DISK, Fault.INSTANCE),
        (AssociationTimeout("late"), Kind.TRANSIENT, Reason.TIMEOUT, Fault.ASSOCIATION),
        (AssociationAborted("abort"), Kind.TRANSIENT, Reason.ABORTED, Fault.ASSOCIATION),
        (AssociationLost("lost"), Kind.TRANSIENT, Reason.CONNECTION_LOST, Fault.ASSOCIATION),
        (RemoteProtocolError("x"), Kind.TRANSIENT, Reason.PROTOCOL_ERROR, Fault.ASSOCIATION),
        (ValueError("a defect"), Kind.TRANSIENT, Reason.PROCESSING_FAILURE, Fault.INSTANCE),
    ],
)
def test_error(error: Exception, kind: Kind, reason: Reason, fault: Fault) -> None:
    verdict = of_error(error)
    assert (verdict.kind, verdict.reason, verdict.fault) == (kind, reason, fault)
