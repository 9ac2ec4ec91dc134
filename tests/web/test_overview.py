"""router.web.overview: what the status becomes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from router.model import Reason
from router.throughput import Rate
from router.views import DrainView, Phase
from router.web.overview import blockers, destination_rows, flow, headline, overview
from router.web.words import READINESS, Tone
from router.wording import when
from tests.web.samples import delivery, destination, status

DRAIN = DrainView(since=5.0, by="anna", associations=1, waiting=3, is_done=False)


@pytest.mark.parametrize(
    ("reasons", "phase", "text", "tone"),
    [
        ((), Phase.RUNNING, "Takes images", Tone.GOOD),
        (("starting",), Phase.STARTING, "Starting", Tone.WARNS),
        (("draining",), Phase.DRAINING, "Stopping", Tone.WARNS),
        (("draining",), Phase.RUNNING, "Draining", Tone.WARNS),
        (("disk_low",), Phase.RUNNING, "Takes no images", Tone.BAD),
        (("draining", "disk_gone"), Phase.RUNNING, "Takes no images", Tone.BAD),
    ],
)
def test_the_headline(reasons: tuple[str, ...], phase: Phase, text: str, tone: Tone) -> None:
    found = headline(status(reasons=reasons, phase=phase))
    assert (found.text, found.tone) == (text, tone)


def test_reasons_are_sentences_and_a_drain_says_how_far_it_is() -> None:
    shown = overview(status(reasons=("draining", "disk_low"), drain=DRAIN), (), {}, now=20.0, monotonic=0.0)
    assert shown.sentences == (
        f"anna drains it since {when(5.0)}: 3 deliveries to go, 1 association still open.",
        READINESS["disk_low"],
    )


@pytest.mark.parametrize(
    ("changes", "badge", "note"),
    [
        ({}, "up", None),
        ({"is_up": None}, "not tried yet", None),
        ({"is_up": False}, "down", "It does not answer."),
        ({"is_up": False, "reason": Reason.TIMEOUT}, "down", "The destination did not answer in time."),
        ({"paused_at": 5.0, "paused_by": "anna"}, "paused", f"Paused by anna since {when(5.0)}."),
        ({"opens_at": 9.0}, "closed", f"Closed by its schedule until {when(9.0)}."),
        ({"kind": "removed"}, "removed", "No longer configured"),
    ],
)
def test_a_destination_says_why_it_does_what_it_does(
    changes: dict[str, Any], badge: str, note: str | None
) -> None:
    (row,) = destination_rows([destination(**changes)], {}, 0.0)
    assert row.badge is not None
    assert row.badge.text == badge
    assert (row.notes[0].startswith(note) if note else not row.notes) is True
    assert row.can_be_paused is (badge != "removed")


def last_words(said: object, **changes: Any) -> str:
    (row,) = destination_rows([destination(is_up=False, **changes)], {"pacs": said}, 10.0)  # type: ignore[dict-item]
    return row.notes[0]


def test_what_a_destination_last_said_is_shown_without_its_own_words() -> None:
    refused = delivery(
        reason=Reason.OUT_OF_RESOURCES, last_status="A700", last_comment="DOE^JOHN", due_at=15.0
    )
    assert last_words(refused) == (
        "The destination has no room, or is too busy: Out of resources (A700). Next try in 5.0 s."
    )


def test_our_own_words_about_a_failure_are_shown() -> None:
    failed = delivery(reason=Reason.CONNECT_FAILED, last_comment="connection refused", due_at=5.0)
    assert last_words(failed, reason=Reason.CONNECT_FAILED) == "Connection refused."
    assert last_words(failed, reason=Reason.TIMEOUT) == "The destination did not answer in time."


def test_what_was_never_tried_says_nothing() -> None:
    assert last_words(delivery(), reason=Reason.ABORTED) == "The destination aborted the association."


def test_a_group_is_shown_with_its_queues_below_and_their_sum() -> None:
    rows = list(
        destination_rows(
            [
                destination("both/b", kind="group", pending=2, oldest_s=5.0),
                destination("both", kind="group", is_up=False),
                destination("gone", kind="removed"),
                destination("both/a", kind="group", pending=1, dead=3, oldest_s=60.0),
                destination("z"),
                destination("a", kind="folder"),
            ],
            {},
            0.0,
        )
    )
    assert [row.name for row in rows] == ["z", "a", "both", "both/a", "both/b", "gone"]
    both = rows[2]
    assert (both.status.pending, both.status.dead, both.oldest) == (3, 3, "1 min")
    assert both.can_be_paused
    assert [(row.is_part, row.badge, row.can_be_paused) for row in rows[3:5]] == [(True, None, False)] * 2


def test_what_is_in_the_way_of_deliveries() -> None:
    found = blockers(
        [
            destination("up"),
            destination("down", is_up=False, reason=Reason.TLS_FAILED),
            destination("mute", is_up=False),
            destination("closed", is_up=False, opens_at=9.0),
            destination("safe", kind="group", paused_at=1.0, paused_by="anna"),
            destination("safe/a", kind="group"),
        ]
    )
    assert found == {
        "down": "down is down (no secure connection to the destination)",
        "mute": "mute is down",
        "safe": "safe is paused by anna",
        "safe/a": "safe is paused by anna",
    }


def rate(ended_at: float, received: float = 1.0) -> Rate:
    return Rate(
        ended_at=ended_at,
        received_per_s=received,
        received_bytes_per_s=received * 1e6,
        delivered_per_s=0.5,
        delivered_bytes_per_s=5e5,
    )


def test_the_charts() -> None:
    rates = [rate(5.0 * number, 10.0 if number < 5 else 2.0) for number in range(1, 21)]
    found = flow(rates, 101.0)
    images, data = found.curves
    assert (images.received_now, images.delivered_now) == (2.0, 0.5)
    assert (data.received_now, data.delivered_now) == (2.0, 0.5)
    first, second = msgspec.json.decode(found.as_json)
    assert first[0][-1] == -1
    assert first[0] == second[0]
    assert [len(column) for column in first] == [20, 20, 20]


def test_no_samples_are_no_flow() -> None:
    assert flow((), 0.0).as_json == "[[[],[],[]],[[],[],[]]]"
