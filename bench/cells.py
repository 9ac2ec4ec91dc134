"""One measurement: a fresh server in a fresh directory, warmed up, then loaded for some seconds."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.harness import Sent, Sink, load
from bench.measure import Meter
from bench.process import ProgramError, temporary_root
from bench.servers import SERVERS, Running, Server

_DRAIN_S = 60.0
_MOST_BYTES = 2_000_000_000  # on the disk in one cell
_LOAD_S = 30.0  # a cell's load is cut off after this


class Mode(StrEnum):
    """What is measured."""

    RECEIVE = "receive"  # until the last C-STORE-RSP of the server
    FORWARD = "forward"  # until the last C-STORE-RSP of the sink behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of what is measured."""

    mode: Mode
    size: int
    associations: int
    server: str
    count: int | None = None  # instances in the run; None: as many as fill the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one cell showed in one round; ``error`` says why there is nothing."""

    rate: float = 0.0
    count: int = 0
    cpu_ms: float = 0.0  # of the server, for each instance
    harness_cpu_ms: float = 0.0  # of generator and sink together, for each instance
    peak_bytes: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    error: str = ""


def measure(cell: Cell, seconds: float) -> Measured:
    """Measure one cell for about ``seconds``; what goes wrong becomes ``error``, and nothing stays behind."""
    server = SERVERS[cell.server]
    if server.missing:
        return Measured(error=f"{server.missing} is not installed")
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=temporary_root()))
    sink: Sink | None = None
    running: Running | None = None
    try:
        sink = Sink(directory) if cell.mode is Mode.FORWARD else None
        running = _start(server, directory, sink, cell)
        return _load(cell, running, sink, seconds)
    except (ProgramError, OSError, ValueError) as error:
        return Measured(error=str(error))
    finally:
        for program in (running and running.program, sink and sink.program):
            if program:
                program.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _start(server: Server, directory: Path, sink: Sink | None, cell: Cell) -> Running:
    home = directory / "server"
    home.mkdir()
    return server.start(home, sink.port if sink else None, cell.associations)


def _run(
    cell: Cell, running: Running, sink: Sink | None, count: int, first: int
) -> tuple[Sent, float, float]:
    """Send ``count`` and wait for the far end: what was sent, the seconds it took, and the sink's CPU."""
    if sink:
        sink.reset()
    sent = load(
        running.port,
        size=cell.size,
        associations=cell.associations,
        count=count,
        seconds=_LOAD_S,
        first=first,
    )
    if not sent.acknowledged:
        raise ProgramError(f"nothing was acknowledged: {sent.errors[:1]} {running.program.tail(500)}")
    if sent.errors or sent.refused:
        raise ProgramError(f"{sent.refused} refused, errors {sent.errors[:2]} {running.program.tail(500)}")
    if not sink:
        return sent, sent.ended_at - sent.began_at, 0.0
    arrived = sink.wait(sent.acknowledged, _DRAIN_S)
    if arrived.answered < sent.acknowledged:
        raise ProgramError(f"{sent.acknowledged} acknowledged, {arrived.answered} arrived in {_DRAIN_S:g} s")
    return sent, arrived.last_at - sent.began_at, arrived.cpu_s


def _load(cell: Cell, running: Running, sink: Sink | None, seconds: float) -> Measured:
    warm = 32 if cell.size < 10_000_000 and cell.mode is Mode.RECEIVE else cell.associations
    first, took, _ = _run(cell, running, sink, warm, 0)
    count = int(first.acknowledged / took * seconds)
    count = cell.count or max(2 * cell.associations, 10, min(count, _MOST_BYTES // cell.size))
    os.sync()
    meter = Meter(running.program.pid)
    try:
        sent, took, sink_cpu_s = _run(cell, running, sink, count, warm)
    finally:
        usage = meter.stop()
    n = sent.acknowledged
    return Measured(
        rate=n / took,
        count=n,
        cpu_ms=1000 * usage.cpu_s / n,
        harness_cpu_ms=1000 * (sent.cpu_s + sink_cpu_s) / n,
        peak_bytes=usage.peak_bytes,
        p50_ms=sent.p50_ms or 0.0,
        p99_ms=sent.p99_ms or 0.0,
    )
