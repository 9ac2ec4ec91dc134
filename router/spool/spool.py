"""The spool's face towards the rest of the gateway, and how its parts are put together.

Everything here runs on the event loop and only hands work on: changes to the writer's thread, reads of
objects to ``reader``, questions to the ledger to a thread with a read-only connection.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import apsw
import xxhash

from router.clock import Clock
from router.config.settings import SpoolSettings
from router.errors import StorageError
from router.model import (
    Arrival,
    Buffer,
    Instance,
)
from router.spool import large, leaps, queries
from router.spool.dispatch import Dispatch
from router.spool.files import Files, close_to_others, make_directory, storage_error, take_lock, write_again
from router.spool.gates import Gates
from router.spool.handover import Handover
from router.spool.housekeeping import Housekeeper
from router.spool.large import LargeObject, LargeSeam
from router.spool.ledger import Ledger
from router.spool.ordering import Orders
from router.spool.record import encode_arrival, header_bytes
from router.spool.scan import refuse_lost_ledger
from router.spool.schema import LARGE, LEDGER_NAME, ORDINALS
from router.spool.segment import Segments
from router.spool.stats import SpoolStats
from router.spool.tail import missing_rows
from router.spool.work import Append, Item, resolve
from router.spool.writer import Writer

T = TypeVar("T")


class Spool(Dispatch):
    """The store and queue of one gateway. All instants are wall time (``Clock.now()``)."""

    def __init__(
        self,
        directory: Path,
        settings: SpoolSettings,
        clock: Clock,
        files: Files,
        retention_s: float,
        lock: int,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._files = files
        self._lock = lock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ledger = Ledger(directory, uuid.uuid4().hex, retention_s, files)  # makes the tables
        super().__init__(directory)
        self.segments = Segments(
            directory / "segments",
            settings.segment_bytes,
            settings.spare_segments,
            files,
            self._open_files.forget,
        )
        self._writer = Writer(self._ledger, self.segments, files, clock)
        self.housekeeper = Housekeeper(
            directory=directory,
            settings=settings,
            clock=clock,
            writer=self._writer,
            reader=self._reader,
            open_files=self._open_files,
            files=files,
            on_expired=self._wake_from_thread,
        )
        self._writer.on_batch = self._batch_done
        self._writer.on_disk_error = self.housekeeper.condition.on_error
        self._writer.commits.on_disk_error = self.housekeeper.condition.on_error
        self._writer.commits.on_large_released = self._large_released
        self._writer.on_chores = self.housekeeper.ring
        self._handover = Handover(self._read_unrouted)
        self._gates = Gates(self.next_due, clock)
        self.orders = Orders(
            query=self._query, change=self._change, wake=self._gates.wake, recall=self.recall, clock=clock
        )
        self._on_change: Callable[[Sequence[int]], None] | None = None
        self._last_key = 0
        self._large_bytes = 0
        self._large_count = 0

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: SpoolSettings,
        clock: Clock,
        *,
        retention_s: float = 0.0,
        files: Files | None = None,
    ) -> Spool:
        """Open or make the spool in ``directory`` and recover it. ``StorageError`` if another has it."""
        files = files or Files()
        try:
            make_directory(files, directory)
            for name in ("segments", "large"):
                make_directory(files, directory / name)
            lock = take_lock(directory)
        except OSError as error:
            raise storage_error(error, str(directory)) from error
        try:
            refuse_lost_ledger(directory)
            spool = cls(directory, settings, clock, files, retention_s, lock)
            close_to_others((directory / "segments", directory / "large", *directory.glob(f"{LEDGER_NAME}*")))
        except BaseException:
            os.close(lock)
            raise
        try:
            spool._recover()
        except (OSError, apsw.Error) as error:
            spool.close()
            if isinstance(error, OSError):
                raise storage_error(error, str(directory)) from error
            raise StorageError(f"{directory}: {error}", out_of_resources=False) from error
        return spool

    def _recover(self) -> None:
        """From the ledger alone: no segment is scanned."""
        connection = self._ledger.connection
        self._ledger.begin()
        self._ledger.expire_leases(None)  # the lock is ours, so whoever held them is gone
        self._ledger.commit()
        now = self._clock.now()
        leaps.set_back(self._ledger, leaps.stamped_ahead(connection, now), now)
        self._recover_tail()
        live = queries.live_by_segment(connection)
        self._large_count, self._large_bytes = live.pop(LARGE, (0, 0))
        self.segments.load(live)
        large.remove_strangers(self._directory / "large", lambda key: queries.is_live_large(connection, key))
        self._last_key = queries.last_key(connection)
        self.housekeeper.check_space()

    def _recover_tail(self) -> None:
        """After a power failure: the rows of acknowledged instances that the ledger had not synced."""
        number = self._ledger.tail()
        path = self._directory / "segments" / f"{number or 0:08d}.seg"
        if number is None or not path.exists():
            return
        rows = list(missing_rows(number, path, queries.last_key(self._ledger.connection)))
        if rows:
            write_again(self._files, path)  # where only the process ended, they may be in memory alone
            self._ledger.begin()
            self._ledger.insert(rows)
            self._ledger.commit()

    def close(self) -> None:
        """Close files and ledger; ``running`` does it by itself."""
        if self._lock < 0:
            return
        if self.segments.current is not None:
            self.segments.close_current()
        super().close()
        self.housekeeper.close()
        self._ledger.close()
        os.close(self._lock)
        self._lock = -1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the writer. On leaving, everything that waits is written first, then the spool is closed."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self.housekeeper.start()
        try:
            yield
        finally:
            if self._look_at is not None:
                self._look_at.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self.housekeeper.stop)
                await anyio.to_thread.run_sync(self._writer.stop)
            self.close()

    # Storing

    @property
    def is_accepting(self) -> bool:
        """False while the disk is nearly full: answer A700 without even asking."""
        return self.housekeeper.condition.is_accepting

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the disk: ``disk_low``, ``disk_gone``, ``disk_failing``."""
        return self.housekeeper.condition.problems

    async def append(self, arrival: Arrival, parts: Sequence[Buffer], data_set_offset: int) -> Instance:
        """Store a whole Part 10 object (``parts``, file meta first); it is durable when this returns.

        ``StorageError`` otherwise. A cancelled caller leaves either nothing or a whole instance, never half.
        """
        self._check_room()
        digest = xxhash.xxh3_128()
        length = 0
        for part in parts:
            digest.update(part)
            length += len(part)
        encoded = encode_arrival(arrival)
        if header_bytes(encoded) + length > self.segments.capacity_bytes:
            return await self._append_large(arrival, parts, data_set_offset)
        waiter: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._writer.submit(
            Append(
                self._next_key(), arrival, encoded, parts, length, data_set_offset, digest.digest(), waiter
            )
        )
        return await waiter

    async def _append_large(
        self, arrival: Arrival, parts: Sequence[Buffer], data_set_offset: int
    ) -> Instance:
        one = self.start_large(arrival)
        try:
            await one.write(parts)
            return await one.commit(data_set_offset)
        finally:
            await one.abandon()

    def start_large(self, arrival: Arrival) -> LargeObject:
        """Begin an object that is streamed to a file of its own."""
        return LargeObject(
            arrival,
            LargeSeam(
                directory=self._directory / "large",
                files=self._files,
                next_key=self._next_key,
                check_room=self._check_room,
                on_disk_error=self.housekeeper.condition.on_error,
                name_in_ledger=self._name_large,
            ),
        )

    async def _name_large(self, instance: Instance) -> None:
        place = instance.place
        row = (
            instance.key,
            place.segment,
            place.offset,
            place.length_bytes,
            place.data_set_offset,
            instance.content_hash,
            instance.arrival.sop_instance_uid,
            encode_arrival(instance.arrival).decode(),
        )

        self._large_count += 1  # from now on: where it cannot be named, it is released
        self._large_bytes += place.length_bytes
        await self._change(
            lambda ledger: ledger.insert((row,)),
            stored=(instance.key, LARGE, place.length_bytes),
            then=lambda _: self._stored(instance),
        )

    def _next_key(self) -> int:
        """Time-ordered and strictly rising, also where the clock goes back."""
        self._last_key = max((self._last_key | (ORDINALS - 1)) + 1, int(self._clock.now() * 1000) << 20)
        return self._last_key

    def _check_room(self) -> None:
        if not self.is_accepting:
            raise StorageError("the disk is nearly full, or gone", out_of_resources=True)

    # The queue

    async def take_unrouted(self, limit: int) -> list[Instance]:
        """Wait for instances that no rule has looked at; oldest first, at least one, at most ``limit``."""
        return await self._handover.take(limit)

    async def _read_unrouted(self, after: int, limit: int) -> list[Instance]:
        await self._catch_up()  # or the cursor would pass what was answered, and is not in the ledger yet
        return await self._query(lambda connection: queries.unrouted(connection, after, limit))

    async def _mark_corrupt(self, instance: Instance) -> None:
        await anyio.to_thread.run_sync(self.housekeeper.condition.check_there)
        place, now = instance.place, self._clock.now()
        await self._change(lambda ledger: ledger.mark_corrupt(instance.key, place.segment, place.offset, now))

    # How full it is

    async def stats(self) -> SpoolStats:
        """How full the spool is."""
        unrouted = await self._query(queries.count_unrouted)
        segments = self.segments
        return SpoolStats(
            bytes_used=segments.count * segments.segment_bytes + self._large_bytes,
            bytes_live=segments.live_bytes + self._large_bytes,
            free_bytes=self.housekeeper.condition.free_bytes,
            segments=segments.count,
            large_objects=self._large_count,
            unrouted=unrouted + self._writer.commits.owed,
        )

    # Who follows what is here

    def follow(self, on_change: Callable[[Sequence[int]], None]) -> None:
        """Have ``on_change`` called, on the loop, with keys of instances that were stored or released.

        What is stored is told before its sender is. Perhaps nothing has become of a key, or it comes twice:
        ``held`` says what is here.
        """
        self._on_change = on_change
        self._writer.commits.on_released = lambda rows: self._call(on_change, [key for key, _, _ in rows])

    def _stored(self, instance: Instance) -> None:
        self._handover.add(instance)
        if self._on_change is not None:
            self._on_change((instance.key,))

    # Threads

    def _batch_done(self, items: list[Item]) -> None:
        """In the writer's thread: one wake-up of the loop for all of them."""
        self._call(self._settle, items)

    def _settle(self, items: list[Item]) -> None:
        for item in items:
            if not isinstance(item, Append):
                item.settle()
                continue
            if item.error is None and item.old is None and item.result is not None:
                self._stored(item.result)
            resolve(item.waiter, item.result, item.error)

    def _call(self, function: Callable[[T], None], argument: T) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function, argument)
            except RuntimeError:
                return  # the loop is closed: nobody is left to be told

    def _large_released(self, key: int, length: int) -> None:
        """In the writer's thread."""
        self.housekeeper.doomed.append(key)
        self.housekeeper.ring()
        self._call(self._forget_large, length)

    def _forget_large(self, length: int) -> None:
        self._large_count -= 1
        self._large_bytes -= length

    def _wake_from_thread(self, names: set[str]) -> None:
        self._call(self._gates.wake, names)
