"""Hostile clients beside a normal sender: ``python -m bench.hostile [--connections 10000] [--attacks 2]``.

One gateway, one sink behind it, one sender that sends an instance as soon as the last one is answered: first
alone, until the gateway's memory grows no more (the ledger's page cache fills with what is received, attack
or not), then beside all the kinds of ``bench.attacks``, then alone again. What has to hold:

- everything that was acknowledged arrives at the sink, and nothing was refused or lost;
- the sender's median answer time beside the attack is at most twice what it is alone, in this run;
- afterwards descriptors and tasks are what they were before, memory is so to a tenth (CPython gives back
  an arena of 1 MB only when nothing at all is left in it) and does not grow with another attack, and no
  traceback is in the log.

Ends with 1 where one of these does not hold. Waits are shorter than by default, so that they are reached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import wire
from bench.load import send_one
from bench.process import CHECKOUT, Program, ProgramError, free_port, temporary_root, wait_until
from bench.sample import CONTEXTS, Sample

SLOWER = 2.0  # times the median alone
MEMORY_SHARE = 0.10  # more than before, at most: arenas of which a little is in use
GROWTH_SHARE = 0.03  # more than after the first attack
STEADY_SHARE = 0.003  # more than ``STEADY_S`` ago: memory grows no more
STEADY_S = 20.0
WARM_S = 400.0  # at most
CALM_S = 15.0  # until the gateway has given back what it can
SIZE = 40_000
LIMITS: Mapping[str, object] = {
    "request_s": 5,
    "idle_s": 8,
    "message_s": 5,
    "answer_s": 5,
    "message_total_s": 60,
}
_PAUSE_S = 0.004  # between an answer and the next instance, but for the warming up
_READY_S = 30.0
_SETTLE_S = 60.0
_ASSOCIATION_S = 0.25  # then another one: at most 4 in a second, however fast the machine


@dataclass(slots=True)
class Normal:
    """The normal sender, in a thread."""

    port: int
    first: int = 1  # of the serial numbers by which its instances are told apart
    pause_s: float = _PAUSE_S
    seconds: list[tuple[float, float]] = field(default_factory=list)  # when answered, and after how long
    acknowledged: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    def between(self, start: float, end: float) -> list[float]:
        """How long each answer took that came in that time."""
        return [took for at, took in list(self.seconds) if start <= at < end]

    def _run(self) -> None:
        sample = Sample(SIZE)
        serial = self.first - 1
        while not self._stop.is_set():
            try:
                sock, accepted = wire.associate(self.port, CONTEXTS, calling="NORMAL")
            except (OSError, wire.PeerError) as error:
                self.failures.append(f"associate: {error}")
                self._stop.wait(0.1)
                continue
            framed = sample.frame(accepted.max_pdu_bytes)
            head = framed.own_head()
            until = time.monotonic() + _ASSOCIATION_S
            try:
                while time.monotonic() < until:
                    serial += 1
                    head.patch(serial)
                    began = time.monotonic()
                    answer = send_one(sock, [head.buffer, *framed.pieces])
                    now = time.monotonic()
                    if wire.STATUS_SUCCESS not in answer:
                        raise wire.PeerError("an instance was refused")
                    self.seconds.append((now, now - began))
                    self.acknowledged.append(sample.uid_of(serial))
                    if self._stop.wait(self.pause_s):
                        break
                wire.release(sock)
            except (OSError, wire.PeerError) as error:
                self.failures.append(str(error))
                sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the gateway's process holds."""

    rss_bytes: int
    descriptors: int  # without the spool's segments, which come with what is received
    tasks: int
    associations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was seen."""

    alone_s: list[float]
    beside_s: list[float]
    acknowledged: int
    lost: int
    failures: list[str]
    before: State
    afters: list[State]  # of each attack
    peak_bytes: int
    log_lines: int
    bad_lines: list[str]
    attacks: Mapping[str, Mapping[str, int]]
    limits: Mapping[str, float]
    memory_share: float

    def complaints(self) -> list[str]:
        """What does not hold."""
        found: list[str] = []
        if self.lost or self.failures:
            found.append(f"{self.lost} acknowledged instances did not arrive; {self.failures[:3]}")
        alone, beside = statistics.median(self.alone_s), statistics.median(self.beside_s)
        if beside > SLOWER * alone:
            found.append(f"median {1000 * beside:.2f} ms beside the attack, {1000 * alone:.2f} ms alone")
        first, last = self.afters[0], self.afters[-1]
        for what, state, share in (
            ("before", self.before, self.memory_share),
            ("after the first attack", first, GROWTH_SHARE),
        ):
            if (more := last.rss_bytes - state.rss_bytes) > share * state.rss_bytes:
                found.append(f"{more / 1e6:.1f} MB more than {what}, {more / state.rss_bytes:.1%}")
        for name in ("descriptors", "tasks", "associations"):
            was, is_now = getattr(self.before, name), getattr(last, name)
            if is_now > was:
                found.append(f"{is_now} {name}, {was} before")
        if self.bad_lines:
            found.append(f"in the log: {self.bad_lines[0][:300]}")
        return found

    def __str__(self) -> str:
        def answers(name: str, took: list[float]) -> str:
            ranked = sorted(took)
            p99 = ranked[len(ranked) * 99 // 100]
            return (
                f"{name}: {len(took)} answers, median {1000 * statistics.median(took):.2f} ms, "
                f"p99 {1000 * p99:.1f} ms"
            )

        rows = [f"  {kind:20} {dict(ends)}" for kind, ends in sorted(self.attacks.items())]
        return "\n".join(
            [
                answers("alone", self.alone_s),
                answers("beside the attack", self.beside_s),
                f"acknowledged {self.acknowledged}, lost {self.lost}, failures {len(self.failures)}",
                f"before {self.before}",
                *(f"after  {state}" for state in self.afters),
                f"most memory {self.peak_bytes / 1e6:.0f} MB; {self.log_lines} lines in the log",
                f"limits reached: {dict(self.limits)}",
                f"attacks: {sum(sum(e.values()) for e in self.attacks.values())}",
                *rows,
            ]
        )


class Site:
    """A gateway and the sink behind it."""

    def __init__(self, directory: Path, limits: Mapping[str, object]) -> None:
        self._directory = directory
        self.http = free_port()
        self.arrived = directory / "sink.jsonl"
        self.sink, sink_port = self._start("sink", ["sink", "--port", "0", "--log", str(self.arrived)])
        configuration = directory / "router.yaml"
        configuration.write_text(
            json.dumps(
                {
                    "data_dir": str(directory / "data"),
                    "listeners": [{"port": 0, "host": "127.0.0.1", "limits": dict(limits)}],
                    "http": {"port": self.http},
                    "accept_unknown": ["echo", "store"],
                    "modalities": {
                        "sink": {
                            "ae_title": "SINK",
                            "host": "127.0.0.1",
                            "port": sink_port,
                            "deliver": {"idle": "1s"},
                        }
                    },
                    "rules": [{"rule": "all", "when": {"calling_ae": "NORMAL"}, "send": "sink"}],
                    "unmatched": "drop",
                }
            )
        )
        self.gateway, self.port = self._start("gateway", ["serve", "-c", str(configuration)])

    def _start(self, name: str, arguments: list[str]) -> tuple[Program, int]:
        ready = self._directory / f"{name}.ready"
        command = [sys.executable, "-m", "router", *arguments, "--ready-file", str(ready)]
        program = Program(command, log=self._directory / f"{name}.log", directory=CHECKOUT)
        program.wait_until(ready.exists, _READY_S, f"the {name} is ready")
        return program, int(json.loads(ready.read_text())["dicom"][0])

    def close(self) -> None:
        """End both."""
        self.gateway.kill()
        self.sink.kill()

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] not in ("#", ""))
        }

    def state(self) -> State:
        """What the process holds now; descriptors are counted before it gets one more by being asked."""
        process = psutil.Process(self.gateway.pid)
        descriptors = sum(1 for path in _descriptors(process.pid) if not path.endswith(".seg"))
        seen = self.metrics()
        return State(
            rss_bytes=process.memory_info().rss,
            descriptors=descriptors,
            tasks=int(seen.get("dicom_router_tasks", 0)),
            associations=sum(
                int(value) for name, value in seen.items() if name.startswith("dicom_router_associations{")
            ),
        )

    def uids(self) -> set[str]:
        """The SOP instances that have arrived at the sink."""
        if not self.arrived.exists():
            return set()
        whole = self.arrived.read_text().rpartition("\n")[0]
        return {json.loads(line)["sop_instance_uid"] for line in whole.splitlines()}

    def log(self) -> list[str]:
        """Every line that the gateway has logged."""
        return self.gateway.log.read_text(errors="replace").splitlines()


@contextmanager
def _site(limits: Mapping[str, object]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="hostile-", dir=temporary_root()) as name:
        site = Site(Path(name), limits)
        try:
            yield site
        finally:
            site.close()


def measure(
    *,
    connections: int,
    seconds: float,
    alone_s: float,
    flood: int,
    attacks: int = 1,
    calm_s: float = CALM_S,
    warm_s: float = WARM_S,
    memory_share: float = MEMORY_SHARE,
    limits: Mapping[str, object] = LIMITS,
) -> Outcome:
    """Alone, beside the attack, alone again; that as often as there are attacks."""
    with _site(limits) as site:
        warm = Normal(site.port, pause_s=0)
        warm.start()
        _wait_until_steady(site, warm_s)
        warm.stop()
        before = at_rest(site.state, None)
        alone: list[float] = []
        beside: list[float] = []
        sent, failures = set(warm.acknowledged), [*warm.failures]
        afters: list[State] = []
        ends: dict[str, Counter[str]] = {}
        for _ in range(attacks):
            normal = Normal(site.port, first=len(sent) + len(failures) + 1)
            normal.start()
            began = time.monotonic()
            time.sleep(alone_s)
            attack_at = time.monotonic()
            for kind, counts in _attack(site.port, connections, seconds, flood).items():
                ends.setdefault(kind, Counter()).update(counts)
            attack_until = min(attack_at + seconds, time.monotonic())
            quiet_at = time.monotonic()
            time.sleep(alone_s)
            ended = time.monotonic()
            normal.stop()
            alone += [*normal.between(began, attack_at), *normal.between(quiet_at, ended)]
            beside += normal.between(attack_at, attack_until)
            sent.update(normal.acknowledged)
            failures += normal.failures
            at_rest(site.state, before)
            time.sleep(calm_s)
            afters.append(at_rest(site.state, before))
        with suppress(ProgramError):  # counted below
            wait_until(lambda: sent <= site.uids(), _SETTLE_S, "everything arrives")
        lines = site.log()
        return Outcome(
            alone_s=alone,
            beside_s=beside,
            acknowledged=len(sent),
            lost=len(sent - site.uids()),
            failures=failures,
            before=before,
            afters=afters,
            peak_bytes=_peak_bytes(site.gateway.pid),
            log_lines=len(lines),
            bad_lines=[line for line in lines if "Traceback" in line or '"level":"error"' in line],
            attacks=ends,
            limits={
                name.partition('"')[2].rstrip('"}'): value
                for name, value in site.metrics().items()
                if name.startswith("dicom_router_limits_reached_total")
            },
            memory_share=memory_share,
        )


def _attack(port: int, connections: int, seconds: float, flood: int) -> dict[str, dict[str, int]]:
    command = [sys.executable, "-m", "bench.attacks", "--port", str(port)]
    command += ["--connections", str(connections), "--seconds", str(seconds), "--flood", str(flood)]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=seconds + 300, check=True
    )
    counts: dict[str, dict[str, int]] = json.loads(done.stdout)
    return counts


def _wait_until_steady(site: Site, most_s: float) -> None:
    """Return when memory has not grown for a while, or the time is over."""
    until = time.monotonic() + most_s
    process, before = psutil.Process(site.gateway.pid), 0
    while (left := until - time.monotonic()) > 0:
        now = process.memory_info().rss
        if now - before <= STEADY_SHARE * now:
            return
        before = now
        time.sleep(min(STEADY_S, left))


def at_rest(look: Callable[[], State], before: State | None, timeout_s: float = _SETTLE_S) -> State:
    """The state in which the gateway was seen at rest; as it is where it does not come to rest in time.

    It is not looked at again: the next look may meet the socket of the request for metrics of the last one.
    """
    seen: list[State] = []

    def is_at_rest() -> bool:
        seen[:] = [look()]
        now = seen[0]
        return now.associations == 0 and (
            before is None or (now.descriptors <= before.descriptors and now.tasks <= before.tasks)
        )

    with suppress(ProgramError):  # the state says so
        wait_until(is_at_rest, timeout_s, "the gateway is at rest")
    return seen[0]


def _descriptors(pid: int) -> Iterator[str]:
    """What each descriptor is for."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            yield str(descriptor.readlink())


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--alone", type=float, default=15.0, help="seconds before and after")
    parser.add_argument(
        "--flood", type=int, default=1500, help="of the connections, at once from one address"
    )
    parser.add_argument("--attacks", type=int, default=2, help="one after the other")
    chosen = parser.parse_args()
    outcome = measure(
        connections=chosen.connections,
        seconds=chosen.seconds,
        alone_s=chosen.alone,
        flood=chosen.flood,
        attacks=chosen.attacks,
    )
    print(outcome)
    complaints = outcome.complaints()
    print("\n".join(complaints) if complaints else "all holds")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
