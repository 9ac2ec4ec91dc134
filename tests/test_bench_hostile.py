"""What the measurement of hostile load takes for the gateway's state."""

from __future__ import annotations

from bench.hostile import State, at_rest


def state(descriptors: int, associations: int = 0, tasks: int = 13) -> State:
    return State(rss_bytes=1, descriptors=descriptors, tasks=tasks, associations=associations)


def test_the_state_at_rest_is_the_one_that_was_seen_at_rest() -> None:
    looks = iter([state(17, associations=1), state(18), state(17), state(18)])
    assert at_rest(lambda: next(looks), state(17)) == state(17)


def test_what_does_not_come_to_rest_is_told_as_it_is() -> None:
    assert at_rest(lambda: state(18), state(17), timeout_s=0) == state(18)
    assert at_rest(lambda: state(17, tasks=14), state(17), timeout_s=0) == state(17, tasks=14)
