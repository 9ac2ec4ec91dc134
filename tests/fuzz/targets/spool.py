"""What lies in a spool's directory, read as at the start of a gateway and by a rebuild.

The first byte chooses: a segment as it is (0), a segment of records whose checks are right whatever they say
(1), the header beside a large object, with its check right (2). A check only proves that a header is as it
was written, and ledgers are rebuilt from what other versions wrote.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import xxhash

from router.spool.inspect import rebuild
from router.spool.record import BLOCK, decode_header, decode_page, encode_header, encode_page, round_up
from router.spool.scan import large_objects, records
from router.spool.tail import missing_rows

_ARRIVAL = (
    b'{"sop_class_uid":"1.2","sop_instance_uid":"1.3","transfer_syntax_uid":"1.2.840.10008.1.2",'
    b'"origin":{"calling_ae":"A","called_ae":"B","peer":"","listener":""},"received_at":1.5,"priority":"high"}'
)
WORDS = (
    _ARRIVAL,
    encode_page(1, 1)[:32],
    b"DRRECRD2",
    b"DRSEGMT1",
    b'"received_at":1e999',
    b'"priority":"low"',
    b'"extra":[[',
    b"\\ud800",
    b"null",
)
_MOST_RECORDS = 8
_INT64 = 1 << 63


def target(data: bytes) -> None:
    """See the module."""
    if not data:
        return
    kind, body = data[0] % 3, data[1:]
    decode_header(body)
    decode_page(body)
    directory = _directory()
    segment, large = directory / "segments" / "00000001.seg", directory / "large"
    for path in large.iterdir():
        path.unlink()
    if kind == 2:
        key, header = _header(body, 0, b"object")
        segment.write_bytes(b"")
        (large / f"{key}.dcm").write_bytes(b"object")
        (large / f"{key}.head").write_bytes(header)
    else:
        segment.write_bytes(body if kind == 0 else _segment(body))
    _check_tail(segment)
    for _, found in large_objects(directory):
        assert found is None or 0 <= found.instance.key < _INT64
    if data[0] & 0x80:  # slow: it makes a database
        report = rebuild(directory, replace=True)
        assert report.restored >= 0
        for path in directory.glob("ledger.db*"):
            path.unlink()
        shutil.rmtree(directory / "damaged", ignore_errors=True)


@cache
def _directory() -> Path:
    """In memory where that is possible; gone with the process."""
    shared = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="fuzz-spool-", dir=shared if os.access(shared, os.W_OK) else None))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    for name in ("segments", "large"):
        (path / name).mkdir()
    return path


def _check_tail(segment: Path) -> None:
    """In order, each once, with numbers that the ledger can hold."""
    at = 0
    for found in records(1, segment):
        assert found.offset >= at
        at = found.offset + BLOCK
        assert found.instance.place.data_set_offset >= 0
    for row in missing_rows(1, segment, 0):
        assert all(-1 <= number < _INT64 for number in row[:5])


def _segment(body: bytes) -> bytes:
    """A page and records, of which the bytes say the numbers and the arrival."""
    out = bytearray(encode_page(1, 1))
    for _ in range(_MOST_RECORDS):
        if not body:
            break
        size = body[0] % 64
        content, body = body[1 : 1 + size], body[1 + size :]
        _, header = _header(body, len(out), content)
        body = body[26:]
        record = header + content
        out += record.ljust(round_up(len(record)), b"\0")
    return bytes(out)


def _header(body: bytes, offset: int, content: bytes) -> tuple[int, bytes]:
    """A header with its check, all numbers small and fitting unless the bytes say otherwise."""
    choice, numbers, text = body[:1].ljust(1, b"\0")[0], body[1:25].ljust(24, b"\0"), body[25:]
    key, length, synced = (int.from_bytes(numbers[at : at + 8], "little") for at in (0, 8, 16))
    if choice & 1:
        length = len(content)
    if choice & 2:
        key = key % 1000 << 20
    encoded = _ARRIVAL if choice & 4 or not text else text
    digest = xxhash.xxh3_128_digest(content)
    generation = 1 if not choice & 8 else 2
    return key, encode_header(generation, synced, key, length, choice, digest, encoded)
