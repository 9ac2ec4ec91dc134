"""The writer's transactions on the ledger, and when what they committed is on stable storage.

There is one sync for each batch: that of the records. They say all that their rows in the ledger do, and
``tail`` reads again what the ledger lacks when the spool is opened. So the ledger follows: the senders of a
batch are answered when its records are synced, its rows are committed right after, and synced
``SYNC_WITHIN_S`` later at the latest. Only when a commit is synced may the space that it released be used
again. An outcome that was lost with the power costs a delivery made twice, never one not made.

What holds this together:

- ``tail`` looks into one segment, and behind the newest row. So the first batch in a segment is answered only
  when the ledger names that segment, durably; and no row is committed before those of records that were
  answered earlier, whatever fails: they go first in each transaction until one succeeds (``_unnamed``).
- While such a row cannot be committed, nobody is answered before the ledger is written.

If a transaction fails, it is rolled back and each part is tried alone, so that only what cannot be done
fails. What was stored for a part that failed is named by no row; but the frames of the failed transaction may
lie in the ledger's log, whole, and a process that opens it before others have replaced them finds the row. So
its space is used again only when a later commit is on stable storage (``_doubtful``).

Everything here belongs to the writer's thread, but for ``distrust_log`` and the attributes that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from router.clock import Clock
from router.errors import RouterError, StorageError
from router.spool.files import Files, rewrite, storage_error
from router.spool.ledger import Ledger, NewRow
from router.spool.rows import ReleasedRow
from router.spool.schema import LARGE, chunks
from router.spool.segment import Segments
from router.spool.work import Append, Item, Operation

SYNC_WITHIN_S = 0.05  # what is committed is on stable storage after so long
CHECKPOINT_PAGES = 4096  # 16 MB of the ledger's write-ahead log


class Commits:
    """Names records in the ledger and changes it, a batch in a transaction."""

    def __init__(self, ledger: Ledger, segments: Segments, files: Files, clock: Clock) -> None:
        self.checkpoints = ledger.checkpoints
        self.wal_pages = 0  # of the write-ahead log
        self.is_log_suspect = False  # a sync of the log failed, and nobody knows what of it is on the disk
        self.on_disk_error: Callable[[StorageError], None] = lambda error: None
        self.on_large_released: Callable[[int, int], None] = lambda key, length: None
        self.on_released: Callable[[list[ReleasedRow]], None] | None = None
        self._ledger = ledger
        self._segments = segments
        self._files = files
        self._clock = clock
        self._tail: int | None = None  # the segment that the ledger knows, durably, as the end of the log
        self._unnamed: list[Append] = []  # answered, and not in the ledger yet
        self.is_stuck = False  # these could not be committed; each later transaction tries again
        self._unsynced: list[ReleasedRow] | None = None  # None: every commit is on stable storage
        self._unsynced_since = 0.0
        self._doubtful: list[ReleasedRow] = []  # stored, and named by nothing but a transaction that failed
        self._has_logged = False  # the last commit wrote to the log: SQLite syncs no other
        self._problem: RouterError | None = None  # of the last transaction that failed
        ledger.connection.set_wal_hook(self._count_pages)

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        self._has_logged = True
        return apsw.SQLITE_OK

    @property
    def has_unsynced(self) -> bool:
        """Something is committed that the power could take."""
        return self._unsynced is not None

    @property
    def has_doubtful(self) -> bool:
        """A commit is wanted, so that space can be used again. May be asked in any thread."""
        return bool(self._doubtful)

    @property
    def wants_checkpoint(self) -> bool:
        """The log is long."""
        return self.wal_pages > CHECKPOINT_PAGES

    @property
    def owed(self) -> int:
        """How many were answered that the ledger does not have yet. May be asked in any thread."""
        return len(self._unnamed)

    def distrust_log(self) -> None:
        """A sync of the ledger's log has failed elsewhere."""
        self.is_log_suspect = True

    def may_follow(self, appends: Sequence[Append], operations: Sequence[Operation]) -> bool:
        """Whether the senders of these synced records may be told so before the ledger has them.

        Not where an operation makes the transaction wait for the disk: nobody could see them meanwhile.
        """
        return (
            not self.is_stuck
            and not self.is_log_suspect
            and all(a.old is None and a.result and a.result.place.segment == self._tail for a in appends)
            and not any(operation.durable for operation in operations)
        )

    def forget_tail(self) -> None:
        """Another segment is begun, or the same one anew: nobody is answered before the ledger notes it.

        Also where its number is noted already: a transaction that failed, and that noted another one, may
        come back with the process that follows, as long as none is committed after it.
        """
        self._tail = None

    def owe(self, appends: Sequence[Append]) -> None:
        """Their senders are being told: the next ``commit`` names them, or one after it."""
        for append in appends:
            append.parts = ()  # written, and as large as it came in: not to be kept for the row's sake
        self._unnamed += appends

    def commit(self, appends: Sequence[Append], operations: Sequence[Operation]) -> None:
        """Name these records and carry out these operations; what cannot be done has its error set."""
        if self.is_log_suspect and (problem := self._sync_log()) is not None:
            self._fail([*appends, *(o for o in operations if o.durable)], problem)
            appends, operations = [], [o for o in operations if not o.durable]
        if self._try(appends, operations):
            return
        if self._unnamed and not self._try((), ()):
            self._refuse(appends, operations)
            return
        is_one = len(appends) + len(operations) == 1
        if not is_one and appends and self._try(appends, ()):
            appends = ()
        for append in appends:
            if append.error is None:
                self._try((append,), ())
        for operation in operations:
            if operation.error is None:
                self._try((), (operation,))

    def _try(self, appends: Sequence[Append], operations: Sequence[Operation]) -> bool:
        """One transaction for all of these and what is owed. A failure is final where there is only one."""
        if not appends and not operations and not self._unnamed:
            return True
        ledger = self._ledger
        try:
            self._transact(appends, operations)
        except Exception as error:  # a defect in one operation must not stop the only writer there is
            problem = self._problem = self._roll_back(error)
            if len(appends) + len(operations) + len(self._unnamed) <= 1:
                self._fail([*appends, *operations], problem)
            return False
        self._unnamed = []
        self.is_stuck = False
        if appends:
            self._tail = _last_segment(appends)
        done: list[Item] = [*appends, *operations]
        for item in done:
            item.error = None
        if self._unsynced is None:
            self._unsynced = []
            self._unsynced_since = self._clock.monotonic()
        released = ledger.take_released()
        if released and self.on_released is not None:
            self.on_released(released)
        self._unsynced += released
        if self._has_logged:
            self._unsynced += self._doubtful
            self._doubtful = []
        if ledger.is_synced and self._has_logged:
            self._let_go()
        elif ledger.is_synced:
            not_synced = self.sync()
            for operation in operations:
                operation.error = not_synced
        return True

    def _roll_back(self, error: Exception) -> RouterError:
        """Undo what failed, and say it in the gateway's words."""
        self.is_log_suspect |= isinstance(error, apsw.IOError)
        try:
            self._ledger.rollback()
        except apsw.Error as worse:
            return _ledger_error(worse)
        return _ledger_error(error)

    def _transact(self, appends: Sequence[Append], operations: Sequence[Operation]) -> None:
        ledger = self._ledger
        self._has_logged = False
        tail = _last_segment(appends)
        is_new_tail = tail is not None and tail != self._tail
        ledger.sync_commits(is_new_tail or any(o.durable for o in operations))
        new = [a for a in appends if a.old is None]
        rows = [_row(a) for a in (*self._unnamed, *new)]
        is_plain = not is_new_tail and not operations and not self._doubtful and len(new) == len(appends)
        if is_plain and len(chunks(len(rows))) == 1:
            ledger.insert(rows)  # a single statement is its own transaction
            return
        ledger.begin()
        if self._doubtful:
            ledger.log_something()  # in the place of the frames that may come back
        if is_new_tail and tail is not None:
            ledger.note_tail(tail)
        if rows:
            ledger.insert(rows)
        if len(new) != len(appends):
            ledger.move([(a.key, a.old, a.result.place) for a in appends if a.old and a.result])
        for operation in operations:
            operation.perform(ledger)
        ledger.commit()

    def _refuse(self, appends: Sequence[Append], operations: Sequence[Operation]) -> None:
        """What was answered could not be named: nothing may overtake it."""
        self.is_stuck = True
        self._fail([*appends, *operations], self._problem)

    def _fail(self, items: Sequence[Item], problem: RouterError | None) -> None:
        """These cannot be done. What was stored for them stays until no crash can bring back its name."""
        for item in items:
            item.error = problem
            if not isinstance(item, Append):
                if item.stored is not None:
                    self._doubtful.append(item.stored)
            elif item.result is not None:
                self._doubtful.append((item.key, item.result.place.segment, item.length))
                item.result = None
        if isinstance(problem, StorageError):
            self.on_disk_error(problem)

    # Stable storage

    def sync_if_due(self) -> None:
        """Make durable what has been committed for a while."""
        if self._unsynced is not None and self._clock.monotonic() - self._unsynced_since > SYNC_WITHIN_S:
            self.sync()

    def sync(self) -> StorageError | None:
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
            if self.is_log_suspect:
                rewrite(self._files, self._ledger.log_fd)
            self._files.fdatasync(self._ledger.log_fd)
        except OSError as error:
            self.is_log_suspect = True
            problem = storage_error(error, "the ledger could not be synced")
            self.on_disk_error(problem)
            return problem
        self.is_log_suspect = False
        return None

    def _let_go(self) -> None:
        """Space whose release is durable may be used again."""
        released, self._unsynced = self._unsynced or [], None
        now = self._clock.monotonic()
        for key, segment, length in released:
            if segment == LARGE:
                self.on_large_released(key, length)
            else:
                self._segments.release(segment, length, now)

    def checkpoint(self) -> None:
        """Move the pages of the log that are left into the ledger."""
        if self.is_log_suspect and self._sync_log() is not None:
            return
        try:
            is_done = self.checkpoints.finish(self._ledger.connection)
        except apsw.Error as error:
            self.is_log_suspect |= isinstance(error, apsw.IOError)
            return  # the log grows on, and the next one tries again
        if is_done:
            self.wal_pages = 0  # until the next commit says how long the log is

    def finish(self) -> None:
        """At the end: everything is durable, or the log is left for the next start."""
        self._try((), ())
        self.sync()
        is_unknown = self.is_log_suspect and self._sync_log() is not None
        if is_unknown or self.checkpoints.is_suspect:
            self._ledger.keep_log()


def _last_segment(appends: Sequence[Append]) -> int | None:
    """The segment of the newest record: the end of the log."""
    last = appends[-1].result if appends else None
    return last.place.segment if last is not None else None


def _row(append: Append) -> NewRow:
    assert append.result is not None  # noqa: S101  set when it was written
    place = append.result.place
    return (
        append.key,
        place.segment,
        place.offset,
        place.length_bytes,
        place.data_set_offset,
        append.content_hash,
        append.arrival.sop_instance_uid,
        append.encoded.decode(),
    )


def _ledger_error(error: Exception) -> RouterError:
    if isinstance(error, RouterError):
        return error
    return StorageError(f"the ledger: {error!r}", out_of_resources=isinstance(error, apsw.FullError))
