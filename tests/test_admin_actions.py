"""router.admin_actions: orders are clear or refused, switches and ledger agree, files come out whole."""

from __future__ import annotations

import pytest

from router.admin_actions import FILE_STEP_BYTES, IDS_MAX, Actions
from router.clock import ManualClock
from router.config.settings import Group, Modality, Settings
from router.errors import NotAllowed, RouterError, StorageError, UnknownItem
from router.model import DeliveryState, QueueDepth
from router.spool import SpoolStats
from router.spool.orders import ALLOWED, Action, Operator, Paused, Selection
from router.views import CorruptRequest, OrderRequest
from tests.fake_store import KEY, FakeStore, FakeSwitches
from tests.test_admin import Gateway, gateway

__all__ = ["gateway"]  # a fixture

BY = Operator(who="anna@ward", address="10.0.0.9")


@pytest.mark.parametrize(
    "request_",
    [
        OrderRequest(),
        OrderRequest(ids=(1,), everything=True),
        OrderRequest(ids=(1,), destination="pacs"),
        OrderRequest(state=DeliveryState.DEAD, everything=True),
        OrderRequest(to="pacs"),
    ],
)
@pytest.mark.parametrize("action", ALLOWED)
async def test_an_order_says_exactly_what_it_means(
    gateway: Gateway, action: Action, request_: OrderRequest
) -> None:
    with pytest.raises(NotAllowed, match="say which"):
        await gateway.admin.actions.order(action, request_, BY)
    assert gateway.store.orders.given == []


async def test_orders_reach_the_store_with_who_gave_them(gateway: Gateway) -> None:
    done = await gateway.admin.actions.order(Action.RETRY, OrderRequest(ids=(1, 2)), BY)
    assert (done.count, done.left_alone, done.operation) == (2, {"active": 1}, 7)
    await gateway.admin.actions.order(Action.REPLAY, OrderRequest(calling_ae="CT1", to="archive"), BY)
    first, second = gateway.store.orders.given
    assert (first.action, first.selection, first.by, first.to) == (
        Action.RETRY,
        Selection(ids=(1, 2)),
        BY,
        None,
    )
    assert (second.selection, second.to) == (Selection(calling_ae="CT1"), "archive")


@pytest.mark.parametrize(
    ("action", "request_", "error", "said"),
    [
        (Action.REDIRECT, OrderRequest(everything=True), NotAllowed, "say where to"),
        (Action.REDIRECT, OrderRequest(everything=True, to="x"), UnknownItem, "are: pacs, archive"),
        (Action.REDIRECT, OrderRequest(destination="pacs", to="pacs"), NotAllowed, "is where they are"),
        (Action.HOLD, OrderRequest(everything=True, to="pacs"), NotAllowed, "hold has no 'to'"),
        (Action.HOLD, OrderRequest(ids=tuple(range(IDS_MAX + 1))), NotAllowed, "too many"),
    ],
)
async def test_orders_that_cannot_be(
    gateway: Gateway, action: Action, request_: OrderRequest, error: type[RouterError], said: str
) -> None:
    with pytest.raises(error, match=said):
        await gateway.admin.actions.order(action, request_, BY)
    assert gateway.store.orders.given == []


async def test_a_pause_is_in_the_lane_and_in_the_ledger_or_in_neither(gateway: Gateway) -> None:
    actions, paused = gateway.admin.actions, gateway.switches.paused
    await actions.pause("pacs", BY)
    assert paused == {"pacs": True}
    status = {item.name: item for item in (await gateway.admin.status()).destinations}
    assert (status["pacs"].paused_by, status["archive"].paused_by) == (BY.who, None)
    await actions.resume("pacs", BY)
    assert paused == {"pacs": False}
    gateway.store.orders.refuse_with = StorageError("the disk is gone", out_of_resources=False)
    with pytest.raises(StorageError):
        await actions.pause("pacs", BY)
    assert paused == {"pacs": False}
    gateway.store.orders.names["pacs"] = Paused(since=1.0, who="ben")
    with pytest.raises(StorageError):
        await actions.pause("pacs", BY)
    with pytest.raises(StorageError):
        await actions.resume("pacs", BY)
    assert paused == {"pacs": True}
    with pytest.raises(UnknownItem, match="no destination 'elsewhere'"):
        await actions.pause("elsewhere", BY)


async def test_what_was_paused_is_paused_after_a_start(gateway: Gateway) -> None:
    gateway.store.orders.names["archive"] = Paused(since=1.0, who="ben")
    await gateway.admin.actions.restore()
    assert gateway.switches.paused == {"archive": True}


