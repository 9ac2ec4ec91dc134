"""``python -m tests.crash.kills --runs 200``: kill the gateway at random moments under load, and count.

Every instance that was acknowledged must arrive at the sink, whole. Some arrive twice: a kill between the
sink's answer and its record in the ledger makes that delivery pending again.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench import wire
from bench.process import temporary_root
from tests.peers import ProgramError
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

SIZES = (4_000, 40_000, 40_000, 150_000, 600_000)  # the last is over ``large_object_bytes`` below
ASSOCIATIONS = 3
UP_S = 1.0  # a run lasts up to so long once the gateway is ready
HASTE = 0.2  # the share of runs in which it is killed while it starts
DRAIN_S = 120.0


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
    acknowledged: int
    arrived: int
    duplicates: int
    lost: list[str]
    damaged: list[str]
    refused: Counter[int]

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.damaged and not self.refused and self.acknowledged > 0

    def __str__(self) -> str:
        return (
            f"{self.runs} kills, {self.acknowledged} acknowledged, {self.arrived} arrived, "
            f"{self.duplicates} of them more than once, {len(self.lost)} lost, {len(self.damaged)} damaged, "
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
    """Kill the gateway ``runs`` times under load, let it deliver what it has, and judge by the sink's log."""
    rng = random.Random(seed)
    moment = threading.Event()
    with Sink(directory / "sink") as sink:
        configuration = {
            "modalities": {"sink": modality(sink.port, retry={"initial": "100ms", "maximum": "500ms"})},
            "rules": send_all_to("sink"),
            "spool": {"large_object_bytes": "512kB", "segment_bytes": "8MB"},
        }
        with Gateway(directory / "gateway", configuration) as gateway:
            modalities = Modalities(gateway.port)
            modalities.start()
            try:
                for _ in range(runs):
                    moment.wait(rng.uniform(0.02, UP_S))
                    gateway.kill()
                    if rng.random() < HASTE:
                        gateway.launch()
                        moment.wait(rng.uniform(0.0, 1.5))
                        gateway.kill()
                    gateway.start()
            finally:
                modalities.stop()
            return _judge(sink, modalities.sent, runs)


def _judge(sink: Sink, sent: Sent, runs: int) -> Report:
    try:
        sink.wait_for(sent.acknowledged, DRAIN_S)
    except ProgramError:
        pass  # the report says which are missing
    arrived = sink.data_sets()
    times = Counter(uid for uid, _ in arrived.elements())
    return Report(
        runs=runs,
        acknowledged=len(sent.acknowledged),
        arrived=len(times),
        duplicates=sum(1 for n in times.values() if n > 1),
        lost=sorted(sent.acknowledged - times.keys()),
        damaged=sorted(uid for uid, digest in arrived if sent.digests.get(uid) != digest),
        refused=sent.refused,
    )


def main() -> int:
    """Command line: print the report; exit code 1 where the gateway lost or damaged anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kills", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-", dir=temporary_root()) as directory:
        report = kill_repeatedly(Path(directory), arguments.runs, arguments.seed)
    print(report)
    for name, uids in (("lost", report.lost), ("damaged", report.damaged)):
        for uid in uids[:20]:
            print(name, uid)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
