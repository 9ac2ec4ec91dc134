"""Reading the ledger: for operators, for metrics, and for routing that has fallen behind.

All take a connection that may be read-only; none scans the history, except ``trace``, which has an index.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

from array import array
from collections.abc import Iterator

import apsw
from msgspec import convert

from router.errors import UnknownItem
from router.model import (
    Attempt,
    Decision,
    DeliveryRecord,
    Instance,
    InstanceTrace,
    Listing,
    QueueDepth,
    Reason,
)
from router.spool.record import decode_arrival
from router.spool.rows import (
    INSTANCE_JSON,
    decode_decision,
    decode_instances,
    decode_transcoding,
    make_instance,
)
from router.spool.schema import (
    ACTIVE,
    CORRUPT,
    DELIVERED,
    DELIVERY_CODE,
    DELIVERY_STATES,
    KEY_MASK,
    LARGE,
    LIVE_KEYS,
    NAMED,
    ORDINALS,
    PRIORITIES,
    RECEIVED,
)

_RECORD = (
    "SELECT d.id, n.name, d.state, d.reason, d.priority, d.attempts, d.created_at, d.changed_at, d.due_at, "
    "d.last_status, d.last_comment, i.length - i.data_set_offset, i.arrival FROM deliveries d "
    "CROSS JOIN destinations n ON n.id = d.destination "
    f"CROSS JOIN instances i ON i.key = (d.id & {KEY_MASK}) "
)
RecordRow = tuple[int, str, int, str, int, int, float, float, float | None, int | None, str, int, str]
_NAMED = NAMED.replace(":name", "?")  # asks three times
_INSTANCES = f"SELECT json_group_array(json_array({INSTANCE_JSON})) FROM "


def _text(connection: apsw.Connection, sql: str, bindings: tuple[int | float | str, ...]) -> str:
    value = connection.execute(sql, bindings).get
    return value if isinstance(value, str) else "[]"


def _instances(connection: apsw.Connection, source: str, bindings: tuple[int | str, ...]) -> list[Instance]:
    return [make_instance(*row) for row in decode_instances(_text(connection, _INSTANCES + source, bindings))]


def unrouted(connection: apsw.Connection, after: int, limit: int) -> list[Instance]:
    """Received instances by rising key."""
    where = f"(SELECT * FROM instances WHERE state = {RECEIVED} AND key > ?1 ORDER BY key LIMIT ?2) i"
    return _instances(connection, where, (after, limit))


def corrupt(connection: apsw.Connection, after: int, limit: int) -> list[Instance]:
    """Corrupt instances by rising key."""
    where = f"(SELECT * FROM instances WHERE state = {CORRUPT} AND key > ?1 ORDER BY key LIMIT ?2) i"
    return _instances(connection, where, (after, limit))


def live(connection: apsw.Connection) -> Iterator[Instance]:
    """Everything not released, by rising key; streamed."""
    sql = (
        f"SELECT json_array(json_array({INSTANCE_JSON})) FROM instances i "
        f"WHERE key IN ({LIVE_KEYS}) AND state < 3"
    )
    for (row,) in connection.execute(sql):
        yield make_instance(*decode_instances(row)[0])


def instance(connection: apsw.Connection, key: int) -> Instance | None:
    """One instance as the ledger has it now."""
    found = _instances(connection, "instances i WHERE i.key = ?1", (key,))
    return found[0] if found else None


def held(connection: apsw.Connection, keys: str) -> list[Instance]:
    """Those of ``keys`` (JSON) whose bytes are here and not known to be damaged."""
    return _instances(
        connection, "json_each(?1) k CROSS JOIN instances i ON i.key = k.value WHERE i.state < 2", (keys,)
    )


def live_keys(connection: apsw.Connection) -> array[int]:
    """The keys of everything not released: 8 bytes for each."""
    return array("q", (int(key) for (key,) in connection.execute(LIVE_KEYS)))


def live_by_segment(connection: apsw.Connection) -> dict[int, tuple[int, int]]:
    """Count and bytes of the live records by segment (``LARGE`` among them)."""
    rows = connection.execute(
        "SELECT segment, count(*), sum(length) FROM instances "
        f"WHERE key IN ({LIVE_KEYS}) AND state < 3 GROUP BY segment"
    )
    return {int(segment): (int(count), int(total)) for segment, count, total in rows}


def is_live_large(connection: apsw.Connection, key: int) -> bool:
    """Whether ``key`` is a large object that is not released."""
    sql = f"SELECT 1 FROM instances WHERE key = ? AND segment = {LARGE} AND state < 3"
    return connection.execute(sql, (key,)).get is not None


def last_key(connection: apsw.Connection) -> int:
    """The highest key ever committed that is still known."""
    key = connection.execute("SELECT max(key) FROM instances").get
    return key if isinstance(key, int) else 0


def count_unrouted(connection: apsw.Connection) -> int:
    """How many instances wait for routing."""
    count = connection.execute(f"SELECT count(*) FROM instances WHERE state = {RECEIVED}").get
    return count if isinstance(count, int) else 0


def depths(connection: apsw.Connection) -> list[QueueDepth]:
    """Open deliveries by destination and state; the oldest by when its instance was received."""
    rows = connection.execute(
        "SELECT n.name, s.state, s.count, s.oldest FROM (SELECT destination, state, count(*) AS count, "
        "min(id) AS oldest FROM deliveries WHERE state < 4 GROUP BY state, destination) s "
        "JOIN destinations n ON n.id = s.destination ORDER BY n.name, s.state"
    )
    return [
        QueueDepth(
            destination=str(name),
            state=DELIVERY_STATES[int(state)],
            count=int(count),
            oldest_at=(int(oldest) >> 20) / 1000,
        )
        for name, state, count, oldest in rows
    ]


def next_lease_end(connection: apsw.Connection) -> float | None:
    """When the first lease runs out."""
    until = connection.execute(
        f"SELECT min(lease_until) FROM deliveries WHERE state = {ACTIVE} AND state < 4"
    ).get
    return until if isinstance(until, float) else None


def next_release(connection: apsw.Connection) -> float | None:
    """When the first retention ends."""
    at = connection.execute(
        "SELECT min(release_at) FROM instances WHERE state = 1 AND release_at IS NOT NULL"
    ).get
    return at if isinstance(at, float) else None


def retained_bytes(connection: apsw.Connection) -> int:
    """What delivered instances take that are kept for a while. An index has it: 0.1 µs for each."""
    total = connection.execute(
        "SELECT sum(length) FROM instances INDEXED BY instances_retained "
        "WHERE state = 1 AND release_at IS NOT NULL"
    ).get
    return total if isinstance(total, int) else 0


def destinations(connection: apsw.Connection) -> set[str]:
    """Every destination that ever had a delivery."""
    return {str(name) for (name,) in connection.execute("SELECT name FROM destinations")}


def next_due(connection: apsw.Connection, destination: str) -> float | None:
    """When the next pending delivery of a destination is due."""
    due = connection.execute(
        "SELECT min(due) FROM (SELECT (SELECT min(due_at) FROM deliveries WHERE state = 0 AND state < 4 "
        "AND destination = n.id AND priority = p.value) AS due "
        "FROM destinations n, json_each('[0,1,2]') p WHERE n.name = ?)",
        (destination,),
    ).get
    return due if isinstance(due, float) else None


def list_deliveries(connection: apsw.Connection, asked: Listing) -> list[DeliveryRecord]:
    """Deliveries by rising id; see ``Spool.list_deliveries``."""
    code = DELIVERED if asked.state is None else DELIVERY_CODE[asked.state]
    if code < DELIVERED and asked.sop_instance_uid is None and asked.calling_ae is None:
        return _list_open(connection, asked, code)
    where = ["d.id > ?"]
    bindings: list[int | str] = [asked.after or 0]
    if asked.destination is not None:
        where.append(_NAMED)
        bindings += [asked.destination] * 3
    if asked.state is not None:
        where.append(f"d.state = {code}" + (" AND d.state < 4" if code < 4 else ""))
    if asked.sop_instance_uid is not None:
        where.append(
            "d.id IN (SELECT x.id FROM instances k CROSS JOIN deliveries x "
            f"ON x.id > k.key AND x.id < k.key + {ORDINALS} WHERE k.uid = ?)"
        )
        bindings.append(asked.sop_instance_uid)
    if asked.calling_ae is not None:
        where.append("json_extract(i.arrival, '$.origin.calling_ae') = ?")
        bindings.append(asked.calling_ae)
    is_open = code < DELIVERED and asked.sop_instance_uid is None
    source = (
        _RECORD.replace("deliveries d", "deliveries d INDEXED BY deliveries_open") if is_open else _RECORD
    )
    rows = connection.execute(
        f"{source} WHERE {' AND '.join(where)} ORDER BY d.id LIMIT ?", (*bindings, asked.limit)
    )
    return [_record(row) for row in rows]


def _list_open(connection: apsw.Connection, asked: Listing, code: int) -> list[DeliveryRecord]:
    """Those of one state: which they are, the index alone says, so that only the page's own are looked up."""
    where, bindings = f"state = {code} AND state < 4 AND id > ?", [asked.after or 0]
    names: list[str] = []
    if asked.destination is not None:
        where += f" AND destination IN (SELECT id FROM destinations n WHERE {_NAMED})"
        names += [asked.destination] * 3
    page = f"SELECT id FROM deliveries INDEXED BY deliveries_open WHERE {where} ORDER BY id LIMIT ?"
    source = _RECORD.replace("FROM deliveries d", f"FROM ({page}) p CROSS JOIN deliveries d ON d.id = p.id")
    rows = connection.execute(f"{source} ORDER BY d.id", (*bindings, *names, asked.limit))
    return [_record(row) for row in rows]


