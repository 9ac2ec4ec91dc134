"""The real spool and sink with a link between them that is long, breaks, or goes silent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Deliver, Modality, Retry, Settings, SpoolSettings
from router.deliver.lanes import Lanes
from router.model import Decision, Instance, Priority, Routed
from router.sink import Sink, SinkOptions
from router.spool import Spool
from router.telemetry import Telemetry
from tests.deliver.samples import META, data_set, instance
from tests.peers.proxy import Link, proxied

RETRY = Retry(initial=0.01, maximum=0.05)
WINDOW = 4


class Gateway:
    """Delivery from a spool on disk to a sink in this process."""

    def __init__(self, directory: Path, spool: Spool, sink: Sink, lanes: Lanes) -> None:
        self.log = directory / "sink.jsonl"
        self.spool = spool
        self.sink = sink
        self.lanes = lanes

    async def put(self, *samples: Instance, priority: Priority = Priority.NORMAL) -> None:
        decision = Decision(destinations=("pacs",), priority=priority, hold=False, trace=())
        now = SystemClock().now()

        async def store(sample: Instance) -> None:
            content = data_set(sample)[: sample.size_bytes]
            arrival = replace(sample.arrival, received_at=now)
            stored.append(await self.spool.append(arrival, [META, content], len(META)))

        stored: list[Instance] = []
        async with anyio.create_task_group() as tasks:
            for sample in samples:
                tasks.start_soon(store, sample)
        await self.spool.route([Routed(key=one.key, decision=decision) for one in stored], now)

    async def until_stored(self, count: int) -> None:
        with anyio.fail_after(30):
            while self.sink.stored < count:
                await anyio.wait_all_tasks_blocked()

    def uids(self) -> list[str]:
        return [json.loads(line)["sop_instance_uid"] for line in self.log.read_text().splitlines()]


@asynccontextmanager
async def gateway(
    directory: Path, link: Link, deliver: Deliver, *, stall_s: float = 0.0
) -> AsyncIterator[Gateway]:
    clock = SystemClock()
    spool = Spool.open(directory / "spool", SpoolSettings(min_free_bytes=0), clock)
    sink = Sink(SinkOptions(log=directory / "sink.jsonl", window=WINDOW, stall_s=stall_s))
    ports: list[int] = []
    is_ready = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        is_ready.set()

    async with spool.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(sink.run, ready)
        await is_ready.wait()
        async with proxied(ports[0], link) as port:
            modality = Modality(ae_title="PACS", host="127.0.0.1", port=port, deliver=deliver)
            lanes = Lanes(spool, Settings(modalities={"pacs": modality}), clock, Telemetry(), Random(1))
            yield Gateway(directory, spool, sink, lanes)
            await lanes.drain(0.5)
            tasks.cancel_scope.cancel()


def deliver(*, associations: int = 2, response_timeout: float = 5.0) -> Deliver:
    return Deliver(
        associations=associations,
        window=WINDOW,
        connect_timeout=2.0,
        response_timeout=response_timeout,
        retry=RETRY,
    )


async def test_a_high_instance_overtakes_a_backlog_within_the_window_and_one(tmp_path: Path) -> None:
    async with gateway(tmp_path, Link(), deliver(associations=1), stall_s=0.05) as here:
        await here.put(*(instance(n, size=100) for n in range(1, 1001)), priority=Priority.LOW)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.lanes.run)
            await here.until_stored(40)
            await here.put(instance(5000, size=100), priority=Priority.HIGH)
            before = here.sink.stored
            with anyio.fail_after(20):
                while "1.2.3.5000" not in here.uids():
                    await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert here.uids().index("1.2.3.5000") - before <= WINDOW + 1


@pytest.mark.parametrize("breaking", ["reset", "half_close"])
async def test_a_link_that_breaks_again_and_again_loses_nothing(tmp_path: Path, breaking: str) -> None:
    link = Link(delay_s=0.002)
    async with gateway(tmp_path, link, deliver(), stall_s=0.001) as here:
        await here.put(*(instance(n, size=20_000) for n in range(1, 201)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.lanes.run)
            for stored in (20, 60, 100):
                await here.until_stored(stored)
                getattr(link, breaking)()
            with anyio.fail_after(30):
                while len(set(here.uids())) < 200:
                    await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    twice = sum(count > 1 for count in Counter(here.uids()).values())
    assert twice <= 3 * 2 * WINDOW


async def test_a_link_that_goes_silent_costs_a_timeout_and_nothing_else(tmp_path: Path) -> None:
    link = Link()
    async with gateway(tmp_path, link, deliver(response_timeout=0.2), stall_s=0.02) as here:
        await here.put(*(instance(n, size=1000) for n in range(1, 101)))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.lanes.run)
            await here.until_stored(20)
            link.is_silent = True
            connections = link.connections
            with anyio.fail_after(20):
                while link.connections == connections:
                    await anyio.wait_all_tasks_blocked()
            link.is_silent = False
            with anyio.fail_after(20):
                while len(set(here.uids())) < 100:
                    await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()


async def test_a_narrow_link_carries_what_it_can(tmp_path: Path) -> None:
    link = Link(bytes_per_s=2_000_000)
    async with gateway(tmp_path, link, deliver(associations=1)) as here:
        await here.put(*(instance(n, size=100_000) for n in range(1, 11)))
        began_at = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.lanes.run)
            await here.until_stored(10)
            tasks.cancel_scope.cancel()
        assert 0.45 <= anyio.current_time() - began_at < 2.0
