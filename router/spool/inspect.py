"""Looking into a spool from outside the gateway, and making a new ledger from what the segments say.

All functions are synchronous. Reading works beside a running gateway, too; ``rebuild`` takes the spool's lock
and refuses while it runs.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import apsw

from router.errors import NotAllowed, StorageError, UnknownItem
from router.model import (
    DeliveryRecord,
    Instance,
    InstanceState,
    InstanceTrace,
    Listing,
    QueueDepth,
)
from router.spool import operations, queries
from router.spool.files import DIRECTORY_MODE, Files, storage_error, sync_directory, take_lock
from router.spool.orders import Operation, Paused
from router.spool.reader import VERIFY_STEP_BYTES, OpenFiles, Reader, damaged, read_fully
from router.spool.rebuilding import NewLedger
from router.spool.scan import Found, large_objects, records, segment_files
from router.spool.schema import LARGE, LEDGER_NAME, connect
from router.spool.stats import SpoolStats

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """An object that is not what arrived."""

    key: int | None  # None: not even its header can be read
    where: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify_all`` found."""

    checked: int
    bytes_checked: int
    damaged: tuple[Damage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What ``rebuild`` found and made."""

    restored: int
    bytes_restored: int
    damaged: tuple[Damage, ...]
    moved_to: Path | None  # where the ledger that was there is now


def _ask(directory: Path, question: Callable[[apsw.Connection], T]) -> T:
    if not (directory / LEDGER_NAME).exists():
        raise StorageError(f"{directory}: there is no ledger here", out_of_resources=False)
    try:
        with closing(connect(directory, read_only=True)) as connection:
            return question(connection)
    except apsw.Error as error:
        raise StorageError(f"{directory}: {error}", out_of_resources=False) from error


def ls(directory: Path) -> Iterator[Instance]:
    """Every instance that is not released, by rising key."""
    if not (directory / LEDGER_NAME).exists():
        raise StorageError(f"{directory}: there is no ledger here", out_of_resources=False)
    with closing(connect(directory, read_only=True)) as connection:
        yield from queries.live(connection)


def cat(directory: Path, key: int, out: BinaryIO) -> Instance:
    """Write one instance's Part 10 file to ``out``, after checking it. ``UnknownItem``, ``CorruptRecord``."""
    instance = _ask(directory, lambda connection: queries.instance(connection, key))
    if instance is None:
        raise UnknownItem(f"there is no instance {key}")
    with closing(OpenFiles(directory / "segments", directory / "large")) as files:
        if not Reader(files).verify(instance):
            if instance.state is InstanceState.RELEASED:
                raise UnknownItem(f"instance {key} is released and its space used again")
            raise damaged(instance)
        place = instance.place
        entry = files.acquire(place.segment, key)
        try:
            for offset in range(0, place.length_bytes, VERIFY_STEP_BYTES):
                part = bytearray(min(VERIFY_STEP_BYTES, place.length_bytes - offset))
                read_fully(entry[0], [memoryview(part)], place.offset + offset)
                out.write(part)
        finally:
            files.release(entry)
    return instance


def verify_all(directory: Path) -> VerifyReport:
    """Read every live object and check its hash."""
    checked = size = 0
    found: list[Damage] = []
    with closing(OpenFiles(directory / "segments", directory / "large")) as files:
        reader = Reader(files)
        for instance in ls(directory):
            checked += 1
            size += instance.place.length_bytes
            problem = _problem(reader, instance)
            if problem and _is_still_there(directory, instance):
                path = files.path(instance.place.segment, instance.key)
                found.append(Damage(key=instance.key, where=_where(path, instance), problem=problem))
    return VerifyReport(checked=checked, bytes_checked=size, damaged=tuple(found))


def _problem(reader: Reader, instance: Instance) -> str:
    try:
        return "" if reader.verify(instance) else "the bytes do not match their hash"
    except OSError as error:
        return error.strerror or str(error)


def _is_still_there(directory: Path, instance: Instance) -> bool:
    """Not moved or released meanwhile by a gateway that runs."""
    now = _ask(directory, lambda connection: queries.instance(connection, instance.key))
    return now is not None and now.place == instance.place and now.state is not InstanceState.RELEASED


def _where(path: Path, instance: Instance) -> str:
    return path.name if instance.place.segment == LARGE else f"{path.name} at {instance.place.offset}"


def rebuild(directory: Path, *, replace: bool = False) -> RebuildReport:
    """Make a ledger from the headers in the segments and beside the large objects.

    Every intact object is received anew, so that it is routed again: also one that was delivered but whose
    space is not used again yet. Nothing undelivered is lost; peers may get duplicates. Damaged records are
    kept as corrupt. ``NotAllowed`` if there is a ledger and not ``replace``, which moves it aside.
    """
    lock = take_lock(directory)
    try:
        ledger = directory / LEDGER_NAME
        if ledger.exists() and not replace:
            raise NotAllowed(
                f"{ledger} exists; it is replaced (and kept under another name) only when told so"
            )
        scratch = directory / "rebuild"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(DIRECTORY_MODE)
        report = _fill(directory, scratch)
        moved_to = _move_aside(ledger) if ledger.exists() else None
        (scratch / LEDGER_NAME).rename(ledger)
        shutil.rmtree(scratch)
        sync_directory(directory)
        return RebuildReport(
            restored=report.checked - len([d for d in report.damaged if d.key is not None]),
            bytes_restored=report.bytes_checked,
            damaged=report.damaged,
            moved_to=moved_to,
        )
    except OSError as error:
        raise storage_error(error, str(directory)) from error
    finally:
        os.close(lock)


def _fill(directory: Path, scratch: Path) -> VerifyReport:
    checked = size = 0
    lost: list[Damage] = []
    with (
        closing(OpenFiles(directory / "segments", directory / "large")) as files,
        closing(NewLedger(scratch)) as new,
    ):
        reader = Reader(files)
        for path, found in _everything(directory):
            if found is None:
                aside = _set_aside(directory, path)
                lost.append(Damage(key=None, where=str(aside), problem="no intact header belongs to it"))
                continue
            checked += 1
            instance = found.instance
            problem = _problem(reader, instance)
            if problem:
                lost.append(Damage(key=instance.key, where=_where(path, instance), problem=problem))
                new.add_damaged(instance)
            else:
                size += instance.place.length_bytes
                new.add(instance)
    return VerifyReport(checked=checked, bytes_checked=size, damaged=tuple(lost))


def _everything(directory: Path) -> Iterator[tuple[Path, Found | None]]:
    for number, path in segment_files(directory):
        for found in records(number, path):
            yield path, found
    yield from large_objects(directory)


def _set_aside(directory: Path, path: Path) -> Path:
    """Keep a file that the spool would remove as a stranger."""
    aside = directory / "damaged"
    aside.mkdir(DIRECTORY_MODE, exist_ok=True)
    return path.rename(aside / path.name)


def _move_aside(ledger: Path) -> Path:
    target = ledger.with_name(f"{LEDGER_NAME}.{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        part = ledger.with_name(ledger.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    return target


# The queue of a gateway that does not run (or runs: these only read)


def depths(directory: Path) -> list[QueueDepth]:
    """See ``Spool.depths``."""
    return _ask(directory, queries.depths)


def list_deliveries(directory: Path, listing: Listing) -> list[DeliveryRecord]:
    """See ``Spool.list_deliveries``."""
    return _ask(directory, lambda connection: queries.list_deliveries(connection, listing))


def show(directory: Path, delivery_id: int) -> DeliveryRecord:
    """See ``Spool.show``."""
    return _ask(directory, lambda connection: queries.show(connection, delivery_id))


def trace(directory: Path, sop_instance_uid: str) -> list[InstanceTrace]:
    """See ``Spool.trace``."""
    return _ask(directory, lambda connection: queries.trace(connection, sop_instance_uid))


def corrupt(directory: Path, limit: int = 100, after: int = 0) -> list[Instance]:
    """See ``Spool.corrupt``."""
    return _ask(directory, lambda connection: queries.corrupt(connection, after, limit))


def audit(directory: Path, limit: int = 100, before: int | None = None) -> list[Operation]:
    """See ``Orders.audit``."""
    return _ask(directory, lambda connection: operations.operations(connection, limit, before))


def paused(directory: Path) -> dict[str, Paused]:
    """See ``Orders.paused``."""
    return _ask(directory, operations.paused)


def stats(directory: Path) -> SpoolStats:
    """See ``Spool.stats``."""
    live = _ask(directory, queries.live_by_segment)
    unrouted = _ask(directory, queries.count_unrouted)
    files = [path for _, path in segment_files(directory)]
    large_count, large_bytes = live.pop(LARGE, (0, 0))
    return SpoolStats(
        bytes_used=sum(path.stat().st_size for path in files) + large_bytes,
        bytes_live=sum(size for _, size in live.values()) + large_bytes,
        free_bytes=Files().free_bytes(directory),
        segments=len(files),
        large_objects=large_count,
        unrouted=unrouted,
    )
