"""Carrying out operators' orders while the gateway runs: select, refuse or change in steps, write it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import apsw

from router.clock import Clock
from router.errors import NotAllowed, UnknownItem
from router.spool import operations, queries
from router.spool.ledger import Ledger
from router.spool.operations import Step
from router.spool.orders import (
    SHOWN,
    TAKEN,
    Action,
    Done,
    Operation,
    Operator,
    Order,
    Paused,
    Sorted,
    refusal,
    refusal_of_filter,
    sort_out,
)

STEP_ROWS = 100  # deliveries changed in one transaction: no append waits behind it for 10 ms

T = TypeVar("T")


class Query(Protocol):
    """Asks the ledger, in a thread."""

    async def __call__(self, run: Callable[[apsw.Connection], T]) -> T: ...


class Change(Protocol):
    """Changes the ledger, in the writer's thread; ``then`` is called on the loop."""

    async def __call__(self, run: Callable[[Ledger], T], *, then: Callable[[T], None] | None = None) -> T: ...


class Orders:
    """What operators may do to the queue of one spool. All of it is in the audit."""

    def __init__(
        self,
        *,
        query: Query,
        change: Change,
        wake: Callable[[frozenset[str]], None],
        recall: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._query = query
        self._change = change
        self._wake = wake
        self._recall = recall
        self._clock = clock
        self.on_given_up: Callable[[Mapping[str, int]], None] = lambda counts: None  # by destination

    async def carry_out(self, order: Order) -> Done:
        """Change what is selected. Where numbers are given it is all of them or none.

        ``UnknownItem`` for a number that does not exist, ``NotAllowed`` where nothing selected (or not all
        that is numbered) is in a state that allows it.
        """
        problem = refusal_of_filter(order)
        if problem is not None:
            raise NotAllowed(problem)
        found = await self._query(
            lambda connection: sort_out(order, operations.candidates(connection, order))
        )
        self._check(order, found)
        count = 0
        operation: int | None = None
        for start in range(0, len(found.clear), STEP_ROWS):
            ids = found.clear[start : start + STEP_ROWS]
            done = await self._change(
                partial(
                    operations.step,
                    order=order,
                    ids=ids,
                    now=self._clock.now(),
                    operation=operation,
                    is_last=start + STEP_ROWS >= len(found.clear),
                ),
                then=self._stepped,
            )
            count += done.count
            operation = done.operation
        left_alone = dict(found.counts)
        if count < len(found.clear) and (order.action is not Action.REPLAY or order.to is None):
            left_alone[TAKEN] = len(found.clear) - count
        return Done(count=count, left_alone=left_alone, operation=operation)

    def _check(self, order: Order, found: Sorted) -> None:
        ids = order.selection.ids
        if len(found.clear) + sum(found.counts.values()) < len(set(ids)):
            known = {*found.clear, *(number for _, number in found.obstacles)}
            missing = [number for number in ids if number not in known][:SHOWN]
            raise UnknownItem(f"there is no delivery {', '.join(map(str, missing))}")
        if found.counts and (ids or not found.clear):
            raise NotAllowed(refusal(order, found))

    def _stepped(self, done: Step) -> None:
        self._wake(done.woken)
        if done.given_up:
            self.on_given_up(done.given_up)

    async def pause(self, destination: str, by: Operator) -> None:
        """Remember that ``destination`` is sent nothing; its lane has been told. ``NotAllowed`` if it is."""
        now = self._clock.now()
        await self._change(
            lambda ledger: operations.pause(ledger, destination, by, now),
            then=lambda _: self._recall(destination),
        )

    async def unpause(self, destination: str, by: Operator) -> None:
        """Forget it. ``NotAllowed`` where it is not paused."""
        now = self._clock.now()
        await self._change(lambda ledger: operations.unpause(ledger, destination, by, now))

    async def paused(self) -> dict[str, Paused]:
        """The paused destinations."""
        return await self._query(operations.paused)

    async def note(self, action: Action, by: Operator, target: str = "", detail: str = "") -> None:
        """Write down what changes nothing in the ledger."""
        now = self._clock.now()
        await self._change(lambda ledger: operations.note(ledger, action, by, target, now, detail=detail))

    async def audit(self, limit: int = 100, before: int | None = None) -> list[Operation]:
        """What operators did, the latest first."""
        return await self._query(lambda connection: operations.operations(connection, limit, before))

    async def discard_corrupt(self, keys: Sequence[int] | None, by: Operator) -> int:
        """Let damaged instances go, those named (all or none of them) or all; how many."""
        found = await self._query(lambda connection: queries.corrupt(connection, 0, -1))
        known = [instance.key for instance in found]
        for key in keys or ():
            if key not in known:
                raise NotAllowed(f"instance {key} is not corrupt: only what is damaged can be discarded so")
        wanted = known if keys is None else list(keys)
        count = 0
        for start in range(0, len(wanted), STEP_ROWS):
            some, now = wanted[start : start + STEP_ROWS], self._clock.now()
            run = partial(operations.discard_corrupt, keys=some, by=by, now=now)
            count += (await self._change(run, then=self._stepped)).count
        return count
