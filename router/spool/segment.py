"""The segment files: making, recycling and deleting them, and how much of each is live.

A segment is in one of these conditions: *ready* (empty, zeroed, waiting), *current* (appended to), *closed*
(holds live records, takes no more) or gone. A closed segment becomes ready again when its last record is
released, unless the disk failed under it: then it is deleted. All methods but ``make_spare`` belong to the
writer thread; ``make_spare`` runs beside it and touches only ``_ready`` and the counter of names.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from router.spool.files import Files, fill_with_zeros, write_durably
from router.spool.record import BLOCK, decode_page, encode_page

READY_TARGET = 2  # made ahead, so that an append does not wait for zeros


@dataclass(slots=True, kw_only=True)
class Segment:
    """One file of the log."""

    number: int
    path: Path
    generation: int
    tail: int = 0  # where the next record begins
    live_count: int = 0
    live_bytes: int = 0
    is_trusted: bool = True  # False: a write or sync failed; never appended to again, deleted when empty
    released_at: float = 0.0  # monotonic; when a record of it was last released
    fd: int = -1  # open for writing while it is current


class Segments:
    """All segment files of one spool."""

    def __init__(
        self, directory: Path, segment_bytes: int, spare: int, files: Files, forget: Callable[[int], None]
    ) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes // BLOCK * BLOCK
        self.current: Segment | None = None
        self.closed: dict[int, Segment] = {}
        self._ready: deque[Segment] = deque()
        self._spare = spare
        self._files = files
        self._forget = forget
        self._last_number = 0
        self._naming = threading.Lock()

    @property
    def count(self) -> int:
        """How many segment files there are."""
        return len(self.closed) + len(self._ready) + (self.current is not None)

    @property
    def live_bytes(self) -> int:
        """Objects not released, over all segments."""
        return sum(s.live_bytes for s in list(self.closed.values())) + (
            self.current.live_bytes if self.current else 0
        )

    @property
    def capacity_bytes(self) -> int:
        """The longest record, header included, that fits."""
        return self.segment_bytes - BLOCK

    @property
    def wants_spare(self) -> bool:
        """No empty segment waits."""
        return len(self._ready) < READY_TARGET

    def load(self, live: Mapping[int, tuple[int, int]]) -> None:
        """Take over what is on disk. ``live``: count and bytes of the live records by segment number."""
        for path in sorted(self.directory.iterdir()):
            if path.suffix != ".seg" or not path.stem.isdigit():
                if path.suffix == ".new":
                    path.unlink()  # a spare that was being made
                continue
            number = int(path.stem)
            self._last_number = max(self._last_number, number)
            with path.open("rb") as f:
                page = decode_page(f.read(BLOCK))
                size = os.fstat(f.fileno()).st_size
            segment = Segment(number=number, path=path, generation=page[1] if page else 0)
            count, bytes_ = live.get(number, (0, 0))
            if count:
                segment.is_trusted = size == self.segment_bytes  # of another size: not to be recycled
                segment.live_count, segment.live_bytes = count, bytes_
                self.closed[number] = segment
            elif size == self.segment_bytes and len(self._ready) < self._spare:
                self._ready.append(segment)
            else:
                path.unlink()
        if not self._ready:
            with suppress(OSError):  # a full disk must not keep what is stored from being delivered
                self.make_spare()

    def make_spare(self, *, zeros: bool = True) -> None:
        """Make an empty segment, with its extents written or only reserved. May raise ``OSError``.

        Reserved ones cost each sync a change of the file system's metadata, until they are written once; but
        while appends come in, the disk has better things to do than to write zeros.
        """
        self._ready.appendleft(self._make(zeros=zeros))

    def _make(self, *, zeros: bool) -> Segment:
        with self._naming:
            self._last_number += 1
            number = self._last_number
        path = self.directory / f"{number:08d}.seg"
        new = path.with_suffix(".new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if zeros:
                fill_with_zeros(self._files, fd, self.segment_bytes)
            else:
                os.posix_fallocate(fd, 0, self.segment_bytes)
            self._files.fdatasync(fd)
            new.rename(path)
            self._files.sync_directory(self.directory)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return Segment(number=number, path=path, generation=0)

    def rotate(self) -> Segment:
        """Close the current segment and begin another. ``OSError``: there is no current one then.

        The page is on stable storage before any record is: else power that fails while a segment is written
        again could leave the old page over records of which some are overwritten, and the next start would
        take these for acknowledged and damaged (``tail``).
        """
        self.close_current()
        try:
            segment = self._ready.pop()  # the last one emptied: its extents are written and its pages at hand
        except IndexError:  # the spare is not done yet: reserved extents are slower, waiting is slower still
            segment = self._make(zeros=False)
        try:
            segment.fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self._ready.append(segment)
            raise
        segment.generation += 1
        self.current = segment
        try:
            page = encode_page(segment.number, segment.generation)
            segment.tail = write_durably(self._files, segment.fd, [page], 0)
        except OSError:
            self.abandon_current()
            raise
        return segment

    def close_current(self) -> None:
        """Append no more to the current segment."""
        segment, self.current = self.current, None
        if segment is None:
            return
        os.close(segment.fd)
        segment.fd = -1
        self.closed[segment.number] = segment
        if not segment.live_count:
            self._retire(segment)

    def abandon_current(self) -> None:
        """The disk failed under the current segment: what of it is durable can never be known."""
        if self.current is not None:
            self.current.is_trusted = False
            self.close_current()

    def add(self, segment: Segment, count: int, length: int) -> None:
        """Records of ``segment`` were committed to the ledger."""
        segment.live_count += count
        segment.live_bytes += length

    def release(self, number: int, length: int, now: float) -> None:
        """A record is not needed any more, durably so."""
        segment = self.current
        if segment is None or segment.number != number:
            found = self.closed.get(number)
            if found is None:
                return
            segment = found
        segment.live_count -= 1
        segment.live_bytes -= length
        segment.released_at = now
        if not segment.live_count and segment is not self.current:
            self._retire(segment)

    def _retire(self, segment: Segment) -> None:
        """Keep an empty segment for reuse, or delete it."""
        self.closed.pop(segment.number, None)
        segment.live_bytes = 0
        if segment.is_trusted and len(self._ready) < self._spare:
            self._ready.append(segment)
            return
        self._forget(segment.number)
        with suppress(OSError):  # then it lies there until the spool is opened again
            segment.path.unlink()
