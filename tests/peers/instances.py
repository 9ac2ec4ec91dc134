"""Instances made from nothing: any number, each distinct, known by its UID and its data set's SHA-256."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from bench import wire
from bench.sample import Sample

CT = (wire.CT_IMAGE, wire.EXPLICIT_LE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One CT image in explicit VR little endian."""

    uid: str
    data_set: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data_set).hexdigest()


class Maker:
    """Makes CT images of about ``size`` bytes; the same number gives the same image."""

    def __init__(self, size: int) -> None:
        self._sample = Sample(size)
        self._pixels = random.Random(size).randbytes(self._sample.pixel_bytes)

    def make(self, number: int) -> Made:
        uid = self._sample.uid_of(number)
        header = self._sample.header.replace(self._sample.uid.encode(), uid.encode())
        return Made(uid=uid, data_set=header + self._pixels)
