"""Does the ledger tell the same story as the sinks' logs? Instance by instance, sink by sink."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from router.model import DeliveryState
from router.spool.schema import DELIVERY_STATES, KEY_MASK, LEDGER_NAME
from tests.peers.sink import Line

_SQL = (
    "SELECT i.uid, n.name, d.state, a.status FROM deliveries d "  # noqa: S608  of constants
    f"JOIN instances i ON i.key = (d.id & {KEY_MASK}) JOIN destinations n ON n.id = d.destination "
    "LEFT JOIN attempts a ON a.delivery = d.id"
)


@dataclass(slots=True)
class Account:
    """What the ledger says of one delivery."""

    state: DeliveryState
    statuses: list[int] = field(default_factory=list)  # of the attempts that were answered


def read_ledger(data_dir: Path) -> dict[tuple[str, str], Account]:
    """Every delivery by SOP Instance UID and destination; each instance was sent to the gateway once."""
    accounts: dict[tuple[str, str], Account] = {}
    connection = apsw.Connection(str(data_dir / LEDGER_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        for uid, name, state, status in connection.execute(_SQL):
            account = accounts.setdefault((uid, name), Account(DELIVERY_STATES[state]))
            if status is not None:
                account.statuses.append(status)
    finally:
        connection.close()
    return accounts


def disagreements(name: str, lines: Sequence[Line], ledger: Mapping[tuple[str, str], Account]) -> list[str]:
    """What the ledger says of a sink, and its log does not; or the other way round.

    What a sink answered just before a kill may be missing in the ledger: then it was sent again.
    """
    found: list[str] = []
    statuses: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        statuses[line.sop_instance_uid].append(int(line.status, 16))
    known = {uid for uid, to in ledger if to == name}
    found += [f"{name} has {uid}, and the ledger never heard of it" for uid in statuses.keys() - known]
    for (uid, to), account in ledger.items():
        if to != name:
            continue
        answered = statuses.get(uid, [])
        if account.state is not DeliveryState.DELIVERED:
            found.append(f"{uid} to {name} is {account.state}")
        if account.statuses.count(0) != 1 or account.statuses[-1:] != [0]:
            found.append(f"{uid} to {name}: {account.statuses} in the ledger")
        unheard = Counter(account.statuses) - Counter(answered)
        found += [f"{uid} to {name}: {status:04X} in the ledger only" for status in unheard]
    return found
