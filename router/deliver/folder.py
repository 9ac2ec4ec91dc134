"""Delivery to a directory: a file appears whole, under its name, and never replaces another one.

How that is done, ``filing`` says. An existing file with the same bytes is a duplicate; with other bytes it
stays, and ours gets the key as a suffix. Blocking calls are made in threads of the lane's own, so that a file
system that hangs costs nobody else a thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from router.clock import Clock
from router.config.settings import Destination
from router.deliver.any_form import must_be_made
from router.deliver.desk import Desk
from router.deliver.placeholders import fill, parse_template
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.shaping import Shaper
from router.deliver.verdict import SUCCESS, Fault, Kind, Verdict, of_error
from router.dicom.header import scan
from router.errors import StorageError
from router.filing import (
    FILE_MODE,
    claim_name,
    has_same_bytes,
    make_directories,
    sync_directory,
    write_all,
)
from router.model import Instance, Reason

HEAD_BYTES = 65536  # of the data set, for the path; more where that ends before the last tag asked
HEAD_CAP_BYTES = 16 * 1024 * 1024
WINDOW_BYTES = 1024 * 1024
PROBE_NAME = ".dicom-router-probe"
CLOSING_S = 5.0  # for taking an unfinished file away; a crash leaves it too, and it is written anew

# What one instance's name or neighbours may cause, while others can still be written.
_OF_THE_INSTANCE = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ}
)
DUPLICATE = Verdict(kind=Kind.DELIVERED, reason=Reason.DUPLICATE, fault=Fault.NOBODY)

T = TypeVar("T")


def of_os_error(error: OSError) -> Verdict:
    """Judge what the destination's file system said: mostly it concerns every instance."""
    fault = Fault.INSTANCE if error.errno in _OF_THE_INSTANCE else Fault.DESTINATION
    return Verdict(kind=Kind.TRANSIENT, reason=Reason.DISK, fault=fault)


class FolderSender:
    """Serves the desks of one folder's lane."""

    can_probe = True

    def __init__(
        self,
        destination: Destination,
        *,
        content: Content,
        clock: Clock,
        shaper: Shaper | None = None,
    ) -> None:
        self._shaper = shaper
        assert destination.folder is not None  # noqa: S101 - the other kind has a sender of its own
        self._template = parse_template(destination.folder)
        self._content = content
        self._clock = clock
        self._threads = anyio.CapacityLimiter(destination.deliver.associations)

    async def serve(self, desk: Desk) -> None:
        """Write what the desk gives, one after the other."""
        delivery = desk.take()
        if delivery is None and desk.is_probe:
            await self._probe(desk)
            delivery = desk.take()
        while delivery is not None:
            rendition = desk.renditions.ready(delivery)
            if rendition is None and must_be_made(desk, delivery, self._clock):
                delivery = desk.take()
                continue
            instance = delivery.instance if rendition is None else rendition.instance
            content = self._content if rendition is None else rendition
            started_at = self._clock.now()
            comment = ""
            try:
                verdict = await self._write(instance, content)
            except StorageError as error:
                verdict, comment = of_error(error), str(error)
            except OSError as error:
                verdict, comment = of_os_error(error), error.strerror or type(error).__name__
            ended = Ended(
                started_at=started_at,
                ended_at=self._clock.now(),
                comment=comment,
                transfer_syntax_uid=instance.arrival.transfer_syntax_uid,
                transcoding=None if rendition is None else rendition.transcoding,
            )
            (desk.answered if verdict.is_delivered else desk.failed)(delivery, verdict, ended)
            delivery = desk.take()

    async def _probe(self, desk: Desk) -> None:
        """Find out whether files can be written again, where none waits to be."""
        root = Path(self._template.root)
        try:
            await self._in_thread(lambda: _try_out(root))
        except OSError as error:
            desk.judge.unreached(of_os_error(error), error.strerror or type(error).__name__)
        else:
            desk.judge.reached()

    async def _write(self, instance: Instance, content: Content) -> Verdict:
        target = await self._path(instance, content)
        length = instance.place.length_bytes
        if length <= WINDOW_BYTES:
            buffer = memoryview(bytearray(length))
            await content.read(instance, [buffer])
            await self._pace(length)
            return await self._in_thread(lambda: _store_whole(target, instance.key, buffer))
        await content.verify(instance)
        file = await self._in_thread(lambda: _begin(target, instance.key))
        try:
            buffer = memoryview(bytearray(WINDOW_BYTES))
            for start in range(0, length, WINDOW_BYTES):
                view = buffer[: min(WINDOW_BYTES, length - start)]
                await content.read_range(instance, start, [view])
                await self._pace(len(view))
                await self._in_thread(lambda view=view: write_all(file, view))  # type: ignore[misc]
            return await self._in_thread(lambda: _finish(file, target, instance.key))
        finally:
            with anyio.move_on_after(CLOSING_S, shield=True):
                await self._in_thread(lambda: _abandon(file, target, instance.key))

    async def _pace(self, count: int) -> None:
        """Write no faster than the destination's limit."""
        if self._shaper is not None:
            await self._shaper.pass_through(count)

    async def _path(self, instance: Instance, content: Content) -> Path:
        limit = HEAD_BYTES
        while True:
            head = await content.read_head(instance, limit)
            is_complete = len(head) >= instance.size_bytes
            header = scan(
                head, instance.arrival.transfer_syntax_uid, self._template.asked, is_complete=is_complete
            )
            if not header.truncated or is_complete or limit >= HEAD_CAP_BYTES:
                return Path(fill(self._template, header, instance))
            limit *= 8

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)


def _temporary(target: Path, key: int) -> Path:
    return target.with_name(f".{target.name[:120]}.{key}.part")


def _with_key(target: Path, key: int) -> Path:
    return target.with_name(f"{target.stem}-{key}{target.suffix}")


def _begin(target: Path, key: int) -> int:
    """Make the directories, and a file under a temporary name; one left by a crash is written anew."""
    make_directories(target.parent)
    return os.open(_temporary(target, key), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)


def _try_out(root: Path) -> None:
    make_directories(root)
    trial = root / PROBE_NAME
    os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE))
    trial.unlink()


def _store_whole(target: Path, key: int, content: memoryview) -> Verdict:
    file = _begin(target, key)
    try:
        write_all(file, content)
        return _finish(file, target, key)
    finally:
        _abandon(file, target, key)


def _finish(file: int, target: Path, key: int) -> Verdict:
    """Give the written file its name, or find that it is there already."""
    os.fsync(file)
    unfinished = _temporary(target, key)
    for name in (target, _with_key(target, key)):
        if claim_name(unfinished, name):
            sync_directory(target.parent)
            return SUCCESS
        if has_same_bytes(file, name):
            sync_directory(target.parent)  # whoever wrote it may have gone before doing so
            return DUPLICATE
    raise FileExistsError(errno.EEXIST, "a file of that name with other content exists, with the key too")


def _abandon(file: int, target: Path, key: int) -> None:
    """Close it and take the temporary name away, if it still has it."""
    os.close(file)
    with suppress(FileNotFoundError):
        _temporary(target, key).unlink()
