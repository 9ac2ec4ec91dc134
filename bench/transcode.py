"""What transcoding costs, and whom: ``python -m bench.transcode [--seconds 15] [--size 525000]``.

A gateway before two sinks on loopback: one takes Explicit VR Little Endian only, and gets a backlog of
512x512 16-bit JPEG 2000 lossless instances; the other takes everything, and gets a stream of instances that
need no transcoding, over one association. Measured are the stream alone, transcoding alone, and both.

Ends with 1 where transcoding alone leaves more than a tenth of the processors idle, or where the stream
beside it has less than nine tenths of what is fair: half of the processors, or what it used alone if that is
less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import compressed, wire
from bench.load import Sender, Tally
from bench.measure import Meter
from bench.process import CHECKOUT, Program, ProgramError, free_port, temporary_root
from router.api.http import METRICS_CACHE_S

BUSY = 0.9  # of the processors, where there is nothing to do but transcode
FAIR = 0.9  # of its fair share, for the stream
ELSEWHERE = 0.05  # of the processors: more than that used by others spoils the measurement
PROCESSORS = os.cpu_count() or 1
EVLE, PLAIN = "evle", "plain"
_READY_S = 30.0
_ANSWER_S = 60.0
_WARM = 100  # instances, before the pace is taken from as many again
_SETTLE_S = 1.0  # before each measurement
_LEAD_S = 10.0  # so much longer than a measurement the stream flows
_AHEAD = 2.0  # times what is transcoded at that pace is put into the queue
_QUIET_S = 120.0
_SHORTEST_S = 3.0
_ENDLESS = 10**8  # instances


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many instances were acknowledged and delivered, at some instant."""

    answered: float
    by_destination: dict[str, float]

    @property
    def is_quiet(self) -> bool:
        return sum(self.by_destination.values()) >= self.answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Processors, on average."""

    gateway: float
    workers: float
    sinks: float
    sender: float
    machine: float  # all that ran on it

    @property
    def ours(self) -> float:
        return self.gateway + self.workers + self.sinks + self.sender

    @property
    def elsewhere(self) -> float:
        """By what is none of this; the bench itself and the kernel's own threads among it."""
        return max(0.0, self.machine - self.ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One of the three measurements; instances for each second."""

    what: str
    transcoded: float
    answered: float
    delivered: float
    used: Used

    def __str__(self) -> str:
        used = self.used
        return (
            f"{self.what:20}{self.transcoded:12.1f}{self.answered:10.1f}{self.delivered:11.1f}"
            f"{used.gateway:9.2f}{used.workers:9.2f}{used.sinks:7.2f}{used.sender:8.2f}"
            f"{used.ours:6.2f}{used.machine:9.2f}"
        )


HEAD = (
    "                            instances/s                  processors used by\n"
    "                      transcoded  answered  delivered  gateway  workers  sinks  sender   all  machine"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the three measurements say of each other."""

    stream_alone: Measured
    transcoding_alone: Measured
    both: Measured
    processors: int

    @property
    def busy(self) -> float:
        """Share of the processors that transcoding alone used, with the gateway and the sink."""
        return self.transcoding_alone.used.ours / self.processors

    @property
    def fair(self) -> float:
        """Share of its rate that the stream keeps if it gets half of the processors, or all that it needs."""
        return min(1.0, self.processors / 2 / self.stream_alone.used.ours)

    @property
    def kept(self) -> float:
        """Share of its rate that it did keep: in answers or in deliveries, whichever is less."""
        alone, beside = self.stream_alone, self.both
        return min(beside.answered / alone.answered, beside.delivered / alone.delivered)

    @property
    def transcoding_kept(self) -> float:
        """Share of the rate of transcoding that is left beside the stream."""
        return self.both.transcoded / self.transcoding_alone.transcoded

    @property
    def is_good(self) -> bool:
        return self.busy >= BUSY and self.kept >= FAIR * self.fair

    @property
    def elsewhere(self) -> float:
        """The most processors that others used during any of them."""
        return max(one.used.elsewhere for one in (self.stream_alone, self.transcoding_alone, self.both))

    def __str__(self) -> str:
        wanted = FAIR * self.fair
        lines = [
            f"transcoding alone: {self.busy:.0%} of {self.processors} processors busy, wanted {BUSY:.0%}",
            f"the stream beside it: {self.kept:.0%} of its rate, fair {self.fair:.0%}, wanted {wanted:.0%}",
            f"transcoding beside the stream: {self.transcoding_kept:.0%} of its rate",
        ]
        if self.elsewhere > ELSEWHERE * self.processors:
            lines.append(f"others used up to {self.elsewhere:.2f} processors meanwhile: measure without them")
        return "\n".join(lines)


class Site:
    """The gateway and its sinks, running."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        self._http = free_port()
        evle, evle_port = self._start(
            directory, EVLE, ["sink", "--port", "0", "--transfer-syntax", wire.EXPLICIT_LE]
        )
        plain, plain_port = self._start(directory, PLAIN, ["sink", "--port", "0"])
        self.sinks = (evle.pid, plain.pid)
        configuration = _configuration(directory, self._http, {EVLE: evle_port, PLAIN: plain_port})
        gateway, self.port = self._start(directory, "gateway", ["serve", "-c", str(configuration)])
        self.gateway = gateway.pid

    def _start(self, directory: Path, name: str, arguments: list[str]) -> tuple[Program, int]:
        ready = directory / f"{name}.ready"
        command = [sys.executable, "-m", "router", *arguments, "--ready-file", str(ready)]
        program = Program(command, log=directory / f"{name}.log", directory=CHECKOUT)
        self._stack.callback(program.kill)
        program.wait_until(ready.exists, _READY_S, f"{name} is ready")
        return program, int(json.loads(ready.read_text())["dicom"][0])

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/metrics", timeout=_ANSWER_S) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line[:1] not in ("#", ""))
        return {name: float(value) for name, value in samples}

    def count(self) -> Count:
        """How many instances until now: takes as long as an earlier answer may be given again."""
        time.sleep(METRICS_CACHE_S)
        metrics = self.metrics()
        name = 'dicom_router_delivery_seconds_count{{destination="{}"}}'
        return Count(
            answered=metrics["dicom_router_instances_received_total"],
            by_destination={one: metrics.get(name.format(one), 0.0) for one in (EVLE, PLAIN)},
        )

    def wait_quiet(self) -> None:
        """Until everything that was acknowledged is delivered."""
        deadline = time.monotonic() + _QUIET_S
        while not self.count().is_quiet:
            if time.monotonic() > deadline:
                raise ProgramError(f"waited {_QUIET_S:g} s in vain: everything is delivered")


def _configuration(directory: Path, http: int, sinks: dict[str, int]) -> Path:
    path = directory / "router.yaml"
    configuration = {
        "data_dir": str(directory / "data"),
        "listeners": [{"port": 0, "host": "127.0.0.1"}],
        "http": {"port": http},
        "accept_unknown": ["store"],
        "log_level": "warning",
        "modalities": {
            name: {"ae_title": name.upper(), "host": "127.0.0.1", "port": port}
            for name, port in sinks.items()
        },
        "rules": [{"rule": name, "when": {"called_ae": name.upper()}, "send": name} for name in sinks],
        "spool": {"min_free_bytes": 0},
    }
    path.write_text(json.dumps(configuration))
    return path


class Slices:
    """Compressed instances to be sent, each with a UID of its own."""

    def __init__(self, site: Site, data_set: bytes) -> None:
        self._site = site
        self._data_set = data_set
        self.sent = 0

    def send(self, count: int) -> None:
        """Send so many, as fast as they are answered."""
        sock, accepted = wire.associate(self._site.port, compressed.CONTEXTS, called=EVLE.upper())
        framed = compressed.frame(self._data_set, accepted.max_pdu_bytes)
        tally = Tally()
        first, self.sent = self.sent, self.sent + count
        Sender(sock, framed, tally).run(itertools.count(first), self.sent, math.inf)
        wire.release(sock)
        if tally.acknowledged != count:
            raise ProgramError(f"{count - tally.acknowledged} of {count} not taken: {tally.errors}")


def pace(site: Site, slices: Slices) -> float:
    """How many are transcoded in a second, about, once the workers run."""
    slices.send(_WARM)
    site.wait_quiet()
    began_at = time.monotonic()
    slices.send(_WARM)
    site.wait_quiet()
    return _WARM / (time.monotonic() - began_at)


@contextmanager
def stream(site: Site, directory: Path, size: int, seconds: float, number: int) -> Iterator[int]:
    """Instances over one association to ``plain``, one after the other; the sender's process id."""
    options = {"port": site.port, "called": PLAIN.upper(), "size": size, "count": _ENDLESS, "run": number}
    command = [sys.executable, "-m", "bench.load", "--seconds", str(seconds)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    program = Program(command, log=directory / "load.log", directory=CHECKOUT, stdout=subprocess.PIPE)
    try:
        before = site.count().answered
        program.wait_until(lambda: site.count().answered > before, _READY_S, "the stream flows")
        yield program.pid
        if not program.is_running():
            raise ProgramError("the stream ended before it was measured")
        assert program.popen.stdout is not None
        told = json.loads(program.popen.stdout.readline() or b"{}")
        if not told or told["errors"] or told["refused"]:
            raise ProgramError(f"the stream broke off: {told}\n{program.tail()}")
    finally:
        program.kill()


def measure(what: str, site: Site, seconds: float, sender: int | None = None) -> Measured:
    """Watch for so long."""
    pids = [site.gateway, *site.sinks, *([sender] if sender is not None else [])]
    gateway = psutil.Process(site.gateway)
    time.sleep(_SETTLE_S)
    before, began_at = site.count(), time.monotonic()
    meters = [Meter(pid) for pid in pids]
    own_s, machine_s = _own_s(gateway), _machine_s()
    time.sleep(seconds - METRICS_CACHE_S)
    after, took = site.count(), time.monotonic() - began_at
    machine_s, own_s = _machine_s() - machine_s, _own_s(gateway) - own_s
    whole_s, *others_s = (meter.stop().cpu_s for meter in meters)
    return Measured(
        what=what,
        transcoded=(after.by_destination[EVLE] - before.by_destination[EVLE]) / took,
        answered=(after.answered - before.answered) / took,
        delivered=(after.by_destination[PLAIN] - before.by_destination[PLAIN]) / took,
        used=Used(
            gateway=own_s / took,
            workers=(whole_s - own_s) / took,
            sinks=sum(others_s[:2]) / took,
            sender=sum(others_s[2:]) / took,
            machine=machine_s / took,
        ),
    )


def _own_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _machine_s() -> float:
    """Processor seconds that were used by anything (``/proc/stat``)."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq


def run(seconds: float, size: int) -> Verdict:
    """All three; each is printed as soon as it is known."""
    print(HEAD, flush=True)
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="transcode-", dir=temporary_root()))
        directory = Path(name)
        data_set = compressed.make(directory)
        site = Site(directory, stack)
        slices = Slices(site, data_set)
        per_second = pace(site, slices)
        flow_s = seconds + _LEAD_S
        with stream(site, directory, size, flow_s, 1) as sender:
            stream_alone = _told(measure("the stream alone", site, seconds, sender))
        site.wait_quiet()
        slices.send(int(per_second * _AHEAD * 2 * flow_s) + 1)
        transcoding_alone = _told(measure("transcoding alone", site, seconds))
        with stream(site, directory, size, flow_s, 2) as sender:
            both = _told(measure("both", site, seconds, sender))
        if site.count().by_destination[EVLE] >= slices.sent:
            raise ProgramError("the backlog was too short: there was nothing left to transcode")
        return Verdict(
            stream_alone=stream_alone,
            transcoding_alone=transcoding_alone,
            both=both,
            processors=PROCESSORS,
        )


def _told(measured: Measured) -> Measured:
    print(measured, flush=True)
    return measured


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.transcode", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="for each of the three measurements")
    parser.add_argument("--size", type=int, default=525_000, help="of each instance of the stream, in bytes")
    chosen = parser.parse_args()
    if chosen.seconds < _SHORTEST_S:
        parser.error(f"nothing can be told from less than {_SHORTEST_S:g} s")
    verdict = run(chosen.seconds, chosen.size)
    print(verdict)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
