"""Some hundred hostile connections beside a normal sender: nothing is lost, and nothing is left behind.

The whole of it, with 10,000 and with the median of the sender, is ``python -m bench.hostile``; on a machine
that does other work at the same time a median is nothing to test.
"""

from __future__ import annotations

import pytest

from bench.attacks import WEIGHTS
from bench.hostile import measure

pytestmark = pytest.mark.timeout(180)
LIMITS = {"request_s": 1, "idle_s": 2, "message_s": 1, "answer_s": 1, "new_per_second_per_peer": 10}
REACHED = {
    "answer_s",
    "command_set_bytes",
    "contexts",
    "idle_s",
    "message_bytes_per_second",
    "message_s",
    "new_per_second_per_peer",
    "overhead_bytes",
    "pdu_cap_bytes",
    "request_bytes",
    "request_s",
}


def test_a_normal_sender_loses_nothing_beside_hostile_ones() -> None:
    outcome = measure(
        connections=500,
        seconds=8.0,
        alone_s=1.0,
        flood=150,
        calm_s=1.0,
        warm_s=8.0,
        memory_share=0.25,
        limits=LIMITS,
    )
    print(outcome)
    complaints = [told for told in outcome.complaints() if not told.startswith("median")]
    assert not complaints
    assert len(outcome.beside_s) > 20
    assert outcome.attacks.keys() == {kind.__name__ for kind in WEIGHTS} | {"flood"}
    assert outcome.limits.keys() >= REACHED
    assert not any("not ended" in ends for ends in outcome.attacks.values())
