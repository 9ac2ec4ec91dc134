"""The limit of instances in flight, shared out among associations."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from router.deliver.in_flight import InFlight
from tests.deliver.samples import Peer, delivery, modality
from tests.deliver.test_lane import Bench


def test_no_limit_changes_nothing() -> None:
    free = InFlight(None)
    assert (free.associations(64), free.window(16, 10_000, 64)) == (64, 16)
    assert free.may_open({1, 2}, [[1], [2]])


def test_a_limit_of_one_is_one_association_and_one_instance() -> None:
    one = InFlight(1)
    assert one.associations(16) == 1
    assert one.may_open(set(), [])
    assert not one.may_open(set(), [[]])
    assert one.window(16, 0, 1) == 1
    assert one.window(16, 1, 1) == 0


def test_random_work_never_passes_the_limit() -> None:
    """Associations open, send and are answered in any order, as far as they are let."""
    rng = Random(7)
    for limit in range(1, 20):
        in_flight, hands, number, most = InFlight(limit), list[set[int]](), 0, 0
        for _ in range(2000):
            sent = set().union(*hands) if hands else set()
            deed = rng.random()
            if deed < 0.2 and len(hands) < in_flight.associations(8) and in_flight.may_open(sent, hands):
                hands.append(set())
            elif deed < 0.7 and hands:
                hand = rng.choice(hands)
                if not hand or len(hand) < in_flight.window(16, len(sent), len(hands)):
                    number += 1
                    hand.add(number)
            elif hands:
                hand = rng.choice(hands)
                if hand:
                    hand.remove(rng.choice(sorted(hand)))
                elif rng.random() < 0.2:
                    hands.remove(hand)
            most = max(most, sum(map(len, hands)))
        assert limit * 0.7 <= most <= limit


@pytest.mark.parametrize("limit", [1, 3, 5])
@pytest.mark.parametrize("window", [1, 16])
async def test_a_lane_keeps_the_limit(limit: int, window: int) -> None:
    peer = Peer(window=window)
    bench = Bench(pacs=peer)
    made = modality(associations=8)
    bench.modalities["pacs"] = replace(made, deliver=replace(made.deliver, window=window, in_flight=limit))
    bench.put(*map(delivery, range(1, 301)))
    under_way: list[int] = []
    async with bench.running() as lanes:
        lane = lanes._lanes["pacs"]

        def answer(number: int, key: int) -> int:
            under_way.append(len(lane.load))
            return 0x0000

        peer.answer = answer
        await bench.queue.all_delivered(range(1, 301))
    assert max(under_way) <= limit
    assert peer.opened <= limit
    assert sorted(peer.keys()) == list(range(1, 301))
