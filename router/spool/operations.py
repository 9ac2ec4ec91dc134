"""The ledger's statements for what operators order: finding what is meant, changing it, and the audit.

Whatever is changed is changed in the same transaction as its line of the audit: the count there is what was
done, also where the process ends between two steps. Each step asks the states again, because since the
selection a lane may have taken a delivery: then it is left alone.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import apsw
import msgspec

from router.errors import NotAllowed
from router.model import Reason
from router.spool.ledger import Ledger
from router.spool.orders import (
    Action,
    CandidateRow,
    Operation,
    Operator,
    Order,
    Paused,
    default_states,
)
from router.spool.rows import encode_json
from router.spool.schema import (
    ACTIVE,
    CORRUPT,
    DEAD,
    DELIVERED,
    DELIVERY_CODE,
    DISCARDED,
    HELD,
    KEY_MASK,
    LIVE_KEYS,
    NAMED,
    ORDINALS,
    PENDING,
)

Bindings = dict[str, int | float | str]
_decode_candidates = msgspec.json.Decoder(list[CandidateRow]).decode
_IDS = "(SELECT value FROM json_each(:ids))"
_KEYS = f"(SELECT DISTINCT value & {KEY_MASK} FROM json_each(:ids))"
_OWN = f"BETWEEN k.key + 1 AND k.key + {ORDINALS - 1}"
_HAS_BYTES = f"(SELECT state FROM instances WHERE key = deliveries.id & {KEY_MASK}) = 1"
_UNMATCHED = "(SELECT id FROM destinations WHERE name = '')"
_NOW_DUE = f"state = {PENDING}, due_at = :now, changed_at = :now, reason = '{Reason.OPERATOR.value}'"
_GIVEN_UP = f"state = {DISCARDED}, due_at = NULL, changed_at = :now, reason = "
_OPEN = f"state IN ({PENDING}, {HELD}, {DEAD}) AND state < 4"

_UPDATES = {
    Action.HOLD: f"UPDATE deliveries SET state = {HELD}, due_at = NULL, changed_at = :now, "
    f"reason = '{Reason.OPERATOR.value}' WHERE id IN {_IDS} AND state = {PENDING} AND state < 4",
    Action.RESUME: f"UPDATE deliveries SET {_NOW_DUE} WHERE id IN {_IDS} AND state = {HELD} AND state < 4 "
    f"AND destination NOT IN {_UNMATCHED} AND {_HAS_BYTES}",
    Action.RETRY: f"UPDATE deliveries SET created_at = iif(state = {DEAD}, :now, created_at), attempts = 0, "
    f"{_NOW_DUE} WHERE id IN {_IDS} AND state IN ({PENDING}, {DEAD}) AND state < 4 "
    f"AND destination NOT IN {_UNMATCHED} AND {_HAS_BYTES}",
    Action.DISCARD: f"UPDATE deliveries SET {_GIVEN_UP}'{Reason.OPERATOR.value}' "
    f"WHERE id IN {_IDS} AND {_OPEN}",
    Action.REPLAY: f"UPDATE deliveries SET created_at = :now, attempts = 0, {_NOW_DUE} WHERE id IN {_IDS} "
    f"AND state IN ({DELIVERED}, {DISCARDED}) AND destination NOT IN {_UNMATCHED} AND {_HAS_BYTES}",
}
# One for each instance, unless one is on its way there already. A number is free as long as there are any.
# What rules edit in what they send stays edited, also for somebody else: of several, what is edited goes.
_EDITED = (
    "(SELECT json_object('edits', json_extract(e.wish, '$.edits')) FROM deliveries e WHERE e.id IN "
    f"{_IDS} AND (e.id & {KEY_MASK}) = k.key AND json_array_length(e.wish, '$.edits') > 0 "
    "ORDER BY e.id LIMIT 1)"
)
_NEW = (
    "INSERT INTO deliveries"
    "(id, destination, state, reason, priority, due_at, created_at, changed_at, wish) "
    f"SELECT k.last + 1, :to, {PENDING}, '{Reason.OPERATOR.value}', k.priority, :now, :now, :now, {_EDITED} "
    f"FROM (SELECT d.id & {KEY_MASK} AS key, min(d.priority) AS priority, "
    f"(SELECT max(x.id) FROM deliveries x "
    f"WHERE x.id BETWEEN (d.id & {KEY_MASK}) AND (d.id & {KEY_MASK}) + {ORDINALS - 1}) AS last "
    f"FROM deliveries d WHERE d.id IN {_IDS} AND d.state IN (%s) "
    f"AND (SELECT state FROM instances WHERE key = d.id & {KEY_MASK}) = 1 GROUP BY 1) k "
    f"WHERE (k.last & {ORDINALS - 1}) < {ORDINALS - 1} AND NOT EXISTS (SELECT 1 FROM deliveries t "
    f"WHERE t.id {_OWN} AND t.destination = :to AND t.state IN (%s))"
)
_TO_REDIRECT = f"{PENDING}, {HELD}, {DEAD}"
_TO_REPLAY = f"{DELIVERED}, {DISCARDED}"
_ON_ITS_WAY = f"{PENDING}, {ACTIVE}, {HELD}"
_HAS_IT = f"{_ON_ITS_WAY}, {DELIVERED}"
_REDIRECTED = (
    f"UPDATE deliveries SET {_GIVEN_UP}'{Reason.REDIRECTED.value}' WHERE id IN {_IDS} AND {_OPEN} "
    "AND destination <> :to AND EXISTS (SELECT 1 FROM deliveries t WHERE t.destination = :to "
    f"AND t.id > (deliveries.id & {KEY_MASK}) AND t.id < (deliveries.id & {KEY_MASK}) + {ORDINALS} "
    f"AND t.state IN ({_HAS_IT}))"
)

_KEEP = (
    f"UPDATE instances SET release_at = NULL WHERE key IN {_KEYS} AND state = 1 AND EXISTS (SELECT 1 FROM "
    f"deliveries d WHERE d.id > instances.key AND d.id < instances.key + {ORDINALS} AND d.state < 4)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one transaction has done."""

    count: int
    operation: int | None
    woken: frozenset[str]
    given_up: Mapping[str, int]  # deliveries, by destination


