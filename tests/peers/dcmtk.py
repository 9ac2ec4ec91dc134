"""DCMTK's programs: ``storescp`` as a destination, ``storescu`` and ``dcmsend`` as modalities."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bench.process import Program, is_accepting
from tests.corpus import Part10, read_part10
from tests.peers import PATIENCE_S, free_port, require

_SEND_S = 120


class StoreScp:
    """A running ``storescp`` that keeps data sets as they come (``+B``).

    ``profile`` is the option that says which transfer syntaxes it takes: ``+xa``, all that it knows.
    """

    def __init__(self, directory: Path, *options: str, port: int | None = None, profile: str = "+xa") -> None:
        self.directory = directory / "stored"
        self.directory.mkdir(parents=True)
        self.port = port or free_port()
        command = [require("storescp"), "+B", profile, "-pm", "+uf", "--fork", *options]
        command += ["-od", str(self.directory), str(self.port)]
        self._program = Program(command, log=directory / "storescp.log", directory=directory)
        self._program.wait_until(lambda: is_accepting(self.port), PATIENCE_S, "storescp accepts")

    def files(self) -> list[Part10]:
        """Everything it has stored."""
        return [read_part10(path) for path in sorted(self.directory.iterdir())]

    def data_sets(self) -> Counter[tuple[str, str]]:
        """How often each SOP Instance UID arrived with which SHA-256 of the data set."""
        return Counter((file.sop_instance_uid, file.sha256) for file in self.files())

    def __enter__(self) -> StoreScp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()


def _send(program: str, port: int, paths: Sequence[Path], options: Sequence[str]) -> str:
    command = [require(program), *options, "127.0.0.1", str(port), *map(str, paths)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SEND_S,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1"},  # otherwise 44 ms for each instance, and minutes for a series
    )
    return done.stdout + done.stderr


def storescu(port: int, paths: Sequence[Path], *options: str) -> str:
    """Send files with ``storescu``; what it cannot send it leaves out (``-nh``). Returns what it printed."""
    return _send("storescu", port, paths, ("-nh", *options))


def dcmsend(port: int, paths: Sequence[Path], *options: str) -> str:
    """Send files with ``dcmsend``, each in its own transfer syntax and unchecked. Returns what it printed."""
    return _send("dcmsend", port, paths, ("-dn", "-nh", "-nuc", *options))
