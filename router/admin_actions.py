"""What operators may change in a running gateway: each order is checked, carried out and in the audit.

The state of the queue lives in the spool. A paused destination is in the ledger and in its lane, a drain only
in the process: the next start takes instances again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from router.clock import Clock
from router.config.settings import Settings
from router.errors import CorruptRecord, NotAllowed, UnknownItem
from router.model import Instance, InstanceState
from router.spool.orders import Action, Done, Operation, Operator, Order, Paused, Selection
from router.views import (
    AuditPage,
    CorruptRequest,
    Ordered,
    OrderRequest,
    StoredView,
    audit_page,
    stored_view,
)

AUDIT_LIMIT = 1000
FILE_STEP_BYTES = 1024 * 1024  # of a file that is read out, in memory at a time
IDS_MAX = 10_000
_TO = (Action.REDIRECT, Action.REPLAY)

OnOrder = Callable[[Operator, Action, str], None]  # who did what, and to what: for the audit messages
OnFetch = Callable[[Operator, Instance], Awaitable[None]]  # who is about to be given what


class OrderBook(Protocol):
    """The contracts are those of ``router.spool.ordering.Orders``."""

    async def carry_out(self, order: Order) -> Done: ...
    async def pause(self, destination: str, by: Operator) -> None: ...
    async def unpause(self, destination: str, by: Operator) -> None: ...
    async def paused(self) -> dict[str, Paused]: ...
    async def note(self, action: Action, by: Operator, target: str = "", detail: str = "") -> None: ...
    async def audit(self, limit: int = 100, before: int | None = None) -> list[Operation]: ...
    async def discard_corrupt(self, keys: Sequence[int] | None, by: Operator) -> int: ...


class ActionStore(Protocol):
    """What is asked of the spool."""

    @property
    def orders(self) -> OrderBook: ...
    async def corrupt(self, limit: int = 100, after: int = 0) -> list[Instance]: ...
    async def instance(self, key: int) -> Instance: ...
    async def verify(self, instance: Instance) -> None: ...
    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """What operators can turn in a running gateway, beside its queue."""

    pause: Callable[[str, bool], None]  # a destination's lane
    refuse: Callable[[bool], None]  # new associations
    associations: Callable[[], int]  # how many are open


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Who drains, and since when."""

    since: float
    by: Operator


async def nobody_told(by: Operator, instance: Instance) -> None:
    """Where there is no audit."""