# Reading


def candidates(connection: apsw.Connection, order: Order) -> list[CandidateRow]:
    """Every delivery that an order's selection matches, in one statement; unknown ids are left out."""
    chosen = order.selection
    states = (chosen.state,) if chosen.state is not None else default_states(order)
    codes = ",".join(str(DELIVERY_CODE[state]) for state in states)
    where = [f"d.state IN ({codes})"]
    bindings: dict[str, int | str] = {"to": order.to or ""}
    if chosen.ids:
        source, where = "json_each(:ids) w CROSS JOIN deliveries d ON d.id = w.value", []
        bindings["ids"] = encode_json(chosen.ids).decode()
    elif chosen.sop_instance_uid is not None:
        source = f"instances k CROSS JOIN deliveries d ON d.id {_OWN}"
        where.append("k.uid = :uid")
        bindings["uid"] = chosen.sop_instance_uid
    elif order.action is Action.REPLAY:
        source = f"(SELECT key FROM ({LIVE_KEYS})) k CROSS JOIN deliveries d ON d.id {_OWN}"
    else:
        source = "deliveries d INDEXED BY deliveries_open"
        where.append("d.state < 4")
    if chosen.destination is not None:
        where.append(f"d.destination IN (SELECT id FROM destinations n WHERE {NAMED})")
        bindings["name"] = chosen.destination
    if chosen.reason is not None:
        where.append("d.reason = :reason")
        bindings["reason"] = chosen.reason.value
    if chosen.calling_ae is not None:
        where.append("json_extract(i.arrival, '$.origin.calling_ae') = :calling_ae")
        bindings["calling_ae"] = chosen.calling_ae
    found = connection.execute(
        f"SELECT json_group_array(json_array(d.id, d.state, d.destination IN {_UNMATCHED}, "
        "d.destination IN (SELECT id FROM destinations WHERE name = :to), i.state)) "
        f"FROM {source} CROSS JOIN instances i ON i.key = (d.id & {KEY_MASK}) "
        + (f"WHERE {' AND '.join(where)}" if where else ""),
        bindings,
    ).get
    return _decode_candidates(found) if isinstance(found, str) else []


def operations(connection: apsw.Connection, limit: int, before: int | None) -> list[Operation]:
    """The audit, the latest first."""
    rows = connection.execute(
        "SELECT id, at, ended_at, who, address, action, target, count, detail FROM operations "
        "WHERE id < ? ORDER BY id DESC LIMIT ?",
        (2**63 - 1 if before is None else before, limit),
    )
    names = ("number", "at", "ended_at", "who", "address", "action", "target", "count", "detail")
    return [msgspec.convert(dict(zip(names, row, strict=True)), Operation) for row in rows]


def paused(connection: apsw.Connection) -> dict[str, Paused]:
    """The paused destinations."""
    rows = connection.execute("SELECT destination, since, who FROM paused ORDER BY destination")
    return {str(name): msgspec.convert({"since": since, "who": who}, Paused) for name, since, who in rows}


# Changing, inside a transaction of the writer


