"""Whether the disk takes anything: what the spool has seen of it, and the words for it.

A full disk is believed at once and until its space has been looked at. Any other failure fails what was being
written and nothing else; that the disk is failing stays known until something has been written again, which
housekeeping tries by itself. Attributes are set in several threads, each by a plain assignment.
"""

from __future__ import annotations

import os
from pathlib import Path

from router.errors import StorageError
from router.spool.files import Files, write_all

RESUME_FACTOR = 1.1  # of the least free space: accept again only above it
_PROBE = "probe"


class Condition:
    """Of one spool's directory."""

    def __init__(self, directory: Path, min_free_bytes: int, files: Files) -> None:
        self.free_bytes = 0
        self.is_low = False
        self.is_gone = False  # the directory is not there, or is another one than was opened
        self.is_failing = False
        self._directory = directory
        self._least = min_free_bytes
        self._files = files
        self._identity = _identity(directory)

    @property
    def is_accepting(self) -> bool:
        """Whether it is worth to try."""
        return not (self.is_low or self.is_gone)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong; empty: nothing."""
        found = (("disk_low", self.is_low), ("disk_gone", self.is_gone), ("disk_failing", self.is_failing))
        return tuple(name for name, is_so in found if is_so)

    def on_error(self, error: StorageError) -> None:
        """Something could not be written."""
        if error.out_of_resources:
            self.is_low = True
        else:
            self.is_failing = True

    def check_space(self) -> None:
        """Stop accepting before the disk is full; resume with hysteresis. May raise ``OSError``."""
        try:
            self.is_gone = _identity(self._directory) != self._identity
            self.free_bytes = self._files.free_bytes(self._directory)
        except FileNotFoundError:
            self.is_gone = True
            return
        except OSError:
            self.is_failing = True
            raise
        if self.free_bytes < self._least:
            self.is_low = True
        elif self.free_bytes >= self._least * RESUME_FACTOR:
            self.is_low = False

    def check_there(self) -> None:
        """``StorageError`` if the directory is gone: what cannot be found in it then is not damaged."""
        try:
            self.is_gone = _identity(self._directory) != self._identity
        except OSError:
            self.is_gone = True
        if self.is_gone:
            raise StorageError("the spool's directory is gone", out_of_resources=True)

    def write_probe(self) -> None:
        """Write and sync a little. Raises ``OSError`` where that fails."""
        path = self._directory / _PROBE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(self._files, fd, [bytes(4096)], 0)
            self._files.fdatasync(fd)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)


def _identity(directory: Path) -> tuple[int, int]:
    stat = directory.stat()
    return stat.st_dev, stat.st_ino