class Actions:
    """Raises ``UnknownItem`` for what does not exist, ``NotAllowed`` for what its state does not allow."""

    def __init__(
        self,
        *,
        spool: ActionStore,
        settings: Settings,
        clock: Clock,
        switches: Switches,
        on_order: OnOrder = lambda by, action, target: None,
        on_fetch: OnFetch = nobody_told,
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._switches = switches
        self._on_order = on_order
        self._on_fetch = on_fetch
        self.draining: Drain | None = None

    async def order(self, action: Action, request: OrderRequest, by: Operator) -> Ordered:
        """Hold, resume, retry, discard, redirect or replay deliveries."""
        selection = Selection(
            ids=request.ids,
            destination=request.destination,
            state=request.state,
            reason=request.reason,
            sop_instance_uid=request.sop_instance_uid,
            calling_ae=request.calling_ae,
            everything=request.everything,
        )
        if not selection.is_explicit:
            raise NotAllowed("say which deliveries: ids, or a filter, or everything, and only one of these")
        if len(request.ids) > IDS_MAX:
            raise NotAllowed(f"{len(request.ids)} ids are too many for one order: {IDS_MAX} at most")
        self._check_target(action, request)
        done = await self._spool.orders.carry_out(
            Order(action=action, selection=selection, by=by, to=request.to)
        )
        where = f" to {request.to}" if request.to is not None else ""
        self._on_order(by, action, f"{selection}{where} ({done.count} deliveries)")
        return Ordered(count=done.count, left_alone=done.left_alone, operation=done.operation)

    def _check_target(self, action: Action, request: OrderRequest) -> None:
        if request.to is None:
            if action is Action.REDIRECT:
                raise NotAllowed("say where to: redirect needs 'to', the name of a destination")
            return
        if action not in _TO:
            raise NotAllowed(f"{action} has no 'to'")
        self._check_destination(request.to)
        group = self._settings.groups.get(request.to)
        if group is not None and group.one_of:
            members = ", ".join(group.one_of)
            raise NotAllowed(f"{request.to} balances studies as they come in: name one of {members}")
        if action is Action.REDIRECT and request.to == request.destination:
            raise NotAllowed(f"{request.to} is where they are: redirect to another destination")

    def _check_destination(self, name: str) -> None:
        if name not in self._settings.destination_names:
            known = ", ".join(self._settings.destination_names) or "none"
            raise UnknownItem(f"there is no destination {name!r} (there are: {known})")

    async def pause(self, destination: str, by: Operator) -> Ordered:
        """Send nothing more to a destination until it is resumed, also over a restart."""
        self._check_destination(destination)
        was_paused = destination in await self._spool.orders.paused()
        self._switches.pause(destination, True)  # first, so that nothing more is handed to the lane
        try:
            await self._spool.orders.pause(destination, by)
        except BaseException:
            self._switches.pause(destination, was_paused)
            raise
        self._on_order(by, Action.PAUSE, destination)
        return Ordered(count=1, left_alone={})

    async def resume(self, destination: str, by: Operator) -> Ordered:
        """Go on sending."""
        self._check_destination(destination)
        await self._spool.orders.unpause(destination, by)
        self._switches.pause(destination, False)
        self._on_order(by, Action.UNPAUSE, destination)
        return Ordered(count=1, left_alone={})

    async def restore(self) -> None:
        """At the start: what was paused before is paused again."""
        for name in await self._spool.orders.paused():
            self._switches.pause(name, True)

    async def drain(self, by: Operator) -> Ordered:
        """Take nobody new in and go on delivering; associations that are open may end what they do."""
        if self.draining is not None:
            raise NotAllowed(f"it drains already, by order of {self.draining.by.who}")
        await self._spool.orders.note(Action.DRAIN, by)
        self.draining = Drain(since=self._clock.now(), by=by)
        self._switches.refuse(True)
        self._on_order(by, Action.DRAIN, "")
        return Ordered(count=1, left_alone={})

    async def undrain(self, by: Operator) -> Ordered:
        """Take associations again."""
        if self.draining is None:
            raise NotAllowed("it does not drain: only 'drain' is undone by this")
        await self._spool.orders.note(Action.UNDRAIN, by)
        self.draining = None
        self._switches.refuse(False)
        self._on_order(by, Action.UNDRAIN, "")
        return Ordered(count=1, left_alone={})

    @property
    def associations(self) -> int:
        return self._switches.associations()

    async def audit(self, limit: int = 100, before: int | None = None) -> AuditPage:
        """What operators did, the latest first."""
        limit = max(1, min(limit, AUDIT_LIMIT))
        found = await self._spool.orders.audit(limit + 1, before)
        return audit_page(found, limit)

    async def corrupt(self, limit: int = 100, after: int = 0) -> tuple[StoredView, ...]:
        """Instances whose bytes no longer match their hash."""
        return tuple(map(stored_view, await self._spool.corrupt(limit, after)))

    async def discard_corrupt(self, request: CorruptRequest, by: Operator) -> Ordered:
        """Let damaged instances go, and give up their deliveries."""
        if bool(request.keys) is request.everything:
            raise NotAllowed("say which corrupt instances: keys, or everything")
        count = await self._spool.orders.discard_corrupt(request.keys or None, by)
        self._on_order(by, Action.DISCARD_CORRUPT, f"{count} instances")
        return Ordered(count=count, left_alone={})

    async def open_file(self, key: int, by: Operator) -> tuple[Instance, AsyncIterator[bytes]]:
        """A stored instance as a Part 10 file, checked, and in the audit, before its first byte is given out.

        The iterator raises ``StorageError`` where the instance is released meanwhile.
        """
        instance = await self._spool.instance(key)
        if instance.state is InstanceState.RELEASED:
            raise UnknownItem(f"the bytes of instance {key} are gone: 'retention' keeps them for longer")
        if instance.state is InstanceState.CORRUPT:
            raise NotAllowed(f"instance {key} is corrupt: its bytes do not match their hash and stay here")
        try:
            await self._spool.verify(instance)
        except CorruptRecord as error:
            raise NotAllowed(str(error)) from error
        await self._spool.orders.note(Action.FETCH, by, f"instance {key}")
        await self._on_fetch(by, instance)
        return instance, self._read_out(instance)

    async def _read_out(self, instance: Instance) -> AsyncIterator[bytes]:
        length = instance.place.length_bytes
        for offset in range(0, length, FILE_STEP_BYTES):
            part = bytearray(min(FILE_STEP_BYTES, length - offset))
            await self._spool.read_range(instance, offset, [memoryview(part)])
            yield bytes(part)
