"""How well a byte limit is kept: ``python -m bench.rate [--bytes-per-second 2MB] [--seconds 30]``.

A gateway with more in its queue than the limit lets out, and a relay before a sink on loopback that counts
what arrives. Prints the rate over the whole time and the slowest and fastest of its seconds; ends with 1
where the whole is off by more than 5 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench import wire
from bench.load import Sender, Tally
from bench.process import CHECKOUT, Program, free_port, temporary_root, wait_until
from bench.sample import CONTEXTS, Sample
from router.config.scalars import parse_size

TOLERANCE = 0.05
_READY_S = 30.0
_AHEAD = 1.2  # times what the limit lets out is put into the queue
_SETTLE_S = 1.0  # after the first byte; the measured time begins then
_FILLING_S = 600.0
_CHUNK = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was measured, in bytes for each second."""

    limit: int
    whole: float
    slowest: float
    fastest: float

    @property
    def error(self) -> float:
        """How far the whole is off, as a share of the limit."""
        return self.whole / self.limit - 1.0

    def __str__(self) -> str:
        return (
            f"limit {self.limit:,} B/s: {self.whole:,.0f} B/s over the whole ({self.error:+.2%}), "
            f"each second between {self.slowest:,.0f} and {self.fastest:,.0f}"
        )


class Relay:
    """Passes connections on to a port, and remembers how much came from whoever opened them, and when."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.arrived: list[tuple[float, int]] = []  # monotonic instant, bytes
        self._open = [self._server]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """Cut every connection, and take no more."""
        for one in self._open:
            with suppress(OSError):  # gone already
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                incoming, _ = self._server.accept()
                self._open.append(incoming)
                outgoing = socket.create_connection(("127.0.0.1", self._to))
                self._open.append(outgoing)
            except OSError:
                return
            for one, other, is_counted in ((incoming, outgoing, True), (outgoing, incoming, False)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._start(self._pass_on, one, other, is_counted)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        try:
            while chunk := source.recv(_CHUNK):
                if is_counted:
                    self.arrived.append((time.monotonic(), len(chunk)))
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return  # cut

    def between(self, start: float, end: float) -> int:
        """How much arrived in that time."""
        return sum(count for at, count in list(self.arrived) if start <= at < end)


def measure(*, limit: int, seconds: float, size: int, associations: int = 4) -> Kept:
    """Fill a gateway's queue and watch it empty at its limit."""
    with tempfile.TemporaryDirectory(prefix="rate-", dir=temporary_root()) as name:
        directory = Path(name)
        sink, sink_port = _start(directory, "sink", ["sink", "--port", "0"])
        relay = Relay(sink_port)
        gateway, port = _start(
            directory,
            "gateway",
            ["serve", "-c", str(_configuration(directory, relay.port, limit, associations))],
        )
        try:
            filling = _fill(port, int(limit * (seconds + 2 * _SETTLE_S) * _AHEAD / size) + 1, size)
            wait_until(lambda: bool(relay.arrived), _READY_S, "the first byte arrives")
            start = time.monotonic() + _SETTLE_S
            time.sleep(seconds + _SETTLE_S)
            by_second = [relay.between(start + n, start + n + 1) for n in range(int(seconds))]
            whole = relay.between(start, start + seconds) / seconds
            kept = Kept(limit=limit, whole=whole, slowest=min(by_second), fastest=max(by_second))
        finally:
            gateway.kill()
            sink.kill()
            relay.close()
        filling.join()
        return kept


def _start(directory: Path, name: str, arguments: list[str]) -> tuple[Program, int]:
    ready = directory / f"{name}.ready"
    command = [sys.executable, "-m", "router", *arguments, "--ready-file", str(ready)]
    program = Program(command, log=directory / f"{name}.log", directory=CHECKOUT)
    program.wait_until(ready.exists, _READY_S, f"the {name} is ready")
    return program, int(json.loads(ready.read_text())["dicom"][0])


def _configuration(directory: Path, to: int, limit: int, associations: int) -> Path:
    path = directory / "router.yaml"
    deliver = {"bytes_per_second": limit, "associations": associations}
    peer = {"ae_title": "SINK", "host": "127.0.0.1", "port": to, "deliver": deliver}
    configuration = {
        "data_dir": str(directory / "data"),
        "listeners": [{"port": 0, "host": "127.0.0.1"}],
        "http": {"port": free_port()},
        "accept_unknown": ["store"],
        "modalities": {"sink": peer},
        "rules": [{"rule": "all", "send": "sink"}],
        "spool": {"min_free_bytes": 0},
    }
    path.write_text(json.dumps(configuration))
    return path


def _fill(port: int, count: int, size: int) -> threading.Thread:
    """Send ``count`` instances, until the gateway goes away."""
    sock, accepted = wire.associate(port, CONTEXTS)
    sender = Sender(sock, Sample(size).frame(accepted.max_pdu_bytes), Tally())

    def run() -> None:
        with sock:
            sender.run(itertools.count(), count, time.monotonic() + _FILLING_S)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.rate")
    parser.add_argument("--bytes-per-second", default="2MB")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--size", type=int, default=40_000, help="of each instance, in bytes")
    parser.add_argument("--associations", type=int, default=4)
    chosen = parser.parse_args()
    limit = parse_size(chosen.bytes_per_second)
    assert isinstance(limit, int)
    kept = measure(limit=limit, seconds=chosen.seconds, size=chosen.size, associations=chosen.associations)
    print(kept)
    return 0 if abs(kept.error) <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
