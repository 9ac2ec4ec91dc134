"""The writer's statements: everything that changes the ledger.

Each method runs inside a transaction of the writer thread. What a transaction releases is collected in
``released`` and handed over by the writer only after it is committed. Rows travel in few statements (see
``schema.chunks``), and results come back as one JSON value, for the same reason.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import apsw

from router.model import (
    Delivery,
    DeliveryState,
    Outcome,
    Place,
    Priority,
    Reason,
    Routed,
    Transcoding,
    Wish,
)
from router.spool.checkpoints import Checkpoints
from router.spool.files import Files
from router.spool.releasing import Bindings, Releases
from router.spool.rows import (
    INSTANCE_JSON,
    ReleasedRow,
    decode_deliveries,
    encode_json,
    make_delivery,
)
from router.spool.schema import (
    ACTIVE,
    CHUNKS,
    DEAD,
    DELIVERED,
    DELIVERY_CODE,
    HELD,
    KEY_MASK,
    LEDGER_NAME,
    ORDINALS,
    PENDING,
    PRIORITIES,
    PRIORITY_CODE,
    chunks,
    connect,
    open_log,
    values,
)

NewRow = tuple[int, int, int, int, int, bytes, str, str]  # key, place (4), hash, uid, arrival

_INSERTS = {
    size: "INSERT INTO instances"
    "(key, segment, offset, length, data_set_offset, hash, uid, arrival, state) VALUES "
    + ",".join(["(?,?,?,?,?,?,?,?,0)"] * size)
    for size in CHUNKS
}
_PENDING_OF = tuple(
    f"SELECT * FROM (SELECT id, attempts, created_at, priority, wish FROM deliveries WHERE state = {PENDING} "
    f"AND state < 4 AND destination = ?1 AND priority = {p} AND due_at <= ?2 ORDER BY due_at, id LIMIT ?3)"
    for p in range(3)
)


def _claimable(pending: str) -> str:
    return (
        "SELECT json_group_array(json_array(d.id, ?4, d.attempts, d.created_at, d.priority, json(d.wish), "
        f"{INSTANCE_JSON})) FROM (SELECT * FROM ({pending}) LIMIT ?3) d "
        f"CROSS JOIN instances i ON i.key = (d.id & {KEY_MASK})"
    )


_CLAIMABLE = _claimable(" UNION ALL ".join(_PENDING_OF))
_CLAIMABLE_ONLY = {
    priority: _claimable(pending) for priority, pending in zip(PRIORITIES, _PENDING_OF, strict=True)
}
_NEXT_DUE = (
    "SELECT min(due) FROM ("
    + " UNION ALL ".join(
        f"SELECT min(due_at) AS due FROM deliveries WHERE state = {PENDING} AND state < 4 "
        f"AND destination = ?1 AND priority = {p}"
        for p in range(3)
    )
    + ")"
)
_ROUTED = (
    "id, destination, state, reason, priority, due_at, created_at, changed_at, lease_owner, lease_until, wish"
)
_IDS = "(SELECT value FROM json_each(?1))"


class Ledger(Releases):
    """The one connection that writes."""

    def __init__(self, directory: Path, owner: str, retention_s: float, files: Files) -> None:
        self.connection = connect(directory, read_only=False)
        self.owner = owner
        self.released: list[ReleasedRow] = []
        self.log_fd = open_log(directory, files)
        self.checkpoints = Checkpoints(directory / LEDGER_NAME, files)
        self._retention_s = retention_s
        self._destinations: dict[str, int] = {}
        self._is_full_sync = True
        self._execute = self.connection.execute

    # Transactions

    def begin(self) -> None:
        """Begin a transaction."""
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit it; on stable storage when this returns, if ``sync_commits`` said so."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Forget the transaction, and what it seemed to release."""
        self.released = []
        self._destinations.clear()
        if not self.connection.get_autocommit():
            self._execute("ROLLBACK")

    def sync_commits(self, durable: bool) -> None:
        """Whether the next commits wait for the disk.

        Routing and claiming need not: after a crash they are done again. What must last syncs the whole log
        of the ledger, and with it everything committed before.
        """
        if durable is not self._is_full_sync:
            self._execute("PRAGMA synchronous=FULL" if durable else "PRAGMA synchronous=NORMAL")
            self._is_full_sync = durable

    @property
    def is_synced(self) -> bool:
        """Whether the last commit waited for the disk, and everything before it is there, too."""
        return self._is_full_sync

    def keep_log(self) -> None:
        """Closing is not to copy the log into the ledger and delete it."""
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)

    def close(self) -> None:
        """Close the connection and its log."""
        with suppress(apsw.Error):  # a failing disk: the log stays, and is read at the next start
            self.connection.close()
        os.close(self.log_fd)
        self.checkpoints.close()

    def log_something(self) -> None:
        """Make the transaction write to the log, whatever else is in it. Changes nothing."""
        self._execute("INSERT INTO destinations(name) VALUES ('')")
        self._execute("DELETE FROM destinations WHERE name = ''")

    def take_released(self) -> list[ReleasedRow]:
        """What the committed transaction released."""
        released, self.released = self.released, []
        return released

    def _in_chunks(self, before: str, columns: int, rows: Sequence[Bindings], after: str = "") -> None:
        start = 0
        for size in chunks(len(rows)):
            flat = tuple(chain.from_iterable(rows[start : start + size]))
            self._execute(before + values(columns, size) + after, flat)
            start += size

    def _destination(self, name: str) -> int:
        number = self._destinations.get(name)
        if number is None:
            self._execute("INSERT OR IGNORE INTO destinations(name) VALUES (?)", (name,))
            found = self._execute("SELECT id FROM destinations WHERE name = ?", (name,)).get
            assert isinstance(found, int)  # noqa: S101  it was inserted just now
            number = found
            self._destinations[name] = number
        return number

    # Instances

    def insert(self, rows: Sequence[NewRow]) -> None:
        """New instances, state received."""
        start = 0
        for size in chunks(len(rows)):
            flat = tuple(chain.from_iterable(rows[start : start + size]))
            self._execute(_INSERTS[size], flat)
            start += size

    def move(self, copies: Iterable[tuple[int, Place, Place]]) -> None:
        """Records copied forward. What they leave is released; or the copy, if the instance is gone."""
        for key, old, new in copies:
            self._execute(
                "UPDATE instances SET segment = ?, offset = ? "
                "WHERE key = ? AND segment = ? AND offset = ? AND state < 3",
                (new.segment, new.offset, key, old.segment, old.offset),
            )
            left = old if self.connection.changes() else new
            self.released.append((key, left.segment, left.length_bytes))

    def mark_corrupt(self, key: int, segment: int, offset: int, now: float) -> None:
        """The bytes at that place are damaged: keep the instance in sight, and never try to send it again."""
        self._execute(
            "UPDATE instances SET state = 2 WHERE key = ? AND segment = ? AND offset = ? AND state < 2",
            (key, segment, offset),
        )
        if self.connection.changes():
            self._execute(
                f"UPDATE deliveries SET state = {DEAD}, reason = ?, due_at = NULL, changed_at = ? "
                f"WHERE id > ? AND id < ? AND state < {DEAD}",
                (Reason.CORRUPT.value, now, key, key + ORDINALS),
            )

    # The queue

    def note_tail(self, segment: int) -> None:
        """From now on records are appended to this segment: where to look for rows that were lost."""
        self._execute("INSERT OR REPLACE INTO log_tail(id, segment) VALUES (1, ?)", (segment,))

    def tail(self) -> int | None:
        """The segment that was noted last."""
        segment = self._execute("SELECT segment FROM log_tail").get
        return segment if isinstance(segment, int) else None

    def route(
        self, items: Sequence[tuple[Routed, float]], leases: Mapping[int, float] = MappingProxyType({})
    ) -> set[str]:
        """Decisions → deliveries; returns the destinations with new work. A second time changes nothing.

        ``leases``: delivery ids that a lane waits for, and until when it has them; they are nobody's work.
        """
        updates: list[Bindings] = []
        rows: list[Bindings] = []
        dropped: list[int] = []
        woken: set[str] = set()
        for routed, now in items:
            decision = routed.decision
            updates.append((routed.key, encode_json(decision).decode(), now))
            names, state, reason = decision.destinations, PENDING, Reason.ROUTED
            if decision.hold:
                names, state, reason = ("",), HELD, Reason.UNMATCHED
            elif not names:
                dropped.append(routed.key)
            priority = PRIORITY_CODE[decision.priority]
            due_at = None if decision.hold else now
            for ordinal, name in enumerate(names, routed.key + 1):
                until = leases.get(ordinal)
                owner = self.owner if until is not None else None
                code = ACTIVE if until is not None else state
                if code == PENDING:
                    woken.add(name)
                rows.append(
                    (ordinal, self._destination(name), code, reason.value, priority, due_at, now, now,
                     owner, until, _as_json(decision.wish_for(name)))
                )  # fmt: skip
        if rows:
            self._in_chunks(
                f"WITH v({_ROUTED}) AS (",
                11,
                rows,
                f") INSERT OR IGNORE INTO deliveries({_ROUTED}) "
                f"SELECT v.* FROM v CROSS JOIN instances i ON i.key = (v.id & {KEY_MASK}) WHERE i.state = 0",
            )
        self._in_chunks(
            "WITH v(key, decision, routed_at) AS (",
            3,
            updates,
            ") UPDATE instances SET state = 1, decision = v.decision, routed_at = v.routed_at "
            "FROM v WHERE instances.key = v.key AND instances.state = 0",
        )
        if dropped:
            self.release_done(dropped, items[-1][1])
        return woken

    def claim(
        self, destination: str, limit: int, until: float, now: float, only: Priority | None = None
    ) -> tuple[list[Delivery], float | None]:
        """Lease what is due. Where that is less than ``limit``, also when the next will be due."""
        number = self._destination(destination)
        claimable = _CLAIMABLE if only is None else _CLAIMABLE_ONLY[only]
        found = decode_deliveries(self._value(claimable, (number, now, limit, destination)))
        if found:
            ids = encode_json([row[0] for row in found]).decode()
            self._execute(
                f"UPDATE deliveries SET state = {ACTIVE}, lease_owner = ?2, lease_until = ?3, "
                f"changed_at = ?4 WHERE id IN {_IDS}",
                (ids, self.owner, until, now),
            )
        due = self.next_due(number) if len(found) < limit else None
        return [make_delivery(row) for row in found], due

    def next_due(self, destination: int) -> float | None:
        """When the next pending delivery is due."""
        due = self._execute(_NEXT_DUE, (destination,)).get
        return due if isinstance(due, float) else None

    def record(self, outcomes: Sequence[Outcome]) -> set[str]:
        """Outcomes of attempts; returns the destinations that have pending work from them.

        Only the lease's holder may change a delivery, except that what a peer has confirmed is delivered
        whoever says so. What is final already stays as it is: recording twice is recording once.
        """
        owner = self.owner
        attempts: list[Bindings] = [
            (o.delivery_id, DELIVERY_CODE[o.state], o.started_at, o.ended_at, o.reason.value, o.status,
             o.comment, o.transfer_syntax_uid, o.carried_by, _as_json(o.transcoding), owner)
            for o in outcomes
        ]  # fmt: skip
        self._in_chunks(
            "WITH v(id, state, started_at, ended_at, reason, status, comment, transfer_syntax, carried_by, "
            "transcoding, owner) AS (",
            11,
            attempts,
            ") INSERT OR IGNORE INTO attempts SELECT v.id, d.tries + 1, v.started_at, v.ended_at, v.reason, "
            "v.status, v.comment, v.transfer_syntax, v.carried_by, v.transcoding "
            "FROM v CROSS JOIN deliveries d ON d.id = v.id "
            f"WHERE d.state < 4 AND (v.state = {DELIVERED} OR d.lease_owner = v.owner)",
        )
        changes: list[Bindings] = [
            (o.delivery_id, DELIVERY_CODE[o.state], o.reason.value, _due_at(o), int(o.counts), o.ended_at,
             o.status, o.comment, _as_json(o.wish), owner)
            for o in outcomes
        ]  # fmt: skip
        self._in_chunks(
            "WITH v(id, state, reason, due_at, counts, changed_at, status, comment, wish, owner) AS (",
            10,
            changes,
            ") UPDATE deliveries SET state = v.state, reason = v.reason, due_at = v.due_at, "
            "attempts = attempts + v.counts, tries = tries + 1, lease_owner = NULL, lease_until = NULL, "
            "changed_at = v.changed_at, last_status = v.status, last_comment = v.comment, "
            "wish = coalesce(v.wish, deliveries.wish) "
            "FROM v WHERE deliveries.id = v.id AND deliveries.state < 4 "
            f"AND (v.state = {DELIVERED} OR deliveries.lease_owner = v.owner)",
        )
        final = [o.key for o in outcomes if o.state.is_final]
        if final:
            self.release_done(final, outcomes[-1].ended_at)
        return {o.destination for o in outcomes if o.state is DeliveryState.PENDING}

    def give_back(self, ids: Sequence[int], now: float) -> None:
        """Leases returned without an attempt."""
        self._execute(
            f"UPDATE deliveries SET state = {PENDING}, due_at = coalesce(due_at, ?2), lease_owner = NULL, "
            f"lease_until = NULL, changed_at = ?2 WHERE id IN {_IDS} AND state = {ACTIVE} "
            "AND lease_owner = ?3",
            (encode_json(ids).decode(), now, self.owner),
        )

    def expire_leases(self, before: float | None) -> set[str]:
        """What has a lease that ran out (None: any) is pending again; returns the destinations."""
        which = f"state = {ACTIVE} AND state < 4" + ("" if before is None else " AND lease_until <= ?1")
        bindings = () if before is None else (before,)
        names = self._execute(
            "SELECT DISTINCT name FROM destinations WHERE id IN "
            f"(SELECT destination FROM deliveries WHERE {which})",
            bindings,
        ).fetchall()
        if names:
            self._execute(
                f"UPDATE deliveries SET state = {PENDING}, reason = '{Reason.LEASE_EXPIRED.value}', "
                f"lease_owner = NULL, lease_until = NULL WHERE {which}",
                bindings,
            )
        return {str(name) for (name,) in names}


def _as_json(record: Wish | Transcoding | None) -> str | None:
    return None if record is None else encode_json(record).decode()


def _due_at(outcome: Outcome) -> float | None:
    """When a delivery that is pending again is due; at once where the outcome does not say."""
    if outcome.state is not DeliveryState.PENDING:
        return None
    return outcome.ended_at if outcome.retry_at is None else outcome.retry_at
