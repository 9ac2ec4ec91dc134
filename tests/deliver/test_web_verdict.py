"""What the answers of DICOMweb services mean."""

from __future__ import annotations

import json

import pytest

from router.deliver.verdict import Fault, Kind
from router.deliver.web_verdict import of_answer, of_probe
from router.model import Reason

UID = "1.2.3"


def stored(uid: str = UID, warning: int | None = None) -> dict[str, object]:
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    return {"00081199": {"vr": "SQ", "Value": [item]}}


def failed(reason: object = 0xA700, uid: str | None = UID) -> dict[str, object]:
    item: dict[str, object] = {"00081197": {"vr": "US", "Value": [reason]}}
    if uid is not None:
        item["00081155"] = {"vr": "UI", "Value": [uid]}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "reason"),
    [
        (200, stored(), Kind.DELIVERED, Reason.SUCCESS),
        (200, [stored()], Kind.DELIVERED, Reason.SUCCESS),
        (200, stored(warning=0xB000), Kind.DELIVERED, Reason.WARNING),
        (200, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),  # it may not have read it at all
        (200, stored("1.2.4"), Kind.TRANSIENT, Reason.PROCESSING_FAILURE),  # of another one: no proof
        (200, failed(0xA900), Kind.PERMANENT, Reason.DATA_SET_MISMATCH),
        (202, stored(warning=0xB006), Kind.DELIVERED, Reason.WARNING),
        (202, stored(), Kind.DELIVERED, Reason.SUCCESS),
        (202, stored("1.2.4"), Kind.TRANSIENT, Reason.PROCESSING_FAILURE),  # of another one: no proof
        (202, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (202, failed(0xA700), Kind.TRANSIENT, Reason.OUT_OF_RESOURCES),
        (409, failed(0x0111), Kind.DELIVERED, Reason.DUPLICATE),
        (409, failed(0x0122), Kind.PERMANENT, Reason.SOP_CLASS_NOT_SUPPORTED),
        (409, failed(0xC000, None), Kind.PERMANENT, Reason.CANNOT_UNDERSTAND),
        (409, failed(0x0000), Kind.TRANSIENT, Reason.PROCESSING_FAILURE),  # failed, with success as reason
        (409, failed("x"), Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (409, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (400, {}, Kind.PERMANENT, Reason.CANNOT_UNDERSTAND),
        (413, {}, Kind.PERMANENT, Reason.INVALID_INSTANCE),
        (415, {}, Kind.PERMANENT, Reason.CANNOT_UNDERSTAND),
        (401, {}, Kind.TRANSIENT, Reason.REJECTED_PERMANENT),
        (404, {}, Kind.TRANSIENT, Reason.REJECTED_PERMANENT),
        (308, {}, Kind.TRANSIENT, Reason.REJECTED_PERMANENT),
        (429, {}, Kind.TRANSIENT, Reason.OUT_OF_RESOURCES),
        (500, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (503, {}, Kind.TRANSIENT, Reason.OUT_OF_RESOURCES),
        (599, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
        (204, {}, Kind.TRANSIENT, Reason.PROCESSING_FAILURE),
    ],
)
def test_each_answer_has_a_verdict(status: int, answer: object, kind: Kind, reason: Reason) -> None:
    judged = of_answer(status, json.dumps(answer).encode(), UID)
    assert (judged.verdict.kind, judged.verdict.reason) == (kind, reason)
    assert judged.comment.startswith(f"HTTP {status}") or status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>DOE^JOHN</html>", b"[" * 100_000, b'{"00081199": 1}', b'{"00081198":{"Value":[1]}}', b"7"],
)
def test_a_body_that_says_nothing_leaves_it_to_the_status(body: bytes) -> None:
    unproven = of_answer(200, body, UID)
    assert unproven.verdict.kind is Kind.TRANSIENT
    assert unproven.comment == "HTTP 200 OK, but it does not name the instance as stored"
    judged = of_answer(409, body, UID)
    assert (judged.verdict.reason, judged.comment) == (Reason.PROCESSING_FAILURE, "HTTP 409 Conflict")


@pytest.mark.parametrize("status", [401, 403, 404, 301, 429, 502, 503, 507])
def test_what_is_no_instances_fault_makes_the_destination_wait(status: int) -> None:
    assert of_answer(status, b"", UID).verdict.fault is Fault.DESTINATION


@pytest.mark.parametrize(
    ("status", "is_there"),
    [(200, True), (302, True), (404, True), (405, True), (501, True), (401, False), (503, False)],
)
def test_a_probe_finds_out_whether_anybody_is_there_for_us(status: int, is_there: bool) -> None:
    assert of_probe(status).is_delivered == is_there
