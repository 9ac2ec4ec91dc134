"""``python -m tests.crash.kills --runs 1000``: kill the gateway at random moments under load, and count.

Everything goes to three sinks: one that is well, one that refuses a tenth at random, and one that aborts its
associations in the middle. Every instance that was acknowledged must arrive at each of them, whole. Some
arrive twice, where a kill came between a sink's answer and its record in the ledger: no more of them for each
kill than were outstanding. In the end ledger and sinks must tell the same story, instance by instance.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import threading
from bisect import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from bench import wire
from bench.process import temporary_root
from tests.crash.accounts import Account, disagreements, read_ledger
from tests.peers import ProgramError
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Line, Sink

SIZES = (4_000, 40_000, 40_000, 150_000, 600_000)  # the last is over ``large_object_bytes`` below
ASSOCIATIONS = 3
PACE_S = 0.005  # between two instances on one of them: the sinks that fail have to keep up over 1,000 runs
UP_S = 1.0  # a run lasts up to so long once the gateway is ready
HASTE = 0.2  # the share of runs in which it is killed while it starts
DRAIN_S = 120.0
LAG_S = 0.1  # a sink may still log what it had received when the gateway was killed; the next is not up yet
SINKS: Mapping[str, Sequence[str]] = {
    "well": (),
    "refusing": ("--fail", "A700:10%", "--seed", "1"),
    "aborting": ("--abort-after", "100"),
}
OUTSTANDING = 4  # at one sink, unanswered or not recorded: what one kill may repeat
DELIVER = {
    "associations": OUTSTANDING,
    "window": 1,
    "retry": {"initial": "100ms", "maximum": "500ms"},
}


@dataclass(slots=True)
class Sent:
    """What the senders know: the digest of all that they began to send, and which UIDs were acknowledged."""

    digests: dict[str, str] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of it all."""

    runs: int
    kills: int  # some runs have two
    acknowledged: int
    arrived: dict[str, int]  # at each sink
    duplicates: dict[str, int]
    twice_per_kill: int  # the most that one kill made a sink take twice
    lost: list[str]
    damaged: list[str]
    disagreements: list[str]
    stuck: list[str]  # what the gateway never got done with
    refused: Counter[int]

    @property
    def is_good(self) -> bool:
        return (
            not (self.lost or self.damaged or self.refused or self.disagreements or self.stuck)
            and self.twice_per_kill <= OUTSTANDING
            and self.acknowledged > 0
        )

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.runs} runs, {self.acknowledged} acknowledged, arrived: "
            f"{self.arrived}, more than once: {self.duplicates}, at most {self.twice_per_kill} for one kill; "
            f"{len(self.lost)} lost, {len(self.damaged)} damaged, {len(self.disagreements)} disagreements, "
            f"{len(self.stuck)} stuck, "
            f"refused: {dict(self.refused)}"
        )


