"""One job of a worker process: a Part 10 file in, another one out, in the first form that can be made.

What crosses the border between the processes are these records, as JSON, and files.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import xxhash

from router.dicom.part10 import file_meta
from router.errors import BrokenCodec, CannotEdit, CannotTranscode
from router.model import Arrival, Buffer, Form, Transcoding
from router.transform.edits import is_deidentified
from router.transform.transcode import Limits, transcode

_IOV_MAX = 1000  # buffers of one writev: the kernel takes 1024 (limits.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done. ``source`` has the data set at ``data_set_offset``, to the file's end."""

    source: str
    data_set_offset: int
    target: str
    arrival: Arrival
    forms: tuple[Form, ...]  # the best first
    key: str = field(default="", repr=False)  # for de-identification; it is in no file and no command line


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """Why it does not have a form."""

    transfer_syntax_uid: str
    because: str
    is_broken: bool = False  # a codec's result failed the proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What lies in ``target`` now: a Part 10 object."""

    arrival: Arrival  # with the transfer syntax, and the SOP Instance UID, that it has now
    length_bytes: int
    data_set_offset: int
    content_hash: str  # XXH3-128 of the object, as hexadecimal digits
    transcoding: Transcoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended. ``made`` is None where it can have none of the forms."""

    made: Made | None
    obstacles: tuple[Obstacle, ...] = ()
    failure: str = ""  # it could not be tried: another time it may do


def perform(job: Job, limits: Limits) -> Result:
    """Do it. May raise ``MemoryError`` where the process's limit is reached."""
    try:
        return _try_each(job, limits)
    except OSError as error:
        return Result(made=None, failure=f"files of the transcoding: {error.strerror or error}")


def _try_each(job: Job, limits: Limits) -> Result:
    obstacles: list[Obstacle] = []
    with Path(job.source).open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as whole:
        content = memoryview(whole)[job.data_set_offset :]
        try:
            for form in job.forms:
                try:
                    return Result(made=_make(job, content, form, limits), obstacles=tuple(obstacles))
                except CannotEdit as error:  # nor would the others be allowed to leave
                    return Result(made=None, obstacles=for_all(job, str(error)))
                except CannotTranscode as error:
                    uid, is_broken = form.transfer_syntax_uid, isinstance(error, BrokenCodec)
                    obstacle = Obstacle(transfer_syntax_uid=uid, because=str(error), is_broken=is_broken)
                obstacles.append(obstacle)
        finally:
            content.release()
    return Result(made=None, obstacles=tuple(obstacles))


def for_all(job: Job, because: str) -> tuple[Obstacle, ...]:
    """The same in the way of every form."""
    uids = [form.transfer_syntax_uid for form in job.forms]
    return tuple(Obstacle(transfer_syntax_uid=uid, because=because) for uid in uids)


def _make(job: Job, content: Buffer, form: Form, limits: Limits) -> Made:
    began_at = time.monotonic()
    source_uid = job.arrival.transfer_syntax_uid
    origin = job.arrival.origin
    buffers, transcoding = transcode(content, source_uid, form, limits=limits, origin=origin, key=job.key)
    if is_deidentified(form.edits):  # nor does file meta information say who sent it
        origin = replace(origin, calling_ae="")
    arrival = replace(
        job.arrival,
        origin=origin,
        transfer_syntax_uid=form.transfer_syntax_uid,
        sop_instance_uid=transcoding.sop_instance_uid or job.arrival.sop_instance_uid,
    )
    meta = file_meta(arrival)
    digest = xxhash.xxh3_128()
    length = 0
    for buffer in (meta, *buffers):
        digest.update(buffer)
        length += len(buffer)
    _write(job.target, [meta, *buffers])
    return Made(
        arrival=arrival,
        length_bytes=length,
        data_set_offset=len(meta),
        content_hash=digest.hexdigest(),
        transcoding=replace(transcoding, took_s=round(time.monotonic() - began_at, 4)),
    )


def _write(target: str, buffers: Sequence[Buffer]) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = [view for buffer in buffers if len(view := memoryview(buffer).cast("B"))]
        while left:
            count = os.writev(file, left[:_IOV_MAX])
            while left and count >= len(left[0]):
                count -= len(left.pop(0))
            if count:
                left[0] = left[0][count:]
    finally:
        os.close(file)
