"""Reading the ledger by who sent something and under which UID: for duplicates and quotas."""

# ruff: noqa: S608  statements are put together from this module's own constants; values are always bound

from __future__ import annotations

import apsw

from router.model import Instance, Reason
from router.spool.rows import INSTANCE_JSON, decode_instances, make_instance
from router.spool.schema import DEAD, DISCARDED, KEY_MASK, ORDINALS, RECEIVED

_OWN = f"d.id > k.key AND d.id < k.key + {ORDINALS}"
_ROUTED_BEFORE = (
    f"SELECT json_group_array(json_array({INSTANCE_JSON})) FROM (SELECT k.* FROM json_each(?1) w "
    "CROSS JOIN instances k ON k.uid = w.value WHERE k.state IN (1, 3) "
    f"AND EXISTS (SELECT 1 FROM deliveries d WHERE {_OWN}) "
    f"AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE {_OWN} AND (d.state = {DEAD} "
    f"OR d.state = {DISCARDED} AND d.reason <> '{Reason.REDIRECTED.value}')) "
    "ORDER BY k.key DESC LIMIT ?2) i"
)
_UNDELIVERED = (
    "SELECT json_extract(arrival, '$.origin.calling_ae'), sum(length) FROM instances WHERE state < 3 "
    f"AND key IN (SELECT key FROM instances WHERE state = {RECEIVED} "
    f"UNION SELECT id & {KEY_MASK} FROM deliveries WHERE state < 4) GROUP BY 1"
)


def routed_before(connection: apsw.Connection, sop_instance_uids: str, limit: int) -> list[Instance]:
    """Arrivals of these UIDs (JSON), the latest first, that were sent somewhere.

    Not those of which a delivery died or was discarded, unless it was given to another destination.
    """
    found = connection.execute(_ROUTED_BEFORE, (sop_instance_uids, limit)).get
    return [make_instance(*row) for row in decode_instances(found)] if isinstance(found, str) else []


def undelivered_bytes(connection: apsw.Connection) -> dict[str, int]:
    """How much lies in the spool for deliveries that are not final, by calling AE title.

    Reads every instance of the queue: not for every arrival.
    """
    return {str(caller): int(total) for caller, total in connection.execute(_UNDELIVERED)}
