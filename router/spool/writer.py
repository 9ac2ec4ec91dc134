"""The one thread that changes the spool: gathers what waits, syncs the bytes once, commits the ledger once.

Order, and what a failure at each step does:

1. The records of all waiting appends are written to the current segment and synced. ``OSError``: those
   appends fail, the segment is closed and never written again, the others of the batch go on.
2. One transaction names them in the ledger and carries out all waiting operations. If it fails, it is
   rolled back and each part is tried alone, so that only what cannot be done fails. Bytes of appends whose
   rows failed lie unnamed in the segment, as dead as released ones.
3. The callers resume: one wake-up of the event loop for the whole batch.

There is one sync for each batch: that of the records. They say all that the ledger does, so the ledger is
committed (no end of this process undoes that) and synced ``SYNC_WITHIN_S`` later at the latest; after a power
failure ``tail`` reads again what it lost. Only when a commit is synced may the space that it released be used
again. An outcome that was lost with the power costs a delivery made twice, never one not made.

While a batch is synced, the next one gathers. Nothing polls: ``submit`` rings a bell (a bare lock, which
costs a tenth of a ``threading.Event``).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

import apsw

from router.clock import Clock
from router.errors import RouterError, StorageError
from router.logs import get_logger
from router.spool.files import Files, rewrite, storage_error, write_durably
from router.spool.ledger import Ledger, NewRow
from router.spool.muster import Muster
from router.spool.rows import ReleasedRow
from router.spool.run import Run
from router.spool.schema import LARGE, chunks
from router.spool.segment import Segments
from router.spool.work import Append, Operation

BATCH_ITEMS = 256  # more than that adds to the wait of the first, and nothing to the rate
BATCH_BYTES = 16 * 1024 * 1024
SYNC_WITHIN_S = 0.05  # what is committed is on stable storage after so long
CHECKPOINT_PAGES = 4096  # 16 MB of the ledger's write-ahead log

Item = Append | Operation
_log = get_logger("spool")


class Writer:
    """Takes items from any thread; works in its own. The callbacks are called in its thread."""

    def __init__(self, ledger: Ledger, segments: Segments, files: Files, clock: Clock) -> None:
        self.ledger = ledger
        self.segments = segments
        self.wal_pages = 0
        self.appended_at = -math.inf  # monotonic
        self.on_batch: Callable[[list[Item]], None] = lambda items: None
        self.on_disk_error: Callable[[StorageError], None] = lambda error: None
        self.on_large_released: Callable[[int, int], None] = lambda key, length: None
        self.on_chores: Callable[[], None] = lambda: None  # a spare segment or a checkpoint is wanted
        self._files = files
        self._clock = clock
        self._now = clock.monotonic
        self._waiting: deque[Item] = deque()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._is_idle = False
        self._muster = Muster()
        self._tail: int | None = None  # the segment that the ledger knows, durably, as the end of the log
        self._missing = 0  # appends that a muster waits for
        self._is_stopping = False
        self._has_checkpoint = False
        self._unsynced: list[ReleasedRow] | None = None  # None: every commit is on stable storage
        self._unsynced_since = 0.0
        self._has_logged = False  # the last commit wrote to the log: SQLite syncs no other
        self._is_log_suspect = False  # a sync of the log failed, and nobody knows what of it is on the disk
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        ledger.connection.set_wal_hook(self._count_pages)

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        self._has_logged = True
        return apsw.SQLITE_OK

    def start(self) -> None:
        """Run the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end. Blocks until done."""
        self._is_stopping = True
        self._ring()
        self._thread.join()

    def submit(self, item: Item) -> None:
        """Queue an item; returns at once."""
        self._waiting.append(item)
        if self._is_idle:  # otherwise it looks again before it sleeps
            self._ring()
        elif self._missing and isinstance(item, Append):
            self._missing -= 1
            if not self._missing:
                self._ring()

    def submit_later(self, item: Item) -> None:
        """Queue an item that can wait for the next one, or for ``look``."""
        self._waiting.append(item)

    def look(self) -> None:
        """Do now what was left for later."""
        if self._is_idle and self._waiting:
            self._ring()

    def finish_checkpoint(self) -> None:
        """Between two batches, move the last pages of the write-ahead log, so that it starts over."""
        self._has_checkpoint = True
        self._ring()

    @property
    def is_log_suspect(self) -> bool:
        """Nothing may be copied out of the log: what of it is on the disk is not known."""
        return self._is_log_suspect

    def distrust_log(self) -> None:
        """A sync of the ledger's log has failed elsewhere."""
        self._is_log_suspect = True

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            return  # it rings already

    def _run(self) -> None:
        while True:
            self._is_idle = True
            if not self._waiting and not self._is_stopping:
                if self._unsynced is None:
                    self._bell.acquire()
                elif not self._bell.acquire(timeout=SYNC_WITHIN_S):
                    self._sync()
            self._is_idle = False
            try:
                self.work_off()
                if self._has_checkpoint:
                    self._checkpoint()
            except Exception as error:  # beside a batch: without this thread nothing is stored any more
                _log.error("the spool's writer failed", because=repr(error))
            if self._is_stopping and not self._waiting:
                self._sync()
                if self._is_log_suspect and self._sync_log() is not None:
                    self.ledger.keep_log()
                return

    def work_off(self) -> None:
        """Do everything that waits."""
        while self._waiting:
            self._wait_for_more()
            batch = self._gather()
            began_at = self._now()
            try:
                self._write(batch)
            except Exception as error:  # the thread's outermost line: the callers are told, and it goes on
                _fail_all(batch, error)
            if self.appended_at >= began_at:
                waiting, now = self._appends_waiting(), self._now()
                appends = sum(isinstance(item, Append) for item in batch)
                self._muster.answered(appends, waiting, took_s=now - began_at, now=now)
            self.on_batch(batch)
            if self._unsynced is not None and self._clock.monotonic() - self._unsynced_since > SYNC_WITHIN_S:
                self._sync()
            if self._has_checkpoint:
                self._checkpoint()
            elif self.wal_pages > CHECKPOINT_PAGES or self.segments.wants_spare:
                self.on_chores()

    def _wait_for_more(self) -> None:
        """Let senders who were just answered come in before the disk is made to sync again."""
        waiting = self._appends_waiting()
        if not waiting:
            return
        now = self._now()
        missing, until = self._muster.missing(waiting, now)
        if missing:
            self._missing = missing
            self._bell.acquire(timeout=until - now)
            is_complete, self._missing = not self._missing, 0
            self._muster.gathered(is_complete=is_complete, now=self._now())

    def _appends_waiting(self) -> int:
        return sum(isinstance(item, Append) for item in self._waiting.copy())

    def _sync(self) -> StorageError | None:
        """Make what was committed without waiting durable, and let go what it released."""
        if self._unsynced is None:
            return None
        self._unsynced_since = self._clock.monotonic()
        problem = self._sync_log()
        if problem is None:
            self._let_go()  # else the space stays taken until it could
        return problem

    def _sync_log(self) -> StorageError | None:
        """A sync that fails is not made good by one that succeeds: Linux forgets what it could not write.

        So after a failure the whole log is written once more. Without that, frames that nobody waited for may
        be missing in front of a later commit, and everything behind a gap would be lost with the power.
        """
        try:
            if self._is_log_suspect:
                rewrite(self._files, self.ledger.log_fd)
            self._files.fdatasync(self.ledger.log_fd)
        except OSError as error:
            self._is_log_suspect = True
            problem = storage_error(error, "the ledger could not be synced")
            self.on_disk_error(problem)
            return problem
        self._is_log_suspect = False
        return None

    def _let_go(self) -> None:
        """Space whose release is durable may be used again."""
        released, self._unsynced = self._unsynced or [], None
        now = self._clock.monotonic()
        for key, segment, length in released:
            if segment == LARGE:
                self.on_large_released(key, length)
            else:
                self.segments.release(segment, length, now)

    def _checkpoint(self) -> None:
        self._has_checkpoint = False
        if self._is_log_suspect and self._sync_log() is not None:
            return
        try:
            self.ledger.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error as error:
            self._is_log_suspect |= isinstance(error, apsw.IOError)
            return  # the log grows on, and the next one tries again
        self.wal_pages = 0  # until the next commit says how long the log is

    def _gather(self) -> list[Item]:
        waiting = self._waiting
        batch: list[Item] = []
        size = 0
        while waiting and len(batch) < BATCH_ITEMS and size < BATCH_BYTES:
            item = waiting.popleft()
            if isinstance(item, Append):
                if item.waiter.cancelled():
                    continue
                size += item.length
            elif item.is_pointless:
                continue
            batch.append(item)
        return batch

    def _write(self, batch: list[Item]) -> None:
        appends: list[Append] = []
        operations: list[Operation] = []
        for item in batch:
            if isinstance(item, Append):
                appends.append(item)
            else:
                operations.append(item)
        if appends:
            self.appended_at = self._now()
            self._store(appends)
            appends = [a for a in appends if a.error is None]
        if self._is_log_suspect and (problem := self._sync_log()) is not None:
            self._release_unnamed(appends)
            for append in appends:
                append.error = problem
            for operation in operations:
                operation.error = problem if operation.durable else None
            appends, operations = [], [o for o in operations if not o.durable]
        if not self._try(appends, operations):
            if appends and not self._try(appends, ()):
                for append in appends:
                    self._try((append,), ())
            for operation in operations:
                self._try((), (operation,))

    # The bytes

    def _store(self, appends: Sequence[Append]) -> None:
        """Write and sync the records; what could not be written has its error set."""
        segments = self.segments
        run = Run(segments.current) if segments.current is not None else None
        for item in appends:
            if run is not None and run.add(item, segments.segment_bytes):
                continue
            if run is not None:
                self._flush(run)
                run = None
            try:
                run = Run(segments.rotate())
            except OSError as error:
                self._fail((item,), storage_error(error, "no segment to write to"))
                continue
            if not run.add(item, segments.segment_bytes):
                self._fail((item,), StorageError("longer than a segment", out_of_resources=False))
        if run is not None:
            self._flush(run)

    def _flush(self, run: Run) -> None:
        if not run.appends:
            return
        try:
            run.segment.tail = write_durably(self._files, run.segment.fd, run.buffers, run.start)
        except OSError as error:
            self._fail(run.appends, storage_error(error, "the segment could not be written"))
            self.segments.abandon_current()
            return
        # Counted before the ledger has it, so that a segment left in this same batch is not taken for empty.
        self.segments.add(run.segment, len(run.appends), sum(a.length for a in run.appends))

    def _fail(self, items: Sequence[Append], error: StorageError) -> None:
        for item in items:
            item.error = error
        self.on_disk_error(error)

    # The ledger

    def _try(self, appends: Sequence[Append], operations: Sequence[Operation]) -> bool:
        """One transaction for all of these. A failure is final where there is only one."""
        if not appends and not operations:
            return True
        ledger = self.ledger
        try:
            self._transact(appends, operations)
        except Exception as error:  # a defect in one operation must not stop the only writer there is
            problem = _ledger_error(error)
            self._is_log_suspect |= isinstance(error, apsw.IOError)
            try:
                ledger.rollback()
            except apsw.Error as worse:
                problem = _ledger_error(worse)
            if len(appends) + len(operations) > 1:
                return False
            for append in appends:
                append.error = problem
            for operation in operations:
                operation.error = problem
            self._release_unnamed(appends)
            if isinstance(problem, StorageError):
                self.on_disk_error(problem)
            return False
        if appends:
            self._tail = _last_segment(appends)
        for append in appends:
            append.error = None
        for operation in operations:
            operation.error = None
        if self._unsynced is None:
            self._unsynced = []
            self._unsynced_since = self._clock.monotonic()
        self._unsynced += ledger.take_released()
        if ledger.is_synced and self._has_logged:
            self._let_go()
        elif ledger.is_synced:
            not_synced = self._sync()
            for operation in operations:
                operation.error = not_synced
        return True

    def _transact(self, appends: Sequence[Append], operations: Sequence[Operation]) -> None:
        ledger = self.ledger
        self._has_logged = False
        tail = _last_segment(appends)
        is_new_tail = tail is not None and tail != self._tail
        ledger.sync_commits(is_new_tail or any(o.durable for o in operations))
        new = [a for a in appends if a.old is None]
        rows = [_row(a) for a in new]
        if not is_new_tail and not operations and len(new) == len(appends) and len(chunks(len(rows))) == 1:
            ledger.insert(rows)  # a single statement is its own transaction
            return
        ledger.begin()
        if is_new_tail and tail is not None:
            ledger.note_tail(tail)
        if rows:
            ledger.insert(rows)
        if len(new) != len(appends):
            ledger.move([(a.key, a.old, a.result.place) for a in appends if a.old and a.result])
        for operation in operations:
            operation.perform(ledger)
        ledger.commit()

    def _release_unnamed(self, appends: Sequence[Append]) -> None:
        """Their bytes are in a segment, but no row names them: as if released."""
        now = self._clock.monotonic()
        for append in appends:
            if append.result is not None:
                self.segments.release(append.result.place.segment, append.length, now)
                append.result = None


def _last_segment(appends: Sequence[Append]) -> int | None:
    """The segment of the newest record: the end of the log."""
    last = appends[-1].result if appends else None
    return last.place.segment if last is not None else None


def _fail_all(items: Sequence[Item], error: Exception) -> None:
    for item in items:
        if item.error is None:
            item.error = StorageError(f"the spool's writer: {error!r}", out_of_resources=False)


def _row(append: Append) -> NewRow:
    assert append.result is not None  # noqa: S101  set when it was written
    place = append.result.place
    arrival = append.arrival
    return (
        append.key,
        place.segment,
        place.offset,
        place.length_bytes,
        place.data_set_offset,
        append.content_hash,
        arrival.sop_instance_uid,
        append.encoded.decode(),
    )


def _ledger_error(error: Exception) -> RouterError:
    if isinstance(error, RouterError):
        return error
    return StorageError(f"the ledger: {error!r}", out_of_resources=isinstance(error, apsw.FullError))
