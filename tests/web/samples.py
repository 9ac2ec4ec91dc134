"""Views as the gateway's admin gives them, for tests of what the page makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.model import DeliveryState, InstanceState, Priority, Reason, RuleTrace
from router.views import (
    AttemptView,
    DeliveryView,
    DestinationStatus,
    Phase,
    Readiness,
    SpoolView,
    Status,
    TraceView,
)

UID = "1.2.840.1"


def destination(name: str = "pacs", **changes: Any) -> DestinationStatus:
    made = DestinationStatus(
        name=name, kind="modality", is_up=True, pending=0, active=0, held=0, dead=0, oldest_s=None
    )
    return replace(made, **changes)


def delivery(state: DeliveryState = DeliveryState.PENDING, **changes: Any) -> DeliveryView:
    made = DeliveryView(
        delivery_id="17",
        key="16",
        destination="pacs",
        state=state,
        reason=Reason.ROUTED,
        priority=Priority.NORMAL,
        attempts=0,
        created_at=10.0,
        changed_at=11.0,
        due_at=12.0,
        sop_instance_uid=UID,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        calling_ae="CT1",
        size_bytes=1000,
        last_status=None,
        last_comment="",
    )
    return replace(made, **changes)


def attempt(number: int = 1, **changes: Any) -> AttemptView:
    made = AttemptView(
        number=number,
        started_at=11.0,
        ended_at=11.5,
        reason=Reason.OUT_OF_RESOURCES,
        status="A700",
        comment="full",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    return replace(made, **changes)


def trace(*deliveries: DeliveryView, **changes: Any) -> TraceView:
    made = TraceView(
        key="16",
        state=InstanceState.ROUTED,
        sop_instance_uid=UID,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae="CT1",
        called_ae="ROUTER",
        peer="10.1.0.21",
        listener="11112",
        received_at=10.0,
        size_bytes=1000,
        content_hash="00ff",
        routed_at=10.2,
        hold=False,
        destinations=tuple(one.destination for one in deliveries),
        rules=(
            RuleTrace(rule="ct", matched=True, because="Modality is CT"),
            RuleTrace(rule="mr", matched=False, because="Modality CT is not MR"),
        ),
        deliveries=deliveries,
    )
    return replace(made, **changes)


def status(*destinations: DestinationStatus, reasons: tuple[str, ...] = (), **changes: Any) -> Status:
    made = Status(
        version="0.1.0",
        ae_title="ROUTER",
        phase=Phase.RUNNING,
        readiness=Readiness(is_ready=not reasons, reasons=reasons),
        started_at=0.0,
        uptime_s=3600.0,
        dicom_ports=(11112,),
        destinations=destinations,
        held_unmatched=0,
        spool=SpoolView(
            bytes_used=100,
            bytes_live=50,
            free_bytes=300,
            segments=1,
            large_objects=0,
            unrouted=0,
            is_accepting=True,
        ),
    )
    return replace(made, **changes)
