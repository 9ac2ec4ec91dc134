"""Keeping the index in step with the spool, without hurry: reception and delivery come first.

The spool tells keys that something has become of; for each the spool is asked what is here now, so it does
not matter how often or in which order keys come. Where there were too many to remember, and at the start,
everything is compared. A batch is followed by a rest of several times as long, unless a query waits: it is
answered only once everything is in the index that was told before it.

Whatever goes wrong here is said and tried again; nobody else is harmed by it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import anyio
from anyio import to_thread

from router.clock import Clock
from router.dicom.header import scan
from router.dicom.holdings import STORED_PATHS
from router.errors import StorageError
from router.logs import get_logger
from router.model import Instance
from router.query.index import Index, IndexFailed, Row, make_row

BATCH = 128  # instances: a megabyte of heads
HEAD_BYTES = (8192, 128 * 1024, 2 * 1024 * 1024)  # of a data set; what lies further in is not in the index
MOST_KEYS = 100_000  # remembered; beyond, everything is compared
GATHER_S = 0.25  # before the first batch after a time of rest
REST = 4.0  # times what a batch took, before the next one
RETRY_S = 5.0

log = get_logger("index")


class Holdings(Protocol):
    """What is asked of the spool; the contracts are those of :class:`router.spool.Spool`."""

    async def held(self, keys: Sequence[int]) -> list[Instance]: ...

    async def live_keys(self) -> array[int]: ...

    async def read_head(self, instance: Instance, limit: int) -> bytes: ...


class Feeder:
    """Feeds one index. Belongs to the event loop."""

    def __init__(self, spool: Holdings, index: Index, clock: Clock) -> None:
        self._spool = spool
        self._index = index
        self._clock = clock
        self._keys: deque[int] = deque()
        self._missing: array[int] = array("q")  # of a comparison, the oldest at the end
        self._must_compare = True
        self._was_overrun = False  # during a comparison
        self._is_doubted = False
        self._told = self._done = 0  # keys
        self._has_work = anyio.Event()
        self._is_urged = anyio.Event()
        self._has_moved = anyio.Event()
        self._waiting = 0  # queries
        self.problem = ""

    def changed(self, keys: Sequence[int]) -> None:
        """Something has become of these."""
        self._told += len(keys)
        if len(self._keys) + len(keys) > MOST_KEYS:
            self._keys.clear()
            self._must_compare = self._was_overrun = True
        self._keys.extend(keys)
        self._has_work.set()

    def doubt(self) -> None:
        """A query could not read the index: it is to be looked at, and made anew where it is damaged."""
        self._is_doubted = True
        self._has_work.set()

    @property
    def _is_behind(self) -> bool:
        return self._must_compare or self._is_doubted or bool(self._missing)

    async def settle(self, within_s: float) -> bool:
        """Return when everything told so far is in the index; False where that takes longer."""
        wanted = self._told
        self._waiting += 1
        self._is_urged.set()
        try:
            with anyio.move_on_after(within_s):
                while self._is_behind or self.problem or self._done < wanted:
                    await self._has_moved.wait()
                return True
            return False
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._is_urged = anyio.Event()

    async def run(self) -> None:
        """Feed until cancelled."""
        while True:
            try:
                was_there = await to_thread.run_sync(self._index.open)
                self._must_compare, self._is_doubted = True, False
                log.info("index opened" if was_there else "index made anew")
                await self._feed()
            except (IndexFailed, StorageError) as error:
                self._must_compare, self.problem = True, str(error)
                log.error("index not up to date", detail=self.problem)
                await anyio.sleep(RETRY_S)
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(self._index.close)

    async def _feed(self) -> None:
        while True:
            if self._is_doubted:
                raise IndexFailed("a query could not read it")
            began_at = self._clock.monotonic()
            if self._must_compare:
                await self._compare()
            else:
                await self._take_batch()
            self.problem = ""
            moved, self._has_moved = self._has_moved, anyio.Event()
            moved.set()
            await self._pause(self._clock.monotonic() - began_at)

    async def _pause(self, took_s: float) -> None:
        rest_s = REST * took_s
        if not self._keys and not self._is_behind:
            self._has_work = anyio.Event()
            await self._has_work.wait()
            rest_s = GATHER_S
        with anyio.move_on_after(rest_s):
            await self._is_urged.wait()

    async def _compare(self) -> None:
        """Take out what is not there any more, and note what is missing."""
        self._was_overrun = False
        self._keys.clear()
        told = self._told
        live = await self._spool.live_keys()
        self._missing = await to_thread.run_sync(self._index.reconcile, live)
        self._done = told
        self._must_compare = self._was_overrun
        log.info("index compared with the spool", instances=len(live), missing=len(self._missing))

    async def _take_batch(self) -> None:
        """What is missing first, the oldest of it; then what was told."""
        if self._missing:
            missing = self._missing[-BATCH:]
            await self._bring(missing)
            del self._missing[-len(missing) :]
            return
        keys = [self._keys.popleft() for _ in range(min(BATCH, len(self._keys)))]
        await self._bring(keys)
        self._done += len(keys)

    async def _bring(self, keys: Sequence[int]) -> None:
        """Have the index say of these keys what the spool does."""
        here = {instance.key: instance for instance in await self._spool.held(keys)}
        known = await to_thread.run_sync(self._index.known, keys)
        new = [instance for key, instance in here.items() if key not in known]
        rows = await self._read(new)
        gone = [key for key in keys if key not in here]
        if rows or gone:
            await to_thread.run_sync(self._index.update, rows, gone)

    async def _read(self, instances: Sequence[Instance]) -> list[Row]:
        """Their rows, read no further than needed. What cannot be read is not in the index."""
        rows: list[Row] = []
        for limit in HEAD_BYTES:
            heads: list[tuple[Instance, bytes]] = []
            for instance in instances:
                try:
                    heads.append((instance, await self._spool.read_head(instance, limit)))
                except StorageError as error:
                    log.warning("not in the index", key=instance.key, because=str(error))
            is_last = limit == HEAD_BYTES[-1]
            made, instances = await to_thread.run_sync(_make_rows, heads, is_last)
            rows += made
        return rows


def _make_rows(heads: Sequence[tuple[Instance, bytes]], is_last: bool) -> tuple[list[Row], list[Instance]]:
    """Rows, and those of which more has to be read. In a thread."""
    rows: list[Row] = []
    more: list[Instance] = []
    for instance, head in heads:
        is_whole = len(head) >= instance.size_bytes
        try:
            header = scan(head, instance.arrival.transfer_syntax_uid, STORED_PATHS, is_complete=is_whole)
            if header.truncated and not is_whole and not is_last:
                more.append(instance)
            else:
                rows.append(make_row(instance, header))
        except Exception as error:  # whatever a data set holds, the others get into the index
            log.warning("not in the index", key=instance.key, because=type(error).__name__)
    return rows, more
