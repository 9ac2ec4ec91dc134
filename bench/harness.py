"""The harness's own processes, as the bench drives them: the sink at the far end, and one run of the load."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.process import CHECKOUT, Program, ProgramError

_ANSWER_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What one run of the load did. Instants are on the machine's monotonic clock."""

    began_at: float
    ended_at: float
    acknowledged: int
    refused: int
    errors: list[str]
    bytes: int  # of each data set
    cpu_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What the sink has answered since it was reset, and when it answered last."""

    answered: int
    last_at: float
    cpu_s: float


class Sink:
    """A running ``bench.sink``."""

    def __init__(self, directory: Path, *, write: Path | None = None, regions: int = 16) -> None:
        command = [sys.executable, "-m", "bench.sink"]
        if write is not None:
            command += ["--write", str(write), "--regions", str(regions)]
        self.program = Program(
            command,
            log=directory / "sink.log",
            directory=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self.port = int(str(self._read(_ANSWER_S)["port"]))
        except BaseException:
            self.program.kill()
            raise

    def reset(self) -> None:
        """Count from nothing."""
        self._ask("reset", _ANSWER_S)

    def wait(self, count: int, seconds: float) -> Arrived:
        """Wait until ``count`` instances were answered, but no longer than ``seconds``."""
        answer = self._ask(f"wait {count} {seconds}", seconds + _ANSWER_S)
        return Arrived(
            answered=int(str(answer["answered"])),
            last_at=float(str(answer["last_at"])),
            cpu_s=float(str(answer["cpu_s"])),
        )

    def _ask(self, line: str, seconds: float) -> dict[str, object]:
        pipe = self.program.popen.stdin
        assert pipe is not None
        pipe.write(line.encode() + b"\n")
        pipe.flush()
        return self._read(seconds)

    def _read(self, seconds: float) -> dict[str, object]:
        pipe = self.program.popen.stdout
        assert pipe is not None
        if not select.select([pipe], [], [], seconds)[0]:
            raise ProgramError("the bench's sink does not answer")
        line = pipe.readline()
        if not line:
            raise ProgramError(f"the bench's sink ended\n{self.program.tail()}")
        answer: dict[str, object] = json.loads(line)
        return answer


def load(
    port: int,
    *,
    size: int,
    associations: int,
    count: int,
    seconds: float,
    first: int = 0,
    ca: str = "",
) -> Sent:
    """Run the load generator to its end."""
    options = {"port": port, "size": size, "associations": associations, "count": count, "first": first}
    command = [sys.executable, "-m", "bench.load", "--seconds", str(seconds)]
    if ca:
        command += ["--ca", ca]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, timeout=seconds + 120, check=False
    )
    if done.returncode:
        raise ProgramError(f"the load ended with {done.returncode}\n{done.stderr[-2000:]}")
    return Sent(**json.loads(done.stdout))
