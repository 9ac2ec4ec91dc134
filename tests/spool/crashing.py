"""A disk that loses power: it keeps what was synced, and of the rest whatever chance leaves.

The spool works on real files; beside them a :class:`Disk` keeps what of them is *durable*. Bytes become
durable by a sync of their file, names by a sync of their directory. What was written since is remembered
sector by sector, each version of it, so that :meth:`Disk.after_power_failure` can make a directory in which
any of it got to the platter in any order: whole pages or torn ones, the newest version or one before.

A sync that fails is worse than none: as on Linux, the kernel forgets what it could not write, tells everyone
who has the file open once, and then syncs without it. Such sectors are neither durable nor waiting any more.

Segments and large objects come here through the spool's ``Files``, the ledger through a VFS of SQLite's, and
the ledger's log through both. Every operation counts; at a number given beforehand ``on_crash`` is called in
the middle of it, in whichever thread that is.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import apsw

from router.model import Buffer
from router.spool.files import Files

SECTOR = 512
PAGE = 4096
_VOLATILE = ("-shm", "lock")  # made anew by whoever opens the spool
_KEEPING = (0.0, 0.1, 0.5, 0.9, 1.0)  # the share of unsynced pages that a crash leaves


class Inode:
    """One file's durable bytes, and the versions of each sector that no sync has taken yet."""

    def __init__(self, fd: int, durable: bytes = b"") -> None:
        self.fd = fd  # keeps the number from being used again while the disk remembers this file
        self.durable = bytearray(durable)
        self.versions: dict[int, list[bytes]] = {}
        self.failures = 0  # of syncs
        self.told: dict[object, int] = {}  # of how many of these each who has it open knows

    def written(self, offset: int, length: int) -> range:
        """The file has new bytes there: remember them. Returns the sectors."""
        first, end = offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR
        content = os.pread(self.fd, (end - first) * SECTOR, first * SECTOR)
        for sector in range(first, end):
            start = (sector - first) * SECTOR
            self.versions.setdefault(sector, []).append(content[start : start + SECTOR].ljust(SECTOR, b"\0"))
        return range(first, end)

    def settle(self, sectors: Sequence[int]) -> None:
        """What these hold now is durable."""
        for sector in sectors:
            found = self.versions.pop(sector, None)
            if found is not None:
                put(self.durable, sector, found[-1])

    def synced(self) -> None:
        """The whole file is durable, and its length."""
        self.settle(list(self.versions))
        size = os.fstat(self.fd).st_size
        self.durable.extend(bytes(max(size - len(self.durable), 0)))

    def sync_failed(self, sectors: Sequence[int], rng: random.Random) -> None:
        """Some of it was written, and the rest is forgotten: no later sync will write it."""
        self.failures += 1
        for sector in sectors:
            found = self.versions.pop(sector, None)
            if found is not None and rng.random() < 0.5:
                put(self.durable, sector, found[-1])

    def live(self) -> bytes:
        """What readers see."""
        size = os.fstat(self.fd).st_size
        return os.pread(self.fd, size, 0)

    def survivor(self, rng: random.Random, keeping: float) -> bytes:
        """What is found after the power came back."""
        content = bytearray(self.durable)
        for _, group in groupby(sorted(self.versions), lambda sector: sector * SECTOR // PAGE):
            page = list(group)
            if rng.random() >= keeping:
                continue
            is_torn = rng.random() < 0.3
            for sector in page:
                kept = rng.choice((None, *self.versions[sector])) if is_torn else self.versions[sector][-1]
                if kept is not None:
                    put(content, sector, kept)
        return bytes(content)


def put(content: bytearray, sector: int, version: bytes) -> None:
    """Place a sector, lengthening the file with zeros where it must be."""
    start = sector * SECTOR
    content.extend(bytes(max(start + SECTOR - len(content), 0)))
    content[start : start + SECTOR] = version


class Disk:
    """A directory whose files remember what of them is durable."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root = root
        self.rng = rng
        self.operations = 0
        self.crash_at: int | None = None
        self.on_crash: Callable[[], None] = lambda: None
        self.error: int | None = None  # with which each operation fails at the rate below
        self.error_rate = 1.0
        self.free = 1 << 40
        self._lock = threading.RLock()
        self._inodes: dict[tuple[int, int], Inode] = {}
        self._names: dict[str, Inode] = {}  # durable ones, relative to the root
        self._directories = {"."}  # durable ones
        root.mkdir(parents=True)

    def close(self) -> None:
        """Forget everything; no connection to a ledger on it may be open any more."""
        for inode in {*self._inodes.values(), *self._names.values()}:
            os.close(inode.fd)
        self._inodes.clear()
        self._names.clear()

    # What the spool does

    @contextmanager
    def operation(self) -> Iterator[None]:
        """One at a time."""
        with self._lock:
            yield

    def failure(self) -> int | None:
        """The error with which the next operation ends, if it does."""
        return self.error if self.error is not None and self.rng.random() < self.error_rate else None

    def inode(self, fd: int, *, keep: bool = False) -> Inode:
        """The file that is open as ``fd``. ``keep``: the descriptor is the disk's own."""
        stat = os.fstat(fd)
        found = self._inodes.get((stat.st_dev, stat.st_ino))
        if found is None:
            held = fd if keep else os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
            found = self._inodes[stat.st_dev, stat.st_ino] = Inode(held)
        return found

    def tick(self) -> None:
        """The moment in which the crash may come."""
        self.operations += 1
        if self.crash_at is not None and self.operations >= self.crash_at:
            self.crash_at = None
            self.on_crash()

    def sync(self, inode: Inode, by: object) -> bool:
        """A sync of the whole file; False if it failed, or somebody else's did before."""
        self.tick()
        if self.failure() is not None:
            inode.sync_failed(list(inode.versions), self.rng)
        else:
            inode.synced()
        is_good = inode.told.get(by, 0) == inode.failures
        inode.told[by] = inode.failures
        return is_good

    def sync_names(self, directory: Path) -> None:
        """The names in ``directory`` are durable as they are now."""
        parent = os.path.relpath(directory, self.root)
        files, directories = self._scan(directory)
        for name in [name for name in self._names if os.path.dirname(name) == parent]:
            del self._names[name]
        self._names.update(files)
        self._directories.update(directories)

    def _scan(self, directory: Path) -> tuple[dict[str, Inode], list[str]]:
        """What is in a directory now."""
        files: dict[str, Inode] = {}
        directories: list[str] = []
        for path in directory.iterdir():
            if path.name.endswith(_VOLATILE):
                continue
            name = os.path.normpath(os.path.relpath(path, self.root))
            try:
                if path.is_dir():
                    directories.append(name)
                else:
                    files[name] = self._named(path)
            except FileNotFoundError:
                continue  # another thread deleted it meanwhile
        return files, directories

    def _named(self, path: Path) -> Inode:
        # A known file is not opened: closing a descriptor of the ledger would drop SQLite's locks on it.
        stat = path.stat()
        found = self._inodes.get((stat.st_dev, stat.st_ino))
        return found if found is not None else self.inode(os.open(path, os.O_RDWR | os.O_CLOEXEC), keep=True)

    # What is left of it

    def after_kill(self, root: Path) -> Disk:
        """The same disk after the process ended: nothing is lost, and nothing is more durable than before."""
        with self._lock:
            copy = Disk(root, self.rng)
            copies: dict[Inode, Inode] = {}
            names = self._live_names()
            for name, inode in names.items():
                copies[inode] = copy._place(name, inode.live())
            for inode in self._names.values():
                if inode not in copies:  # its name is still durable, but deleted by the living
                    copies[inode] = copy._place("deleted", b"")
                    (root / "deleted").unlink()
            for inode, twin in copies.items():
                twin.durable = bytearray(inode.durable)
                twin.versions = {sector: list(found) for sector, found in inode.versions.items()}
            copy._names = {name: copies[inode] for name, inode in self._names.items()}
            copy._directories = set(self._directories)
            return copy

    def after_power_failure(self, root: Path) -> Disk:
        """What is found when the power is back: from then on it is durable."""
        with self._lock:
            copy = Disk(root, self.rng)
            keeping = self.rng.choice(_KEEPING)
            live, names = self._live_names(), dict(self._names)
            for name in sorted({*live, *names}):
                if live.get(name) is not names.get(name) and self.rng.random() < keeping:
                    names.pop(name, None)
                    if name in live:
                        names[name] = live[name]
            copy._directories = set(filter(self._is_durable, self._directories))
            for name, inode in names.items():
                parent = os.path.dirname(name) or "."
                if self._is_durable(parent):
                    content = inode.survivor(self.rng, keeping)
                    copy._names[name] = copy._place(name, content)
                    copy._names[name].durable = bytearray(content)
            return copy

    def _is_durable(self, directory: str) -> bool:
        return directory in self._directories and (
            directory == "." or self._is_durable(os.path.dirname(directory) or ".")
        )

    def _live_names(self) -> dict[str, Inode]:
        names: dict[str, Inode] = {}
        waiting = [self.root]
        while waiting:
            files, directories = self._scan(waiting.pop())
            names.update(files)
            waiting += [self.root / name for name in directories]
        return names

    def _place(self, name: str, content: bytes) -> Inode:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return self.inode(os.open(path, os.O_RDWR | os.O_CLOEXEC), keep=True)


class CrashingFiles(Files):
    """The spool's own system calls, on such a disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, flags: int) -> int:
        disk = self.disk
        with disk.operation():
            error = disk.failure()
            if error == errno.ENOSPC:
                raise OSError(error, os.strerror(error))
            inode = disk.inode(fd)
            written = os.pwritev(fd, buffers, offset)
            sectors = inode.written(offset, written)
            disk.tick()
            if error is not None:
                if flags:
                    inode.sync_failed(sectors, disk.rng)
                raise OSError(error, os.strerror(error))
            if flags:
                inode.settle(sectors)
            return written

    def fdatasync(self, fd: int) -> None:
        with self.disk.operation():
            if not self.disk.sync(self.disk.inode(fd), fd):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_directory(self, directory: Path) -> None:
        with self.disk.operation():
            self.disk.tick()
            if self.disk.failure() is not None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.disk.sync_names(directory)

    def free_bytes(self, directory: Path) -> int:
        return self.disk.free


class _LedgerFile(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: Disk) -> None:
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = Path(path) if path else None
        # As SQLite's own: a new journal or log is durable by name, too, after its first sync.
        self._is_new = bool(
            self._path
            and flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL)
            and not self._path.exists()
        )
        self._inode: Inode | None = None
        super().__init__("unix", name, flags)

    @property
    def _file(self) -> Inode:
        assert self._path is not None
        if self._inode is None:
            self._inode = self._disk._named(self._path)
        return self._inode

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._path is None:
            super().xWrite(data, offset)
            return
        with self._disk.operation():
            if self._disk.failure() is not None:
                raise apsw.exceptionfor(apsw.SQLITE_IOERR_WRITE)
            super().xWrite(data, offset)
            self._file.written(offset, len(data))
            self._disk.tick()

    def xSync(self, flags: int) -> None:
        if self._path is None:
            super().xSync(flags)
            return
        with self._disk.operation():
            if not self._disk.sync(self._file, self):
                raise apsw.exceptionfor(apsw.SQLITE_IOERR_FSYNC)
            if self._is_new:
                self._disk.sync_names(self._path.parent)
                self._is_new = False


class CrashingVfs(apsw.VFS):
    """SQLite's file system, on such a disk: the default one while it is open."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._name = f"crashing-{id(self)}"
        super().__init__(self._name, "unix")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _LedgerFile(name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self._disk.operation():
            super().xDelete(filename, syncdir)
            if syncdir:
                self._disk.sync_names(Path(filename).parent)

    def __enter__(self) -> CrashingVfs:
        apsw.set_default_vfs(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        apsw.set_default_vfs("unix")
        self.unregister()
