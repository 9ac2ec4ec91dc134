"""The figures as text: one table of all cells, one of the ratios against what must be, one of memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench import plan
from bench.cells import Cell, Measured, Mode
from bench.servers import SERVERS

Results = Mapping[Cell, Sequence[Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the table of targets."""

    what: str
    measured: str
    must: str
    aim: str
    reached: str


def rate(rounds: Sequence[Measured]) -> float | None:
    """The median rate of the rounds that gave one."""
    rates = [m.rate for m in rounds if not m.error]
    return median(rates) if rates else None


def _size(size: int) -> str:
    return f"{size / 1e6:g} MB" if size >= 10**6 else f"{size / 1e3:g} kB"


def table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    """Columns of text, the first two to the left, figures to the right."""
    lines = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heads))]

    def one(line: Sequence[str]) -> str:
        cells = (
            v.ljust(w) if n < 2 else v.rjust(w) for n, (v, w) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([one(lines[0]), "  ".join("-" * w for w in widths), *map(one, lines[1:])])


def _row(cell: Cell, rounds: Sequence[Measured]) -> tuple[str, ...]:
    good = [m for m in rounds if not m.error]
    what = f"{cell.mode.value}, {_size(cell.size)}, {cell.associations} assoc."
    label = SERVERS[cell.server].label + (f" ({cell.count} instances)" if cell.count else "")
    if not good:
        return (what, label, *("-",) * 7, rounds[0].error.splitlines()[0][:60])
    r = median(m.rate for m in good)
    return (
        what,
        label,
        f"{r:,.0f}" if r >= 100 else f"{r:.1f}",
        f"{min(m.rate for m in good):,.0f}-{max(m.rate for m in good):,.0f}",
        f"{r * cell.size / 1e6:,.0f}",
        f"{median(m.cpu_ms for m in good):.2f}",
        f"{median(m.harness_cpu_ms for m in good):.2f}",
        f"{max(m.peak_bytes for m in good) / 1e6:,.0f}",
        f"{median(m.p50_ms for m in good):.1f} / {median(m.p99_ms for m in good):.1f}",
        "" if len(good) == len(rounds) else f"{len(rounds) - len(good)} of {len(rounds)} rounds failed",
    )


def cells(results: Results) -> str:
    """Every cell: medians over the rounds, the span, CPU, peak memory and the answer's latency."""
    heads = ("what", "server", "/s", "span", "MB/s", "CPU ms", "harness", "peak MB", "p50/p99 ms", "note")
    return table((_row(cell, rounds) for cell, rounds in results.items()), heads)


def _reached(value: float, must: float, aim: float) -> str:
    return "aim" if value >= aim else "must" if value >= must else "MISSED"


def _find(results: Results, mode: Mode, size: int, associations: int, server: str) -> float | None:
    for cell, rounds in results.items():
        if (cell.mode, cell.size, cell.associations, cell.server) == (mode, size, associations, server) and (
            cell.count != plan.SERIES
        ):
            return rate(rounds)
    return None


def ratios(results: Results) -> list[Verdict]:
    """Ours over each peer's rate, where both were measured."""
    verdicts = []
    for t in plan.TARGETS:
        ours = _find(results, t.mode, t.size, t.associations, "ours")
        peer = _find(results, t.mode, t.size, t.associations, t.peer)
        label = SERVERS[t.peer].label
        what = f"{t.mode.value} against {label}, {t.associations} assoc., {_size(t.size)}"
        if not ours or not peer:
            if ours is not None or peer is not None:
                verdicts.append(
                    Verdict(what=what, measured="-", must=f"{t.must:g}x", aim=f"{t.aim:g}x", reached="?")
                )
            continue
        value = ours / peer
        verdicts.append(
            Verdict(
                what=what,
                measured=f"{ours:,.0f} / {peer:,.0f} = {value:.2f}x",
                must=f"{t.must:g}x",
                aim=f"{t.aim:g}x",
                reached=_reached(value, t.must, t.aim),
            )
        )
    return verdicts


def memory(what: str, peak_bytes: int) -> Verdict:
    """A line of peak memory."""
    return Verdict(
        what=f"peak memory, {what}",
        measured=f"{peak_bytes / 1e6:.0f} MB",
        must=f"{plan.MEMORY_MUST_BYTES / 1e6:g} MB",
        aim=f"{plan.MEMORY_AIM_BYTES / 1e6:g} MB",
        reached=_reached(-peak_bytes, -plan.MEMORY_MUST_BYTES, -plan.MEMORY_AIM_BYTES),
    )


def forwarding_memory(results: Results) -> list[Verdict]:
    """Ours with 16 associations of 525 kB while it forwards, where that was measured."""
    for cell, rounds in results.items():
        wanted = (Mode.FORWARD, plan.MIDDLE, 16, "ours")
        if (cell.mode, cell.size, cell.associations, cell.server) == wanted:
            peaks = [m.peak_bytes for m in rounds if not m.error]
            return [memory("16 associations of 525 kB while forwarding", max(peaks))] if peaks else []
    return []


def verdicts(lines: Iterable[Verdict]) -> str:
    """The table of targets."""
    heads = ("target", "measured", "must", "aim", "reached")
    return table(((v.what, v.measured, v.must, v.aim, v.reached) for v in lines), heads)
