"""router.admin: pages, retries, traces and status as operators see them; explanations of files."""

from __future__ import annotations

import pytest

from router.admin import Admin
from router.clock import ManualClock
from router.config.settings import Destination, Modality, Settings
from router.errors import UnknownItem
from router.model import DeliveryState, Listing, QueueDepth, Reason
from router.telemetry import Totals
from router.throughput import EVERY_S, Throughput
from router.views import Phase
from tests.fake_store import DECISION, J2K, KEY, FakeStore, FakeSwitches, learned, record, trace

SETTINGS = Settings(
    modalities={"pacs": Modality(ae_title="PACS", host="10.1.0.5", port=104)},
    destinations={"archive": Destination(folder="/mnt/{SOPInstanceUID}.dcm")},
)


class Gateway:
    """An ``Admin`` and what it looks at."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.switches = FakeSwitches()
        self.clock = ManualClock()
        self.phase = Phase.RUNNING
        self.up: dict[str, bool] = {}
        self.outages: dict[str, Reason] = {}
        self.throughput = Throughput()
        self.admin = self.admin_of(self.store)

    def admin_of(self, store: FakeStore) -> Admin:
        return Admin(
            spool=store,
            settings=SETTINGS,
            clock=self.clock,
            phase=lambda: self.phase,
            destinations_up=lambda: self.up,
            outages=lambda: self.outages,
            throughput=self.throughput,
            dicom_ports=lambda: (11112,),
            switches=self.switches.switches,
            learned=learned,
        )


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def test_it_is_ready_when_it_runs_and_has_room(gateway: Gateway) -> None:
    assert gateway.admin.readiness().is_ready


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.DRAINING])
def test_it_is_not_ready_before_and_after(gateway: Gateway, phase: Phase) -> None:
    gateway.phase = phase
    readiness = gateway.admin.readiness()
    assert not readiness.is_ready
    assert readiness.reasons == (phase.value,)


def test_it_is_not_ready_while_the_disk_is_low(gateway: Gateway) -> None:
    gateway.store.is_accepting = False
    assert gateway.admin.readiness().reasons == ("disk_low",)


async def test_a_page_says_where_to_go_on(gateway: Gateway) -> None:
    gateway.store.records = [record(number) for number in range(1, 6)]
    first = await gateway.admin.queue(Listing(limit=3))
    assert [item.delivery_id for item in first.deliveries] == ["1", "2", "3"]
    assert first.next_after == "3"
    last = await gateway.admin.queue(Listing(limit=3, after=int(first.next_after)))
    assert [item.delivery_id for item in last.deliveries] == ["4", "5"]
    assert last.next_after is None


async def test_keys_are_text_and_statuses_hexadecimal(gateway: Gateway) -> None:
    gateway.store.records = [record(1)]
    delivery = await gateway.admin.delivery(1)
    assert delivery.key == str(KEY)
    assert delivery.last_status == "A700"
    assert len(delivery.history) == 1


async def test_an_unknown_delivery(gateway: Gateway) -> None:
    with pytest.raises(UnknownItem, match="no delivery 9"):
        await gateway.admin.delivery(9)


async def test_a_trace_tells_the_whole_way(gateway: Gateway) -> None:
    gateway.store.traces = [trace(record(1), decision=DECISION)]
    (view,) = await gateway.admin.trace("1.2.3")
    assert (view.calling_ae, view.peer, view.size_bytes) == ("CT1", "10.1.0.21", 1000)
    assert view.content_hash == "000102030405060708090a0b0c0d0e0f"
    assert view.rules == DECISION.trace
    assert [item.delivery_id for item in view.deliveries] == ["1"]


async def test_a_trace_before_routing(gateway: Gateway) -> None:
    gateway.store.traces = [trace()]
    (view,) = await gateway.admin.trace("1.2.3")
    assert (view.routed_at, view.destinations, view.hold) == (None, (), False)


async def test_a_trace_of_what_never_came(gateway: Gateway) -> None:
    with pytest.raises(UnknownItem, match=r"1\.2\.9"):
        await gateway.admin.trace("1.2.9")


async def test_status_names_every_destination_also_gone_ones(gateway: Gateway) -> None:
    now = gateway.clock.now()
    gateway.up = {"pacs": False}
    gateway.store.totals = [
        QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=3, oldest_at=now - 60),
        QueueDepth(destination="pacs", state=DeliveryState.ACTIVE, count=1, oldest_at=now - 5),
        QueueDepth(destination="pacs", state=DeliveryState.DEAD, count=2, oldest_at=now - 900),
        QueueDepth(destination="old", state=DeliveryState.PENDING, count=1, oldest_at=now),
        QueueDepth(destination="", state=DeliveryState.HELD, count=4, oldest_at=now),
    ]
    gateway.clock.advance(0.0)
    status = await gateway.admin.status()
    by_name = {item.name: item for item in status.destinations}
    assert list(by_name) == ["pacs", "archive", "old"]
    pacs = by_name["pacs"]
    assert (pacs.kind, pacs.is_up, pacs.pending, pacs.active, pacs.dead) == ("modality", False, 3, 1, 2)
    assert pacs.oldest_s == 60
    assert (by_name["archive"].kind, by_name["archive"].is_up) == ("folder", None)
    assert by_name["old"].kind == "removed"
    assert status.held_unmatched == 4
    assert status.spool.unrouted == 2


async def test_a_destination_is_said_to_be_somewhere_and_why_it_is_down(gateway: Gateway) -> None:
    gateway.outages = {"pacs": Reason.TIMEOUT}
    gateway.up = {"pacs": True}
    assert [one.reason for one in await gateway.admin.destinations()] == [None, None], "that is over"
    gateway.up = {"pacs": False}
    pacs, archive = await gateway.admin.destinations()
    assert (pacs.reason, pacs.to) == (Reason.TIMEOUT, "PACS@10.1.0.5:104")
    assert (archive.reason, archive.to) == (None, "/mnt/{SOPInstanceUID}.dcm")


async def test_open_associations_are_counted(gateway: Gateway) -> None:
    gateway.switches.open = 3
    assert (await gateway.admin.status()).associations == 3


async def test_what_is_not_over_comes_by_what_needs_somebody(gateway: Gateway) -> None:
    gateway.store.records = [
        record(number, state=state) for number, state in enumerate(DeliveryState, start=1)
    ]
    page = await gateway.admin.unfinished(Listing(limit=10))
    assert [item.state.value for item in page.deliveries] == ["dead", "held", "active", "pending"]
    assert page.next_after is None
    gateway.store.records += [record(number, state=DeliveryState.DEAD) for number in range(10, 20)]
    page = await gateway.admin.unfinished(Listing(limit=3))
    assert [item.state.value for item in page.deliveries] == ["dead"] * 3


async def test_the_first_in_line_of_a_destination(gateway: Gateway) -> None:
    assert await gateway.admin.first_pending("pacs") is None
    gateway.store.records = [record(1, state=DeliveryState.DEAD), record(2), record(3)]
    first = await gateway.admin.first_pending("pacs")
    assert first is not None
    assert (first.delivery_id, first.last_status) == ("2", "A700")


def test_rates_are_those_that_were_taken(gateway: Gateway) -> None:
    gateway.throughput.look(0.0, Totals)
    gateway.throughput.look(EVERY_S, lambda: Totals(received=10))
    assert [rate.received_per_s for rate in gateway.admin.rates()] == [2.0]


async def test_uptime_does_not_jump_with_the_wall_clock(gateway: Gateway) -> None:
    gateway.clock.advance(5)
    gateway.clock.jump(-3600)
    assert (await gateway.admin.status()).uptime_s == 5


def test_what_a_destination_takes_is_told(gateway: Gateway) -> None:
    accepted, refused = gateway.admin.contexts("pacs")
    assert (accepted.is_accepted, accepted.expires_in_s) == (True, None)
    assert (refused.is_accepted, refused.transfer_syntax_uid, refused.expires_in_s) == (False, J2K, 840.0)
    assert gateway.admin.contexts("archive") == ()
    with pytest.raises(UnknownItem, match="no destination 'nowhere'"):
        gateway.admin.contexts("nowhere")
