"""router.spool.orders: which state allows what, and what is said where it does not."""

from __future__ import annotations

import pytest

from router.model import DeliveryState, InstanceState
from router.spool.orders import (
    ALLOWED,
    SHOWN,
    Action,
    Candidate,
    Selection,
    obstacle,
    refusal,
    refusal_of_filter,
    sort_out,
)
from router.spool.schema import DELIVERY_CODE, INSTANCE_STATES
from tests.spool.samples import order

ROUTED = INSTANCE_STATES.index(InstanceState.ROUTED)


def candidate(
    state: DeliveryState,
    *,
    instance: InstanceState = InstanceState.ROUTED,
    is_unmatched: bool = False,
    is_there: bool = False,
) -> Candidate:
    return Candidate(state=state, is_unmatched=is_unmatched, is_there=is_there, instance_state=instance)


@pytest.mark.parametrize("action", ALLOWED)
@pytest.mark.parametrize("state", DeliveryState)
def test_each_state_allows_its_actions_and_is_named_where_it_does_not(
    action: Action, state: DeliveryState
) -> None:
    one = order(action, 1, to="archive" if action is Action.REDIRECT else None)
    word = obstacle(one, candidate(state))
    assert word == (None if state in ALLOWED[action] else state)
    if word is not None:
        found = sort_out(one, [(1, DELIVERY_CODE[state], 0, 0, ROUTED)])
        said = refusal(one, found)
        assert said.startswith(f"{action} is for {ALLOWED[action][0]}")
        assert f"no. 1 is {state}" in said
        assert ";" in said  # and what would do instead


def test_nothing_takes_an_active_one_from_its_lane() -> None:
    assert not any(DeliveryState.ACTIVE in states for states in ALLOWED.values())


def test_what_must_be_sent_needs_its_bytes_and_somewhere_to_go() -> None:
    held, dead = DeliveryState.HELD, DeliveryState.DEAD
    assert obstacle(order(Action.RESUME, 1), candidate(held, is_unmatched=True)) == "unmatched"
    assert obstacle(order(Action.REDIRECT, 1, to="pacs"), candidate(held, is_unmatched=True)) is None
    assert obstacle(order(Action.REDIRECT, 1, to="pacs"), candidate(dead, is_there=True)) is not None
    assert obstacle(order(Action.RETRY, 1), candidate(dead, instance=InstanceState.CORRUPT)) == "corrupt"
    assert obstacle(order(Action.DISCARD, 1), candidate(dead, instance=InstanceState.CORRUPT)) is None
    gone = candidate(DeliveryState.DELIVERED, instance=InstanceState.RELEASED)
    assert obstacle(order(Action.REPLAY, 1), gone) == "released"


def test_a_refusal_stays_readable() -> None:
    rows = [(number, DELIVERY_CODE[DeliveryState.ACTIVE], 0, 0, ROUTED) for number in range(1, 1000)]
    many = order(Action.HOLD, *range(1, 1000))
    said = refusal(many, sort_out(many, rows))
    assert said.count("is active") == SHOWN
    assert "..." in said
    assert "999 active, and nothing else" in refusal(order(Action.HOLD), sort_out(order(Action.HOLD), rows))


def test_a_filter_by_a_state_that_never_allows_it() -> None:
    assert refusal_of_filter(order(Action.HOLD, state=DeliveryState.PENDING)) is None
    said = refusal_of_filter(order(Action.HOLD, state=DeliveryState.DEAD))
    assert said is not None
    assert "what is dead can be retried, discarded or redirected" in said


@pytest.mark.parametrize(
    ("selection", "is_explicit", "text"),
    [
        (Selection(), False, "all"),
        (Selection(everything=True), True, "all"),
        (Selection(ids=(1, 2)), True, "no. 1, 2"),
        (Selection(ids=tuple(range(1, 9))), True, "no. 1, 2, 3, 4, 5 and 3 more"),
        (Selection(ids=(1,), everything=True), False, "no. 1"),
        (
            Selection(destination="pacs", state=DeliveryState.DEAD, calling_ae="CT1"),
            True,
            "destination=pacs state=dead calling_ae=CT1",
        ),
        (Selection(destination="pacs", everything=True), False, "destination=pacs"),
    ],
)
def test_a_selection_says_exactly_one_thing(selection: Selection, is_explicit: bool, text: str) -> None:
    assert selection.is_explicit is is_explicit
    assert str(selection) == text
