"""``python -m bench``: the whole comparison in one run, rounds interleaved, medians printed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from bench import extras, plan, report
from bench.cells import Cell, Measured, Mode, measure
from bench.process import ProgramError
from bench.servers import SERVERS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what the targets need, in about two minutes")
    parser.add_argument("--only", choices=[m.value for m in Mode], help="one of the two modes, nothing else")
    parser.add_argument("--sizes", default=",".join(plan.SIZES), help="of 40k,525k,50m")
    parser.add_argument("--servers", default="", help="of " + ",".join(SERVERS))
    parser.add_argument("--associations", default="", help="only these numbers of associations, as in 1,4")
    parser.add_argument("--rounds", type=int, help="instead of 3, or 1 where quick")
    parser.add_argument("--seconds", type=float, help="of load in each cell")
    parser.add_argument("--no-extras", action="store_true", help="without 1 GB and the idle associations")
    parser.add_argument("--json", type=Path, help="write every figure of every round to this file")
    return parser.parse_args()


def _plan(arguments: argparse.Namespace) -> plan.Plan:
    modes = frozenset({Mode(arguments.only)} if arguments.only else Mode)
    sizes = tuple(plan.SIZES[name] for name in arguments.sizes.split(","))
    servers = frozenset(filter(None, arguments.servers.split(",")))
    if unknown := servers - SERVERS.keys():
        sys.exit(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    chosen = (plan.quick if arguments.quick else plan.full)(modes, sizes, servers)
    numbers = {int(n) for n in arguments.associations.split(",") if n}
    return dataclasses.replace(
        chosen,
        cells=tuple(c for c in chosen.cells if not numbers or c.associations in numbers),
        rounds=arguments.rounds or chosen.rounds,
        seconds=arguments.seconds or chosen.seconds,
    )


def _measure(chosen: plan.Plan) -> dict[Cell, list[Measured]]:
    """Round after round, each in the same order, so that a slow minute of the machine hits every server."""
    results: dict[Cell, list[Measured]] = {cell: [] for cell in chosen.cells}
    for number in range(chosen.rounds):
        for cell in chosen.cells:
            measured = measure(cell, chosen.seconds)
            results[cell].append(measured)
            said = measured.error.splitlines()[0][:150] if measured.error else f"{measured.rate:,.1f}/s"
            print(
                f"round {number + 1}/{chosen.rounds} {cell.mode.value} {cell.size / 1000:,.0f} kB"
                f" x{cell.associations} {SERVERS[cell.server].label}: {said}",
                file=sys.stderr,
                flush=True,
            )
    return results


def _extra(step: Callable[[], report.Verdict], what: str) -> report.Verdict:
    try:
        return step()
    except (ProgramError, OSError, ValueError, IndexError) as error:
        return report.Verdict(
            what=what, measured=str(error).splitlines()[0][:60], must="", aim="", reached="?"
        )


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write(path: Path, results: dict[Cell, list[Measured]], verdicts: list[report.Verdict]) -> None:
    rows = [
        {**dataclasses.asdict(cell), "rounds": [dataclasses.asdict(m) for m in rounds]}
        for cell, rounds in results.items()
    ]
    path.write_text(
        json.dumps({"cells": rows, "targets": [dataclasses.asdict(v) for v in verdicts]}, indent=1)
    )


def main() -> None:
    """Command line."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _stop)
    chosen = _plan(arguments)
    began = time.monotonic()
    results = _measure(chosen)
    verdicts = [*report.ratios(results), *report.forwarding_memory(results)]
    if not arguments.no_extras and "ours" in (arguments.servers or "ours").split(","):
        if arguments.only != Mode.RECEIVE.value:
            verdicts.append(_extra(extras.huge_object, "one object of 1 GB"))
        if arguments.only != Mode.FORWARD.value:
            verdicts.append(_extra(extras.idle, "idle associations"))
    print(f"\n{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{chosen.rounds} rounds, medians; CPU of the server and of the harness for each instance\n")
    print(report.cells(results), "\n")
    print(report.verdicts(verdicts))
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if arguments.json:
        _write(arguments.json, results, verdicts)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
