"""The project's own sink as a destination, judged by the log that it writes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.process import CHECKOUT, Program
from tests.corpus import Part10, read_part10
from tests.peers import PATIENCE_S, ProgramError, wait_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One instance that arrived whole."""

    at: float
    calling_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    bytes: int
    sha256: str
    status: str


class Sink:
    """A running ``dicom-router sink``."""

    def __init__(self, directory: Path, *options: str, port: int = 0, keep: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory / "stored"
        self.log = directory / "sink.jsonl"
        self._lines: list[Line] = []
        self._read_to = 0
        ready = directory / "sink.ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "router", "sink", "--port", str(port), "--ready-file", str(ready)]
        command += ["--log", str(self.log), *options]
        if keep:
            command += ["--directory", str(self.directory)]
        self._program = Program(command, log=directory / "sink.stderr", directory=CHECKOUT)
        self._program.wait_until(ready.exists, PATIENCE_S, "the sink is ready")
        self.port = int(json.loads(ready.read_text())["dicom"][0])

    def lines(self) -> list[Line]:
        """What has arrived so far, in order."""
        if self.log.exists():
            with self.log.open(encoding="utf-8") as log:
                log.seek(self._read_to)
                whole, newline, _ = log.read().rpartition("\n")
            self._read_to += len((whole + newline).encode())
            names = Line.__dataclass_fields__.keys()
            rows = map(json.loads, whole.splitlines())
            self._lines += [Line(**{name: row[name] for name in names}) for row in rows]
        return list(self._lines)

    def files(self) -> list[Part10]:
        """Everything it has stored, where it was told to keep it."""
        return [read_part10(path) for path in sorted(self.directory.glob("*.dcm"))]

    def data_sets(self) -> Counter[tuple[str, str]]:
        """How often each SOP Instance UID arrived with which SHA-256 of the data set, and was taken."""
        return Counter((x.sop_instance_uid, x.sha256) for x in self.lines() if x.status == "0000")

    def wait_for(self, uids: set[str], timeout_s: float = PATIENCE_S) -> None:
        """Wait until each of these SOP Instance UIDs has been taken."""

        def missing() -> set[str]:
            return uids - {uid for uid, _ in self.data_sets()}

        try:
            wait_until(lambda: not missing(), "all instances arrive at the sink", timeout_s)
        except ProgramError as error:
            raise ProgramError(f"{error}; {len(missing())} of {len(uids)} missing") from None

    def stop(self) -> None:
        """End it; the log stays."""
        self._program.kill()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
