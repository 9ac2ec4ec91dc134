"""Runs one target in this process: by atheris, by Hypothesis, or with inputs that are known.

Started by ``python -m tests.fuzz`` as a process of its own, because a finding may end it, and because the
gateway's modules have to be imported while atheris watches.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import traceback
from pathlib import Path
from random import Random
from zlib import crc32

from tests.fuzz import seeds
from tests.fuzz.mutation import NUMBERS_MAX, Edit, Kind, apply, random_edits
from tests.fuzz.targets import TARGETS, Target

NATIVE_MEMORY_BYTES = 4 << 30  # of address space, for what runs libraries in C
MEMORY_MIB = 1024  # resident; what Python, pydicom and numpy take alone is 150
HANG_S = 300  # on a clock on the wall: other work may be in the way
FINDING = 77  # as libFuzzer ends with one


def main() -> int:
    """Parse the command line; 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.engine")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--engine", choices=("atheris", "hypothesis", "replay", "file"), required=True)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--directory", type=Path, required=True, help="for findings, and the corpus")
    parser.add_argument("--file", type=Path, help="an input for the engine 'file'")
    options = parser.parse_args()
    target = TARGETS[options.target]
    if target.is_native:
        resource.setrlimit(resource.RLIMIT_AS, (NATIVE_MEMORY_BYTES, NATIVE_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if options.engine == "file":
        return _try(target, options.file.read_bytes(), options.directory)
    if options.engine == "replay":
        return _replay(target, options.directory)
    if options.engine == "hypothesis":
        return _by_hypothesis(target, options.seconds, options.directory)
    _by_atheris(target, options.seconds, options.directory)
    return 0


def _try(target: Target, data: bytes, directory: Path) -> int:
    try:
        target.bounded()(data)
    except Exception:
        traceback.print_exc()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"crash-{crc32(data):08x}").write_bytes(data)
        return FINDING
    return 0


def inputs(target: Target) -> list[bytes]:
    """The seeds, and as many changed ones of each as the table says; always the same."""
    known = seeds.load(target.name)
    words = target.words()
    found: list[bytes] = []
    for seed in known:
        found.append(seed.data)
        edits = random_edits(Random(crc32(f"{target.name}/{seed.name}".encode())))
        found += [
            apply(seed.data, next(edits), words, max_bytes=target.max_bytes) for _ in range(target.mutations)
        ]
    return found


def _replay(target: Target, directory: Path) -> int:
    return max((_try(target, data, directory) for data in inputs(target)), default=0)


def _by_hypothesis(target: Target, seconds: int, directory: Path) -> int:
    from hypothesis import HealthCheck, given, settings, strategies as st

    known = [seed.data for seed in seeds.load(target.name)] or [b""]
    words, run = target.words(), target.bounded()
    ends_at = time.monotonic() + seconds
    tried = 0
    numbers = st.integers(0, NUMBERS_MAX - 1)
    edit = st.builds(Edit, st.sampled_from(Kind), numbers, numbers, numbers)
    last = b""

    @settings(
        max_examples=1000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
    @given(st.sampled_from(known), st.lists(edit, max_size=12))
    def one(seed: bytes, edits: list[Edit]) -> None:
        nonlocal last, tried
        tried += 1
        last = apply(seed, edits, words, max_bytes=target.max_bytes)
        run(last)

    while time.monotonic() < ends_at:
        try:
            one()
        except Exception:  # whatever it is, it is a finding; the last one tried is the smallest
            traceback.print_exc()
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"crash-{crc32(last):08x}").write_bytes(last)
            return FINDING
    sys.stderr.write(f"Done {tried} runs\n")
    return 0


def _by_atheris(target: Target, seconds: int, directory: Path) -> None:
    import atheris

    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds.load(target.name):
        (corpus / f"seed-{crc32(seed.data):08x}").write_bytes(seed.data)
    with atheris.instrument_imports(include=["router"]):
        run, words = target.bounded(), target.words()
    dictionary = directory / "words"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words), encoding="ascii")
    atheris.Setup(
        [
            "fuzz",
            str(corpus),
            f"-max_total_time={seconds}",
            f"-max_len={target.max_bytes}",
            f"-dict={dictionary}",
            f"-artifact_prefix={directory}/",
            f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MIB}",
            "-len_control=20",
            "-print_final_stats=1",
            "-report_slow_units=30",
        ],
        run,
    )
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02X}" for byte in word)


if __name__ == "__main__":
    sys.exit(main())
