"""A destination that is away for a day, on a loop whose time passes by itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from router.config.settings import Operation, Retry
from router.deliver.adapt import START_ASSOCIATIONS
from router.deliver.health import RISE_STARTS, RISE_STEP_S
from router.errors import ConnectFailed
from router.model import DeliveryState, Reason
from tests.deliver.samples import Deed, Peer, delivery, modality
from tests.deliver.test_lane import Bench
from tests.deliver.warp import WarpClock, WarpLoop

DAY_S = 86_400.0
COUNT = 3_000


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": WarpLoop}


class Outage:
    """A peer that cannot be reached for a while, and everything that was tried meanwhile."""

    def __init__(self, *, from_s: float, to_s: float) -> None:
        self.from_s, self.to_s = from_s, to_s
        self.tried_at: list[float] = []
        self.received_at: list[float] = []
        self.peer = Peer(opening=self._opening, answer=self._answer, window=16)
        self.bench = Bench(pacs=self.peer)
        self.bench.clock = self.bench.queue.clock = WarpClock()
        made = modality(retry=Retry())
        self.bench.modalities["pacs"] = replace(
            made, deliver=replace(made.deliver, window=16, associations=16)
        )

    def _opening(self, number: int) -> ConnectFailed | None:
        now = anyio.current_time() - 1_000.0
        self.tried_at.append(now)
        return ConnectFailed("refused") if self.from_s <= now < self.to_s else None

    def _answer(self, number: int, key: int) -> int:
        self.received_at.append(anyio.current_time() - 1_000.0)
        return 0

    async def run(self, count: int) -> None:
        self.bench.put(*map(delivery, range(1, count + 1)))
        async with self.bench.running():
            await self.until_delivered(count)

    async def until_delivered(self, count: int) -> None:
        queue = self.bench.queue
        await queue.until(
            lambda: sum(s is DeliveryState.DELIVERED for s in queue.states().values()) >= count,
            within_s=4 * DAY_S,
        )


async def test_after_a_day_everything_arrives_once_and_what_was_tried_meanwhile_is_little() -> None:
    outage = Outage(from_s=0.0, to_s=DAY_S)
    await outage.run(COUNT)
    assert Counter(outage.peer.keys()) == Counter(range(1, COUNT + 1))
    during = [at for at in outage.tried_at if at < DAY_S]
    # Ten while the pauses double, then one in ten minutes, and those that were under way at first.
    assert len(during) < START_ASSOCIATIONS + 10 + DAY_S / (0.8 * 600)
    for at in during:
        in_a_minute = sum(at <= other < at + 60 for other in during)
        assert in_a_minute <= (
            START_ASSOCIATIONS + 6 if at < 1.0 else 6
        )  # at first it is not known to be down
    assert outage.received_at[0] < DAY_S + 600
    failed = [o for o in outage.bench.queue.outcomes if o.reason is Reason.CONNECT_FAILED]
    assert len(failed) == len(during)
    assert not any(o.counts for o in failed)


async def test_the_start_after_it_is_slow_and_bounded() -> None:
    outage = Outage(from_s=0.0, to_s=DAY_S)
    await outage.run(COUNT)
    began_at = outage.received_at[0]
    for step in range(6):
        started = sum(at < began_at + (step + 1) * RISE_STEP_S for at in outage.received_at)
        assert started <= 1 + RISE_STARTS * (2 ** (step + 1) - 1)
    assert outage.received_at[-1] < began_at + 10


async def test_a_probe_asks_by_echo_before_an_instance_is_sent() -> None:
    outage = Outage(from_s=0.0, to_s=100.0)
    await outage.run(1)
    assert outage.peer.echoes == 1
    assert outage.peer.opened == 1


async def test_where_echo_may_not_be_asked_an_association_is_the_probe() -> None:
    outage = Outage(from_s=0.0, to_s=100.0)
    made = outage.bench.modalities["pacs"]
    outage.bench.modalities["pacs"] = replace(made, send=(Operation.STORE,))
    await outage.run(1)
    assert outage.peer.echoes == 0


@pytest.mark.parametrize("send", [tuple(Operation), (Operation.STORE,)])
async def test_a_destination_is_found_to_be_back_without_anything_to_send(
    send: tuple[Operation, ...],
) -> None:
    outage = Outage(from_s=0.0, to_s=1_000.0)
    bench = outage.bench
    bench.modalities["pacs"] = replace(bench.modalities["pacs"], send=send)
    bench.put(delivery(1))
    async with bench.running():
        await anyio.sleep(10)
        bench.queue.pending.clear()  # an operator has discarded it
        await anyio.sleep(3_000)
        assert bench.telemetry.ups[-1] == ("pacs", True)
        assert outage.peer.echoes == (Operation.ECHO in send)
        assert not outage.peer.received


async def test_a_peer_that_answers_echo_and_breaks_at_each_instance_is_not_stormed() -> None:
    outage = Outage(from_s=0.0, to_s=10.0)
    outage.peer.answer = lambda number, key: Deed.ABORT
    bench = outage.bench
    bench.put(*map(delivery, range(1, 201)))
    async with bench.running():
        await anyio.sleep(DAY_S / 24)
    assert len(outage.peer.received) < 60


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
async def test_a_clock_that_jumps_neither_ends_an_outage_nor_makes_it_longer(jump_s: float) -> None:
    outage = Outage(from_s=0.0, to_s=7_200.0)
    bench = outage.bench
    bench.put(*map(delivery, range(1, 101)))
    async with bench.running():
        await anyio.sleep(1_800)
        before = len(outage.tried_at)
        assert isinstance(bench.clock, WarpClock)
        bench.clock.jump(jump_s)
        bench.queue.pending = [
            (due + jump_s, item) for due, item in bench.queue.pending
        ]  # as the ledger does
        await anyio.sleep(1_800)
        assert 2 <= len(outage.tried_at) - before <= 5
        await outage.until_delivered(100)
    assert anyio.current_time() - 1_000.0 < 7_200 + 900
