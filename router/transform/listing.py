"""What can be read and written, for people: one row for each transfer syntax of the standard."""

from __future__ import annotations

from dataclasses import dataclass

from router.dicom.syntaxes import LOSSY_TARGETS, SYNTAXES, Encoding, Syntax
from router.transform.codecs import READERS, WRITERS, Codec, can_read, can_write

_PIXELS = {
    Encoding.NATIVE: "uncompressed",
    Encoding.LOSSLESS: "lossless",
    Encoding.LOSSY: "lossy",
    Encoding.VIDEO: "video",
    Encoding.REFERENCED: "elsewhere",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One transfer syntax."""

    name: str
    uid: str
    can_read: bool
    can_write: bool
    read: str  # by what, or why not
    made: str
    pixels: str
    licence: str
    is_passed_only: bool


def listing() -> tuple[Row, ...]:
    """All of them, in the order of the table of names."""
    return tuple(map(_row, SYNTAXES.values()))


def _row(syntax: Syntax) -> Row:
    uid = syntax.uid
    reader, writer = READERS.get(uid), WRITERS.get(uid)
    licences = dict.fromkeys(
        f"{codec.engine} {codec.engine_licence}" for codec in (reader, writer) if codec is not None
    )
    loss = LOSSY_TARGETS.get(uid)
    made = "yes" if syntax.is_native else _by(writer)
    return Row(
        name=syntax.name,
        uid=uid,
        can_read=syntax.is_native or can_read(uid),
        can_write=syntax.is_native or can_write(uid),
        read="yes" if syntax.is_native else _by(reader),
        made=f"{made}, {{{loss}: N}}" if loss and can_write(uid) else made,
        pixels=_PIXELS[syntax.encoding],
        licence="; ".join(licences),
        is_passed_only=not syntax.is_native and reader is None,
    )


def _by(codec: Codec | None) -> str:
    if codec is None:
        return ""
    return codec.missing or f"{codec.engine} ({codec.shown})"
