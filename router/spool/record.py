"""The form of a record and of a segment's first page on disk.

A segment is a page, then records, each beginning on a 4,096-byte boundary so that a torn write cannot touch
a neighbour. All numbers are little endian.

    page      magic 8s · version u32 · segment number u32 · generation u64 · XXH3-64 of these
    record    magic 8s · generation u64 · synced u64 · key u64 · length u64 · data set offset u32 ·
              arrival length u32 · XXH3-128 of the object 16s
              arrival, as JSON
              XXH3-64 of all the above · key u64 again
              the Part 10 object (``length`` bytes), zeros up to the next boundary

``synced``: whatever lies before this offset of the segment had been synced when the record was written. What
is damaged there was whole once; behind it, a write may just not have come to its end.

A record belongs to its segment only if its generation is the page's: recycling a segment raises it, and
what is left of its earlier life means nothing. The page is synced before the first record is written. The key
stands again right before the object, where a reader of a part (which cannot check the hash) sees whether the
place is still that of its instance: a recycled segment is overwritten from its start, so the key is gone
before any byte of the object is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec
import xxhash

from router.model import Arrival, Buffer

BLOCK = 4096
MARK_BYTES = 8  # the key right before the object
_PAGE = struct.Struct("<8sIIQ")
_PAGE_MAGIC = b"DRSEGMT1"
_FIXED = struct.Struct("<8sQQQQII16s")
_MAGIC = b"DRRECRD2"
_CHECK = struct.Struct("<QQ")
_VERSION = 1
FIXED_BYTES = _FIXED.size
_NUMBER_MAX = (1 << 63) - 1  # of offsets in files, and in the ledger
ARRIVAL_CAP = 256 * 1024  # a command set may carry 64 KiB of UID; JSON may escape each byte

encode_arrival = msgspec.json.Encoder().encode
decode_arrival = msgspec.json.Decoder(Arrival).decode
_hash64 = xxhash.xxh3_64_intdigest


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordHeader:
    """What stands before an object in a segment."""

    generation: int
    synced_to: int
    key: int
    length_bytes: int
    data_set_offset: int
    content_hash: bytes
    arrival: Arrival
    header_bytes: int

    @property
    def span_bytes(self) -> int:
        """What the whole record takes of the segment."""
        return round_up(self.header_bytes + self.length_bytes)


def round_up(size: int) -> int:
    """The next record boundary."""
    return (size + BLOCK - 1) & -BLOCK


def header_bytes(arrival: bytes) -> int:
    """How long the header with this encoded arrival is."""
    return FIXED_BYTES + len(arrival) + _CHECK.size


def encode_header(
    generation: int,
    synced_to: int,
    key: int,
    length: int,
    data_set_offset: int,
    content_hash: bytes,
    arrival: bytes,
) -> bytes:
    """The bytes before the object; positional because it runs once for each instance."""
    fixed = (_MAGIC, generation, synced_to, key, length, data_set_offset, len(arrival), content_hash)
    head = _FIXED.pack(*fixed) + arrival
    return head + _CHECK.pack(_hash64(head), key)


def arrival_length(fixed: Buffer) -> int | None:
    """How long the arrival behind these first ``FIXED_BYTES`` is; None if no record begins here."""
    if len(fixed) < FIXED_BYTES:
        return None
    magic, _, _, _, _, _, length, _ = _FIXED.unpack_from(fixed)
    return length if magic == _MAGIC and length <= ARRIVAL_CAP else None


def decode_header(buffer: Buffer) -> RecordHeader | None:
    """The header at the start of ``buffer``; None if there is none or it is damaged."""
    length = arrival_length(buffer)
    if length is None or len(buffer) < FIXED_BYTES + length + _CHECK.size:
        return None
    end = FIXED_BYTES + length
    head = bytes(memoryview(buffer)[:end])
    _, generation, synced_to, key, size, data_set_offset, _, content_hash = _FIXED.unpack_from(head)
    if _CHECK.unpack_from(buffer, end) != (_hash64(head), key) or max(key, size) > _NUMBER_MAX:
        return None
    try:
        arrival = decode_arrival(head[FIXED_BYTES:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # the last two as msgspec finds them
        return None
    return RecordHeader(
        generation=generation,
        synced_to=synced_to,
        key=key,
        length_bytes=size,
        data_set_offset=data_set_offset,
        content_hash=content_hash,
        arrival=arrival,
        header_bytes=end + _CHECK.size,
    )


def encode_page(number: int, generation: int) -> bytes:
    """A segment's first page."""
    head = _PAGE.pack(_PAGE_MAGIC, _VERSION, number, generation)
    return (head + _hash64(head).to_bytes(8, "little")).ljust(BLOCK, b"\0")


def decode_page(page: Buffer) -> tuple[int, int] | None:
    """Number and generation of a segment; None if the page is not one (new, or damaged)."""
    if len(page) < _PAGE.size + 8:
        return None
    head = bytes(memoryview(page)[: _PAGE.size])
    magic, version, number, generation = _PAGE.unpack(head)
    check = int.from_bytes(memoryview(page)[_PAGE.size : _PAGE.size + 8], "little")
    if magic != _PAGE_MAGIC or version != _VERSION or check != _hash64(head):
        return None
    return number, generation
