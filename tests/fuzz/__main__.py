"""``python -m tests.fuzz TARGET|all --seconds N``: fuzz, and show each finding as a seed to keep."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.engine import FINDING
from tests.fuzz.seeds import shown
from tests.fuzz.shrinking import shrink
from tests.fuzz.targets import TABLE, TARGETS, Target

SECONDS = 180


def main() -> int:
    """Parse the command line; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=("all", *TARGETS), help="what to fuzz")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--engine", choices=("atheris", "hypothesis"), help="atheris where it runs")
    parser.add_argument("--directory", type=Path, default=Path(".fuzz"), help="for findings, and the corpus")
    parser.add_argument("--file", type=Path, help="try this input only, and shrink it where it is a finding")
    options = parser.parse_args()
    chosen = TABLE if options.target == "all" else (TARGETS[options.target],)
    engine = options.engine or ("atheris" if _has_atheris() else "hypothesis")
    found = 0
    for target in chosen:
        if target.missing:
            print(f"{target.name}: left out, there is no {target.missing}", flush=True)
            continue
        directory = options.directory / target.name
        if options.file is not None:
            found |= _run(target, "file", directory, "--file", str(options.file))
        else:
            print(f"{target.name}: {target.says}, {options.seconds} s by {engine}", flush=True)
            found |= _run(target, engine, directory, "--seconds", str(options.seconds))
    return found


def _has_atheris() -> bool:
    return platform.system() == "Linux" and find_spec("atheris") is not None


def _run(target: Target, engine: str, directory: Path, *more: str) -> int:
    """One target in a process of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    before = set(_findings(directory))
    command = [sys.executable, "-m", "tests.fuzz.engine", target.name, "--engine", engine]
    ended = subprocess.run([*command, "--directory", str(directory), *more], check=False)
    new = [path for path in _findings(directory) if path not in before]
    for path in new:
        data = path.read_bytes()
        if ended.returncode == FINDING and not target.is_native:
            data = shrink(target.bounded(), data)
            path.with_name(f"small-{path.name}").write_bytes(data)
        print(f"# {path.name}\n{shown(data)}", flush=True)
    return int(bool(new) or ended.returncode != 0)


def _findings(directory: Path) -> list[Path]:
    kinds = ("crash-*", "timeout-*", "oom-*", "leak-*")
    return sorted(path for kind in kinds for path in directory.glob(kind))


if __name__ == "__main__":
    sys.exit(main())
