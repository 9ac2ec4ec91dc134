"""Reading stored objects while the gateway runs: checked as a whole, or unchecked parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio.to_thread

from router.errors import CorruptRecord
from router.model import Instance, InstanceState
from router.spool import queries
from router.spool.files import storage_error
from router.spool.questions import Questions
from router.spool.reader import OpenFiles, Reader, check_size, damaged


class Objects(Questions):
    """What is in memory is read on the loop, the rest in threads; what has moved, once more."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._open_files = OpenFiles(directory / "segments", directory / "large")
        self._reader = Reader(self._open_files)

    def close(self) -> None:
        """Close the files, too."""
        self._open_files.close()
        super().close()

    async def _mark_corrupt(self, instance: Instance) -> None:
        raise NotImplementedError

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None:
        """Fill ``buffers``, in order, with the whole Part 10 object (their sizes add up to its length).

        ``CorruptRecord`` if the bytes are not what arrived: then the instance is marked corrupt and its open
        deliveries are dead. ``StorageError`` if the disk fails.
        """
        check_size(instance, buffers)
        try:
            if self._reader.read_now(instance, buffers):
                return
        except OSError as error:
            raise storage_error(error, "the spool could not be read") from error
        await self._read(instance, lambda found: self._reader.read(found, buffers))

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        """The first ``limit`` bytes of the data set, not checked against the hash."""
        head = bytearray(min(limit, instance.size_bytes))
        await self.read_range(instance, instance.place.data_set_offset, [memoryview(head)])
        return bytes(head)

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill ``buffers`` from ``offset`` of the object, unchecked: for streaming after ``verify``."""
        try:
            if self._reader.read_part(instance, offset, buffers, wait=False):
                return
        except OSError as error:
            raise storage_error(error, "the spool could not be read") from error
        await self._read(
            instance, lambda found: bool(self._reader.read_part(found, offset, buffers, wait=True))
        )

    async def verify(self, instance: Instance) -> None:
        """Read the whole object with bounded memory and check its hash; raises as ``read`` does."""
        await self._read(instance, self._reader.verify)

    async def _read(self, instance: Instance, attempt: Callable[[Instance], bool]) -> None:
        """Read in a thread; where that fails, once more if the object has been moved meanwhile."""
        while not await self._try_read(attempt, instance):
            found = await self._look_up(instance.key)
            if found is None or found.state is InstanceState.RELEASED:
                raise CorruptRecord(f"instance {instance.key} is released")
            if found.place == instance.place:
                await self._mark_corrupt(instance)
                raise damaged(instance)
            instance = found

    async def _try_read(self, attempt: Callable[[Instance], bool], instance: Instance) -> bool:
        try:
            return await anyio.to_thread.run_sync(attempt, instance)
        except OSError as error:
            raise storage_error(error, "the spool could not be read") from error

    async def _look_up(self, key: int) -> Instance | None:
        return await self._query(lambda connection: queries.instance(connection, key))
