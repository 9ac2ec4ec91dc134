"""Fresh instances on their way from the writer to routing.

All of it belongs to the event loop. Memory is bounded: when routing falls behind by ``FRESH_CAP`` instances,
the newer ones are left to the ledger and read from there, in order of their keys, until it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from router.model import Instance
from router.spool.schema import LARGE

FRESH_CAP = 1024

ReadUnrouted = Callable[[int, int], Awaitable[list[Instance]]]


class Handover:
    """Gives each received instance to routing: once, except as ``add`` says."""

    def __init__(self, read_unrouted: ReadUnrouted) -> None:
        self._read_unrouted = read_unrouted
        self._fresh: deque[Instance] = deque()
        self._is_behind = True  # the ledger may hold more than was handed over: so it is at start
        self._handed = 0  # the highest key that is handed over or in ``_fresh``
        self._rewind: int | None = None
        self._commits = 0
        self._takers: set[asyncio.Future[None]] = set()

    def add(self, instance: Instance) -> None:
        """An instance is durable.

        Appended ones come in order of their keys. A large object may come late, behind the cursor into the
        ledger: then the cursor goes back, and what is not routed yet is handed over a second time.
        """
        is_late = instance.key <= self._handed
        if is_late and instance.place.segment != LARGE:
            return  # read from the ledger before this call came
        self._commits += 1
        if not self._is_behind:
            if len(self._fresh) < FRESH_CAP:
                self._fresh.append(instance)
                self._handed = max(self._handed, instance.key)
            else:
                self._is_behind = True
        if self._is_behind and is_late:
            before = instance.key - 1
            self._rewind = before if self._rewind is None else min(before, self._rewind)
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)
        self._takers.clear()

    async def take(self, limit: int) -> list[Instance]:
        """At least one, at most ``limit``; waits."""
        while True:
            if self._fresh:
                return [self._fresh.popleft() for _ in range(min(limit, len(self._fresh)))]
            if self._is_behind:
                found = await self._catch_up(limit)
                if found:
                    return found
                continue
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.add(taker)
            try:
                await taker
            finally:
                self._takers.discard(taker)

    async def _catch_up(self, limit: int) -> list[Instance]:
        if self._rewind is not None:
            self._handed, self._rewind = min(self._handed, self._rewind), None
        commits, handed = self._commits, self._handed
        found = await self._read_unrouted(handed, limit)
        if found:
            self._handed = max(self._handed, found[-1].key)
        if len(found) < limit and commits == self._commits and self._rewind is None:
            self._is_behind = False
        return found
