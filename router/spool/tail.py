"""The end of the log, after the process or the power ended: records that are synced, and whose rows are not.

An append is acknowledged when its record is on stable storage; its row in the ledger is committed and synced
a moment later, together with others. A record says all that its row does, so what the ledger lacks is read
again from the log. There is one segment to look at: the first commit for a segment names it in the ledger and
waits for the disk, and with it everything before, so that rows can only be missing for records in the segment
named last, behind the newest row. (The newest row is never pruned.)

A record whose row is missing may never have been acknowledged: then its sender sends it again. One that is
damaged was whole if a later one says that it had been synced, and so acknowledged, unless the ledger failed
then: it gets its row like the others, and the damage is found, and shown, when it is to be delivered. Else
its write did not come to an end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import xxhash

from router.spool.ledger import NewRow
from router.spool.record import encode_arrival
from router.spool.scan import Found, records


def missing_rows(number: int, path: Path, newest_key: int) -> Iterator[NewRow]:
    """Rows for the whole records of segment ``number`` behind ``newest_key``. May raise ``OSError``."""
    tail = list(records(number, path))
    synced_to = max((found.header.synced_to for found in tail), default=0)
    for found in tail:
        if found.header.key > newest_key and (found.offset < synced_to or _is_whole(path, found)):
            place = found.instance.place
            yield (
                found.header.key,
                place.segment,
                place.offset,
                place.length_bytes,
                place.data_set_offset,
                found.header.content_hash,
                found.header.arrival.sop_instance_uid,
                encode_arrival(found.header.arrival).decode(),
            )


def _is_whole(path: Path, found: Found) -> bool:
    place = found.instance.place
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if place.offset + place.length_bytes > os.fstat(fd).st_size:
            return False
        content = os.pread(fd, place.length_bytes, place.offset)
    finally:
        os.close(fd)
    return xxhash.xxh3_128_digest(content) == found.header.content_hash
