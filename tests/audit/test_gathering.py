"""router.audit.gathering: what is told together and when, and that a flood is not."""

from __future__ import annotations

from dataclasses import replace

from router.audit import gathering
from router.audit.gathering import (
    LONGEST_S,
    QUIET_S,
    REPEAT_S,
    Refusal,
    Refusals,
    Refused,
    Subject,
    TransferKey,
    Transfers,
    Way,
)
from tests.audit.samples import CT, MR, NOW, ORIGIN

STUDY = Subject(study_instance_uid="1.2.3")
RECEIVED = TransferKey(Way.RECEIVED, STUDY, ORIGIN)
DEAD = TransferKey(Way.GIVEN_UP, STUDY, "pacs")
STRANGER = Refusal(what=Refused.CALLER, where="main", because="x", who="EVIL", address="192.0.2.66")


def add(transfers: Transfers, key: TransferKey, uid: str, now: float, reason: str = "") -> None:
    transfers.add(key, uid, began_at=NOW + now, at=NOW + now + 1, now=now, reason=reason)


def test_a_study_is_told_once_when_it_has_come_to_rest() -> None:
    transfers = Transfers()
    for number in range(10):
        add(transfers, RECEIVED, CT if number else MR, float(number))
        assert transfers.due(float(number)) == []
    assert transfers.due(9 + QUIET_S - 0.1) == []
    (told,) = transfers.due(9 + QUIET_S)
    assert told.sop_classes == {CT: 9, MR: 1}
    assert (told.began_at, told.ended_at) == (NOW, NOW + 10)
    assert len(transfers) == 0


def test_a_study_without_end_is_told_in_parts() -> None:
    transfers = Transfers()
    told = 0
    for second in range(200):
        add(transfers, RECEIVED, CT, float(second))
        told += sum(one.sop_classes[CT] for one in transfers.due(float(second)))
    assert told >= 200 - LONGEST_S
    assert told + sum(one.sop_classes[CT] for one in transfers.everything()) == 200


def test_ways_studies_and_peers_are_kept_apart() -> None:
    transfers = Transfers()
    keys = [
        RECEIVED,
        TransferKey(Way.RECEIVED, STUDY, replace(ORIGIN, calling_ae="CT2")),
        TransferKey(Way.RECEIVED, Subject(study_instance_uid="1.2.4"), ORIGIN),
        TransferKey(Way.RECEIVED, Subject(study_instance_uid="1.2.3", patient_id="P"), ORIGIN),
        TransferKey(Way.QUEUED, STUDY, "pacs"),
        TransferKey(Way.DELIVERED, STUDY, "pacs"),
        DEAD,
    ]
    for key in keys:
        add(transfers, key, CT, 0.0)
    assert [one.key for one in transfers.everything()] == keys
    assert transfers.everything() == []


def test_reasons_are_counted() -> None:
    transfers = Transfers()
    for reason in ("max_age", "no_context", "max_age"):
        add(transfers, DEAD, CT, 0.0, reason)
    assert transfers.everything()[0].reasons == {"max_age": 2, "no_context": 1}


def test_one_too_many_has_the_oldest_told() -> None:
    transfers = Transfers()
    for number in range(gathering.TRANSFERS_MAX + 2):
        add(transfers, TransferKey(Way.QUEUED, STUDY, f"d{number}"), CT, 0.0)
    assert [one.key.peer for one in transfers.due(0.0)] == ["d0", "d1"]
    assert len(transfers) == gathering.TRANSFERS_MAX


def test_a_refusal_is_told_at_once_and_its_like_in_a_minute() -> None:
    refusals = Refusals()
    assert refusals.add(STRANGER, at=NOW, now=0.0) == STRANGER
    for second in range(1, 50):
        assert refusals.add(STRANGER, at=NOW + second, now=float(second)) is None
    assert refusals.due(REPEAT_S - 1) == []
    (repeated,) = refusals.due(REPEAT_S)
    assert (repeated.refusal, repeated.times, repeated.at) == (STRANGER, 49, NOW + 49)
    assert refusals.add(STRANGER, at=NOW + 70, now=70.0) is None, "it goes on: again in a minute"
    assert refusals.due(2 * REPEAT_S)[0].times == 1
    assert refusals.due(3 * REPEAT_S) == []
    assert refusals.add(STRANGER, at=NOW + 999, now=999.0) == STRANGER, "it had stopped"


def test_a_flood_under_many_names_is_one_refusal() -> None:
    refusals = Refusals()
    told = [
        refusals.add(replace(STRANGER, who=f"AE{number}"), at=NOW, now=0.0)
        for number in range(gathering.REFUSALS_MAX + 1000)
    ]
    assert sum(one is not None for one in told) == gathering.REFUSALS_MAX + 1
    (rest,) = refusals.everything()
    assert (rest.refusal.who, rest.refusal.address, rest.times) == ("", "", 999)
