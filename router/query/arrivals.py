"""Instances that come by C-GET, as Part 10 files in a directory: the data set byte for byte as it came.

A file is named by its SOP Instance UID, once it is whole and durable (``filing``). One that is there already
with the same bytes is that instance; with other bytes it stays, and the new one gets a number. Blocking; for
threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from router.dicom.part10 import file_meta
from router.filing import FILE_MODE, claim_name, has_same_bytes, make_directories, sync_directory, write_all
from router.model import Arrival

MOST_NAMES = 100  # of one SOP Instance UID: who sends more different ones of it sends nonsense


class Incoming:
    """One instance under way. ``close`` it whatever happens: without ``keep`` nothing is left behind."""

    def __init__(self, directory: Path, arrival: Arrival) -> None:
        self._directory = directory
        self._arrival = arrival
        self._stem = arrival.sop_instance_uid
        self._unfinished = directory / f".{self._stem}.{os.getpid()}.part"
        self._file = -1
        self.size_bytes = 0  # of the data set

    def take(self, fragments: Sequence[memoryview]) -> None:
        """Write what came of the data set."""
        if self._file < 0:
            self._begin()
        for fragment in fragments:
            write_all(self._file, fragment)
            self.size_bytes += len(fragment)

    def _begin(self) -> None:
        make_directories(self._directory)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(self._unfinished, flags, FILE_MODE)
        write_all(self._file, memoryview(file_meta(self._arrival)))

    def keep(self) -> tuple[Path, bool]:
        """Make it durable and name it: its path, and whether it is new. ``OSError`` where that fails."""
        if not self.size_bytes:
            raise OSError("an instance without a data set")
        os.fsync(self._file)
        for number in range(1, MOST_NAMES + 1):
            name = self._directory / (f"{self._stem}.dcm" if number == 1 else f"{self._stem}.{number}.dcm")
            if claim_name(self._unfinished, name):
                sync_directory(self._directory)
                return name, True
            if has_same_bytes(self._file, name):
                sync_file(name)  # whoever wrote it may have gone before doing so
                sync_directory(self._directory)
                return name, False
        raise FileExistsError(f"{MOST_NAMES} different files of this SOP Instance UID are there already")

    def close(self) -> None:
        """Close the file, and take it away where it has no other name than the temporary one."""
        if self._file >= 0:
            os.close(self._file)
            with suppress(FileNotFoundError):
                self._unfinished.unlink()


def sync_file(path: Path) -> None:
    """Make a file's bytes durable, whoever wrote them."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
