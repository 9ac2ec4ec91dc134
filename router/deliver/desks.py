"""The workers of one lane: which there are, and which of them wait for work."""

from __future__ import annotations

from collections.abc import Iterator

import anyio

from router.deliver.desk import Desk, Signal


class Desks:
    """All desks of a lane. Iterating gives those at work and those parked, in the order they were opened."""

    def __init__(self) -> None:
        self._all: list[Desk] = []
        self._parked: list[Desk] = []
        self._some = anyio.Event()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Desk]:
        return iter(self._all)

    @property
    def working(self) -> list[Desk]:
        """Those that are not parked."""
        return [desk for desk in self._all if desk not in self._parked]

    @property
    def working_count(self) -> int:
        return len(self._all) - len(self._parked)

    @property
    def open_count(self) -> int:
        """How many have an association."""
        return sum(desk.is_open for desk in self._all)

    def add(self, desk: Desk) -> None:
        self._all.append(desk)
        self._some.set()

    def remove(self, desk: Desk) -> None:
        self._all.remove(desk)
        if not self._all:
            self._some = anyio.Event()

    async def wait_for_some(self) -> None:
        """Return when there is one."""
        await self._some.wait()

    def park(self, desk: Desk, now: float) -> None:
        """It waits for work; whoever parks last is woken first."""
        desk.is_surplus = False
        desk.parked_at = now
        self._parked.append(desk)

    def unpark(self, desk: Desk) -> None:
        if desk in self._parked:
            self._parked.remove(desk)

    def wake_one(self) -> bool:
        """Give work to one that waits. False: none does."""
        if not self._parked:
            return False
        self._parked.pop().wake(Signal.WORK)
        return True

    def wake_all(self, signal: Signal) -> None:
        """Tell all that wait."""
        for desk in self._parked:
            desk.wake(signal)
        self._parked.clear()

    def have_watched(self, parked_before: float) -> None:
        """Have those that wait since then look after their associations."""
        for desk in list(self._parked):
            if not desk.is_watched and desk.parked_at <= parked_before:
                desk.is_watched = True
                desk.wake(Signal.WATCH)

    def give_up_spares(self, busy_before: float | None = None) -> None:
        """Take back what was prepared ahead, by all or by those that are busy since then."""
        for desk in self._all:
            since = desk.busy_since
            if busy_before is None or (since is not None and since <= busy_before):
                desk.give_up_spare()

    def level(self, limit: int) -> None:
        """Give nothing more to those at work that are too many."""
        for place, desk in enumerate(self.working):
            desk.is_surplus = place >= limit
