"""router.web.story: an image's way as it is told."""

from __future__ import annotations

import pytest

from router.model import DeliveryState, InstanceState, Reason, Transcoding
from router.spool.orders import ALLOWED
from router.views import TraceView
from router.web.story import ATTEMPTS_FIRST, ATTEMPTS_LAST, OTHERS_MAX, delivery_story, story
from router.web.words import Tone
from tests.web.samples import attempt, delivery, trace

DELIVERED = delivery(
    DeliveryState.DELIVERED, reason=Reason.SUCCESS, history=(attempt(reason=Reason.SUCCESS),)
)


@pytest.mark.parametrize(
    ("told", "badge", "summary"),
    [
        (
            trace(routed_at=None, state=InstanceState.RECEIVED),
            "received",
            "It is safe on disk and not routed yet.",
        ),
        (
            trace(delivery(DeliveryState.HELD, destination="", reason=Reason.UNMATCHED), hold=True),
            "held",
            "No rule sends it anywhere. It waits for somebody's decision.",
        ),
        (trace(), "sent nowhere", "The rules send it nowhere."),
        (trace(DELIVERED), "delivered", "Delivered to pacs."),
        (
            trace(DELIVERED, delivery(destination="b"), delivery(destination="c")),
            "pending",
            "Delivered to pacs, waiting for b and c.",
        ),
        (
            trace(delivery(DeliveryState.ACTIVE), delivery(DeliveryState.DEAD, destination="b")),
            "dead",
            "Being sent to pacs, given up for b.",
        ),
        (
            trace(delivery(DeliveryState.HELD), delivery(DeliveryState.DISCARDED, destination="b")),
            "held",
            "Held for pacs, discarded for b.",
        ),
        (trace(delivery(DeliveryState.DISCARDED)), "discarded", "Discarded for pacs."),
        (
            trace(DELIVERED, delivery(DeliveryState.DISCARDED, destination=""), hold=True),
            "delivered",
            "Delivered to pacs, discarded for (unmatched).",
        ),
    ],
)
def test_the_summary_says_what_counts(told: TraceView, badge: str, summary: str) -> None:
    arrival = story([told], {}).arrival
    assert (arrival.badge.text, arrival.summary) == (badge, summary)


def test_rules_that_matched_are_told_apart_from_those_that_did_not() -> None:
    arrival = story([trace(DELIVERED, forms={"pacs": "jpeg-2000"})], {}).arrival
    assert [rule.rule for rule in arrival.matched] == ["ct"]
    assert [rule.rule for rule in arrival.others] == ["mr"]
    assert arrival.decision == "So it is sent to pacs as jpeg-2000."
    assert (arrival.sop_class, arrival.routed_after) == ("CT Image Storage", "0.2 s")


@pytest.mark.parametrize(
    ("told", "decision"),
    [
        (trace(routed_at=None), ""),
        (trace(hold=True), "So it is held: no rule sends it."),
        (trace(), "So it is sent nowhere."),
    ],
)
def test_what_follows_from_the_rules(told: TraceView, decision: str) -> None:
    assert story([told], {}).arrival.decision == decision


def test_the_latest_arrival_is_told_unless_another_is_asked_for() -> None:
    traces = [trace(DELIVERED, key=str(key)) for key in range(OTHERS_MAX + 5)]
    told = story(traces, {})
    assert (told.count, told.arrival.view.key, told.arrival.number) == (25, "24", 25)
    assert len(told.others) == OTHERS_MAX
    assert [(one.key, one.number, one.summary) for one in told.others[:2]] == [
        ("23", 24, "Delivered to pacs."),
        ("22", 23, "Delivered to pacs."),
    ]
    told = story(traces, {}, "3")
    assert (told.arrival.view.key, told.arrival.number) == ("3", 4)
    assert "24" in {one.key for one in told.others}
    assert "3" not in {one.key for one in told.others}
    assert story(traces, {}, "no such key").arrival.number == 25


def test_an_attempt_is_told_in_words() -> None:
    transcoding = Transcoding(
        source_uid="1.2.840.10008.1.2.1",
        target_uid="1.2.840.10008.1.2",
        codecs="",
        frames=0,
        frames_hash="",
        is_lossless=True,
    )
    failed, stored = delivery_story(
        delivery(history=(attempt(), attempt(2, reason=Reason.SUCCESS, transcoding=transcoding))), {}
    ).attempts
    assert failed.words == "the destination has no room, or is too busy"
    assert (failed.status, failed.took, failed.tone) == ("Out of resources (A700)", "0.5 s", Tone.BAD)
    assert failed.syntax == "explicit-vr-little-endian"
    assert stored.tone is Tone.GOOD
    assert stored.transcoding.startswith("transcoded explicit-vr-little-endian → implicit-vr-little-endian")


def test_of_many_attempts_the_first_and_the_last_are_told() -> None:
    told = delivery_story(delivery(history=tuple(attempt(n) for n in range(1, 101))), {})
    assert len(told.attempts) == ATTEMPTS_FIRST + ATTEMPTS_LAST
    assert [line.view.number for line in told.attempts[:3]] == [1, 2, 91]
    assert [line.left_out for line in told.attempts if line.left_out] == [88]
    few = delivery_story(delivery(history=tuple(attempt(n) for n in range(12))), {})
    assert not any(line.left_out for line in few.attempts)


@pytest.mark.parametrize("state", DeliveryState)
def test_only_what_its_state_allows_is_offered(state: DeliveryState) -> None:
    offered = delivery_story(delivery(state), {}).orders
    assert all(state in ALLOWED[order] for order in offered)
    assert bool(offered) is (state in (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD))


def test_what_is_in_its_way_is_told() -> None:
    assert delivery_story(delivery(), {"pacs": "pacs is down"}).sentence == "Waits: pacs is down."


def test_edits_are_told_by_destination() -> None:
    made = {"pacs": ("remove PatientName", "set PatientID to 'A-{PatientID}'")}
    arrival = story([trace(DELIVERED, edits=made)], {}).arrival
    assert arrival.edits == (
        "What pacs gets is edited: remove PatientName; set PatientID to 'A-{PatientID}'.",
    )
