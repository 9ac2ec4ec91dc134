"""The key for de-identification: the configuration's, or one in ``data_dir`` that is made at first need.

Whoever has it finds out who is who, and without it the same patient gets other UIDs, so it is made once and
is on the disk before it is used. A file that is there and cannot be right is never replaced.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from threading import Lock

from router.config.settings import KEY_CHARS, Deidentify
from router.filing import claim_name, sync_directory, write_all
from router.logs import get_logger

FILE_NAME = "deidentify.key"
KEY_BYTES = 32
_FILE_CAP_BYTES = 64 * 1024

log = get_logger("deidentify")


class ProjectKey:
    """The key of one gateway."""

    def __init__(self, settings: Deidentify, directory: Path) -> None:
        self._key = settings.key.strip() if settings.key is not None else ""
        self._path = directory / FILE_NAME
        self._lock = Lock()

    def get(self) -> str:
        """The key. Blocking at first; raises ``OSError``, and ``ValueError`` where the file is no key."""
        with self._lock:
            if not self._key:
                self._key = self._read() if self._path.exists() else self._make()
            return self._key

    def _read(self) -> str:
        with self._path.open("rb") as file:
            key = file.read(_FILE_CAP_BYTES).decode("utf-8", "replace").strip()
        if len(key) < KEY_CHARS or "\ufffd" in key:
            raise ValueError(
                f"{self._path} has no key of {KEY_CHARS} characters or more; put the right one there"
            )
        return key

    def _make(self) -> str:
        key = secrets.token_hex(KEY_BYTES)
        unfinished = self._path.with_name(f".{FILE_NAME}.part")
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, memoryview(f"{key}\n".encode()))
            os.fsync(file)
        finally:
            os.close(file)
        is_ours = claim_name(unfinished, self._path)
        unfinished.unlink(missing_ok=True)
        sync_directory(self._path.parent)
        log.info(
            "made a key for de-identification: keep a copy of it, out of researchers' reach",
            file=str(self._path),
        )
        return key if is_ours else self._read()
