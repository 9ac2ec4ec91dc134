"""router.audit.outlet: bounded, in order, and patient with a receiver that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from router.audit import outlet as outlets
from router.audit.carriers import CarrierFailed
from router.audit.outlet import Outlet
from router.telemetry import Telemetry
from tests.deliver.warp import WarpLoop


class Script:
    """A carrier that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[bytes] = []
        self.tried_at: list[float] = []
        self.batches: list[int] = []
        self.is_closed = False
        self.emptied = asyncio.Event()

    async def send(self, messages: Sequence[bytes]) -> None:
        self.tried_at.append(asyncio.get_running_loop().time())
        if self.failures:
            self.failures -= 1
            raise CarrierFailed("nobody is there")
        self.sent += messages
        self.batches.append(len(messages))
        self.emptied.set()

    async def close(self) -> None:
        self.is_closed = True


class Bench:
    """An outlet on a script."""

    def __init__(self, failures: int = 0) -> None:
        self.registry = CollectorRegistry()
        self.script = Script(failures)
        self.gaps: list[int] = []
        self.outlet = Outlet(
            "syslog",
            self.script,
            telemetry=Telemetry(self.registry),
            rng=Random(1),
            on_gap=lambda _, missed: self.gaps.append(missed),
        )

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"dicom_router_{name}", {"outlet": "syslog", **labels})

    async def run_until_sent(self, count: int) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.outlet.run)
            while len(self.script.sent) < count:
                self.script.emptied.clear()
                await self.script.emptied.wait()
            tasks.cancel_scope.cancel()


def warped(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop where waiting takes no time."""
    loop = WarpLoop()
    try:
        loop.run_until_complete(test())
    finally:
        loop.close()


def test_messages_leave_in_order_and_in_batches() -> None:
    async def scenario() -> None:
        bench = Bench()
        messages = [b"%d" % number for number in range(100)]
        for message in messages:
            bench.outlet.put(message)
        assert bench.metric("audit_waiting") == 100
        await bench.run_until_sent(100)
        assert bench.script.sent == messages
        assert max(bench.script.batches) == outlets.BATCH_MAX
        assert bench.metric("audit_messages_total", outcome="sent") == 100
        assert bench.metric("audit_waiting") == 0

    warped(scenario)


def test_a_receiver_that_is_away_is_tried_again_less_and_less_often() -> None:
    async def scenario() -> None:
        bench = Bench(failures=12)
        bench.outlet.put(b"one")
        await bench.run_until_sent(1)
        assert bench.script.sent == [b"one"]
        pauses = [
            later - earlier
            for earlier, later in zip(bench.script.tried_at, bench.script.tried_at[1:], strict=False)
        ]
        assert pauses[0] <= outlets.RETRY_INITIAL_S
        assert outlets.RETRY_MAX_S / 2 <= pauses[-1] <= outlets.RETRY_MAX_S
        assert bench.gaps == [], "nothing was lost"

    warped(scenario)


def test_its_trouble_can_be_asked_for() -> None:
    async def scenario() -> None:
        bench = Bench(failures=1)
        bench.outlet.put(b"one")
        await bench.outlet.finish()
        assert bench.outlet.problem == "nobody is there"
        assert bench.script.is_closed
        assert len(bench.outlet) == 1
        await bench.outlet.finish()
        assert bench.outlet.problem == ""
        assert len(bench.outlet) == 0

    warped(scenario)


def test_what_does_not_fit_is_counted_and_the_trail_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MESSAGES_MAX", 20)

    async def scenario() -> None:
        bench = Bench(failures=2)
        for number in range(25):
            bench.outlet.put(b"%d" % number)
        assert bench.metric("audit_messages_total", outcome="dropped") == 5
        await bench.run_until_sent(20)
        assert bench.script.sent == [b"%d" % number for number in range(20)], "the first are kept"
        assert bench.gaps == [5]

    warped(scenario)


def test_it_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "BYTES_MAX", 1000)
    bench = Bench()
    for _ in range(3):
        bench.outlet.put(bytes(400))
    assert len(bench.outlet) == 2


def test_what_is_left_at_the_end_counts_as_lost() -> None:
    bench = Bench()
    bench.outlet.put(b"one")
    bench.outlet.give_up()
    bench.outlet.give_up()
    assert bench.metric("audit_messages_total", outcome="dropped") == 1
