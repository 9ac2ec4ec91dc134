"""A ledger under construction, apart from the one in use until it is complete."""

from __future__ import annotations

from pathlib import Path

from router.model import Instance
from router.spool.record import encode_arrival
from router.spool.schema import CORRUPT, RECEIVED, connect

_COMMIT_ROWS = 1000


class NewLedger:
    """Takes instances in any order; a key that comes twice (cleaning copied it) counts once."""

    def __init__(self, directory: Path) -> None:
        self._connection = connect(directory, read_only=False)
        self._connection.execute("BEGIN")
        self._damaged: list[Instance] = []
        self._count = 0

    def add(self, instance: Instance) -> None:
        """An intact one: received, to be routed."""
        self._insert(instance, RECEIVED)

    def add_damaged(self, instance: Instance) -> None:
        """One whose bytes do not match: kept in sight."""
        self._damaged.append(instance)

    def close(self) -> None:
        """Complete it; one file, durable, is left."""
        for instance in self._damaged:
            self._insert(instance, CORRUPT)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _insert(self, instance: Instance, state: int) -> None:
        place = instance.place
        self._connection.execute(
            "INSERT OR IGNORE INTO instances"
            "(key, state, segment, offset, length, data_set_offset, hash, uid, arrival) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                instance.key,
                state,
                place.segment,
                place.offset,
                place.length_bytes,
                place.data_set_offset,
                instance.content_hash,
                instance.arrival.sop_instance_uid,
                encode_arrival(instance.arrival).decode(),
            ),
        )
        self._count += 1
        if self._count % _COMMIT_ROWS == 0:
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN")
