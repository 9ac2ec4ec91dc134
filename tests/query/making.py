"""A workshop that needs no codecs: what it makes says of which form it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import xxhash

from router.deliver.queue import Content
from router.deliver.workshop import Rendered, Rendition
from router.errors import StorageError, TranscodeFailed
from router.model import Form, Instance, Place, Transcoding


def made(uid: str, form: Form) -> bytes:
    """The data set of an instance in that form."""
    return f"{uid} in {form.transfer_syntax_uid}".encode()


@dataclass
class FakeMaker:
    """Makes the first form that is asked for; none of ``impossible``, and with ``failure`` none at all."""

    impossible: tuple[str, ...] = ()
    failure: TranscodeFailed | StorageError | None = None
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    concurrency: int = 1

    async def render(self, instance: Instance, forms: tuple[Form, ...], content: Content) -> Rendered:
        uid = instance.arrival.sop_instance_uid
        self.asked.append((uid, tuple(form.transfer_syntax_uid for form in forms)))
        if self.failure is not None:
            raise self.failure
        possible = [form for form in forms if form.transfer_syntax_uid not in self.impossible]
        if not possible:
            return Rendered(rendition=None, obstacles=())
        return Rendered(rendition=self._rendition(instance, possible[0]), obstacles=())

    def _rendition(self, instance: Instance, form: Form) -> Rendition:
        whole = b"meta" + made(instance.arrival.sop_instance_uid, form)
        file = os.memfd_create("rendition")
        os.write(file, whole)
        self.files.append(file)
        arrival = replace(instance.arrival, transfer_syntax_uid=form.transfer_syntax_uid)
        place = Place(segment=-2, offset=0, length_bytes=len(whole), data_set_offset=4)
        content_hash = xxhash.xxh3_128(whole).digest()
        copy = replace(instance, arrival=arrival, place=place, content_hash=content_hash)
        transcoding = Transcoding(
            source_uid=instance.arrival.transfer_syntax_uid,
            target_uid=form.transfer_syntax_uid,
            codecs="",
            frames=0,
            frames_hash="",
            is_lossless=True,
        )
        return Rendition(copy, transcoding, file)

    def are_closed(self) -> bool:
        """Nobody holds what was made."""
        return not any(map(_is_open, self.files))


def _is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True
