"""Several instances outstanding on one association: answers in any order, and what a break costs."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from router.model import DeliveryState, Priority, Reason
from tests.deliver.samples import Deed, Peer, delivery, instance, modality
from tests.deliver.test_lane import Bench

WINDOW = 4  # what delivery begins with


def windowed(peer: Peer, *, associations: int = 1, window: int = 16, response_timeout: float = 5.0) -> Bench:
    bench = Bench(pacs=peer)
    made = modality(associations=associations, response_timeout=response_timeout)
    bench.modalities["pacs"] = replace(made, deliver=replace(made.deliver, window=window))
    return bench


async def test_the_window_is_filled_and_answers_are_matched_in_any_order() -> None:
    peer = Peer(window=16, holds_back=WINDOW)
    bench = windowed(peer)
    numbers = range(1, 8 * WINDOW + 1)
    bench.put(*map(delivery, numbers))
    async with bench.running():
        await bench.queue.all_delivered(numbers)
    assert peer.outstanding_max == WINDOW
    assert sorted(peer.keys()) == list(numbers)
    assert peer.opened == 1


async def test_each_answer_is_its_own_instances() -> None:
    statuses = {3: 0xC000, 4: 0x0111, 7: 0xB000}
    peer = Peer(window=16, holds_back=WINDOW, answer=lambda number, key: statuses.get(key, 0))
    bench = windowed(peer)
    bench.put(*map(delivery, range(1, 9)))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.outcomes) == 8)
    assert bench.queue.states()[3] is DeliveryState.DEAD
    assert bench.reasons(4) == [Reason.DUPLICATE]
    assert bench.reasons(7) == [Reason.WARNING]
    assert all(bench.reasons(n) == [Reason.SUCCESS] for n in (1, 2, 5, 6, 8))


async def test_without_agreement_one_is_outstanding() -> None:
    peer = Peer(window=1, holds_back=1)
    bench = windowed(peer)
    bench.put(*map(delivery, range(1, 21)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 21))
    assert peer.outstanding_max == 1


async def test_the_peers_smaller_window_is_kept() -> None:
    peer = Peer(window=2, holds_back=2)
    bench = windowed(peer)
    bench.put(*map(delivery, range(1, 21)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 21))
    assert peer.outstanding_max == 2


@pytest.mark.parametrize("deed", [Deed.ABORT, Deed.DROP, Deed.WRONG_ID])
async def test_a_break_costs_exactly_what_was_outstanding(deed: Deed) -> None:
    tried: list[int] = []

    def answer(number: int, key: int) -> int | Deed:
        tried.append(key)
        return deed if key == WINDOW and tried.count(key) == 1 else 0

    peer = Peer(window=16, holds_back=WINDOW, answer=answer)
    bench = windowed(peer)
    numbers = range(1, 4 * WINDOW + 1)
    bench.put(*map(delivery, numbers))
    async with bench.running():
        await bench.queue.until(lambda: len(bench.queue.outcomes) >= WINDOW)
        peer.holds_back = 0
        await bench.queue.all_delivered(numbers)
    assert [n for n in numbers if peer.keys().count(n) > 1] == list(range(1, WINDOW + 1))
    assert all(bench.counted(n) == [False, True] for n in range(1, WINDOW + 1))
    assert bench.telemetry.ups == [("pacs", True), ("pacs", False), ("pacs", True)]


async def test_what_breaks_each_association_is_found_out_alone_and_costs_no_other_an_attempt() -> None:
    peer = Peer(window=16, answer=lambda number, key: Deed.ABORT if key == 3 else 0)
    bench = windowed(peer)
    made = bench.modalities["pacs"]
    retry = replace(made.deliver.retry, max_attempts=3)
    bench.modalities["pacs"] = replace(made, deliver=replace(made.deliver, retry=retry))
    others = [n for n in range(1, 30) if n != 3]
    bench.put(*map(delivery, range(1, 30)))
    async with bench.running():
        await bench.queue.all_delivered(others)
        await bench.queue.until(lambda: bench.queue.states().get(3) is DeliveryState.DEAD)
    assert all(sum(bench.counted(n)) == 1 for n in others)


async def test_one_that_is_never_answered_costs_its_association_though_others_are() -> None:
    peer = Peer(window=16, answer=lambda number, key: Deed.SILENCE if number == 0 else 0)
    bench = windowed(peer, response_timeout=0.1)
    bench.put(*map(delivery, range(1, 6)))
    async with bench.running():
        await bench.queue.all_delivered(range(1, 6))
    assert bench.reasons(1) == [Reason.TIMEOUT, Reason.SUCCESS]
    assert all(bench.reasons(n) == [Reason.SUCCESS] for n in range(2, 6))


async def test_streamed_and_whole_instances_share_a_window() -> None:
    peer = Peer(window=16, holds_back=2)
    bench = windowed(peer)
    bench.put(delivery(1), delivery(2, of=instance(2, size=3 * 1024 * 1024)), delivery(3), delivery(4))
    async with bench.running():
        await bench.queue.all_delivered([1, 2, 3, 4])
    assert peer.keys() == [1, 2, 3, 4]


async def test_an_idle_association_that_was_ended_costs_nothing_in_a_window_either() -> None:
    peer = Peer(window=16)
    bench = windowed(peer)
    async with bench.running():
        bench.put(delivery(1))
        await bench.queue.all_delivered([1])
        peer.wires[0].hang_up(Deed.ABORT)
        bench.put(*map(delivery, range(2, 9)))
        await bench.queue.all_delivered(range(2, 9))
    assert bench.telemetry.ups == [("pacs", True)]
    assert all(bench.reasons(n) == [Reason.SUCCESS] for n in range(2, 9))


@pytest.mark.parametrize("window", [1, 4])
async def test_a_high_instance_overtakes_ten_thousand_low_ones_within_the_window_and_one(window: int) -> None:
    peer = Peer(window=window, holds_back=1_000_000)
    bench = windowed(peer, window=window)
    bench.put(*(delivery(n, priority=Priority.LOW) for n in range(1, 10_001)))
    async with bench.running():
        for _ in range(10):
            await anyio.wait_all_tasks_blocked()
            peer.wires[0].answer_held()
        await anyio.wait_all_tasks_blocked()
        outstanding = len(peer.received) - len(bench.queue.outcomes)
        answered = len(peer.received) - outstanding
        bench.put(delivery(20_000, priority=Priority.HIGH))
        while 20_000 not in peer.keys():
            await anyio.wait_all_tasks_blocked()
            peer.wires[0].answer_held()
    assert 1 <= outstanding <= window
    assert peer.keys().index(20_000) - answered <= outstanding + 1


@pytest.mark.parametrize(("associations", "window"), [(1, 1), (3, 1), (1, 4), (2, 3)])
async def test_a_crash_repeats_no_more_than_the_window_of_each_association(
    associations: int, window: int
) -> None:
    """What is answered and not recorded would be sent again: while the ledger hangs, that is all there is."""
    peer = Peer(window=window)
    bench = windowed(peer, associations=associations, window=window)
    bench.put(*map(delivery, range(1, 101)))
    bench.queue.ledger = anyio.Event()
    async with bench.running():
        await anyio.wait_all_tasks_blocked()
        assert not bench.queue.outcomes
        assert 1 <= len(peer.received) <= associations * window
        bench.queue.ledger.set()
        await bench.queue.all_delivered(range(1, 101))
    assert sorted(peer.keys()) == list(range(1, 101))


async def test_cancelled_at_any_moment_nothing_is_lost() -> None:
    for moment in range(0, 120, 5):
        bench = windowed(Peer(window=16, holds_back=3))
        bench.put(*map(delivery, range(1, 11)))
        async with bench.running():
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
        waiting = [item.delivery_id for _, item in bench.queue.pending]
        assert not bench.queue.leased
        assert sorted([*waiting, *bench.queue.states()]) == list(range(1, 11))
