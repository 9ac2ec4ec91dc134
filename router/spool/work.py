"""What the writer is asked to do: instances to append, and changes of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from router.errors import RouterError
from router.model import Arrival, Buffer, Instance, Place
from router.spool.ledger import Ledger
from router.spool.rows import ReleasedRow

T = TypeVar("T")
Waiter = asyncio.Future[T] | Future[T]


def resolve(waiter: Waiter[T], result: T | None, error: RouterError | None) -> bool:
    """Let the caller resume; False if it has gone."""
    if waiter.done():
        return False
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)  # type: ignore[arg-type]
    return True


@dataclass(slots=True, eq=False)
class Append:
    """One instance on its way to a segment. ``old`` is set for a copy forward: then its row is changed."""

    key: int
    arrival: Arrival
    encoded: bytes  # the arrival, as JSON
    parts: Sequence[Buffer]
    length: int
    data_set_offset: int
    content_hash: bytes
    waiter: Waiter[Instance]
    old: Place | None = None
    result: Instance | None = None
    error: RouterError | None = None


class Operation:
    """One change of the ledger, carried out inside the writer's transaction."""

    __slots__ = ("due_at", "durable", "error", "stored")

    def __init__(self, *, durable: bool, due_at: float = 0.0, stored: ReleasedRow | None = None) -> None:
        self.durable = durable  # False: it may be lost in a crash, because it will be done again then
        self.due_at = due_at  # it may wait until then (monotonic), so that one transaction serves for many
        self.stored = stored  # what it names, to be let go if it cannot
        self.error: RouterError | None = None

    @property
    def is_pointless(self) -> bool:
        """Nobody waits any more and it need not be done."""
        return False

    def perform(self, ledger: Ledger) -> None:
        """Carry it out, in the writer's thread."""
        raise NotImplementedError

    def settle(self) -> None:
        """Tell the caller, on the event loop."""
        raise NotImplementedError


Item = Append | Operation


class Change(Operation, Generic[T]):
    """An operation with a result.

    ``then`` gets the result on the loop whether or not the caller still waits; ``undo`` gets it where the
    caller has gone (and where it is given, an operation not begun yet is dropped instead).
    """

    __slots__ = ("_result", "_run", "_then", "_undo", "_waiter")

    def __init__(
        self,
        run: Callable[[Ledger], T],
        waiter: Waiter[T],
        *,
        durable: bool,
        due_at: float = 0.0,
        stored: ReleasedRow | None = None,
        then: Callable[[T], None] | None = None,
        undo: Callable[[T], None] | None = None,
    ) -> None:
        super().__init__(durable=durable, due_at=due_at, stored=stored)
        self._run = run
        self._waiter = waiter
        self._then = then
        self._undo = undo
        self._result: list[T] = []

    @property
    def is_pointless(self) -> bool:
        return self._undo is not None and self._waiter.cancelled()

    def perform(self, ledger: Ledger) -> None:
        self._result = [self._run(ledger)]

    def settle(self) -> None:
        if self.error is not None:
            resolve(self._waiter, None, self.error)
            return
        result = self._result[0]
        if self._then is not None:
            self._then(result)
        if not resolve(self._waiter, result, None) and self._undo is not None:
            self._undo(result)
