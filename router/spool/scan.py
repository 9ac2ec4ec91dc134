"""Walking along a segment file by its records' own headers: for cleaning, verification and rebuilding.

Places without a valid header (zeros, remains of an earlier generation, the hole of a failed write) are
stepped over block by block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from router.errors import StorageError
from router.model import Instance, InstanceState, Place
from router.spool.record import (
    BLOCK,
    FIXED_BYTES,
    MARK_BYTES,
    RecordHeader,
    arrival_length,
    decode_header,
    decode_page,
)
from router.spool.schema import LARGE, LEDGER_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A record whose header is intact; its content is not checked yet."""

    header: RecordHeader
    segment: int
    offset: int  # of the record

    @property
    def instance(self) -> Instance:
        """As the ledger would have it, not routed."""
        header = self.header
        return Instance(
            key=header.key,
            arrival=header.arrival,
            place=Place(
                segment=self.segment,
                offset=0 if self.segment == LARGE else self.offset + header.header_bytes,
                length_bytes=header.length_bytes,
                data_set_offset=header.data_set_offset,
            ),
            content_hash=header.content_hash,
            state=InstanceState.RECEIVED,
        )


def segment_files(directory: Path) -> list[tuple[int, Path]]:
    """The segment files in a spool's directory, by number."""
    paths = (directory / "segments").glob("*.seg")
    return sorted((int(path.stem), path) for path in paths if path.stem.isdigit())


def records(number: int, path: Path) -> Iterator[Found]:
    """The records of a segment's present generation, in order. May raise ``OSError``.

    Where the first page is damaged, the newest generation that is found decides.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        page = decode_page(os.pread(fd, BLOCK, 0))
        generation = (
            page[1] if page is not None else max((f.generation for f, _ in _walk(fd, size)), default=0)
        )
        for header, offset in _walk(fd, size, generation):
            yield Found(header=header, segment=number, offset=offset)
    finally:
        os.close(fd)


def _walk(fd: int, size: int, generation: int | None = None) -> Iterator[tuple[RecordHeader, int]]:
    offset = BLOCK
    while offset + FIXED_BYTES <= size:
        header = header_at(fd, offset)
        if header is None or (generation is not None and header.generation != generation):
            offset += BLOCK
            continue
        yield header, offset
        offset += max(header.span_bytes, BLOCK)


def header_at(fd: int, offset: int) -> RecordHeader | None:
    """The header that begins there, if one does."""
    start = os.pread(fd, BLOCK, offset)
    length = arrival_length(start)
    if length is None:
        return None
    wanted = FIXED_BYTES + length + 2 * MARK_BYTES
    return decode_header(start if wanted <= len(start) else os.pread(fd, wanted, offset))


def large_objects(directory: Path) -> Iterator[tuple[Path, Found | None]]:
    """The large objects in a spool's directory; None where the header beside one is missing or damaged."""
    for path in sorted((directory / "large").glob("*.dcm")):
        try:
            header = decode_header(path.with_suffix(".head").read_bytes())
        except FileNotFoundError:
            header = None
        is_its_own = header is not None and path.stem == str(header.key)
        yield path, Found(header=header, segment=LARGE, offset=0) if header and is_its_own else None


def refuse_lost_ledger(directory: Path) -> None:
    """``StorageError`` for stored objects without a ledger: a new one would take them for released."""
    if not (directory / LEDGER_NAME).exists() and _has_records(directory):
        raise StorageError(
            f"{directory}: there are stored instances but no ledger: make one with 'spool rebuild'",
            out_of_resources=False,
        )


def _has_records(directory: Path) -> bool:
    if any((directory / "large").glob("*.dcm")):
        return True
    for _, path in segment_files(directory):
        with path.open("rb") as file:
            if decode_page(file.read(BLOCK)) is not None:
                return True
    return False
