"""Files that get their name when they are whole and durable, and never take the name of another one.

Order: a temporary name in the same directory, the bytes, fsync, a link under the final name (which fails
where that exists), the temporary name removed, fsync of the directory. Blocking; for threads.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750
_WINDOW_BYTES = 1024 * 1024
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def make_directories(directory: Path) -> None:
    """Make ``directory`` and what leads to it, durably."""
    missing: list[Path] = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(_DIRECTORY_MODE)
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_all(file: int, view: memoryview) -> None:
    """Write all of it, however short the single writes are."""
    while view:
        view = view[os.write(file, view) :]


def claim_name(unfinished: Path, name: Path) -> bool:
    """Name the file unless that name is taken."""
    try:
        os.link(unfinished, name)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if name.exists():  # no atomic way on such a file system; ours are the only writers
            return False
        unfinished.rename(name)
    return True


def has_same_bytes(file: int, name: Path) -> bool:
    """The open file and the one of that name have the same content."""
    with name.open("rb") as other:
        if os.fstat(other.fileno()).st_size != os.fstat(file).st_size:
            return False
        offset = 0
        while mine := os.pread(file, _WINDOW_BYTES, offset):
            if mine != other.read(len(mine)):
                return False
            offset += len(mine)
        return True
