"""Instances in other forms: made by worker processes, kept for a moment, shared between destinations.

A rendition lies in a file without a name, so that nothing is left behind whatever happens. Whoever has one
holds it; the workshop itself holds the latest ones, within ``transcode.cache_bytes``, for a fan-out to
several destinations that want the same form, and for the next attempt. What two destinations ask for at the
same time is made once.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import xxhash
from anyio import to_thread

from router.config.settings import Transcode
from router.deliver.project_key import ProjectKey
from router.deliver.queue import Content
from router.deliver.workers import Workers
from router.dicom.syntaxes import label, shown
from router.errors import StorageError, TranscodeFailed
from router.logs import get_logger
from router.model import Form, Instance, Place, Transcoding
from router.spool.reader import read_fully
from router.telemetry import Telemetry
from router.transform.edits import is_deidentified
from router.transform.job import Job, Made, Obstacle, Result

WINDOW_BYTES = 1024 * 1024  # of an instance in memory while it is copied for a worker
ON_LOOP_BYTES = 1024 * 1024  # what was written just now is in the page cache: so much is read at once
_IN_A_FILE = -2  # ``Place.segment`` of what lies in no segment

log = get_logger("transcode")


class Rendition:
    """An instance in another form; its content is read as the spool's is. Closed when nobody holds it."""

    def __init__(self, instance: Instance, transcoding: Transcoding, file: int) -> None:
        self.instance = instance
        self.transcoding = transcoding
        self._file = file
        self._holders = 1
        self.is_damaged = False

    def hold(self) -> None:
        """One more needs it."""
        self._holders += 1

    def let_go(self) -> None:
        """One needs it no more."""
        self._holders -= 1
        if not self._holders:
            os.close(self._file)

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None:
        """The whole object, checked. Raises ``StorageError``."""
        await self._read(0, buffers)
        digest = xxhash.xxh3_128()
        for buffer in buffers:
            digest.update(buffer)
        self._check(digest.digest() == instance.content_hash, "does not match its hash")

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        """The first bytes of the data set."""
        offset = instance.place.data_set_offset
        head = bytearray(min(limit, instance.size_bytes))
        await self._read(offset, [memoryview(head)])
        return bytes(head)

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        """A part, unchecked."""
        await self._read(offset, buffers)

    async def verify(self, instance: Instance) -> None:
        """Check all of it."""
        digest = xxhash.xxh3_128()
        window = memoryview(bytearray(min(WINDOW_BYTES, instance.place.length_bytes)))
        for offset in range(0, instance.place.length_bytes, WINDOW_BYTES):
            piece = window[: instance.place.length_bytes - offset]
            await self._read(offset, [piece])
            digest.update(piece)
        self._check(digest.digest() == instance.content_hash, "does not match its hash")

    async def _read(self, offset: int, buffers: Sequence[memoryview]) -> None:
        try:
            if sum(map(len, buffers)) <= ON_LOOP_BYTES:
                is_whole = read_fully(self._file, buffers, offset)
            else:
                is_whole = await to_thread.run_sync(read_fully, self._file, buffers, offset)
        except OSError as error:
            raise StorageError(f"transcoded copy: {error.strerror}", out_of_resources=False) from error
        self._check(is_whole, "ends too early")

    def _check(self, is_good: bool, otherwise: str) -> None:
        """A damaged copy is made anew another time; the instance itself is none the worse."""
        if not is_good:
            self.is_damaged = True
            raise StorageError(f"the transcoded copy {otherwise}", out_of_resources=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """``rendition`` is None where the instance can have none of the forms; ``obstacles`` say why not."""

    rendition: Rendition | None
    obstacles: tuple[Obstacle, ...]


_Key = tuple[int, tuple[Form, ...]]


class Workshop:
    """Makes renditions. ``directory`` is for files of a moment; what a crash left there is removed."""

    def __init__(
        self, settings: Transcode, directory: Path, telemetry: Telemetry, *, key: ProjectKey | None = None
    ) -> None:
        self._key = key
        self._directory = directory
        self._telemetry = telemetry
        self._cache_bytes = settings.cache_bytes
        self._cache: OrderedDict[_Key, Rendered] = OrderedDict()
        self._cached_bytes = 0
        self._under_way: dict[_Key, anyio.Event] = {}
        self._number = 0
        self.workers = Workers(settings)

    @property
    def concurrency(self) -> int:
        """How many jobs are worth giving to it at once."""
        return self.workers.count

    @property
    def is_busy(self) -> bool:
        """Whether something is being made."""
        return bool(self._under_way)

    async def run(self) -> None:
        """Keep the workers until cancelled."""
        try:
            await self.workers.run()
        finally:
            for key in list(self._cache):
                self._drop(key)

    def open(self) -> None:
        """Make the directory, empty. May raise ``OSError``."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in self._directory.iterdir():
            path.unlink()

    async def render(self, instance: Instance, forms: tuple[Form, ...], content: Content) -> Rendered:
        """``instance`` in the first of ``forms`` that it can have; the caller lets go of the rendition.

        Raises ``TranscodeFailed`` where that could not be found out, and ``StorageError`` where the instance
        cannot be read.
        """
        key = (instance.key, forms)
        while (event := self._under_way.get(key)) is not None:
            await event.wait()
        cached = self._cache.get(key)
        if cached is not None and not (cached.rendition is not None and cached.rendition.is_damaged):
            self._cache.move_to_end(key)
            if cached.rendition is not None:
                cached.rendition.hold()
            return cached
        event = self._under_way[key] = anyio.Event()
        try:
            rendered = await self._make(instance, forms, content)
            self._keep(key, rendered)
            return rendered
        finally:
            del self._under_way[key]
            event.set()

    # ---- making

    async def _make(self, instance: Instance, forms: tuple[Form, ...], content: Content) -> Rendered:
        self._number += 1
        source, target = (self._directory / f"{self._number}.{end}" for end in ("in", "out"))
        is_keyed = any(is_deidentified(form.edits) for form in forms)
        job = Job(
            source=str(source),
            data_set_offset=instance.place.data_set_offset,
            target=str(target),
            arrival=instance.arrival,
            forms=forms,
            key=await self._get_key() if is_keyed else "",
        )
        try:
            await self._copy(instance, content, source)
            result = await self.workers.perform(job)
            file = os.open(target, os.O_RDONLY | os.O_CLOEXEC) if result.made is not None else -1
        except (TranscodeFailed, OSError) as error:
            self._count(instance, forms[0], "failed")
            log.warning("transcoding failed", key=instance.key, to=_names(forms), detail=str(error))
            if isinstance(error, TranscodeFailed):
                raise
            raise TranscodeFailed(f"files of the transcoding: {error.strerror or error}") from error
        finally:
            source.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
        return self._judge(instance, result, file)

    async def _get_key(self) -> str:
        if self._key is None:
            raise TranscodeFailed("nobody here has the key for de-identification")
        try:
            return await to_thread.run_sync(self._key.get)
        except (OSError, ValueError) as error:
            because = f"no key for de-identification: {getattr(error, 'strerror', None) or error}"
            log.error("no key for de-identification", detail=because)
            raise TranscodeFailed(because) from error

    def _judge(self, instance: Instance, result: Result, file: int) -> Rendered:
        for obstacle in result.obstacles:
            form = Form(transfer_syntax_uid=obstacle.transfer_syntax_uid)
            self._count(instance, form, "broken" if obstacle.is_broken else "refused")
            if obstacle.is_broken:
                log.error(
                    "a codec failed its proof",
                    key=instance.key,
                    to=shown(obstacle.transfer_syntax_uid),
                    detail=obstacle.because,
                )
        if result.failure:
            raise TranscodeFailed(result.failure)
        if result.made is None:
            return Rendered(rendition=None, obstacles=result.obstacles)
        made = result.made
        if made.arrival.transfer_syntax_uid != instance.arrival.transfer_syntax_uid:
            form = Form(transfer_syntax_uid=made.arrival.transfer_syntax_uid)
            self._count(instance, form, "lossless" if made.transcoding.is_lossless else "lossy")
        rendition = Rendition(_as_made(instance, made), made.transcoding, file)
        return Rendered(rendition=rendition, obstacles=result.obstacles)

    async def _copy(self, instance: Instance, content: Content, path: Path) -> None:
        """A file with the object, for a worker; it is checked against its hash."""
        length = instance.place.length_bytes
        if length <= WINDOW_BYTES:
            whole = memoryview(bytearray(length))
            await content.read(instance, [whole])
            await to_thread.run_sync(_write, path, 0, whole)
            return
        await content.verify(instance)
        window = memoryview(bytearray(WINDOW_BYTES))
        for offset in range(0, length, WINDOW_BYTES):
            piece = window[: min(WINDOW_BYTES, length - offset)]
            await content.read_range(instance, offset, [piece])
            await to_thread.run_sync(_write, path, offset, piece)

    def _count(self, instance: Instance, form: Form, outcome: str) -> None:
        source = label(instance.arrival.transfer_syntax_uid)
        self._telemetry.transcoded(source, label(form.transfer_syntax_uid), outcome)

    # ---- keeping

    def _keep(self, key: _Key, rendered: Rendered) -> None:
        size = _size(rendered)
        if size > self._cache_bytes:
            return
        if rendered.rendition is not None:
            rendered.rendition.hold()
        self._drop(key)  # a damaged one
        self._cache[key] = rendered
        self._cached_bytes += size
        while self._cached_bytes > self._cache_bytes:
            self._drop(next(iter(self._cache)))

    def _drop(self, key: _Key) -> None:
        rendered = self._cache.pop(key, None)
        if rendered is None:
            return
        self._cached_bytes -= _size(rendered)
        if rendered.rendition is not None:
            rendered.rendition.let_go()


def _as_made(instance: Instance, made: Made) -> Instance:
    place = Place(
        segment=_IN_A_FILE,
        offset=0,
        length_bytes=made.length_bytes,
        data_set_offset=made.data_set_offset,
    )
    return replace(instance, arrival=made.arrival, place=place, content_hash=bytes.fromhex(made.content_hash))


def _size(rendered: Rendered) -> int:
    """What it takes; a refusal takes something as well."""
    return 4096 if rendered.rendition is None else rendered.rendition.instance.place.length_bytes


def _names(forms: Sequence[Form]) -> list[str]:
    return [shown(form.transfer_syntax_uid) for form in forms]


def _write(path: Path, offset: int, view: memoryview) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while view:
            count = os.pwrite(file, view, offset)
            view, offset = view[count:], offset + count
    finally:
        os.close(file)
