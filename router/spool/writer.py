"""The one thread that changes the spool: gathers what waits, syncs the bytes once, commits the ledger once.

Order, and what a failure at each step does:

1. The records of all waiting appends are written to the current segment and synced. ``OSError``: those
   appends fail, the segment is closed and never written again, the others of the batch go on.
2. Whoever had them appended resumes where the ledger may follow (``commits``): one wake-up of the loop.
3. One transaction names them in the ledger and carries out all waiting operations; at once where somebody
   waits for that, else with what comes until the first of them is due. A transaction costs more than its
   rows: one for each batch took half as long again as the batch itself.
4. Everybody else resumes.

While a batch is synced, the next one gathers. Nothing polls: ``submit`` rings a bell (a bare lock, which
costs a tenth of a ``threading.Event``).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

from router.clock import Clock
from router.errors import StorageError
from router.logs import get_logger
from router.spool.commits import SYNC_WITHIN_S, Commits
from router.spool.files import Files, storage_error, write_durably
from router.spool.ledger import Ledger
from router.spool.muster import Muster
from router.spool.run import Run
from router.spool.segment import Segments
from router.spool.work import Append, Item, Operation

BATCH_ITEMS = 256  # more than that adds to the wait of the first, and nothing to the rate
BATCH_BYTES = 16 * 1024 * 1024
SOON_S = 0.002  # what somebody waits for, though not this very moment, is committed after so long
LATER_S = 0.02  # and what nobody waits for
TOGETHER = 128  # or when there is so much of it

_log = get_logger("spool")


class Writer:
    """Takes items from any thread; works in its own. The callbacks are called in its thread."""

    def __init__(self, ledger: Ledger, segments: Segments, files: Files, clock: Clock) -> None:
        self.segments = segments
        self.commits = Commits(ledger, segments, files, clock)
        self.appended_at = -math.inf  # monotonic
        self.on_batch: Callable[[list[Item]], None] = lambda items: None
        self.on_disk_error: Callable[[StorageError], None] = lambda error: None
        self.on_chores: Callable[[], None] = lambda: None  # a spare segment or a checkpoint is wanted
        self._files = files
        self._now = clock.monotonic
        self._waiting: deque[Item] = deque()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._is_idle = False
        self._muster = Muster()
        self._missing = 0  # appends that a muster waits for
        self._untold: list[Item] = []  # of the batch under way
        self._later: list[Operation] = []  # taken, and left for the next transaction
        self._due_at = math.inf  # when that is made at the latest; monotonic
        self._is_stopping = False
        self._has_checkpoint = False
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)

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

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            return  # it rings already

    def _run(self) -> None:
        while True:
            self._is_idle = True
            if not self._waiting and not self._is_stopping:
                self._rest()
            self._is_idle = False
            try:
                self.work_off()
                if self._has_checkpoint:
                    self._checkpoint()
            except Exception as error:  # beside a batch: without this thread nothing is stored any more
                _log.error("the spool's writer failed", because=repr(error))
            if self._is_stopping and not self._waiting:
                self.commits.finish()
                return

    def _rest(self) -> None:
        """Until the bell rings, or something that was left for later is due."""
        if self._due_at < math.inf:
            if not self._bell.acquire(timeout=max(self._due_at - self._now(), 0.0)):
                self._due_at = -math.inf
        elif not self.commits.has_unsynced:
            self._bell.acquire()
        elif not self._bell.acquire(timeout=SYNC_WITHIN_S):
            self.commits.sync()

    def work_off(self) -> None:
        """Do everything that waits."""
        while self._waiting or self._is_due():
            self._wait_for_more()
            self._untold = self._gather()
            try:
                self._write(self._untold)
            except Exception as error:  # the thread's outermost line: the callers are told, and it goes on
                _fail_all(self._untold, error)
            self._tell(self._untold)
            self.commits.sync_if_due()
            if self._has_checkpoint:
                self._checkpoint()
            elif self.commits.wants_checkpoint or self.segments.wants_spare:
                self.on_chores()

    def _checkpoint(self) -> None:
        self._has_checkpoint = False
        self.commits.checkpoint()

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
        left = self._answer(appends, operations)
        if not left and not self._is_due(operations):
            self._later += operations
            self._untold = []
            return
        operations[:0], self._later, self._due_at = self._later, [], math.inf
        self._untold = [*left, *operations]
        self.commits.commit(left, operations)

    def _answer(self, appends: list[Append], operations: list[Operation]) -> list[Append]:
        """Tell whose record could not be written, and who need not wait for the ledger; return the others."""
        stored = [a for a in appends if a.error is None]
        left = [] if self.commits.may_follow(stored, operations) else stored
        if len(left) < len(appends):
            if not left:
                self.commits.owe(stored)
            self._untold = [*left, *operations]
            self._tell(appends if not left else [a for a in appends if a.error is not None])
        return left

    def _tell(self, items: Sequence[Item]) -> None:
        """Let the callers resume."""
        appends = sum(isinstance(item, Append) for item in items)
        if appends:
            waiting, now = self._appends_waiting(), self._now()
            self._muster.answered(appends, waiting, took_s=now - self.appended_at, now=now)
        if items:
            self.on_batch(list(items))

    def _is_due(self, fresh: Sequence[Operation] = ()) -> bool:
        """Whether what was left for later has waited long enough, or is enough for a transaction."""
        left = len(self._later) + len(fresh) + (0 if self.commits.is_stuck else self.commits.owed)
        if not left:
            return False
        now = self._now()
        self._due_at = min(self._due_at, now + LATER_S, *(o.due_at for o in fresh))
        return now >= self._due_at or left >= TOGETHER or self._is_stopping

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
                self.commits.forget_tail()
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


def _fail_all(items: Sequence[Item], error: Exception) -> None:
    for item in items:
        if item.error is None:
            item.error = StorageError(f"the spool's writer: {error!r}", out_of_resources=False)
