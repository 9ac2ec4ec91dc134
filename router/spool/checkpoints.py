"""Moving the ledger's pages from its log into its file: who may when, and what a failure leaves behind.

Two connections do it: housekeeping moves the bulk, the writer the last few (``Housekeeper.checkpoint``).

SQLite syncs the file only at the end of the log: what a checkpoint moved that did not get so far waits for a
later one to sync it. Where that sync fails, Linux forgets the pages of both, and SQLite moves only the second
ones again. So after a failure the whole file is written once more before the next checkpoint may succeed;
until then the log has everything, and grows.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import apsw

from router.spool.files import Files, rewrite

_CLOSED = -1


class Checkpoints:
    """One at a time, in whichever thread."""

    def __init__(self, path: Path, files: Files) -> None:
        self.is_suspect = False  # of the ledger's file, nobody knows what is on the disk
        self._path = path
        self._files = files
        self._fd = _CLOSED
        self._turn = threading.Lock()

    def make(self, connection: apsw.Connection) -> None:
        """Move what can be moved, however long it takes. ``OSError`` or ``apsw.Error`` where that fails."""
        with self._turn:
            if self.is_suspect:
                self._write_again()
            self._make(connection)

    def finish(self, connection: apsw.Connection) -> bool:
        """Move the few pages that are left; False if it is not the moment. May raise ``apsw.Error``."""
        if self.is_suspect or not self._turn.acquire(blocking=False):
            return False
        try:
            self._make(connection)
        finally:
            self._turn.release()
        return True

    def _make(self, connection: apsw.Connection) -> None:
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.IOError:
            self.is_suspect = True
            raise

    def _write_again(self) -> None:
        if self._fd == _CLOSED:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        rewrite(self._files, self._fd)
        self._files.fdatasync(self._fd)
        self.is_suspect = False

    def close(self) -> None:
        """After the last connection: closing any descriptor of the file gives up SQLite's locks on it."""
        if self._fd != _CLOSED:
            os.close(self._fd)
            self._fd = _CLOSED