class Modalities:
    """Threads that send without end, each over its own association, made anew whenever it breaks."""

    def __init__(self, port: int) -> None:
        self.sent = Sent()
        self._port = port
        self._numbers = itertools.count()
        self._makers = [Maker(size) for size in SIZES]
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(ASSOCIATIONS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._ended.is_set():
            try:
                with Association(self._port, [CT]) as association:
                    while not self._ended.is_set():
                        self._store(association, self._make())
                        self._ended.wait(PACE_S)
            except (OSError, wire.PeerError):
                self._ended.wait(0.02)  # it was killed: try again until it is back

    def _make(self) -> Made:
        number = next(self._numbers)
        return self._makers[number % len(self._makers)].make(number)

    def _store(self, association: Association, made: Made) -> None:
        self.sent.digests[made.uid] = made.sha256
        status = association.store(*CT[:1], made.uid, CT[1], made.data_set)
        if status == 0:
            self.sent.acknowledged.add(made.uid)
        else:
            self.sent.refused[status] += 1


def kill_repeatedly(directory: Path, runs: int, seed: int = 1) -> Report:
    """Kill the gateway ``runs`` times under load, let it deliver what it has, and judge."""
    rng = random.Random(seed)
    moment = threading.Event()
    killed_at: list[float] = []
    with ExitStack() as stack:
        sinks = {
            name: stack.enter_context(Sink(directory / name, *options)) for name, options in SINKS.items()
        }
        configuration = {
            "modalities": {name: {**modality(sink.port), "deliver": DELIVER} for name, sink in sinks.items()},
            "rules": send_all_to(*sinks),
            "spool": {"large_object_bytes": "512kB", "segment_bytes": "8MB"},
        }
        gateway = stack.enter_context(Gateway(directory / "gateway", configuration))

        def kill() -> None:
            killed_at.append(time())
            gateway.kill()

        modalities = Modalities(gateway.port)
        modalities.start()
        try:
            for _ in range(runs):
                moment.wait(rng.uniform(0.02, UP_S))
                kill()
                if rng.random() < HASTE:
                    gateway.launch()
                    moment.wait(rng.uniform(0.0, 1.5))
                    kill()
                gateway.start()
        finally:
            modalities.stop()
        _wait(sinks, modalities.sent.acknowledged)
        stuck = _stuck(gateway)
        gateway.stop()
        return _judge(sinks, modalities.sent, read_ledger(gateway.data_dir), killed_at, runs, stuck)


def _stuck(gateway: Gateway) -> list[str]:
    """What is left when the queue should be empty."""
    try:
        gateway.wait_quiet(DRAIN_S)
    except ProgramError:
        left = [row for state in ("pending", "active") for row in gateway.deliveries(state)]
        return [gateway.get("/api/v1/status"), *map(str, left)]
    return []


def _wait(sinks: Mapping[str, Sink], uids: set[str]) -> None:
    for sink in sinks.values():
        try:
            sink.wait_for(uids, DRAIN_S)
        except ProgramError:
            continue  # the report says which are missing


def _judge(
    sinks: Mapping[str, Sink],
    sent: Sent,
    ledger: Mapping[tuple[str, str], Account],
    killed_at: Sequence[float],
    runs: int,
    stuck: list[str],
) -> Report:
    arrived: dict[str, Counter[str]] = {}
    lost: list[str] = []
    damaged: list[str] = []
    told: list[str] = []
    worst = 0
    for name, sink in sinks.items():
        lines = sink.lines()
        taken = [line for line in lines if line.status == "0000"]
        arrived[name] = Counter(line.sop_instance_uid for line in taken)
        lost += [f"{name} {uid}" for uid in sorted(sent.acknowledged - arrived[name].keys())]
        damaged += [
            f"{name} {line.sop_instance_uid}"
            for line in lines
            if sent.digests.get(line.sop_instance_uid) != line.sha256
        ]
        told += disagreements(name, lines, ledger)
        worst = max(worst, *_repeated(lines, killed_at).values(), 0)
    return Report(
        runs=runs,
        kills=len(killed_at),
        acknowledged=len(sent.acknowledged),
        arrived={name: len(times) for name, times in arrived.items()},
        duplicates={name: times.total() - len(times) for name, times in arrived.items()},
        twice_per_kill=worst,
        lost=lost,
        damaged=damaged,
        disagreements=told,
        stuck=stuck,
        refused=sent.refused,
    )


def _repeated(lines: Sequence[Line], killed_at: Sequence[float]) -> Counter[int]:
    """For each life of the gateway how many of those that a sink took in it came once more later."""
    repeated: Counter[int] = Counter()
    latest: dict[str, float] = {}
    for line in lines:
        if line.status == "0000":
            before = latest.get(line.sop_instance_uid)
            if before is not None:
                repeated[bisect(killed_at, before - LAG_S)] += 1
            latest[line.sop_instance_uid] = line.at
    return repeated


def main() -> int:
    """Command line: print the report; exit code 1 where the gateway lost or damaged anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kills", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-", dir=temporary_root()) as directory:
        report = kill_repeatedly(Path(directory), arguments.runs, arguments.seed)
    print(report)
    for name, found in (
        ("lost", report.lost),
        ("damaged", report.damaged),
        ("", report.disagreements),
        ("stuck", report.stuck),
    ):
        for text in found[:20]:
            print(name, text)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
