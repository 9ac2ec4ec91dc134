"""One data set into another form: what can be had, what cannot, and the report of it.

Between uncompressed forms no frame is touched: values are re-encoded as they lie. Nor is one where a data set
is edited and its transfer syntax stays. All else goes through ``recode``, which proves each frame. Icons in a
compressed form become uncompressed with another transfer syntax (PS3.5 §A.4 allows that whatever the image
has), so that no stream of the old one stays behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xxhash import xxh3_128

from router.dicom.syntaxes import Encoding, Syntax, shown, syntax_of
from router.errors import CannotTranscode
from router.model import Buffer, Form, Origin, Transcoding
from router.transform import codecs as our_codecs, edits, lossy, native
from router.transform.elements import PIXEL_DATA, DataSet, Fragments
from router.transform.image import NUMBER_OF_FRAMES
from router.transform.reading import parse
from router.transform.writing import encode

if TYPE_CHECKING:
    from router.transform.recode import Codecs, Proof, Source

NOWHERE = Origin(calling_ae="", called_ae="", peer="", listener="")
FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00008, 0x7FE00009


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one data set may take, to be refused beyond."""

    pixels_max: int  # samples of all frames
    inflate_bytes_max: int  # of a deflated data set


def transcode(
    content: Buffer,
    transfer_syntax_uid: str,
    form: Form,
    *,
    limits: Limits,
    origin: Origin = NOWHERE,
    key: str = "",
    codecs: Codecs | None = None,
) -> tuple[list[Buffer], Transcoding]:
    """The buffers of a data set (without file meta information) in another form, and how it came to it.

    Buffers may be views of ``content``; ``origin`` is for edits that name it, ``key`` for a
    de-identification. Raises :class:`CannotTranscode` where it cannot have that form, and where it has that
    transfer syntax already and nothing is to be lost or edited; :class:`CannotEdit` where an edit cannot be
    made, whatever the form; :class:`BrokenCodec` where the result is not what it should be.
    """
    source, target = syntax_of(transfer_syntax_uid), syntax_of(form.transfer_syntax_uid)
    _check(source, target, form)
    data_set = parse(content, source.uid, inflate_cap_bytes=limits.inflate_bytes_max)
    if source.is_deflated:
        native.check_inflated(data_set)
    edited = edits.apply(data_set, form.edits, origin, key=key) if form.edits else ()
    uid = data_set.text(lossy.SOP_INSTANCE_UID) if edits.is_deidentified(form.edits) else ""
    task = _Task(data_set, source, form, limits.pixels_max, codecs or our_codecs)
    transcoding = task.run(target)
    uid = transcoding.sop_instance_uid or uid
    return encode(data_set, target.uid), replace(transcoding, edited=edited, sop_instance_uid=uid)


def _check(source: Syntax, target: Syntax, form: Form) -> None:
    """What is out of the question whatever the data set is."""
    if source.uid == target.uid and not form.is_lossy:
        if not form.edits:
            raise CannotTranscode("it has that transfer syntax already")
        return
    if source.encoding in (Encoding.VIDEO, Encoding.REFERENCED, Encoding.UNKNOWN):
        raise CannotTranscode(f"{shown(source.uid)} cannot be had in another form")
    if form.is_lossy != (target.encoding is Encoding.LOSSY):
        because = "needs to be told what may be lost" if not form.is_lossy else "is not lossy"
        raise CannotTranscode(f"{shown(target.uid)} {because}")
    if not target.is_native and (reason := our_codecs.missing_writer(target.uid)):
        raise CannotTranscode(reason)