def step(
    ledger: Ledger, order: Order, ids: Sequence[int], now: float, operation: int | None, *, is_last: bool
) -> Step:
    """Carry out an order for some of its deliveries, and write down how many there were."""
    bindings: Bindings = {"ids": encode_json(list(ids)).decode(), "now": now}
    if order.to is not None:
        bindings["to"] = _number_of(ledger, order.to)
    given_up: Mapping[str, int] = {}
    if order.action in (Action.DISCARD, Action.REDIRECT):
        given_up = _give_up(ledger, order, bindings)
        count = sum(given_up.values())
    else:
        count = _change(ledger, order, bindings)
    if given_up:
        ledger.release_done(sorted({number & KEY_MASK for number in ids}), now)
    if order.action is Action.REPLAY and count:
        ledger.connection.execute(_KEEP, bindings)
    woken: set[str] = set()
    if count and order.to is not None:
        woken = {order.to}
    elif count and order.action in (Action.RESUME, Action.RETRY, Action.REPLAY):
        rows = ledger.connection.execute(
            "SELECT name FROM destinations WHERE id IN "
            f"(SELECT destination FROM deliveries WHERE id IN {_IDS} AND state = {PENDING})",
            bindings,
        )
        woken = {str(name) for (name,) in rows}
    if operation is not None:
        ledger.connection.execute(
            "UPDATE operations SET count = count + ?, ended_at = ? WHERE id = ?",
            (count, now if is_last else None, operation),
        )
    elif count:
        detail = f"to {order.to}" if order.to is not None else ""
        operation = note(
            ledger, order.action, order.by, str(order.selection), now, count, detail, is_over=is_last
        )
    return Step(count=count, operation=operation, woken=frozenset(woken), given_up=given_up)


def _give_up(ledger: Ledger, order: Order, bindings: Bindings) -> Mapping[str, int]:
    """Discard, or redirect: how many came to their end, by destination."""
    if order.action is Action.DISCARD:
        return _ended(ledger, _UPDATES[Action.DISCARD], bindings)
    ledger.connection.execute(_NEW % (_TO_REDIRECT, _HAS_IT), bindings)
    return _ended(ledger, _REDIRECTED, bindings)


def _ended(ledger: Ledger, update: str, bindings: Bindings) -> Mapping[str, int]:
    """Carry out an update of deliveries; how many it changed, by destination."""
    numbers = Counter(n for (n,) in ledger.connection.execute(f"{update} RETURNING destination", bindings))
    if not numbers:
        return {}
    wanted = encode_json(list(numbers)).decode()
    names = ledger.connection.execute(
        f"SELECT id, name FROM destinations WHERE id IN {_IDS}", {"ids": wanted}
    )
    return {str(name): numbers[number] for number, name in names}


def _change(ledger: Ledger, order: Order, bindings: Bindings) -> int:
    connection = ledger.connection
    if order.to is not None:
        connection.execute(_NEW % (_TO_REPLAY, _ON_ITS_WAY), bindings)
    else:
        connection.execute(_UPDATES[order.action], bindings)
    return connection.changes()


def note(
    ledger: Ledger,
    action: Action,
    by: Operator,
    target: str,
    now: float,
    count: int = 0,
    detail: str = "",
    *,
    is_over: bool = True,
) -> int:
    """Write a line of the audit; its number."""
    ledger.connection.execute(
        "INSERT INTO operations(at, ended_at, who, address, action, target, count, detail) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (now, now if is_over else None, by.who, by.address, action.value, target, count, detail),
    )
    return ledger.connection.last_insert_rowid()


def pause(ledger: Ledger, destination: str, by: Operator, now: float) -> None:
    """Remember that a destination is sent nothing. ``NotAllowed`` where it is paused already."""
    connection = ledger.connection
    found = connection.execute("SELECT who FROM paused WHERE destination = ?", (destination,)).get
    if found is not None:
        raise NotAllowed(f"{destination} is paused already, by {found}")
    connection.execute("INSERT INTO paused VALUES (?, ?, ?)", (destination, now, by.who))
    note(ledger, Action.PAUSE, by, destination, now)


def unpause(ledger: Ledger, destination: str, by: Operator, now: float) -> None:
    """Forget it. ``NotAllowed`` where it is not paused."""
    ledger.connection.execute("DELETE FROM paused WHERE destination = ?", (destination,))
    if not ledger.connection.changes():
        raise NotAllowed(f"{destination} is not paused")
    note(ledger, Action.UNPAUSE, by, destination, now)


def discard_corrupt(ledger: Ledger, keys: Sequence[int], by: Operator, now: float) -> Step:
    """Let go of damaged instances, and of their deliveries; ``count`` is of the instances."""
    wanted = encode_json(list(keys)).decode()
    given_up = _ended(
        ledger,
        f"UPDATE deliveries SET {_GIVEN_UP}'{Reason.OPERATOR.value}' WHERE {_OPEN} AND id IN "
        "(SELECT d.id FROM json_each(:keys) w CROSS JOIN instances k ON k.key = w.value "
        f"AND k.state = {CORRUPT} CROSS JOIN deliveries d ON d.id {_OWN})",
        {"keys": wanted, "now": now},
    )
    count = ledger.release_corrupt(wanted, now)
    number = note(ledger, Action.DISCARD_CORRUPT, by, f"{len(keys)} corrupt", now, count) if count else None
    return Step(count=count, operation=number, woken=frozenset(), given_up=given_up)


def _number_of(ledger: Ledger, destination: str) -> int:
    connection = ledger.connection
    connection.execute("INSERT OR IGNORE INTO destinations(name) VALUES (?)", (destination,))
    number = connection.execute("SELECT id FROM destinations WHERE name = ?", (destination,)).get
    assert isinstance(number, int)  # noqa: S101  it was inserted just now
    return number