def show(connection: apsw.Connection, delivery_id: int) -> DeliveryRecord:
    """One delivery with its attempts."""
    for row in connection.execute(f"{_RECORD} WHERE d.id = ?", (delivery_id,)):
        return _record(row, _attempts(connection, delivery_id))
    raise UnknownItem(f"there is no delivery {delivery_id}")


def trace(connection: apsw.Connection, sop_instance_uid: str) -> list[InstanceTrace]:
    """Every arrival of that UID, oldest first."""
    traces = []
    for found in _instances(
        connection, "(SELECT * FROM instances WHERE uid = ?1 ORDER BY key) i", (sop_instance_uid,)
    ):
        decision, routed_at = next(
            connection.execute("SELECT decision, routed_at FROM instances WHERE key = ?", (found.key,)),
            (None, None),
        )
        rows = list(
            connection.execute(
                f"{_RECORD} WHERE d.id > ? AND d.id < ? ORDER BY d.id", (found.key, found.key + ORDINALS)
            )
        )
        traces.append(
            InstanceTrace(
                instance=found,
                decision=_decision(decision),
                routed_at=routed_at,
                deliveries=tuple(_record(row, _attempts(connection, int(row[0]))) for row in rows),
            )
        )
    return traces


def _decision(text: str | None) -> Decision | None:
    return None if text is None else decode_decision(text)


