"""router.telemetry: the fixed names, cached children, and gauges that forget what is gone."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from router.model import DeliveryState, QueueDepth
from router.telemetry import UNMATCHED_LABEL, Telemetry

NAMES = (  # design.md, "Metrics": those that exist so far
    "dicom_router_instances_received_total",
    "dicom_router_received_bytes_total",
    "dicom_router_associations",
    "dicom_router_association_rejections_total",
    "dicom_router_store_seconds",
    "dicom_router_rule_matches_total",
    "dicom_router_deliveries_total",
    "dicom_router_delivery_attempts_total",
    "dicom_router_delivery_seconds",
    "dicom_router_delivered_bytes_total",
    "dicom_router_queue_depth",
    "dicom_router_queue_oldest_seconds",
    "dicom_router_destination_up",
    "dicom_router_destination_paused",
    "dicom_router_spool_bytes",
    "dicom_router_spool_free_bytes",
    "dicom_router_config_reloads_total",
    "dicom_router_tls_handshakes_total",
    "dicom_router_tls_failures_total",
    "dicom_router_tls_reloads_total",
    "dicom_router_certificate_expiry_seconds",
    "dicom_router_audit_messages_total",
    "dicom_router_audit_waiting",
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> Telemetry:
    return Telemetry(registry)


def depth(destination: str, state: DeliveryState, count: int, oldest_at: float | None = None) -> QueueDepth:
    return QueueDepth(destination=destination, state=state, count=count, oldest_at=oldest_at)


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_fixed(telemetry: Telemetry, name: str) -> None:
    assert f"# TYPE {name} ".encode() in telemetry.render()


def test_the_process_is_measured_too(telemetry: Telemetry) -> None:
    assert b"process_resident_memory_bytes" in telemetry.render()
    assert b"_created" not in telemetry.render()


def test_reception_is_counted(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    telemetry.received(100)
    telemetry.received(23)
    telemetry.store_answered(0.003)
    telemetry.association_opened("acceptor")
    telemetry.association_opened("acceptor")
    telemetry.association_closed("acceptor")
    telemetry.association_rejected("local_limit_exceeded")
    telemetry.rule_matched("ct")
    assert registry.get_sample_value("dicom_router_instances_received_total") == 2
    assert registry.get_sample_value("dicom_router_received_bytes_total") == 123
    assert registry.get_sample_value("dicom_router_store_seconds_count") == 1
    assert registry.get_sample_value("dicom_router_associations", {"role": "acceptor"}) == 1
    assert registry.get_sample_value("dicom_router_rule_matches_total", {"rule": "ct"}) == 1
    rejected = {"reason": "local_limit_exceeded"}
    assert registry.get_sample_value("dicom_router_association_rejections_total", rejected) == 1


def test_delivery_is_counted(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    for _ in range(2):
        telemetry.attempt_made("pacs", "success")
        telemetry.delivery_finished("pacs", "delivered")
        telemetry.delivered("pacs", 0.2, 1000)
    telemetry.delivery_finished("", "held")
    telemetry.given_up({"pacs": 2})
    pacs = {"destination": "pacs"}
    attempts = registry.get_sample_value("dicom_router_delivery_attempts_total", pacs | {"reason": "success"})
    assert attempts == 2
    assert registry.get_sample_value("dicom_router_delivery_seconds_count", pacs) == 2
    finished = registry.get_sample_value("dicom_router_deliveries_total", pacs | {"outcome": "delivered"})
    assert finished == 2
    given_up = registry.get_sample_value("dicom_router_deliveries_total", pacs | {"outcome": "discarded"})
    assert given_up == 2
    unmatched = {"destination": UNMATCHED_LABEL, "outcome": "held"}
    assert registry.get_sample_value("dicom_router_deliveries_total", unmatched) == 1


def test_a_clock_that_was_set_back_gives_no_negative_duration(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    telemetry.delivered("pacs", -5.0, 0)
    assert registry.get_sample_value("dicom_router_delivery_seconds_sum", {"destination": "pacs"}) == 0


def test_up_is_a_gauge_and_can_be_asked(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    assert telemetry.destinations_up() == {}
    telemetry.destination_up("pacs", True)
    telemetry.destination_up("pacs", False)
    assert telemetry.destinations_up() == {"pacs": False}
    assert registry.get_sample_value("dicom_router_destination_up", {"destination": "pacs"}) == 0


def test_depths_that_are_no_longer_named_become_zero(
    telemetry: Telemetry, registry: CollectorRegistry
) -> None:
    dead = {"destination": "pacs", "state": "dead"}
    telemetry.set_depths(
        [
            depth("pacs", DeliveryState.PENDING, 3, 100.0),
            depth("pacs", DeliveryState.ACTIVE, 1, 90.0),
            depth("pacs", DeliveryState.DEAD, 2, 5.0),
        ],
        now=130.0,
    )
    assert registry.get_sample_value("dicom_router_queue_depth", dead) == 2
    assert registry.get_sample_value("dicom_router_queue_oldest_seconds", {"destination": "pacs"}) == 40
    telemetry.set_depths([], now=140.0)
    assert registry.get_sample_value("dicom_router_queue_depth", dead) == 0
    assert registry.get_sample_value("dicom_router_queue_oldest_seconds", {"destination": "pacs"}) == 0


def test_store_and_reloads(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    telemetry.set_spool(1024, 4096)
    telemetry.reload("failure")
    assert registry.get_sample_value("dicom_router_spool_bytes") == 1024
    assert registry.get_sample_value("dicom_router_spool_free_bytes") == 4096
    assert registry.get_sample_value("dicom_router_config_reloads_total", {"outcome": "failure"}) == 1


def test_two_gateways_in_one_process_do_not_share_metrics() -> None:
    first, second = Telemetry(), Telemetry()
    first.received(1)
    assert b"dicom_router_instances_received_total 0.0" in second.render()


def test_paused_destinations_are_shown(telemetry: Telemetry, registry: CollectorRegistry) -> None:
    label = {"destination": "pacs"}
    for is_paused in (False, True, False):
        telemetry.destination_paused("pacs", is_paused)
        assert registry.get_sample_value("dicom_router_destination_paused", label) == is_paused