async def test_a_drain_is_done_when_nothing_waits_and_nobody_is_there(gateway: Gateway) -> None:
    actions = gateway.admin.actions
    assert (await gateway.admin.status()).drain is None
    await actions.drain(BY)
    assert gateway.switches.is_refusing
    assert gateway.admin.readiness().reasons == ("draining",)
    gateway.store.unrouted, gateway.switches.open = 1, 1
    gateway.store.totals = [
        QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=3, oldest_at=1.0),
        QueueDepth(destination="pacs", state=DeliveryState.DEAD, count=9, oldest_at=1.0),
    ]
    drain = (await gateway.admin.status()).drain
    assert drain is not None
    assert (drain.by, drain.waiting, drain.associations, drain.is_done) == (BY.who, 4, 1, False)
    gateway.store.unrouted, gateway.store.totals, gateway.switches.open = 0, [], 0
    drain = (await gateway.admin.status()).drain
    assert drain is not None
    assert drain.is_done
    with pytest.raises(NotAllowed, match="drains already, by order of anna@ward"):
        await actions.drain(BY)
    await actions.undrain(BY)
    assert not gateway.switches.is_refusing
    assert gateway.admin.readiness().is_ready
    with pytest.raises(NotAllowed, match="does not drain"):
        await actions.undrain(BY)
    assert [line.action for line in gateway.store.orders.lines] == [Action.UNDRAIN, Action.DRAIN]


async def test_what_is_routed_while_status_is_asked_is_not_missed(gateway: Gateway) -> None:
    """It was: the queue was counted first, then what is unrouted, and what moved between was in neither."""

    class Moving(FakeStore):
        is_first = True

        def route_one(self) -> None:
            if self.is_first:
                self.is_first, self.unrouted = False, 0
                self.totals = [
                    QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=1, oldest_at=0.0)
                ]

        async def depths(self) -> list[QueueDepth]:
            depths = await super().depths()
            self.route_one()
            return depths

        async def stats(self) -> SpoolStats:
            stats = await super().stats()
            self.route_one()
            return stats

    moving = Moving(unrouted=1)
    admin = gateway.admin_of(moving)
    await admin.actions.drain(BY)
    drain = (await admin.status()).drain
    assert drain is not None
    assert drain.waiting
    assert not drain.is_done


async def test_the_audit_says_where_to_go_on(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.store.orders.note(Action.DRAIN, BY)
    page = await gateway.admin.actions.audit(limit=2)
    assert ([line.number for line in page.operations], page.next_before) == ([3, 2], 2)
    page = await gateway.admin.actions.audit(limit=2, before=2)
    assert ([line.number for line in page.operations], page.next_before) == ([1], None)


async def test_a_file_comes_out_in_pieces_and_whole(gateway: Gateway) -> None:
    gateway.store.files = {KEY: bytes(range(256)) * 10_000}
    instance, content = await gateway.admin.actions.open_file(KEY, BY)
    pieces = [piece async for piece in content]
    assert b"".join(pieces) == gateway.store.files[KEY]
    assert max(map(len, pieces)) == FILE_STEP_BYTES
    assert instance.place.length_bytes == len(gateway.store.files[KEY])


async def test_files_that_do_not_come_out(gateway: Gateway) -> None:
    with pytest.raises(UnknownItem, match="no instance 5"):
        await gateway.admin.actions.open_file(5, BY)
    gateway.store.files, gateway.store.released = {KEY: b"x"}, {KEY}
    with pytest.raises(UnknownItem, match="are gone: 'retention'"):
        await gateway.admin.actions.open_file(KEY, BY)
    gateway.store.released, gateway.store.damaged = set(), {KEY}
    with pytest.raises(NotAllowed, match="do not match their hash"):
        await gateway.admin.actions.open_file(KEY, BY)


async def test_corrupt_instances_by_key_or_all(gateway: Gateway) -> None:
    for wrong in (CorruptRequest(), CorruptRequest(keys=(1,), everything=True)):
        with pytest.raises(NotAllowed, match="say which"):
            await gateway.admin.actions.discard_corrupt(wrong, BY)
    await gateway.admin.actions.discard_corrupt(CorruptRequest(keys=(KEY,)), BY)
    await gateway.admin.actions.discard_corrupt(CorruptRequest(everything=True), BY)
    assert gateway.store.orders.discarded == [(KEY,), None]


async def test_a_group_that_balances_is_no_target() -> None:
    store = FakeStore()
    members = ("a", "b")
    settings = Settings(
        modalities={name: Modality(ae_title=name, host="h", port=104) for name in members},
        groups={"both": Group(one_of=members), "safe": Group(first_of=members)},
    )
    actions = Actions(spool=store, settings=settings, clock=ManualClock(), switches=FakeSwitches().switches)
    with pytest.raises(NotAllowed, match="name one of a, b"):
        await actions.order(Action.REDIRECT, OrderRequest(everything=True, to="both"), BY)
    await actions.order(Action.REDIRECT, OrderRequest(everything=True, to="safe"), BY)
    assert [order.to for order in store.orders.given] == ["safe"]
