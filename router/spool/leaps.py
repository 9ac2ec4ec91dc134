"""When the wall clock is set: what waits in the ledger goes on waiting for as long as it should.

Instants in the ledger are wall time, because they outlive the process. A clock that is set back by an hour
would keep everything that is due from being due for that hour; one that is set forward would end every pause
and every lease at once. So the instants of what is not finished are moved along with the clock. Which rows
were stamped before it was set, the rows say themselves: their last change lies ahead of the time that it is
now, or behind the time that it would have been.

Retention and history are calendar time and stay as they are: an hour more or less is nothing to them.
"""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

from array import array
from collections.abc import Sequence

import apsw

from router.spool.ledger import Ledger
from router.spool.rows import encode_json
from router.spool.schema import ACTIVE, PENDING

LEAP_S = 2.0  # what is less is a clock being slewed, and does not matter to anything here
_OPEN = "SELECT id FROM deliveries INDEXED BY deliveries_open WHERE state < 4 AND"
_AHEAD = (
    f"{_OPEN} state = {PENDING} AND due_at > ?1 AND changed_at > ?2 "
    f"UNION ALL {_OPEN} state = {ACTIVE} AND changed_at > ?2"
)
_BEHIND = (
    f"{_OPEN} state = {PENDING} AND due_at > ?1 AND changed_at <= ?1 "
    f"UNION ALL {_OPEN} state = {ACTIVE} AND lease_until > ?1 AND changed_at <= ?1"
)
_IDS = "id IN (SELECT value FROM json_each(?1)) AND state < 4"


class ClockWatch:
    """Notices when wall time and monotonic time no longer run together."""

    def __init__(self, now: float, monotonic: float) -> None:
        self._offset = now - monotonic

    def leap_s(self, now: float, monotonic: float) -> float:
        """By how much the wall clock was set since it was last accepted; 0.0 where it only ran."""
        leap = now - monotonic - self._offset
        return leap if abs(leap) > LEAP_S else 0.0

    def accept(self, now: float, monotonic: float) -> None:
        """What followed from a leap is done, or there was none."""
        self._offset = now - monotonic


def stamped_ahead(connection: apsw.Connection, now: float) -> array[int]:
    """Deliveries that wait and were last changed later than it is now: the clock was set back since."""
    return array("q", (int(row[0]) for row in connection.execute(_AHEAD, (now, now + LEAP_S))))


def stamped_before(connection: apsw.Connection, before: float) -> array[int]:
    """Deliveries whose pause or lease was to end after ``before``, when the clock was set forward."""
    return array("q", (int(row[0]) for row in connection.execute(_BEHIND, (before,))))


def set_back(ledger: Ledger, ids: Sequence[int], now: float) -> None:
    """Pauses and leases of these begin anew. A second time changes nothing."""
    ledger.connection.execute(
        "UPDATE deliveries SET due_at = ?2 + max(due_at - changed_at, 0), "
        "lease_until = ?2 + max(lease_until - changed_at, 0), changed_at = ?2 "
        f"WHERE {_IDS} AND changed_at > ?2",
        (encode_json(list(ids)).decode(), now),
    )


def set_forward(ledger: Ledger, ids: Sequence[int], leap_s: float, before: float) -> None:
    """Pauses and leases of these end so much later, unless they have been changed meanwhile."""
    ledger.connection.execute(
        "UPDATE deliveries SET due_at = due_at + iif(due_at > ?3, ?2, 0), lease_until = lease_until + ?2, "
        "changed_at = changed_at + ?2 "  # or the clock could not be seen to be set back again
        f"WHERE {_IDS} AND changed_at <= ?3",
        (encode_json(list(ids)).decode(), leap_s, before),
    )
