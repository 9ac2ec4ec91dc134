"""A lane that an operator has paused: it begins nothing, keeps nothing, and takes up again where it was."""

from __future__ import annotations

import anyio

from router.errors import ConnectFailed
from tests.deliver.samples import Peer, delivery
from tests.deliver.test_lane import Bench


async def test_what_is_outstanding_ends_and_the_rest_is_given_back() -> None:
    bench = Bench()
    numbers = list(range(1, 201))
    bench.put(*map(delivery, numbers))
    async with bench.running() as lanes:
        await bench.queue.until(lambda: bool(bench.queue.outcomes))
        lanes.pause("pacs", True)
        await bench.queue.until(lambda: not bench.queue.leased)
        before = len(bench.queue.outcomes)
        assert before < len(numbers)
        bench.put(delivery(999))
        await anyio.wait_all_tasks_blocked()
        assert len(bench.queue.outcomes) == before
        assert not bench.queue.leased
        lanes.pause("pacs", False)
        await bench.queue.all_delivered([*numbers, 999])
    assert sorted(bench.peers["pacs"].keys()) == [*numbers, 999]  # none of them twice


async def test_nobody_knocks_at_a_paused_destination_and_others_are_served() -> None:
    bench = Bench(pacs=Peer(), archive=Peer())
    async with bench.running() as lanes:
        lanes.pause("pacs", True)
        lanes.pause("elsewhere", True)  # no lane: nothing to stop
        bench.put(delivery(1), delivery(2, destination="archive"))
        await bench.queue.all_delivered([2])
        assert bench.peers["pacs"].tried == 0
        lanes.pause("pacs", False)
        await bench.queue.all_delivered([1])


async def test_an_outage_is_not_probed_while_paused() -> None:
    is_down = True

    def opening(_number: int) -> ConnectFailed | None:
        return ConnectFailed("refused") if is_down else None

    bench = Bench(pacs=Peer(opening=opening))
    bench.put(delivery(1))
    async with bench.running() as lanes:
        await bench.queue.until(lambda: bool(bench.queue.outcomes))
        lanes.pause("pacs", True)
        tried = bench.peers["pacs"].tried
        with anyio.move_on_after(1.5):  # longer than the first pause of the outage
            await bench.queue.until(lambda: bench.peers["pacs"].tried > tried)
        assert bench.peers["pacs"].tried == tried
        is_down = False
        lanes.pause("pacs", False)
        await bench.queue.all_delivered([1])
