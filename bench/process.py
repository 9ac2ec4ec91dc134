"""Other programs as processes: started in a group of their own, waited for, and always ended.

The machine's processes are left alone: only groups that were started here are signalled.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parent.parent
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ProgramError(Exception):
    """A program did not come up, or went away."""


def free_port() -> int:
    """A loopback port that nobody listens on just now, for programs that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def find_program(name: str) -> str | None:
    """The path of an installed program, not one of our own environment's.

    pynetdicom brings some of the names of DCMTK's programs, and stands first where the environment is active.
    """
    own = Path(sys.prefix, "bin").resolve()
    path = os.pathsep.join(place for place in os.get_exec_path() if Path(place).resolve() != own)
    return shutil.which(name, path=path)


def temporary_root() -> Path:
    """Where temporary directories go: on the checkout's disk, never in memory, so that a sync is a sync."""
    usual = Path(tempfile.gettempdir())
    if usual.stat().st_dev == CHECKOUT.stat().st_dev:
        return usual
    here = CHECKOUT / "run"
    here.mkdir(exist_ok=True)
    return here


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll until ``condition`` holds; ``ProgramError`` naming ``what`` when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ProgramError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(_POLL_S)


def pause_until(moment: float) -> None:
    """Sleep until this instant of the monotonic clock; not at all where it has passed."""
    time.sleep(max(0.0, moment - time.monotonic()))


def is_accepting(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _end_with_parent() -> None:
    """In the child: end when the thread that started it does, even if that is killed (``prctl(2)``)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Program:
    """A running process with its own group and its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        self.log = log
        self._output: IO[bytes] = log.open("ab")
        self.popen = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "TCP_NODELAY": "1", **(environment or {})},
            stdin=stdin,
            stdout=self._output if stdout is None else stdout,
            stderr=self._output,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def is_running(self) -> bool:
        return self.popen.poll() is None

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait until ``condition`` holds; ``ProgramError`` with the log's end when the program ends first."""

        def holds_or_ended() -> bool:
            return condition() or not self.is_running()

        wait_until(holds_or_ended, timeout_s, what)
        if not self.is_running():
            raise ProgramError(f"{what}: ended with {self.popen.returncode}\n{self.tail()}")

    def tail(self, size: int = 4000) -> str:
        """The end of what it printed."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when the process has been waited for."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream:
                stream.close()
        self._output.close()

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, then SIGKILL to what is left of the group. Returns the exit code."""
        if self.is_running():
            self.popen.terminate()
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return int(self.popen.returncode)