def _attempts(connection: apsw.Connection, delivery_id: int) -> tuple[Attempt, ...]:
    rows = connection.execute(
        "SELECT number, started_at, ended_at, reason, status, comment, transfer_syntax, carried_by, "
        "transcoding FROM attempts WHERE delivery = ? ORDER BY number",
        (delivery_id,),
    )
    return tuple(_attempt(*row) for row in rows)


def _attempt(
    number: int,
    started_at: float,
    ended_at: float,
    reason: str,
    status: int | None,
    comment: str,
    transfer_syntax: str,
    carried_by: str,
    transcoding: str | None,
) -> Attempt:
    return Attempt(
        number=number,
        started_at=started_at,
        ended_at=ended_at,
        reason=Reason(reason),
        status=status,
        comment=comment,
        transfer_syntax_uid=transfer_syntax,
        carried_by=carried_by,
        transcoding=None if transcoding is None else decode_transcoding(transcoding),
    )


def _record(row: apsw.SQLiteValues, history: tuple[Attempt, ...] = ()) -> DeliveryRecord:
    (
        delivery_id,
        name,
        state,
        reason,
        priority,
        attempts,
        created_at,
        changed_at,
        due_at,
        last_status,
        last_comment,
        size,
        arrival_json,
    ) = convert(row, RecordRow)
    arrival = decode_arrival(arrival_json)
    return DeliveryRecord(
        delivery_id=delivery_id,
        key=delivery_id & KEY_MASK,
        destination=name,
        state=DELIVERY_STATES[state],
        reason=Reason(reason),
        priority=PRIORITIES[priority],
        attempts=attempts,
        created_at=created_at,
        changed_at=changed_at,
        due_at=due_at,
        sop_instance_uid=arrival.sop_instance_uid,
        sop_class_uid=arrival.sop_class_uid,
        calling_ae=arrival.origin.calling_ae,
        size_bytes=size,
        last_status=last_status,
        last_comment=last_comment,
        history=history,
    )
