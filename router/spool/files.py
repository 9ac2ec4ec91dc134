"""The system calls by which bytes become durable: the seam where tests make the disk fail."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from router.errors import StorageError
from router.model import Buffer

IOV_MAX = 1024  # Linux: UIO_MAXIOV
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_DSYNC = getattr(os, "RWF_DSYNC", 0)
_ZEROS = bytes(1024 * 1024)
_ZERO_STEP_BYTES = 4 * 1024 * 1024
DIRECTORY_MODE = 0o750  # a group may look, for backups; nobody else
_OTHERS = 0o007


class Files:
    """The real ones. A test overrides what shall fail."""

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, flags: int) -> int:
        """``os.pwritev``: how many bytes were written, perhaps fewer than asked."""
        return os.pwritev(fd, buffers, offset, flags)

    def fdatasync(self, fd: int) -> None:
        """``os.fdatasync``."""
        os.fdatasync(fd)

    def sync_directory(self, directory: Path) -> None:
        """Make the names in ``directory`` durable."""
        sync_directory(directory)

    def free_bytes(self, directory: Path) -> int:
        """What an unprivileged writer may still use of the file system."""
        stat = os.statvfs(directory)
        return stat.f_bavail * stat.f_frsize


def storage_error(error: OSError, what: str) -> StorageError:
    """The gateway's word for a failure of the disk."""
    return StorageError(f"{what}: {error.strerror or error}", out_of_resources=error.errno in _NO_ROOM)


def write_all(files: Files, fd: int, buffers: Sequence[Buffer], offset: int, flags: int = 0) -> int:
    """Write all ``buffers`` from ``offset`` on, however short the single writes are. Returns the end."""
    waiting = list(buffers)
    while waiting:
        head = waiting if len(waiting) <= IOV_MAX else waiting[:IOV_MAX]
        written = files.pwritev(fd, head, offset, flags)
        offset += written
        size = sum(len(b) for b in head)
        if written == size:
            del waiting[: len(head)]
            continue
        if written <= 0:
            raise OSError(errno.EIO, "wrote nothing")
        for index, buffer in enumerate(head):
            if written < len(buffer):
                waiting[: index + 1] = [memoryview(buffer)[written:]]
                break
            written -= len(buffer)
    return offset


def write_durably(files: Files, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """``write_all``, and on stable storage when it returns.

    One system call does both where the kernel has RWF_DSYNC: each further one costs a turn of the GIL.
    """
    if _DSYNC:
        return write_all(files, fd, buffers, offset, _DSYNC)
    end = write_all(files, fd, buffers, offset)
    files.fdatasync(fd)
    return end


def fill_with_zeros(files: Files, fd: int, length: int) -> None:
    """Write and sync zeros, so that later writes change no metadata of the file system.

    In steps, because the appends' own syncs wait behind whatever is being flushed.
    """
    for offset in range(0, length, len(_ZEROS)):
        end = write_all(files, fd, [memoryview(_ZEROS)[: length - offset]], offset)
        if end % _ZERO_STEP_BYTES == 0 or end == length:
            files.fdatasync(fd)


def rewrite(files: Files, fd: int) -> None:
    """Write a file's bytes, as they are read, over themselves: the next sync has all of them to write."""
    size = os.fstat(fd).st_size
    for offset in range(0, size, len(_ZEROS)):
        write_all(files, fd, [os.pread(fd, len(_ZEROS), offset)], offset)


def write_again(files: Files, path: Path) -> None:
    """Make what is read of a file durable, whoever wrote it and however its syncs ended."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        rewrite(files, fd)
        files.fdatasync(fd)
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(files: Files, directory: Path) -> None:
    """Make ``directory`` and what leads to it, durably: a file's sync does not make its directories so."""
    if not directory.parent.exists():
        make_directory(files, directory.parent)
    directory.mkdir(DIRECTORY_MODE, exist_ok=True)
    with suppress(PermissionError):  # not ours, so it has been there for long
        files.sync_directory(directory.parent)


def close_to_others(paths: Iterable[Path]) -> None:
    """Take from everybody else what an earlier version, or a generous umask, gave them of our own files."""
    for path in paths:
        with suppress(FileNotFoundError, PermissionError):  # not there yet, or not ours to change
            mode = path.stat().st_mode
            if mode & _OTHERS:
                path.chmod(mode & ~_OTHERS & 0o7777)


def take_lock(directory: Path) -> int:
    """The lock that makes this process the only one to write. ``StorageError`` if another one has it."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise StorageError(f"{directory}: another process uses this spool", out_of_resources=False) from error
    return lock
