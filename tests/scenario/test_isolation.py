"""Destinations do not delay each other: one is dead, one stalls, and the fast one does not notice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers import free_port, pause_until
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.instances import CT, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]

COUNT, PER_SECOND = 400, 100.0
FACTOR, NOISE_S = 1.5, 0.025  # what the machine itself adds to one in a hundred
STALL_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """The 99th percentiles of one run."""

    delivery: float  # last byte sent to the gateway → answered by the fast sink
    reception: float  # last byte sent to the gateway → answered by it


def percentile_99(values: list[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


def send_steadily(gateway: Gateway, fast: Sink, first: int) -> Seconds:
    """One modality that stores at a steady rate; its instances timed on their way to the fast destination."""
    maker = Maker(40_000)
    sent_at: dict[str, float] = {}
    reception = []
    with Association(gateway.port, [CT]) as association:
        began = time.monotonic()
        for number in range(COUNT):
            made = maker.make(first + number)
            pause_until(began + number / PER_SECOND)

            def note(uid: str = made.uid) -> None:
                sent_at[uid] = time.time()

            assert association.store(CT[0], made.uid, CT[1], made.data_set, on_sent=note) == 0
            reception.append(time.time() - sent_at[made.uid])
    fast.wait_for(set(sent_at))
    delivery = [x.at - sent_at[x.sop_instance_uid] for x in fast.lines() if x.sop_instance_uid in sent_at]
    return Seconds(delivery=percentile_99(delivery), reception=percentile_99(reception))


def test_a_dead_and_a_stalling_destination_do_not_delay_a_fast_one(tmp_path: Path) -> None:
    with (
        Sink(tmp_path / "fast") as fast,
        Sink(tmp_path / "stalling", "--stall", str(STALL_S)) as stalling,
    ):
        destinations = {
            "fast": modality(fast.port, "FAST"),
            "dead": modality(free_port(), "DEAD"),
            "stalling": modality(stalling.port, "STALLING"),
        }
        alone = {"modalities": destinations, "rules": send_all_to("fast")}
        together = {"modalities": destinations, "rules": send_all_to("dead", "stalling", "fast")}
        with (
            Gateway(tmp_path / "alone", alone) as without,
            Gateway(tmp_path / "together", together) as with_others,
        ):
            send_steadily(without, fast, 0)  # both are warm before anything counts
            send_steadily(with_others, fast, COUNT)
            calm = [send_steadily(without, fast, n * COUNT) for n in (2, 4)]
            troubled = [send_steadily(with_others, fast, n * COUNT) for n in (3, 5)]
            depths = with_others.depths()
    assert depths["dead", "pending"] == 3 * COUNT  # all of it waits, and none has been given up
    assert sum(n for (name, _), n in depths.items() if name == "stalling") >= 3 * COUNT - 20
    for kind in ("delivery", "reception"):
        usual = min(getattr(x, kind) for x in calm)
        then = min(getattr(x, kind) for x in troubled)
        print(f"{kind}: p99 {1000 * usual:.1f} ms without, {1000 * then:.1f} ms with failing destinations")
        assert then <= FACTOR * usual + NOISE_S, kind