@dataclass(slots=True)
class _Task:
    """One data set on its way, which is changed in place."""

    data_set: DataSet
    source: Syntax
    form: Form
    samples_left: int  # for the image and its icons together
    codecs: Codecs

    def run(self, target: Syntax) -> Transcoding:
        pixels = self.data_set.get(PIXEL_DATA)
        if target.uid == self.source.uid and not self.form.is_lossy:
            return self._report(frames=self._count() if pixels is not None else 0, frames_hash="")
        for item in self.data_set.items():
            if (icon := item.get(PIXEL_DATA)) is not None and isinstance(icon.value, Fragments):
                self._expand(item)
        if pixels is None:
            return self._without_frames(target)
        if not target.is_native:
            return self._compressed()
        if self.source.is_native and not isinstance(pixels.value, Fragments):
            return self._report(frames=self._count(), frames_hash=native.hash_of(self.data_set))
        return self._decoded()

    def _without_frames(self, target: Syntax) -> Transcoding:
        """No pixel data, or of floating point numbers, which no codec takes."""
        if not target.is_native:
            raise CannotTranscode("it has no pixel data that can be compressed")
        for tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
            if (content := self.data_set.buffer(tag)) is not None:
                digest = xxh3_128(content).hexdigest()
                return self._report(frames=self._count(), frames_hash=digest)
        return self._report(frames=0, frames_hash="")

    def _decoded(self) -> Transcoding:
        source, proof = self._expand(self.data_set)
        ratio = source.image.native_bytes / max(1, source.encoded_bytes)
        lossy.mark_decoded(self.data_set, self.source.uid, ratio)
        return self._report(
            frames=source.image.frames, frames_hash=proof.frames_hash, codecs=_reader(self.source)
        )

    def _compressed(self) -> Transcoding:
        from router.transform import recode

        if self.form.is_lossy:
            lossy.check(self.data_set)
        proof = recode.Proof(self.form if self.form.is_lossy else None)
        source = self._source(self.data_set)
        ratio = source.image.native_bytes / max(1, source.encoded_bytes)
        made_ratio = recode.compress(self.data_set, source, self.form, proof)
        lossy.mark_decoded(self.data_set, self.source.uid, ratio)
        uid = lossy.mark_encoded(self.data_set, self.form, made_ratio) if self.form.is_lossy else ""
        writer = f"written by {our_codecs.WRITERS[self.form.transfer_syntax_uid].shown}"
        reader = _reader(self.source)
        return self._report(
            frames=source.image.frames,
            frames_hash=proof.frames_hash,
            codecs=f"{reader}, {writer}" if reader else writer,
            max_error=float(proof.largest) if self.form.is_lossy else None,
            sop_instance_uid=uid,
        )

    def _source(self, data_set: DataSet) -> Source:
        if not self.source.is_native and (reason := our_codecs.missing(self.source.uid)):
            raise CannotTranscode(reason)
        from router.transform import recode

        source = recode.source_of(
            data_set,
            self.source.uid,
            self.codecs,
            is_native=self.source.is_native,
            samples_max=self.samples_left,
        )
        self.samples_left -= source.image.total_samples
        return source

    def _expand(self, data_set: DataSet) -> tuple[Source, Proof]:
        source = self._source(data_set)
        from router.transform import recode

        proof = recode.Proof()
        recode.expand(data_set, source, proof)
        return source, proof

    def _count(self) -> int:
        """How many frames there are, as far as anybody says."""
        return (*self.data_set.ints(NUMBER_OF_FRAMES), 1)[0]

    def _report(
        self,
        *,
        frames: int,
        frames_hash: str,
        codecs: str = "",
        max_error: float | None = None,
        sop_instance_uid: str = "",
    ) -> Transcoding:
        return Transcoding(
            source_uid=self.source.uid,
            target_uid=self.form.transfer_syntax_uid,
            codecs=codecs,
            frames=frames,
            frames_hash=frames_hash,
            is_lossless=not self.form.is_lossy,
            max_error=max_error,
            sop_instance_uid=sop_instance_uid,
        )


def _reader(source: Syntax) -> str:
    return f"read by {our_codecs.READERS[source.uid].shown}" if source.uid in our_codecs.READERS else ""
