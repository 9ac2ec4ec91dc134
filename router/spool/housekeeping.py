"""What goes on beside the appends: spare segments, checkpoints, expiry, retention, history, cleaning, space.

One thread, woken by the writer when a chore is due and else once a second. Every change of the ledger goes
through the writer, in small steps; this thread never holds it up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from router.clock import Clock
from router.config.settings import SpoolSettings
from router.errors import RouterError
from router.logs import get_logger
from router.model import Instance, InstanceState
from router.spool import large, leaps, queries
from router.spool.condition import Condition
from router.spool.files import Files
from router.spool.leaps import ClockWatch
from router.spool.ledger import Ledger
from router.spool.reader import OpenFiles, Reader
from router.spool.record import encode_arrival
from router.spool.scan import records
from router.spool.schema import LARGE, connect
from router.spool.segment import Segment
from router.spool.work import Append, Change
from router.spool.writer import Writer

TICK_S = 1.0
CLEAN_BYTES_PER_TICK = 16 * 1024 * 1024  # of live records copied forward: little beside what a disk can do
CLEAN_IDLE_S = 10.0  # a segment that still empties by itself is left alone
STEP_ROWS = 256
BUSY_S = 1.0  # after an append: no time for zeros
PRUNE_STEPS = 16  # in a tick: 4,096 rows, more than ever arrive in that time
WAIT_S = 60.0  # for the writer to carry out one step

T = TypeVar("T")
_log = get_logger("spool")
_NOT_COPIED = (InstanceState.RELEASED, InstanceState.CORRUPT)


class Housekeeper:
    """The background work of one spool."""

    def __init__(
        self,
        *,
        directory: Path,
        settings: SpoolSettings,
        clock: Clock,
        writer: Writer,
        reader: Reader,
        open_files: OpenFiles,
        files: Files,
        on_expired: Callable[[set[str]], None],
    ) -> None:
        self.condition = Condition(directory, settings.min_free_bytes, files)
        self.doomed: deque[int] = deque()  # released large objects, whose files are to be deleted
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._writer = writer
        self._reader = reader
        self._open_files = open_files
        self._files = files
        self._on_expired = on_expired
        self._connection = connect(directory, read_only=False)
        self._watch = ClockWatch(clock.now(), clock.monotonic())
        self._pruned_to = 0
        self._unclean: set[tuple[int, int]] = (
            set()
        )  # number and generation of segments whose remaining records cannot be copied: damaged
        self._turn = threading.Lock()
        self._bell = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="spool-housekeeper", daemon=True)

    def start(self) -> None:
        """Run the thread."""
        self._thread.start()

    def ring(self) -> None:
        """A chore is due."""
        self._bell.set()

    def stop(self) -> None:
        """End after the step under way. Blocks."""
        self._is_stopping = True
        self._bell.set()
        self._thread.join()

    def close(self) -> None:
        """Close the ledger's connection."""
        self._connection.close()

    def _run(self) -> None:
        due = 0.0
        while not self._is_stopping:
            self._bell.wait(TICK_S)
            self._bell.clear()
            if self._is_stopping:
                return
            steps = [self.make_spare, self.checkpoint, self.delete_doomed]
            if self._clock.monotonic() >= due:
                due = self._clock.monotonic() + TICK_S
                steps += [self.check_space, self.probe, self.mind_clock, self.expire]
                steps += [self.keep_budget, self.prune, self.clean]
            for step in steps:
                try:
                    self.perform(step)
                except (OSError, RouterError, apsw.Error):
                    continue  # the next tick tries again; what an append suffers, its caller is told
                except Exception as error:  # a defect in one step: the others, and the next tick, go on
                    _log.error("housekeeping failed", step=step.__name__, because=repr(error))

    def perform(self, step: Callable[[], None]) -> None:
        """Carry out one of the steps below, in any thread but the event loop's."""
        with self._turn:
            step()

    # Steps; each may raise OSError, RouterError or apsw.Error

    def make_spare(self) -> None:
        """Keep an empty segment ready."""
        if self._writer.segments.wants_spare and self.condition.is_accepting:
            is_busy = self._clock.monotonic() - self._writer.appended_at < BUSY_S
            self._writer.segments.make_spare(zeros=not is_busy)

    def checkpoint(self) -> None:
        """Move the write-ahead log's pages into the ledger, beside the writer; the writer does the last few.

        The log starts over only when no page is left behind, and under load there is always one; so the bulk
        is moved and synced here, and then the writer takes a moment for the rest.
        """
        commits = self._writer.commits
        if commits.wants_checkpoint:
            if commits.is_log_suspect:
                self._change(lambda _: None)  # writes and syncs it once more; raises where that fails
            try:
                commits.checkpoints.make(self._connection)
            except apsw.IOError:
                commits.distrust_log()  # the first thing that it does is to sync the log
                raise
            self._writer.finish_checkpoint()

    def delete_doomed(self) -> None:
        """Delete the files of released large objects: slow for long files, so not in the writer."""
        while self.doomed:
            key = self.doomed.popleft()
            self._open_files.forget(LARGE, key)
            large.remove(self._directory / "large", key)

    def check_space(self) -> None:
        """Stop accepting before the disk is full, and while it is gone."""
        self.condition.check_space()

    def probe(self) -> None:
        """After a failure: see whether records and ledger can be written again."""
        if self.condition.is_gone:
            return
        if self.condition.is_failing:
            self.condition.write_probe()
        if self.condition.is_failing or self._writer.commits.has_doubtful:
            self._change(lambda _: None)  # syncs the ledger's log, and lets go what a failure kept
            self.condition.is_failing = False

    def mind_clock(self) -> None:
        """Where the wall clock was set, move what waits along with it."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        leap_s = self._watch.leap_s(now, monotonic)
        if leap_s < 0:
            ids = leaps.stamped_ahead(self._connection, now)
            self._in_steps(ids, partial(leaps.set_back, now=now))
        elif leap_s > 0:
            before = now - leap_s
            ids = leaps.stamped_before(self._connection, before)
            self._in_steps(ids, partial(leaps.set_forward, leap_s=leap_s, before=before))
        self._watch.accept(now, monotonic)
        if leap_s:
            self._on_expired(queries.destinations(self._connection))  # they look again

    def _in_steps(self, ids: Sequence[int], run: Callable[..., None]) -> None:
        for start in range(0, len(ids), STEP_ROWS):
            self._change(partial(run, ids=ids[start : start + STEP_ROWS]))

    def keep_budget(self) -> None:
        """Release what was retained longest, where delivered instances take more than they may."""
        budget = self._settings.retention_bytes
        excess = 0 if budget is None else queries.retained_bytes(self._connection) - budget
        while excess > 0 and not self._is_stopping:
            release = partial(Ledger.release_oldest, wanted=excess, limit=STEP_ROWS, now=self._clock.now())
            released = self._change(release)
            if not released:
                return
            excess -= released

    def expire(self) -> None:
        """Leases that ran out are pending again; retained instances are released."""
        now = self._clock.now()
        until = queries.next_lease_end(self._connection)
        if until is not None and until <= now:
            self._on_expired(self._change(lambda ledger: ledger.expire_leases(now)))
        at = queries.next_release(self._connection)
        while at is not None and at <= now and not self._is_stopping:
            if self._change(lambda ledger: ledger.release_retained(now, STEP_ROWS)) < STEP_ROWS:
                return

    def prune(self) -> None:
        """Forget history that is older than the settings say: a few steps in each tick, along the keys."""
        for _ in range(PRUNE_STEPS):
            if not self._prune_step():
                return

    def _prune_step(self) -> bool:
        before = self._clock.now() - self._settings.history
        oldest = self._connection.execute(
            "SELECT key FROM instances WHERE key > ? ORDER BY key LIMIT 1", (self._pruned_to,)
        ).get
        if not isinstance(oldest, int) or oldest >> 20 >= before * 1000:
            self._pruned_to = 0
            return False
        after = self._pruned_to
        self._pruned_to = self._change(lambda ledger: ledger.prune(after, before, STEP_ROWS)) or 0
        return self._pruned_to > 0

    def clean(self) -> None:
        """Copy the live records of a mostly dead segment forward, so that its space can be used again."""
        budget = CLEAN_BYTES_PER_TICK
        for segment in sorted(self._writer.segments.closed.copy().values(), key=lambda s: s.live_bytes):
            if budget <= 0:
                return
            if self.is_worth_cleaning(segment):
                with suppress(FileNotFoundError):  # it became empty meanwhile, and is gone
                    budget -= self.clean_segment(segment, budget)

    def is_worth_cleaning(self, segment: Segment) -> bool:
        """Mostly dead, and it does not empty by itself."""
        return (
            segment.live_bytes < self._settings.clean_below * self._writer.segments.segment_bytes
            and (segment.number, segment.generation) not in self._unclean
            and self._clock.monotonic() - segment.released_at >= CLEAN_IDLE_S
        )

    def clean_segment(self, segment: Segment, budget: int) -> int:
        """Copy up to ``budget`` bytes of a segment's records; how many bytes were copied."""
        copied = 0
        for found in records(segment.number, segment.path):
            instance = queries.instance(self._connection, found.header.key)
            if instance is None or instance.state in _NOT_COPIED or instance.place != found.instance.place:
                continue
            self.copy(instance)
            copied += instance.place.length_bytes
            if copied >= budget or self._is_stopping:
                return copied
        if not copied:
            self._unclean.add((segment.number, segment.generation))
        return copied

    def copy(self, instance: Instance) -> None:
        """Copy one record forward; a damaged one is marked instead."""
        content = bytearray(instance.place.length_bytes)
        if not self._reader.read(instance, [memoryview(content)]):
            self.condition.check_there()
            place, now = instance.place, self._clock.now()
            self._change(lambda ledger: ledger.mark_corrupt(instance.key, place.segment, place.offset, now))
            return
        done: Future[Instance] = Future()
        self._writer.submit(
            Append(
                key=instance.key,
                arrival=instance.arrival,
                encoded=encode_arrival(instance.arrival),
                parts=[content],
                length=len(content),
                data_set_offset=instance.place.data_set_offset,
                content_hash=instance.content_hash,
                waiter=done,
                old=instance.place,
            )
        )
        done.result(WAIT_S)

    def _change(self, run: Callable[[Ledger], T]) -> T:
        done: Future[T] = Future()
        self._writer.submit(Change(run, done, durable=True))
        return done.result(WAIT_S)
