"""An object streamed to a file of its own, because its size is over the threshold or not known.

``large/NAME.part`` while it arrives; then ``large/KEY.dcm``, a plain Part 10 file, and beside it
``KEY.head``, the record header that it would have in a segment, so that a lost ledger can be rebuilt. Both
files and the directory are durable before the ledger names the object. The work is done in worker threads, so
that appends do not wait for it; only the ledger's row goes through the writer.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import xxhash

from router.errors import StorageError
from router.model import Arrival, Buffer, Instance, InstanceState, Place
from router.spool.files import Files, storage_error, write_all
from router.spool.record import encode_arrival, encode_header
from router.spool.schema import LARGE

SYNC_STEP_BYTES = 32 * 1024 * 1024  # so that the last sync has little left to do
_CLOSED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeSeam:
    """What a large object needs of its spool."""

    directory: Path
    files: Files
    next_key: Callable[[], int]
    check_room: Callable[[], None]  # raises StorageError while the disk is nearly full
    on_disk_error: Callable[[StorageError], None]
    name_in_ledger: Callable[[Instance], Awaitable[None]]


class LargeObject:
    """A large object while it arrives. Exactly one of ``commit`` and ``abandon`` ends it."""

    def __init__(self, arrival: Arrival, seam: LargeSeam) -> None:
        self._arrival = arrival
        self._seam = seam
        self._path = seam.directory / f"{uuid.uuid4().hex}.part"
        self._fd = _CLOSED
        self._length = 0
        self._synced = 0
        self._digest = xxhash.xxh3_128()
        self._is_over = False

    @property
    def length_bytes(self) -> int:
        """What has been written so far."""
        return self._length

    async def write(self, parts: Sequence[Buffer]) -> None:
        """Append ``parts`` to the Part 10 object (file meta first). ``StorageError`` where the disk fails."""
        self._seam.check_room()
        try:
            await anyio.to_thread.run_sync(self._write, parts)
        except OSError as error:
            raise self._failed(error) from error

    async def commit(self, data_set_offset: int) -> Instance:
        """Make the object durable, then name it in the ledger. ``StorageError``: nothing stays behind."""
        key = self._seam.next_key()
        instance = Instance(
            key=key,
            arrival=self._arrival,
            place=Place(segment=LARGE, offset=0, length_bytes=self._length, data_set_offset=data_set_offset),
            content_hash=self._digest.digest(),
            state=InstanceState.RECEIVED,
        )
        try:
            await anyio.to_thread.run_sync(self._make_durable, instance)
        except OSError as error:
            raise self._failed(error) from error
        except BaseException:  # cancelled before it began
            await self.abandon()
            raise
        self._is_over = True  # from here the writer decides: it lets go what cannot be named
        await self._seam.name_in_ledger(instance)
        return instance

    async def abandon(self) -> None:
        """Remove what was written. Allowed at any time before ``commit`` returned; does nothing after it."""
        if self._is_over:
            return
        self._is_over = True
        self._discard()  # no thread: it must also work while the caller is being cancelled

    def _write(self, parts: Sequence[Buffer]) -> None:
        if self._fd == _CLOSED:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._length = write_all(self._seam.files, self._fd, parts, self._length)
        for part in parts:
            self._digest.update(part)
        if self._length - self._synced >= SYNC_STEP_BYTES:
            self._seam.files.fdatasync(self._fd)
            self._synced = self._length

    def _make_durable(self, instance: Instance) -> None:
        files, directory = self._seam.files, self._seam.directory
        if self._fd == _CLOSED:
            self._write(())
        head = encode_header(
            0,
            0,
            instance.key,
            instance.place.length_bytes,
            instance.place.data_set_offset,
            instance.content_hash,
            encode_arrival(instance.arrival),
        )
        files.fdatasync(self._fd)
        try:
            fd = os.open(
                directory / f"{instance.key}.head", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                write_all(files, fd, [head], 0)
                files.fdatasync(fd)
            finally:
                os.close(fd)
            self._path.rename(directory / f"{instance.key}.dcm")
            files.sync_directory(directory)
        except OSError:
            with suppress(OSError):
                remove(directory, instance.key)
            raise
        os.close(self._fd)
        self._fd = _CLOSED

    def _failed(self, error: OSError) -> StorageError:
        self._is_over = True
        self._discard()
        problem = storage_error(error, "the large object could not be written")
        self._seam.on_disk_error(problem)
        return problem

    def _discard(self) -> None:
        if self._fd != _CLOSED:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = _CLOSED
        with suppress(OSError):  # then it goes when the spool is opened next
            self._path.unlink(missing_ok=True)


def remove(directory: Path, key: int) -> None:
    """Delete a large object's files."""
    (directory / f"{key}.dcm").unlink(missing_ok=True)
    (directory / f"{key}.head").unlink(missing_ok=True)


def remove_strangers(directory: Path, is_known: Callable[[int], bool]) -> None:
    """Delete what no live instance of the ledger owns: it was never acknowledged, or is released."""
    for path in directory.iterdir():
        is_object = path.suffix in (".dcm", ".head") and path.stem.isdigit()
        if not (is_object and is_known(int(path.stem))):
            path.unlink()
