"""The set of real DICOM files: what its manifest says of each, and the bytes that must arrive unchanged."""

from __future__ import annotations

import csv
import hashlib
import os
import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One row of a manifest. The UIDs are what pydicom read; empty where there is none."""

    path: Path
    expected: str  # valid | malformed | not DICOM | directory
    modality: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    note: str

    @property
    def is_valid(self) -> bool:
        """Whether it is a file that a real device could have written."""
        return self.expected == "valid"

    @property
    def name(self) -> str:
        """For the names of tests and for messages."""
        return self.path.name


def read_manifest(corpus: Path, part: str) -> tuple[CorpusFile, ...]:
    """The rows of ``public`` or ``series_public``."""
    with (corpus / part / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            CorpusFile(
                path=corpus / row["path"],
                expected=row["expected"],
                modality=row["modality"],
                sop_class_uid=row["sop_class_uid"],
                sop_instance_uid=row["sop_instance_uid"],
                transfer_syntax_uid=row["transfer_syntax_uid"],
                note=row["note"],
            )
            for row in csv.DictReader(file)
        )


def valid_files(files: Iterable[CorpusFile]) -> tuple[CorpusFile, ...]:
    """Those that are valid instances."""
    return tuple(file for file in files if file.is_valid)


def some_of_each(files: Iterable[CorpusFile], count: int = 1) -> tuple[CorpusFile, ...]:
    """``count`` of each SOP class and transfer syntax; all of them with ``DICOM_ROUTER_EVERY_FILE=1``.

    For what takes long and depends on the kind of file: with every file such tests take minutes each.
    """
    if wants_every_file():
        return tuple(files)
    kinds: dict[tuple[str, str], list[CorpusFile]] = defaultdict(list)
    for file in files:
        kinds[file.sop_class_uid, file.transfer_syntax_uid].append(file)
    return tuple(file for kind in kinds.values() for file in kind[:count])


def wants_every_file() -> bool:
    """Whether time does not matter."""
    return os.environ.get("DICOM_ROUTER_EVERY_FILE") == "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """A file taken apart: what its meta says, and its data set's bytes as they lie."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    @property
    def sha256(self) -> str:
        """Of the data set alone: what a gateway must not change."""
        return hashlib.sha256(self.data_set).hexdigest()


def read_part10(source: Path | bytes) -> Part10:
    """Take a file apart by its group 2 (PS3.10 §7.1); ``ValueError`` where it has none.

    Written for the tests alone: it shares no code with what it is used to judge.
    """
    raw = source if isinstance(source, bytes) else source.read_bytes()
    if raw[128:132] != b"DICM":
        raise ValueError("no DICM after the preamble")
    at, values = 132, {}
    while at + 8 <= len(raw):
        group, element = struct.unpack_from("<HH", raw, at)
        if group != 2:
            break
        if raw[at + 4 : at + 6] in _LONG:
            start, length = at + 12, int.from_bytes(raw[at + 8 : at + 12], "little")
        else:
            start, length = at + 8, int.from_bytes(raw[at + 6 : at + 8], "little")
        values[element] = raw[start : start + length]
        at = start + length
    return Part10(
        sop_class_uid=_text(values.get(0x0002)),
        sop_instance_uid=_text(values.get(0x0003)),
        transfer_syntax_uid=_text(values.get(0x0010)),
        data_set=raw[at:],
    )


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0 ").decode("ascii", errors="replace")
