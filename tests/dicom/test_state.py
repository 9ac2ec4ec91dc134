"""The transition table against pynetdicom's, which was written from the same Table 9-10."""

from __future__ import annotations

import re

from pynetdicom import fsm

from router.dicom.state import NEXT_STATES, TRANSITIONS, Action, State, Trigger


def test_table_is_pynetdicoms() -> None:
    ours = {(trigger.value, state.value): action.value for (trigger, state), action in TRANSITIONS.items()}
    assert ours == fsm.TRANSITION_TABLE


def test_next_states_are_pynetdicoms() -> None:
    # Where an action may lead to two states, pynetdicom lists both in one text.
    theirs = {name: set(re.findall(r"Sta\d+", str(action[2]))) for name, action in fsm.ACTIONS.items()}
    ours = {action.value: {state.value for state in states} for action, states in NEXT_STATES.items()}
    assert ours == theirs


def test_every_action_has_a_next_state_and_a_use() -> None:
    assert set(NEXT_STATES) == set(Action)
    assert set(TRANSITIONS.values()) == set(Action)


def test_every_pdu_has_an_action_in_every_state_with_a_connection() -> None:
    pdus = (
        Trigger.ASSOCIATE_AC, Trigger.ASSOCIATE_RJ, Trigger.ASSOCIATE_RQ, Trigger.P_DATA_TF,
        Trigger.RELEASE_RQ, Trigger.RELEASE_RP, Trigger.ABORT, Trigger.INVALID_PDU, Trigger.CONNECTION_CLOSED,
    )  # fmt: skip
    connected = set(State) - {State.STA1, State.STA4}
    assert all((pdu, state) in TRANSITIONS for pdu in pdus for state in connected)
