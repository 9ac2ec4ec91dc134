"""The questions that may be asked of the ledger while the gateway runs: read-only, in a thread."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import apsw

from router.errors import StorageError, UnknownItem
from router.model import DeliveryRecord, Instance, InstanceTrace, Listing, QueueDepth
from router.spool import arrivals, queries
from router.spool.rows import encode_json
from router.spool.schema import connect

T = TypeVar("T")


class Questions:
    """One read-only connection, used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._queries = connect(directory, read_only=True)
        self._queries_lock = threading.Lock()

    def close(self) -> None:
        """Close the connection."""
        self._queries.close()

    async def _query(self, run: Callable[[apsw.Connection], T]) -> T:
        def locked() -> T:
            with self._queries_lock:
                return run(self._queries)

        try:
            return await anyio.to_thread.run_sync(locked)
        except apsw.Error as error:
            raise StorageError(f"the ledger: {error}", out_of_resources=False) from error

    async def next_due(self, destination: str) -> float | None:
        """When the next pending delivery is due (perhaps in the past); None where there is none."""
        return await self._query(lambda connection: queries.next_due(connection, destination))

    async def depths(self) -> list[QueueDepth]:
        """How many deliveries wait, for each destination and each state that is not final."""
        return await self._query(queries.depths)

    async def list_deliveries(self, listing: Listing) -> list[DeliveryRecord]:
        """The deliveries asked for, without their attempts."""
        return await self._query(lambda connection: queries.list_deliveries(connection, listing))

    async def instance(self, key: int) -> Instance:
        """One instance as it is now. ``UnknownItem`` if there is none, or no longer any history of it."""
        found = await self._query(lambda connection: queries.instance(connection, key))
        if found is None:
            raise UnknownItem(f"there is no instance {key}")
        return found

    async def show(self, delivery_id: int) -> DeliveryRecord:
        """One delivery with its attempts. ``UnknownItem`` if there is none."""
        return await self._query(lambda connection: queries.show(connection, delivery_id))

    async def trace(self, sop_instance_uid: str) -> list[InstanceTrace]:
        """Every arrival of that SOP Instance UID, oldest first."""
        return await self._query(lambda connection: queries.trace(connection, sop_instance_uid))

    async def routed_before(self, sop_instance_uids: Sequence[str], limit: int = 1000) -> list[Instance]:
        """Arrivals of these UIDs, the latest first, that were delivered somewhere or are on their way."""
        uids = encode_json(sop_instance_uids).decode()
        return await self._query(lambda connection: arrivals.routed_before(connection, uids, limit))

    async def undelivered_bytes(self) -> dict[str, int]:
        """How much lies here for deliveries that are not final, by calling AE title."""
        return await self._query(arrivals.undelivered_bytes)

    async def held(self, keys: Sequence[int]) -> list[Instance]:
        """Those of ``keys`` whose bytes are here and not known to be damaged, in no order."""
        wanted = encode_json(list(keys)).decode()
        return await self._query(lambda connection: queries.held(connection, wanted))

    async def live_keys(self) -> array[int]:
        """The keys of everything whose bytes are here, damaged or not."""
        return await self._query(queries.live_keys)

    async def corrupt(self, limit: int = 100, after: int = 0) -> list[Instance]:
        """Instances whose bytes no longer match their hash, by rising key."""
        return await self._query(lambda connection: queries.corrupt(connection, after, limit))
