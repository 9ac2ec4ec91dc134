"""A spool's operator side that answers from memory, for tests of what stands on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from router.admin_actions import Switches
from router.deliver.learned import LearnedContext
from router.errors import CorruptRecord, RouterError, UnknownItem
from router.model import (
    Arrival,
    Attempt,
    Decision,
    DeliveryRecord,
    DeliveryState,
    Instance,
    InstanceState,
    InstanceTrace,
    Listing,
    Origin,
    Place,
    Priority,
    QueueDepth,
    Reason,
    RuleTrace,
)
from router.spool import SpoolStats
from router.spool.orders import Action, Done, Operation, Operator, Order, Paused

KEY = (1_700_000_000_000 << 20) | 7  # larger than a double can hold


def record(
    delivery_id: int, *, state: DeliveryState = DeliveryState.PENDING, **changes: str
) -> DeliveryRecord:
    made = DeliveryRecord(
        delivery_id=delivery_id,
        key=KEY,
        destination="pacs",
        state=state,
        reason=Reason.ROUTED,
        priority=Priority.NORMAL,
        attempts=1,
        created_at=10.0,
        changed_at=11.0,
        due_at=12.0,
        sop_instance_uid="1.2.3",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        calling_ae="CT1",
        size_bytes=1000,
        last_status=0xA700,
        last_comment="full",
        history=(
            Attempt(
                number=1,
                started_at=10.5,
                ended_at=11.0,
                reason=Reason.OUT_OF_RESOURCES,
                status=0xA700,
                comment="full",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
            ),
        ),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def trace(*deliveries: DeliveryRecord, decision: Decision | None = None) -> InstanceTrace:
    arrival = Arrival(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        origin=Origin(calling_ae="CT1", called_ae="ROUTER", peer="10.1.0.21", listener="11112"),
        received_at=10.0,
    )
    return InstanceTrace(
        instance=Instance(
            key=KEY,
            arrival=arrival,
            place=Place(segment=1, offset=8192, length_bytes=1400, data_set_offset=400),
            content_hash=bytes(range(16)),
            state=InstanceState.ROUTED,
        ),
        decision=decision,
        routed_at=None if decision is None else 10.1,
        deliveries=deliveries,
    )


DECISION = Decision(
    destinations=("pacs",),
    priority=Priority.NORMAL,
    hold=False,
    trace=(RuleTrace(rule="ct", matched=True, because="Modality is CT"),),
)


CT, J2K = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.4.90"


def learned(destination: str) -> tuple[LearnedContext, ...]:
    """What ``pacs`` is known to take."""
    if destination != "pacs":
        return ()
    explicit = "1.2.840.10008.1.2.1"
    return (
        LearnedContext(sop_class_uid=CT, transfer_syntax_uid=explicit, accepted=True, expires_in_s=None),
        LearnedContext(sop_class_uid=CT, transfer_syntax_uid=J2K, accepted=False, expires_in_s=840.0),
    )


@dataclass
class FakeOrders:
    """``router.admin_actions.OrderBook`` that remembers what it was asked, and refuses when told."""

    given: list[Order] = field(default_factory=list)
    lines: list[Operation] = field(default_factory=list)
    names: dict[str, Paused] = field(default_factory=dict)
    discarded: list[Sequence[int] | None] = field(default_factory=list)
    done: Done = field(default_factory=lambda: Done(count=2, left_alone={"active": 1}, operation=7))
    refuse_with: RouterError | None = None

    async def carry_out(self, order: Order) -> Done:
        self._check()
        self.given.append(order)
        return self.done

    async def pause(self, destination: str, by: Operator) -> None:
        self._check()
        self.names[destination] = Paused(since=10.0, who=by.who)
        await self.note(Action.PAUSE, by, destination)

    async def unpause(self, destination: str, by: Operator) -> None:
        self._check()
        del self.names[destination]
        await self.note(Action.UNPAUSE, by, destination)

    async def paused(self) -> dict[str, Paused]:
        return dict(self.names)

    async def note(self, action: Action, by: Operator, target: str = "", detail: str = "") -> None:
        line = Operation(
            number=len(self.lines) + 1,
            at=10.0,
            ended_at=10.0,
            who=by.who,
            address=by.address,
            action=action,
            target=target,
            count=0,
            detail=detail,
        )
        self.lines.insert(0, line)

    async def audit(self, limit: int = 100, before: int | None = None) -> list[Operation]:
        return [line for line in self.lines if before is None or line.number < before][:limit]

    async def discard_corrupt(self, keys: Sequence[int] | None, by: Operator) -> int:
        self.discarded.append(keys)
        return 1

    def _check(self) -> None:
        if self.refuse_with is not None:
            raise self.refuse_with


@dataclass
class FakeSwitches:
    """What would be turned in a gateway."""

    paused: dict[str, bool] = field(default_factory=dict)
    is_refusing: bool = False
    open: int = 0

    @property
    def switches(self) -> Switches:
        def refuse(is_refusing: bool) -> None:
            self.is_refusing = is_refusing

        return Switches(pause=self.paused.__setitem__, refuse=refuse, associations=lambda: self.open)


@dataclass
class FakeStore:
    """``router.admin.Store`` over lists."""

    is_accepting: bool = True

    @property
    def problems(self) -> tuple[str, ...]:
        return () if self.is_accepting else ("disk_low",)

    records: list[DeliveryRecord] = field(default_factory=list)
    traces: list[InstanceTrace] = field(default_factory=list)
    totals: list[QueueDepth] = field(default_factory=list)
    orders: FakeOrders = field(default_factory=FakeOrders)
    files: dict[int, bytes] = field(default_factory=dict)  # by key
    damaged: set[int] = field(default_factory=set)
    released: set[int] = field(default_factory=set)
    unrouted: int = 2

    async def depths(self) -> list[QueueDepth]:
        return self.totals

    async def list_deliveries(self, listing: Listing) -> list[DeliveryRecord]:
        return [
            item
            for item in self.records
            if listing.destination in (None, item.destination)
            and listing.state in (None, item.state)
            and listing.sop_instance_uid in (None, item.sop_instance_uid)
            and listing.calling_ae in (None, item.calling_ae)
            and (listing.after is None or item.delivery_id > listing.after)
        ][: listing.limit]

    async def show(self, delivery_id: int) -> DeliveryRecord:
        for item in self.records:
            if item.delivery_id == delivery_id:
                return item
        raise UnknownItem(f"there is no delivery {delivery_id}")

    async def trace(self, sop_instance_uid: str) -> list[InstanceTrace]:
        return [t for t in self.traces if t.instance.arrival.sop_instance_uid == sop_instance_uid]

    async def instance(self, key: int) -> Instance:
        if key not in self.files:
            raise UnknownItem(f"there is no instance {key}")
        state = InstanceState.RELEASED if key in self.released else InstanceState.ROUTED
        place = Place(segment=1, offset=0, length_bytes=len(self.files[key]), data_set_offset=4)
        return replace(trace().instance, key=key, place=place, state=state)

    async def corrupt(self, limit: int = 100, after: int = 0) -> list[Instance]:
        found = [await self.instance(key) for key in sorted(self.damaged) if key > after][:limit]
        return [replace(instance, state=InstanceState.CORRUPT) for instance in found]

    async def verify(self, instance: Instance) -> None:
        if instance.key in self.damaged:
            raise CorruptRecord(f"instance {instance.key}: the stored bytes do not match their hash")

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        for buffer in buffers:
            buffer[:] = self.files[instance.key][offset : offset + len(buffer)]
            offset += len(buffer)

    async def stats(self) -> SpoolStats:
        return SpoolStats(
            bytes_used=64, bytes_live=32, free_bytes=4096, segments=1, large_objects=0, unrouted=self.unrouted
        )
