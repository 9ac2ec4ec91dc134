"""Reading stored objects: file descriptors, whole objects checked against their hash, and parts unchecked.

Where the bytes are in the page cache they are read on the event loop (RWF_NOWAIT): a hop to a thread costs
more than the copy. Else, and for long objects, in a thread.

A place may be out of date: cleaning moves records, and released space is written again. A whole object is
safe by its hash. A part is safe by the key that stands right before an object (see ``record``); a large
object's file has its key as its name.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import xxhash

from router.errors import CorruptRecord
from router.model import Instance
from router.spool.files import IOV_MAX
from router.spool.record import MARK_BYTES
from router.spool.schema import LARGE

OPEN_FILES = 128
ON_LOOP_BYTES = 1024 * 1024
VERIFY_STEP_BYTES = 1024 * 1024
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class OpenFiles:
    """Descriptors for reading, the least used closed first; safe in any thread."""

    def __init__(self, segments: Path, large: Path) -> None:
        self._segments = segments
        self._large = large
        self._files: OrderedDict[tuple[int, int], list[int]] = OrderedDict()  # → [fd, users, doomed]
        self._lock = threading.Lock()

    def path(self, segment: int, key: int) -> Path:
        """The file of an instance's place."""
        return self._large / f"{key}.dcm" if segment == LARGE else self._segments / f"{segment:08d}.seg"

    def acquire(self, segment: int, key: int) -> list[int]:
        """A descriptor, as the first item of what must be given to ``release``. May raise ``OSError``."""
        name = (segment, key if segment == LARGE else 0)
        with self._lock:
            entry = self._files.get(name)
            if entry is not None:
                entry[1] += 1
                self._files.move_to_end(name)
                return entry
            entry = [os.open(self.path(segment, key), os.O_RDONLY | os.O_CLOEXEC), 1, 0]
            self._files[name] = entry
            if len(self._files) > OPEN_FILES:
                for old, (fd, users, _) in self._files.items():
                    if not users:
                        del self._files[old]
                        os.close(fd)
                        break
            return entry

    def release(self, entry: list[int]) -> None:
        """The descriptor is not needed any more."""
        with self._lock:
            entry[1] -= 1
            if entry[2] and not entry[1]:
                os.close(entry[0])

    def forget(self, segment: int, key: int = 0) -> None:
        """The file is about to be deleted: keep no descriptor, for it would keep the space."""
        with self._lock:
            entry = self._files.pop((segment, key), None)
            if entry is None:
                return
            if entry[1]:
                entry[2] = 1
            else:
                os.close(entry[0])

    def close(self) -> None:
        """Close all that nobody uses."""
        with self._lock:
            for fd, users, _ in self._files.values():
                if not users:
                    os.close(fd)
            self._files.clear()


def read_fully(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> bool:
    """Fill the buffers from ``offset`` on. False if the file ends (or, with NOWAIT, memory does) before."""
    wanted = 0
    start = 0
    while start < len(buffers):
        head = buffers[start : start + IOV_MAX] if start or len(buffers) > IOV_MAX else buffers
        start += len(head)
        size = sum(map(len, head))
        got = os.preadv(fd, head, offset + wanted, flags)
        if got != size and (flags or not _fill_rest(fd, head, offset + wanted, got)):
            return False
        wanted += size
    return True


def _fill_rest(fd: int, buffers: Sequence[memoryview], offset: int, got: int) -> bool:
    """After a short read: go on buffer by buffer."""
    position = 0
    for buffer in buffers:
        end = position + len(buffer)
        while got < end:
            more = os.preadv(fd, [buffer[got - position :]], offset + got)
            if more <= 0:
                return False
            got += more
        position = end
    return True


class Reader:
    """Reads objects at the places that instances name; for any thread."""

    def __init__(self, files: OpenFiles) -> None:
        self.files = files
        self._nowait = _NOWAIT  # 0 once a file system (tmpfs, NFS) has said that it knows no such thing

    def read_now(self, instance: Instance, buffers: Sequence[memoryview]) -> bool | None:
        """The whole object without waiting: True if intact, False if not, None if it is not in memory."""
        if not self._nowait or instance.place.length_bytes > ON_LOOP_BYTES:
            return None
        return self._read(instance, buffers, self._nowait)

    def read(self, instance: Instance, buffers: Sequence[memoryview]) -> bool:
        """The whole object; False if it is not intact or not there. May raise ``OSError``."""
        return bool(self._read(instance, buffers, 0))

    def _read(self, instance: Instance, buffers: Sequence[memoryview], flags: int) -> bool | None:
        place = instance.place
        try:
            entry = self.files.acquire(place.segment, instance.key)
        except FileNotFoundError:
            return False
        try:
            if not read_fully(entry[0], buffers, place.offset, flags):
                return None if flags else False
        except OSError as error:
            if not flags or not self._would_wait(error):
                raise
            return None
        finally:
            self.files.release(entry)
        digest = xxhash.xxh3_128()
        for buffer in buffers:
            digest.update(buffer)
        return digest.digest() == instance.content_hash

    def read_part(
        self, instance: Instance, offset: int, buffers: Sequence[memoryview], *, wait: bool
    ) -> bool | None:
        """A part, from ``offset`` of the object: True, False (not there any more) or None (would wait)."""
        if not wait and not self._nowait:
            return None
        place = instance.place
        flags = 0 if wait else self._nowait
        try:
            entry = self.files.acquire(place.segment, instance.key)
        except FileNotFoundError:
            return False
        try:
            if not read_fully(entry[0], buffers, place.offset + offset, flags):
                return False if wait else None
            if place.segment == LARGE:
                return True
            mark = bytearray(MARK_BYTES)  # after the bytes, see ``record``
            if not read_fully(entry[0], [memoryview(mark)], place.offset - MARK_BYTES, flags):
                return False if wait else None
            return int.from_bytes(mark, "little") == instance.key
        except OSError as error:
            if not flags or not self._would_wait(error):
                raise
            return None
        finally:
            self.files.release(entry)

    def _would_wait(self, error: OSError) -> bool:
        """Whether a read without waiting failed for that reason only."""
        if error.errno == errno.EOPNOTSUPP:
            self._nowait = 0
        return error.errno in (errno.EAGAIN, errno.EOPNOTSUPP)

    def verify(self, instance: Instance) -> bool:
        """Whether the object is intact, with bounded memory. May raise ``OSError``."""
        place = instance.place
        digest = xxhash.xxh3_128()
        buffer = memoryview(bytearray(min(VERIFY_STEP_BYTES, place.length_bytes)))
        try:
            entry = self.files.acquire(place.segment, instance.key)
        except FileNotFoundError:
            return False
        try:
            for offset in range(0, place.length_bytes, VERIFY_STEP_BYTES):
                part = buffer[: place.length_bytes - offset]
                if not read_fully(entry[0], [part], place.offset + offset):
                    return False
                digest.update(part)
        finally:
            self.files.release(entry)
        return digest.digest() == instance.content_hash


def check_size(instance: Instance, buffers: Sequence[memoryview]) -> None:
    """The buffers of ``read`` must be exactly as long as the object."""
    if sum(map(len, buffers)) != instance.place.length_bytes:
        raise ValueError("the buffers' sizes do not add up to the object's length")


def damaged(instance: Instance) -> CorruptRecord:
    """The error for an object that is not what arrived."""
    return CorruptRecord(f"instance {instance.key}: the stored bytes do not match their hash")
