"""CPU time and peak memory of a server: its process and every child it makes, seen from outside."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a server used between two instants."""

    cpu_s: float
    peak_bytes: int  # the sum of VmHWM over its processes, the most that was seen at once


def _high_water_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    return psutil.Process(pid).num_threads()


class Meter:
    """Watches a process tree until ``stop``. Children that have ended count by their parent's sum."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._began_cpu_s = self._cpu_s()
        self._peak_bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """What was used since the start."""
        self._end.set()
        self._thread.join()
        self._look()
        return Usage(cpu_s=self._cpu_s() - self._began_cpu_s, peak_bytes=self._peak_bytes)

    def _watch(self) -> None:
        while not self._end.wait(_PERIOD_S):
            self._look()

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return []

    def _look(self) -> None:
        self._peak_bytes = max(self._peak_bytes, sum(_high_water_bytes(p.pid) for p in self._tree()))

    def _cpu_s(self) -> float:
        total = 0.0
        for process in self._tree():
            try:
                t = process.cpu_times()
                total += t.user + t.system + t.children_user + t.children_system
            except psutil.Error:
                continue
        return total
