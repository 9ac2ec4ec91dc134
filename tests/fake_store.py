"""A spool's operator side that answers from memory, for tests of what stands on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from router.errors import UnknownItem
from router.model import (
    Arrival,
    Attempt,
    Decision,
    DeliveryRecord,
    DeliveryState,
    Instance,
    InstanceState,
    InstanceTrace,
    Origin,
    Place,
    Priority,
    QueueDepth,
    Reason,
    RuleTrace,
)
from router.spool import SpoolStats

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


@dataclass
class FakeStore:
    """``router.admin.Store`` over lists."""

    is_accepting: bool = True
    records: list[DeliveryRecord] = field(default_factory=list)
    traces: list[InstanceTrace] = field(default_factory=list)
    totals: list[QueueDepth] = field(default_factory=list)
    retried: list[tuple[Sequence[int] | None, str | None, DeliveryState | None]] = field(default_factory=list)

    async def depths(self) -> list[QueueDepth]:
        return self.totals

    async def list_deliveries(
        self,
        destination: str | None = None,
        state: DeliveryState | None = None,
        limit: int = 100,
        after: int | None = None,
    ) -> list[DeliveryRecord]:
        return [
            item
            for item in self.records
            if (destination is None or item.destination == destination)
            and (state is None or item.state is state)
            and (after is None or item.delivery_id > after)
        ][:limit]

    async def show(self, delivery_id: int) -> DeliveryRecord:
        for item in self.records:
            if item.delivery_id == delivery_id:
                return item
        raise UnknownItem(f"there is no delivery {delivery_id}")

    async def trace(self, sop_instance_uid: str) -> list[InstanceTrace]:
        return [t for t in self.traces if t.instance.arrival.sop_instance_uid == sop_instance_uid]

    async def retry(
        self,
        ids: Sequence[int] | None = None,
        *,
        destination: str | None = None,
        state: DeliveryState | None = None,
    ) -> int:
        self.retried.append((ids, destination, state))
        return len(ids) if ids is not None else len(self.records)

    async def stats(self) -> SpoolStats:
        return SpoolStats(
            bytes_used=64, bytes_live=32, free_bytes=4096, segments=1, large_objects=0, unrouted=2
        )
