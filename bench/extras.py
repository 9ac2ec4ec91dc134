"""What is no rate: the memory that one object of 1 GB costs, and how many idle associations are taken."""

from __future__ import annotations

import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import plan, report, wire
from bench.harness import Sink, load
from bench.measure import Meter, threads_of
from bench.process import ProgramError, temporary_root
from bench.servers import SERVERS, Running

_HUGE_BYTES = 1_000_000_000
_ECHO: tuple[wire.Context, ...] = ((1, wire.VERIFICATION, (wire.IMPLICIT_LE,)),)
_MOST_THREADS = 50


@contextmanager
def _gateway(sink: bool) -> Iterator[tuple[Running, Sink | None]]:
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=temporary_root()))
    far: Sink | None = None
    running: Running | None = None
    try:
        far = Sink(directory) if sink else None
        running = SERVERS["ours"].start(directory, far.port if far else None, 1)
        yield running, far
    finally:
        for program in (running and running.program, far and far.program):
            if program:
                program.kill()
        shutil.rmtree(directory, ignore_errors=True)


def huge_object() -> report.Verdict:
    """One object of 1 GB, received, queued and forwarded."""
    with _gateway(sink=True) as (running, sink):
        assert sink is not None
        meter = Meter(running.program.pid)
        sent = load(running.port, size=_HUGE_BYTES, associations=1, count=1, seconds=120)
        arrived = sink.wait(1, 120)
        usage = meter.stop()
        if sent.acknowledged != 1 or arrived.answered != 1:
            raise ProgramError(f"1 GB: {sent.errors} {running.program.tail(500)}")
    took = arrived.last_at - sent.began_at
    return report.memory(f"one object of 1 GB through the gateway ({took:.1f} s)", usage.peak_bytes)


def _echo(sock: socket.socket) -> None:
    sock.sendall(wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)))
    kind, body = wire.receive_pdu(sock)
    if kind != wire.P_DATA or wire.STATUS_SUCCESS not in body:
        raise ProgramError("C-ECHO was not answered by success")


def idle_associations(count: int) -> tuple[int, int, int]:
    """Open ``count``, leave them idle: how many were accepted, the threads, the peak memory in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * count + 200)), hard))
    opened: list[socket.socket] = []
    with _gateway(sink=False) as (running, _):
        meter = Meter(running.program.pid)
        try:
            for _ in range(count):
                try:
                    opened.append(wire.associate(running.port, _ECHO)[0])
                except (OSError, wire.PeerError):
                    break
            for sock in (opened[0], opened[-1]):
                _echo(sock)
            return len(opened), threads_of(running.program.pid), meter.stop().peak_bytes
        finally:
            for sock in opened:
                sock.close()


def idle() -> report.Verdict:
    """500 must be taken, without a thread each; 2,000 are aimed at."""
    accepted, threads, peak = idle_associations(plan.IDLE_AIM)
    enough = accepted if threads <= _MOST_THREADS else 0
    return report.Verdict(
        what="idle associations accepted, no thread each",
        measured=f"{accepted:,} ({threads} threads, {peak / 1e6:.0f} MB)",
        must=f"{plan.IDLE_MUST:,}",
        aim=f"{plan.IDLE_AIM:,}",
        reached="aim" if enough >= plan.IDLE_AIM else "must" if enough >= plan.IDLE_MUST else "MISSED",
    )
