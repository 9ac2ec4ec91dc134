"""How the lanes of a group's members take from the group's queues; why it is done so stands in router.groups.

A lane of a member is given a :class:`MemberQueue` in the place of the spool: what it claims comes from its
own queue and from those queues of its groups from which it may take at that moment, each in its turn. The
lane itself knows nothing of groups: it takes when it is up, gives back when it goes down, and probes with
whatever it can claim. When its state changes it wakes the others of its groups, who then look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import anyio
from anyio.abc import TaskGroup

from router.config.settings import Group
from router.deliver.queue import Deliveries
from router.errors import StorageError
from router.groups import group_of, may_take, queues_of
from router.model import Delivery, DeliveryState, Outcome, Priority, Reason

GIVING_BACK_S = 5.0  # when a claim of several queues is cancelled half way


class Members:
    """Which member takes from which queue. ``is_available``: whether a lane would send what it is given."""

    def __init__(self, groups: Mapping[str, Group], is_available: Callable[[str], bool]) -> None:
        self._groups = groups
        self._is_available = is_available
        self._paused: set[str] = set()
        self._orders: dict[str, tuple[str, ...]] = {}
        for name, group in groups.items():
            self._orders.update(queues_of(name, group))

    def __contains__(self, member: str) -> bool:
        return any(member in group.members for group in self._groups.values())

    def adopt(self, queues: Iterable[str]) -> bool:
        """Serve what the ledger still has from before a group was changed. True: there was some."""
        fresh = [queue for queue in queues if queue not in self._orders and group_of(queue, self._groups)]
        for queue in fresh:
            self._orders[queue] = self._groups[group_of(queue, self._groups) or ""].members
        return bool(fresh)

    def pause(self, queue: str, is_paused: bool) -> bool:
        """Let nobody take from a group, or from one queue of it. False: there is none of that name."""
        if queue not in self._groups and queue not in self._orders:
            return False
        (self._paused.add if is_paused else self._paused.discard)(queue)
        return True

    def of(self, queue: str) -> set[str]:
        """The members of a group, or of one queue of it."""
        group = self._groups.get(queue)
        return set(group.members if group is not None else self._orders.get(queue, ()))

    def sources(self, member: str) -> list[str]:
        """The groups' queues from which ``member`` may take now."""
        return [
            queue
            for queue, order in self._orders.items()
            if member in order
            and self._paused.isdisjoint((queue, group_of(queue, self._groups)))
            and may_take(order, member, self._is_available)
        ]

    def share(self, queue: str, member: str, limit: int) -> int:
        """How many of ``limit`` deliveries a member may take from a queue of its groups.

        One that is down takes a single one for its probe, and none otherwise, where another one could carry
        them; where nobody could, it takes what it asks for, because it asks for more than one only to give
        up what has grown too old.
        """
        if self._is_available(member) or not self.is_served(queue):
            return limit
        return limit if limit == 1 else 0

    @property
    def idle(self) -> list[str]:
        """The queues from which nobody takes at present."""
        return [
            queue
            for queue in self._orders
            if not self.is_served(queue)
            or not self._paused.isdisjoint((queue, group_of(queue, self._groups)))
        ]

    def is_served(self, queue: str) -> bool:
        """Whether anybody would send what waits in a queue."""
        return any(map(self._is_available, self._orders.get(queue, ())))

    def others(self, member: str) -> set[str]:
        """Who may have more or less to do when ``member`` goes up or down."""
        of_its_groups = [group.members for group in self._groups.values() if member in group.members]
        return {other for members in of_its_groups for other in members} - {member}


class MemberQueue:
    """The queues of one member as one; the contracts are those of :class:`router.spool.Spool`."""

    def __init__(self, member: str, queue: Deliveries, members: Members) -> None:
        self._member = member
        self._queue = queue
        self._members = members
        self._turn = 0

    def _sources(self) -> list[str]:
        """Where to take from, beginning with another one each time: none of them may starve the others."""
        sources = [self._member, *self._members.sources(self._member)]
        self._turn = (self._turn + 1) % len(sources)
        return sources[self._turn :] + sources[: self._turn]

    async def claim(
        self, destination: str, *, limit: int, lease_s: float, now: float, only: Priority | None = None
    ) -> list[Delivery]:
        """Lease from all of them up to ``limit``; fewer means that nothing more is due in any."""
        claimed: list[Delivery] = []
        try:
            for source in self._sources():
                wanted = limit - len(claimed)
                if source != destination:
                    wanted = self._members.share(source, destination, wanted)
                if wanted > 0:
                    claimed += await self._queue.claim(
                        source, limit=wanted, lease_s=lease_s, now=now, only=only
                    )
        except StorageError:
            if not claimed:
                raise
        except BaseException:
            with anyio.move_on_after(GIVING_BACK_S, shield=True):
                await self._queue.give_back(claimed)
            raise
        return claimed

    def wake(self, destination: str) -> None:
        """This member went up or down: it looks again, and so do the others of its groups."""
        for member in {destination, *self._members.others(destination)}:
            self._queue.wake(member)

    async def wait_for_work(self, destination: str, until: float | None) -> None:
        """Return when something may be due in one of them, when woken, or at ``until``."""
        sources = self._sources()
        if len(sources) == 1:
            await self._queue.wait_for_work(destination, until)
            return
        failures: list[StorageError] = []
        async with anyio.create_task_group() as tasks:
            for source in sources:
                tasks.start_soon(self._wait, tasks, source, until, failures)
        if failures:
            raise failures[0]

    async def wait_for_urgent(self, destination: str) -> None:
        """Return when something of high priority has come to one of them."""
        async with anyio.create_task_group() as tasks:
            for source in self._sources():
                tasks.start_soon(self._wait_urgent, tasks, source)

    async def _wait_urgent(self, tasks: TaskGroup, source: str) -> None:
        await self._queue.wait_for_urgent(source)
        tasks.cancel_scope.cancel()

    async def _wait(
        self, tasks: TaskGroup, source: str, until: float | None, failures: list[StorageError]
    ) -> None:
        try:
            await self._queue.wait_for_work(source, until)
        except StorageError as error:
            failures.append(error)
        tasks.cancel_scope.cancel()

    def revise(self, outcome: Outcome) -> Outcome:
        """The outcome of a group's delivery: with who carried it, and due at once for the others.

        An outage of this member makes nothing too old for a group that is served by another one.
        """
        if outcome.destination == self._member:
            return outcome
        outcome = replace(outcome, carried_by=self._member)
        if outcome.counts:
            return outcome
        if outcome.state is DeliveryState.PENDING:
            return replace(outcome, retry_at=outcome.ended_at)
        if outcome.reason is Reason.MAX_AGE and self._members.is_served(outcome.destination):
            pending, reason = DeliveryState.PENDING, Reason.FAILED_OVER
            return replace(outcome, state=pending, reason=reason, retry_at=outcome.ended_at)
        return outcome

    async def record(self, outcomes: Sequence[Outcome], *, promptly: bool = False) -> None:
        """Record how attempts ended."""
        await self._queue.record(outcomes, promptly=promptly)

    def recall(self, destination: str) -> None:
        """Have given back what was leased for its lane and not taken; a group's is not its alone."""
        self._queue.recall(destination)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Return them to where they came from, for whoever may take them now."""
        await self._queue.give_back(deliveries)
