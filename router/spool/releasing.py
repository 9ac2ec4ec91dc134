"""What the ledger lets go of: instances that are done with, and history that is old enough.

Part of the ledger (:class:`router.spool.ledger.Ledger`), in whose transactions it runs. What is released here
is handed on, to be written over, only after the commit.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

from collections.abc import Sequence

import apsw

from router.spool.rows import ReleasedRow, decode_pairs, decode_released, encode_json
from router.spool.schema import ORDINALS

Bindings = Sequence[int | float | str | bytes | None]

_IDS = "(SELECT value FROM json_each(?1))"
_DONE_WITH = (
    f"i.key IN {_IDS} AND i.state = 1 AND NOT EXISTS (SELECT 1 FROM deliveries d "
    f"WHERE d.id > i.key AND d.id < i.key + {ORDINALS} AND d.state < 4)"
)


class Releases:
    """Statements of one connection that release and forget."""

    connection: apsw.Connection
    released: list[ReleasedRow]
    _retention_s: float

    def _value(self, sql: str, bindings: Bindings) -> str:
        value = self.connection.execute(sql, bindings).get
        return value if isinstance(value, str) else "[]"

    def _pairs(self, sql: str, bindings: Bindings) -> list[tuple[int, int]]:
        return decode_pairs(self._value(sql, bindings))

    def release_done(self, keys: Sequence[int], now: float) -> None:
        """Release those of ``keys`` whose deliveries are all final, or note when retention will."""
        wanted = encode_json(keys).decode()
        if self._retention_s > 0:
            self.connection.execute(
                f"UPDATE instances AS i SET release_at = ?2 WHERE {_DONE_WITH}",
                (wanted, now + self._retention_s),
            )
            return
        self._release(f"SELECT json_group_array(json_array(i.key, i.segment, i.length)) FROM instances i "
                      f"WHERE {_DONE_WITH}", (wanted,), now)  # fmt: skip

    def release_corrupt(self, keys: str, now: float) -> int:
        """Release those of ``keys`` (JSON) that are damaged; how many."""
        before = len(self.released)
        self._release("SELECT json_group_array(json_array(i.key, i.segment, i.length)) FROM instances i "
                      f"WHERE i.key IN {_IDS} AND i.state = 2", (keys,), now)  # fmt: skip
        return len(self.released) - before

    def release_retained(self, now: float, limit: int) -> int:
        """Release instances whose retention has passed; how many."""
        before = len(self.released)
        self._release(
            "SELECT json_group_array(json_array(i.key, i.segment, i.length)) FROM (SELECT * FROM instances "
            "WHERE state = 1 AND release_at IS NOT NULL AND release_at <= ?1 ORDER BY release_at LIMIT ?2) i",
            (now, limit),
            now,
        )
        return len(self.released) - before

    def release_oldest(self, wanted: int, limit: int, now: float) -> int:
        """Release the retained instances that would be first, ``wanted`` bytes or a little more; how many.

        ``limit`` instances at most. None of them has a delivery that is not final.
        """
        before = len(self.released)
        self._release(
            "SELECT json_group_array(json_array(key, segment, length)) FROM "
            "(SELECT key, segment, length, sum(length) OVER (ORDER BY release_at, key) - length AS sooner "
            "FROM (SELECT key, segment, length, release_at FROM instances WHERE state = 1 "
            "AND release_at IS NOT NULL ORDER BY release_at, key LIMIT ?2)) WHERE sooner < ?1",
            (wanted, limit),
            now,
        )
        return sum(length for _, _, length in self.released[before:])

    def _release(self, select: str, bindings: Bindings, now: float) -> None:
        rows = decode_released(self._value(select, bindings))
        if rows:
            self.connection.execute(
                f"UPDATE instances SET state = 3, release_at = ?2 WHERE key IN {_IDS}",
                (encode_json([row[0] for row in rows]).decode(), now),
            )
            self.released.extend(rows)

    def prune(self, after: int, before: float, limit: int) -> int | None:
        """Forget released instances of before ``before``, among the ``limit`` that follow ``after``.

        Returns where to go on, or None at the end: one small step of a walk along the keys.
        """
        seen = self._pairs(
            "SELECT json_group_array(json_array(key, state = 3 AND release_at < ?2)) FROM "
            "(SELECT * FROM instances WHERE key > ?1 AND key < ?3 AND key < (SELECT max(key) FROM instances) "
            "ORDER BY key LIMIT ?4)",
            (after, before, int(before * 1000) << 20, limit),
        )
        if not seen:
            return None
        keys = encode_json([key for key, is_old in seen if is_old]).decode()
        deliveries = (
            "SELECT d.id FROM json_each(?1) k CROSS JOIN deliveries d "
            f"ON d.id BETWEEN k.value AND k.value + {ORDINALS - 1}"
        )
        self.connection.execute(f"DELETE FROM attempts WHERE delivery IN ({deliveries})", (keys,))
        self.connection.execute(f"DELETE FROM deliveries WHERE id IN ({deliveries})", (keys,))
        self.connection.execute(f"DELETE FROM instances WHERE key IN {_IDS}", (keys,))
        return seen[-1][0]
