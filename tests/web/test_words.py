"""router.web.words: every state, reason and status has its words."""

from __future__ import annotations

import inspect
import re

import pytest

from router.config.http import Scope
from router.deliver.verdict import of_status
from router.model import DeliveryState, InstanceState, Reason
from router.spool.condition import Condition
from router.views import Ordered, Phase
from router.web.story import PAGE_ORDERS
from router.web.words import (
    INSTANCES,
    ORDERS,
    READINESS,
    REASONS,
    SCOPES,
    STATES,
    Tone,
    badge_of,
    delivery_words,
    done_words,
    status_words,
)
from router.wording import when
from tests.web.samples import delivery


def test_every_word_is_there() -> None:
    assert set(REASONS) == set(Reason)
    assert set(STATES) == set(DeliveryState)
    assert set(INSTANCES) == set(InstanceState)
    assert set(SCOPES) == set(Scope)
    assert set(PAGE_ORDERS) <= set(ORDERS)
    assert len(set(REASONS.values())) == len(Reason), "two reasons read the same"


def test_whatever_keeps_instances_out_has_its_sentence() -> None:
    source = inspect.getsource(Condition)
    said = set(re.findall(r'"(disk_\w+)"', source))
    assert said
    assert said <= set(READINESS)
    assert {phase.value for phase in Phase if phase is not Phase.RUNNING} <= set(READINESS)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, ""),
        ("0000", "Success (0000)"),
        ("0111", "Duplicate SOP instance (0111)"),
        ("A7FF", "Out of resources (A7FF)"),
        ("A900", "Data set does not match SOP class (A900)"),
        ("B006", "Warning: elements were discarded (B006)"),
        ("B123", "Warning (B123)"),
        ("C001", "Cannot understand (C001)"),
        ("FE00", "A status that the standard does not know (FE00)"),
    ],
)
def test_statuses(status: str | None, words: str) -> None:
    assert status_words(status) == words


@pytest.mark.parametrize("number", [0x0001, 0x0106, 0x0107, 0x0116, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121])
def test_what_has_a_verdict_of_its_own_has_words(number: int) -> None:
    assert of_status(number).reason is not Reason.PROCESSING_FAILURE
    assert "does not know" not in status_words(f"{number:04X}")


AT, DUE = when(11.0), when(12.0)


@pytest.mark.parametrize(
    ("state", "changes", "badge", "words"),
    [
        (DeliveryState.PENDING, {}, "pending", "Waits for its turn."),
        (DeliveryState.PENDING, {"opens_at": 12.0}, "closed by schedule", f"Waits until {DUE}, when its"),
        (
            DeliveryState.PENDING,
            {"reason": Reason.CONNECT_FAILED},
            "to be tried again",
            f"To be tried again at {DUE}: no connection to the destination.",
        ),
        (
            DeliveryState.PENDING,
            {"reason": Reason.OUT_OF_RESOURCES, "attempts": 2},
            "to be tried again",
            f"To be tried again at {DUE}: the destination has no room, or is too busy. 2 attempts failed.",
        ),
        (DeliveryState.ACTIVE, {}, "being sent", f"Being sent since {AT}."),
        (DeliveryState.ACTIVE, {"attempts": 1}, "being sent", f"Being sent since {AT}, after 1 attempt."),
        (DeliveryState.DELIVERED, {"reason": Reason.SUCCESS}, "delivered", f"Delivered at {AT}, 1.0 s after"),
        (
            DeliveryState.DELIVERED,
            {"reason": Reason.DUPLICATE},
            "delivered",
            f"Delivered at {AT}, 1.0 s after it came in: the destination had it already.",
        ),
        (
            DeliveryState.HELD,
            {"reason": Reason.OPERATOR},
            "held",
            f"Held since {AT}: by an operator's order.",
        ),
        (
            DeliveryState.HELD,
            {"reason": Reason.UNMATCHED, "destination": ""},
            "held",
            f"Held since {AT}: no rule sends it anywhere. It waits until somebody redirects it",
        ),
        (
            DeliveryState.DEAD,
            {"reason": Reason.MAX_AGE, "attempts": 3},
            "dead",
            f"Given up at {AT} after 3 attempts: it has waited for longer than allowed.",
        ),
        (DeliveryState.DISCARDED, {"reason": Reason.OPERATOR}, "discarded", f"Discarded at {AT}: by an"),
    ],
)
def test_each_state_has_its_sentence(
    state: DeliveryState, changes: dict[str, object], badge: str, words: str
) -> None:
    made = delivery(state, **changes)
    assert badge_of(made).text == badge
    assert delivery_words(made, received_at=10.0).startswith(words)


def test_what_is_in_the_way_is_said() -> None:
    assert delivery_words(delivery(), "pacs is paused by anna") == "Waits: pacs is paused by anna."
    failed = delivery(reason=Reason.TIMEOUT)
    why = f"pacs is down ({REASONS[Reason.TIMEOUT]})"
    assert delivery_words(failed, why) == f"Waits to be tried again: {why}.", "and not twice"
    said = delivery_words(failed, "pacs is down")
    assert said == (
        "Waits to be tried again: pacs is down. The last time, the destination did not answer in time."
    )


@pytest.mark.parametrize("state", DeliveryState)
def test_what_went_well_and_what_did_not_look_different(state: DeliveryState) -> None:
    assert (badge_of(delivery(state)).tone is Tone.GOOD) is (state is DeliveryState.DELIVERED)
    assert (badge_of(delivery(state)).tone is Tone.BAD) is (state is DeliveryState.DEAD)


@pytest.mark.parametrize("action", ORDERS)
def test_every_order_says_what_became_of_it(action: str) -> None:
    one = done_words(action, "pacs", Ordered(count=1, left_alone={}))
    assert one.endswith(".")
    if action in PAGE_ORDERS:
        assert one.startswith("1 delivery is ")
        many = done_words(action, "", Ordered(count=2, left_alone={"active": 3, "dead": 1}))
        assert many.startswith("2 deliveries are ")
        assert many.endswith("Left alone: 3 active, 1 dead.")
