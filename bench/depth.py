"""``python -m bench.depth``: what a long queue costs. 1,000, 10,000 and 100,000 pending deliveries.

The queue is made through the spool's own API, for a destination that does not answer. Then, for each depth:
how long the gateway takes from its launch until it takes instances, its memory after it was asked for its
metrics and its queue for a while, and how many deliveries in a second a lane can claim.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio

from bench.measure import Meter
from bench.process import CHECKOUT, Program, free_port, pause_until, temporary_root, wait_until
from router.clock import SystemClock
from router.config.settings import SpoolSettings
from router.model import Arrival, Decision, Origin, Priority, Routed
from router.spool import Spool

DEPTHS = (1_000, 10_000, 100_000)
DESTINATION = "gone"
SIZE = 1000  # of each instance: a record takes a block of 4,096 bytes whatever it holds
TOGETHER = 256
CLAIM = 256
ROUNDS = 100
WATCH_S = 5.0
_SETTINGS = SpoolSettings(min_free_bytes=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one depth costs."""

    depth: int
    open_s: float  # the spool alone
    start_s: float  # the gateway: launch to ready
    memory_mib: float  # its most, over ``WATCH_S``
    claims_per_s: float
    depths_ms: float
    page_ms: float  # of the queue's last page, over HTTP

    def __str__(self) -> str:
        return (
            f"{self.depth:>9,}  {self.open_s:8.2f}  {self.start_s:8.2f}  {self.memory_mib:8.0f}  "
            f"{self.claims_per_s:10,.0f}  {self.depths_ms:10.1f}  {self.page_ms:8.1f}"
        )


HEAD = "  pending    open s   start s  RSS MiB    claims/s   depths ms   page ms"


async def fill(directory: Path, count: int, first: int) -> None:
    """Add ``count`` pending deliveries."""
    spool = await anyio.to_thread.run_sync(lambda: Spool.open(directory, _SETTINGS, SystemClock()))
    decision = Decision(destinations=(DESTINATION,), priority=Priority.NORMAL, hold=False, trace=())
    origin = Origin(calling_ae="BENCH", called_ae="ROUTER", peer="127.0.0.1", listener="11112")
    async with spool.running():
        for start in range(first, first + count, TOGETHER):
            stored: list[Routed] = []

            async def store(number: int, stored: list[Routed] = stored) -> None:
                arrival = Arrival(
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    sop_instance_uid=f"1.2.826.0.1.3680043.10.1.{number}",
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    origin=origin,
                    received_at=time.time(),
                )
                instance = await spool.append(arrival, [bytes(100), bytes(SIZE)], 100)
                stored.append(Routed(key=instance.key, decision=decision))

            async with anyio.create_task_group() as group:
                for number in range(start, min(start + TOGETHER, first + count)):
                    group.start_soon(store, number)
            await spool.route(stored, time.time())


async def ask_spool(directory: Path) -> tuple[float, float, float]:
    """Seconds to open it, claims in a second, and milliseconds for the depths."""
    before = time.monotonic()
    spool = await anyio.to_thread.run_sync(lambda: Spool.open(directory, _SETTINGS, SystemClock()))
    opened = time.monotonic() - before
    async with spool.running():
        rates = []
        for _ in range(ROUNDS):
            before = time.monotonic()
            found = await spool.claim(DESTINATION, limit=CLAIM, lease_s=3600, now=time.time())
            rates.append(len(found) / (time.monotonic() - before))
            await spool.give_back(found)
        rate = statistics.quantiles(rates, n=10)[-1]  # what the machine can when nobody else wants it
        return opened, rate, 1000 * await _median_s(spool.depths)


async def _median_s(ask: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(10):
        before = time.monotonic()
        await ask()
        times.append(time.monotonic() - before)
    return statistics.median(times)


def ask_gateway(directory: Path, scratch: Path) -> tuple[float, float, float]:
    """Seconds from launch to ready, MiB, and milliseconds for the last page of the queue."""
    port, http = free_port(), free_port()
    configuration, ready = scratch / "router.yaml", scratch / "ready.json"
    retry = {"initial": "1s", "maximum": "10s"}
    modality = {"ae_title": "GONE", "host": "127.0.0.1", "port": free_port(), "deliver": {"retry": retry}}
    whole = {
        "data_dir": str(directory),
        "listeners": [{"port": port, "host": "127.0.0.1"}],
        "http": {"host": "127.0.0.1", "port": http},
        "modalities": {DESTINATION: modality},
        "rules": [{"rule": "all", "send": [DESTINATION]}],
        "spool": {"min_free_bytes": 0},
    }
    configuration.write_text(json.dumps(whole))
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "router", "serve", "-c", str(configuration), "--ready-file", str(ready)]
    before = time.monotonic()
    program = Program(command, log=scratch / "gateway.log", directory=CHECKOUT)
    try:
        wait_until(lambda: ready.exists() or not program.is_running(), 120, "the gateway is ready")
        started = time.monotonic() - before
        meter = Meter(program.pid)
        times = []
        after = _last(http)
        end = time.monotonic() + WATCH_S
        while time.monotonic() < end:
            before = time.monotonic()
            _get(http, f"/api/v1/queue?state=pending&limit=100&after={after}")
            times.append(time.monotonic() - before)
            _get(http, "/metrics")
            pause_until(before + 0.5)
        return started, meter.stop().peak_bytes / 2**20, 1000 * statistics.median(times)
    finally:
        program.kill()


def _last(http: int) -> int:
    """A delivery near the end of the queue."""
    after = 0
    while True:
        page = json.loads(_get(http, f"/api/v1/queue?limit=1000&after={after}"))
        if page["next_after"] is None:
            return after
        after = int(page["next_after"])


def _get(http: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}{path}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


def main() -> int:
    """Print a line for each depth; exit code 1 where the longest queue breaks its bounds."""
    parser = argparse.ArgumentParser(prog="python -m bench.depth", description=__doc__)
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)))
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="depth-", dir=temporary_root()))
    found: list[Figures] = []
    print(HEAD)
    try:
        filled = 0
        for depth in sorted(int(text) for text in arguments.depths.split(",")):
            anyio.run(fill, scratch / "data", depth - filled, filled)
            filled = depth
            opened, claims, depths = anyio.run(ask_spool, scratch / "data")
            started, memory, page = ask_gateway(scratch / "data", scratch)
            found.append(
                Figures(
                    depth=depth,
                    open_s=opened,
                    start_s=started,
                    memory_mib=memory,
                    claims_per_s=claims,
                    depths_ms=depths,
                    page_ms=page,
                )
            )
            print(found[-1], flush=True)
    finally:
        shutil.rmtree(scratch)
    return 0 if is_good(found) else 1


def is_good(found: list[Figures]) -> bool:
    """Start in 10 s, 300 MB, and claims that do not care how long the queue is (half is noise)."""
    first, last = found[0], found[-1]
    return last.start_s < 10 and last.memory_mib < 300 and last.claims_per_s > first.claims_per_s / 2


if __name__ == "__main__":
    sys.exit(main())
