"""router.spool.ordering and operations: orders change the queue and the audit together, in small steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import apsw
import pytest

from router.clock import ManualClock
from router.errors import NotAllowed, StorageError, UnknownItem
from router.model import (
    Delivery,
    DeliveryState,
    Edit,
    EditKind,
    Form,
    Instance,
    InstanceState,
    Listing,
    Reason,
    Routed,
    Wish,
)
from router.spool import Spool, ordering
from router.spool.orders import TAKEN, Action, Done
from router.spool.schema import LEDGER_NAME, MIGRATIONS, SCHEMA_VERSION
from tests.spool.samples import (
    BY,
    append,
    claim,
    content,
    decision,
    deliver,
    keep_house,
    opened,
    order,
    outcome,
    read,
    routed,
    settled_stats,
)
from tests.spool.test_inspect import damage

State = DeliveryState


async def queued(spool: Spool, clock: ManualClock, count: int, *destinations: str) -> list[Instance]:
    instances = [await append(spool, seed) for seed in range(count)]
    await spool.route([routed(i, *(destinations or ("pacs",))) for i in instances], clock.now())
    return instances


async def states(spool: Spool) -> dict[tuple[str, State], int]:
    return {(d.destination, d.state): d.count for d in await spool.depths()}


async def failed(spool: Spool, clock: ManualClock, destination: str = "pacs") -> list[Delivery]:
    """Everything due fails for good."""
    deliveries = await claim(spool, clock, destination, limit=1000)
    await spool.record([outcome(d, clock.now(), State.DEAD, Reason.CANNOT_UNDERSTAND) for d in deliveries])
    return deliveries


async def carry_out(spool: Spool, action: Action, *ids: int, **chosen: object) -> Done:
    return await spool.orders.carry_out(order(action, *ids, **chosen))  # type: ignore[arg-type]


async def test_hold_and_resume(spool: Spool, clock: ManualClock) -> None:
    await queued(spool, clock, 3, "pacs", "archive")
    done = await carry_out(spool, Action.HOLD, destination="pacs")
    assert (done.count, done.left_alone) == (3, {})
    assert await claim(spool, clock) == []
    clock.advance(5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spool.wait_for_work, "pacs", None)
        await anyio.wait_all_tasks_blocked()
        assert (await carry_out(spool, Action.RESUME, destination="pacs")).count == 3
    assert len(await claim(spool, clock)) == 3
    audit = await spool.orders.audit()
    assert [(o.action, o.target, o.count, o.who, o.address) for o in audit] == [
        (Action.RESUME, "destination=pacs", 3, BY.who, BY.address),
        (Action.HOLD, "destination=pacs", 3, BY.who, BY.address),
    ]
    assert audit[0].at == audit[0].ended_at == clock.now()


async def test_what_a_lane_has_is_left_alone_and_said(spool: Spool, clock: ManualClock) -> None:
    await queued(spool, clock, 5)
    active = await claim(spool, clock, limit=2)
    done = await carry_out(spool, Action.HOLD, destination="pacs")
    assert (done.count, done.left_alone) == (3, {"active": 2})
    with pytest.raises(NotAllowed, match=r"is active.*pause the destination"):
        await carry_out(spool, Action.DISCARD, active[0].delivery_id)
    with pytest.raises(NotAllowed, match=r"2 active, 3 held, and nothing else matches"):
        await carry_out(spool, Action.HOLD, destination="pacs")
    await spool.record([outcome(d, clock.now()) for d in active])  # its outcome decides
    assert await states(spool) == {("pacs", State.HELD): 3}
    assert len(await spool.orders.audit()) == 1  # refusals change nothing


async def test_numbers_are_all_or_none(spool: Spool, clock: ManualClock) -> None:
    instances = await queued(spool, clock, 3)
    (active,) = await claim(spool, clock, limit=1)
    waiting = instances[1].key + 1
    with pytest.raises(NotAllowed, match=rf"no\. {active.delivery_id} is active"):
        await carry_out(spool, Action.HOLD, active.delivery_id, waiting)
    with pytest.raises(UnknownItem, match=r"no delivery 7$"):
        await carry_out(spool, Action.HOLD, waiting, 7)
    assert (State.HELD not in {s for _, s in await states(spool)}) and not await spool.orders.audit()
    assert (await carry_out(spool, Action.HOLD, waiting)).count == 1


async def test_what_matches_nothing_changes_and_records_nothing(spool: Spool, clock: ManualClock) -> None:
    assert await carry_out(spool, Action.HOLD, destination="pacs") == Done(
        count=0, left_alone={}, operation=None
    )
    assert await spool.orders.audit() == []


async def test_a_lane_that_is_quicker_keeps_its_delivery(
    spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "STEP_ROWS", 2)
    await queued(spool, clock, 4)
    change = spool._change

    async def and_claim(*arguments: Any, **options: Any) -> object:
        result: object = await change(*arguments, **options)
        await claim(spool, clock, limit=1)
        return result

    monkeypatch.setattr(spool.orders, "_change", and_claim)
    done = await carry_out(spool, Action.DISCARD)
    assert (done.count, done.left_alone) == (3, {TAKEN: 1})
    (line,) = await spool.orders.audit()
    assert (line.count, line.ended_at) == (3, clock.now())


async def test_discard_lets_the_bytes_go(spool: Spool, clock: ManualClock) -> None:
    (instance,) = await queued(spool, clock, 1, "pacs", "archive")
    await failed(spool, clock)
    assert (await carry_out(spool, Action.DISCARD, destination="pacs")).count == 1
    assert (await settled_stats(spool)).bytes_live > 0  # the other one needs them
    assert (await carry_out(spool, Action.DISCARD, uid=instance.arrival.sop_instance_uid)).count == 1
    assert (await settled_stats(spool)).bytes_live == 0
    (trace,) = await spool.trace(instance.arrival.sop_instance_uid)
    assert {d.state for d in trace.deliveries} == {State.DISCARDED}
    assert {d.reason for d in trace.deliveries} == {Reason.OPERATOR}


async def test_what_is_given_up_is_told_by_destination(
    spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "STEP_ROWS", 2)
    told: list[dict[str, int]] = []
    spool.orders.on_given_up = lambda counts: told.append(dict(counts))
    await queued(spool, clock, 3, "pacs", "archive")
    await carry_out(spool, Action.HOLD, destination="pacs")
    assert told == []
    await carry_out(spool, Action.DISCARD, destination="pacs")
    assert told == [{"pacs": 2}, {"pacs": 1}]
    await carry_out(spool, Action.REDIRECT, destination="archive", to="research")
    assert told[2:] == [{"archive": 2}, {"archive": 1}]


async def test_long_queues_are_worked_off_in_steps(
    spool: Spool, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "STEP_ROWS", 3)
    await queued(spool, clock, 10, "pacs", "archive")
    await failed(spool, clock)
    assert (await carry_out(spool, Action.RETRY, destination="pacs", state=State.DEAD)).count == 10
    (line,) = await spool.orders.audit()
    assert line.count == 10
    assert (await carry_out(spool, Action.RETRY)).count == 20
    assert len(await claim(spool, clock, limit=50)) == 10


async def test_redirect_makes_new_deliveries_and_keeps_the_history(spool: Spool, clock: ManualClock) -> None:
    (instance,) = await queued(spool, clock, 1)
    (dead,) = await failed(spool, clock)
    clock.advance(10)
    done = await carry_out(spool, Action.REDIRECT, destination="pacs", to="archive")
    assert done.count == 1
    (line,) = await spool.orders.audit()
    assert line.detail == "to archive"
    (delivery,) = await claim(spool, clock, "archive")
    assert (delivery.instance.key, delivery.created_at, delivery.attempts) == (instance.key, clock.now(), 0)
    old = await spool.show(dead.delivery_id)
    assert (old.state, old.reason, len(old.history)) == (State.DISCARDED, Reason.REDIRECTED, 1)
    await spool.record([outcome(delivery, clock.now())])
    assert (await settled_stats(spool)).bytes_live == 0


async def test_redirect_sends_nothing_twice(spool: Spool, clock: ManualClock) -> None:
    await queued(spool, clock, 2, "pacs", "cloud", "archive")
    done = await carry_out(spool, Action.REDIRECT, to="archive")
    assert (done.count, done.left_alone) == (4, {"on its way there": 2})
    assert await states(spool) == {("archive", State.PENDING): 2}
    await queued(spool, clock, 1, "pacs", "cloud")
    assert (await carry_out(spool, Action.REDIRECT, to="new")).count == 4
    assert (await states(spool))["new", State.PENDING] == 3


async def test_redirect_to_where_it_is_already_is_the_end_of_it(spool: Spool, clock: ManualClock) -> None:
    await queued(spool, clock, 1, "pacs", "archive")
    (done,) = await claim(spool, clock, "archive")
    await spool.record([outcome(done, clock.now())])
    assert (await carry_out(spool, Action.REDIRECT, destination="pacs", to="archive")).count == 1
    assert await states(spool) == {}
    assert (await settled_stats(spool)).bytes_live == 0


async def test_a_group_stands_for_all_its_queues(spool: Spool, clock: ManualClock) -> None:
    await queued(spool, clock, 1, "both/pacs1", "both/pacs2", "bother", "pacs")
    for state in (None, State.PENDING):
        assert len(await spool.list_deliveries(Listing(destination="both", state=state))) == 2
    assert (await carry_out(spool, Action.HOLD, destination="both")).count == 2
    assert (await carry_out(spool, Action.DISCARD, destination="both/pacs1")).count == 1
    held = await spool.list_deliveries(Listing(state=State.HELD))
    assert [record.destination for record in held] == ["both/pacs2"]


async def test_unmatched_is_redirected_or_discarded(spool: Spool, clock: ManualClock) -> None:
    instances = [await append(spool, seed) for seed in range(2)]
    await spool.route([Routed(key=i.key, decision=decision(hold=True)) for i in instances], clock.now())
    with pytest.raises(NotAllowed, match=r"unmatched.*redirect gives it one"):
        await carry_out(spool, Action.RESUME)
    with pytest.raises(NotAllowed, match="retry is for pending or dead deliveries: 2 held"):
        await carry_out(spool, Action.RETRY, destination="")
    assert (await carry_out(spool, Action.REDIRECT, instances[0].key + 1, to="pacs")).count == 1
    assert (await carry_out(spool, Action.DISCARD, destination="")).count == 1
    (delivery,) = await claim(spool, clock)
    assert delivery.instance.key == instances[0].key


async def test_replay_while_the_bytes_are_kept(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, retention_s=100.0) as spool:
        instance = await append(spool, 7)
        await deliver(spool, clock, instance)
        clock.advance(50)
        assert (await carry_out(spool, Action.REPLAY, destination="pacs")).count == 1
        clock.advance(100)
        await keep_house(spool, spool.housekeeper.expire)  # what is to be sent again is not released
        (delivery,) = await claim(spool, clock)
        assert await read(spool, delivery.instance) == content(7)
        await spool.record([outcome(delivery, clock.now())])
        assert [a.number for a in (await spool.show(delivery.delivery_id)).history] == [1, 2]
        await keep_house(spool, spool.housekeeper.expire)
        uid = instance.arrival.sop_instance_uid
        assert (await carry_out(spool, Action.REPLAY, uid=uid, to="archive")).count == 1
        (other,) = await claim(spool, clock, "archive")
        await spool.record([outcome(other, clock.now())])
        clock.advance(101)
        await keep_house(spool, spool.housekeeper.expire)
        assert (await settled_stats(spool)).bytes_live == 0
        with pytest.raises(NotAllowed, match=r"released.*the bytes of a released one are gone"):
            await carry_out(spool, Action.REPLAY, delivery.delivery_id)
        with pytest.raises(NotAllowed, match="2 released"):
            await carry_out(spool, Action.REPLAY, uid=uid)


async def test_replay_brings_back_what_was_given_up_only_where_it_is_named(
    spool: Spool, clock: ManualClock
) -> None:
    await queued(spool, clock, 1, "pacs", "archive")
    await carry_out(spool, Action.DISCARD, destination="pacs")
    assert (await carry_out(spool, Action.REPLAY)).count == 0
    assert (await carry_out(spool, Action.REPLAY, state=State.DISCARDED)).count == 1
    assert len(await claim(spool, clock)) == 1


async def test_a_destination_stays_paused_over_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        await spool.orders.pause("pacs", BY)
        with pytest.raises(NotAllowed, match="paused already, by anna@pacs"):
            await spool.orders.pause("pacs", BY)
    async with opened(tmp_path, clock) as spool:
        assert (await spool.orders.paused())["pacs"].who == BY.who
        await spool.orders.unpause("pacs", BY)
        with pytest.raises(NotAllowed, match="not paused"):
            await spool.orders.unpause("pacs", BY)
        assert await spool.orders.paused() == {}
        actions = [line.action for line in await spool.orders.audit()]
    assert actions == [Action.UNPAUSE, Action.PAUSE]


async def test_what_was_handed_to_a_lane_that_is_paused_is_given_back(
    spool: Spool, clock: ManualClock
) -> None:
    assert await claim(spool, clock) == []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spool.wait_for_work, "pacs", None)
        await anyio.wait_all_tasks_blocked()
        instance = await append(spool)
        await spool.route(
            [Routed(key=instance.key, decision=decision("pacs"), instance=instance)], clock.now()
        )
    assert await states(spool) == {("pacs", State.ACTIVE): 1}
    await spool.orders.pause("pacs", BY)
    await spool.sync()
    assert await states(spool) == {("pacs", State.PENDING): 1}


async def test_the_audit_is_read_in_pages(spool: Spool) -> None:
    for number in range(5):
        await spool.orders.note(Action.DRAIN, BY, detail=str(number))
    first = await spool.orders.audit(limit=2)
    rest = await spool.orders.audit(limit=10, before=first[-1].number)
    assert [line.detail for line in first + rest] == ["4", "3", "2", "1", "0"]


async def test_corrupt_instances_are_let_go_by_name_or_all(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        instances = await queued(spool, clock, 3, "pacs", "archive")
        for instance in instances[:2]:
            damage(tmp_path, instance)
            with pytest.raises(StorageError):
                await read(spool, instance)
        told: list[dict[str, int]] = []
        spool.orders.on_given_up = lambda counts: told.append(dict(counts))
        dead = instances[0].key + 1
        with pytest.raises(NotAllowed, match="damaged"):
            await carry_out(spool, Action.RETRY, dead)
        with pytest.raises(NotAllowed, match="not corrupt"):
            await spool.orders.discard_corrupt([instances[0].key, instances[2].key], BY)
        assert await spool.orders.discard_corrupt([instances[0].key], BY) == 1
        assert await spool.orders.discard_corrupt(None, BY) == 1
        assert await spool.corrupt() == []
        uid = instances[0].arrival.sop_instance_uid
        (trace,) = await spool.trace(uid)
        assert trace.instance.state is InstanceState.RELEASED
        assert {d.state for d in trace.deliveries} == {State.DISCARDED}
        assert (await settled_stats(spool)).bytes_live == instances[2].place.length_bytes
        assert [line.count for line in await spool.orders.audit()] == [1, 1]
        assert told == [{"pacs": 1, "archive": 1}] * 2


async def test_a_ledger_of_version_1_is_brought_up_to_date_in_place(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with opened(tmp_path, clock) as spool:
        await queued(spool, clock, 2)
    as_version_1(tmp_path)
    async with opened(tmp_path, clock) as spool:
        assert await spool.orders.audit() == []
        assert (await carry_out(spool, Action.HOLD)).count == 2
    async with opened(tmp_path, clock) as spool:
        assert len(await spool.orders.audit()) == 1


def as_version_1(directory: Path) -> None:
    connection = apsw.Connection(str(directory / LEDGER_NAME))
    for table in ("operations", "paused", "log_tail"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    connection.execute("ALTER TABLE attempts DROP COLUMN carried_by")
    connection.execute("ALTER TABLE attempts DROP COLUMN transcoding")
    connection.execute("ALTER TABLE deliveries DROP COLUMN wish")
    connection.execute("PRAGMA user_version=1")
    connection.close()


def test_there_is_a_way_from_every_version_to_this_one() -> None:
    assert set(MIGRATIONS) == set(range(1, SCHEMA_VERSION))


EDITS = (Edit(kind=EditKind.SET, path="PatientID", value='"{PatientID}"'),)


@pytest.mark.parametrize("action", [Action.REDIRECT, Action.REPLAY])
async def test_what_is_edited_stays_edited_for_somebody_else(
    tmp_path: Path, clock: ManualClock, action: Action
) -> None:
    async with opened(tmp_path, clock, retention_s=3600) as spool:
        instance = await append(spool, 1)
        made = replace(
            decision("pacs", "research"),
            forms=(("research", Form(transfer_syntax_uid="1.2.840.10008.1.2")),),
            edits=(("research", EDITS),),
        )
        await spool.route([Routed(key=instance.key, decision=made)], clock.now())
        for name in ("pacs", "research"):
            if action is Action.REPLAY:
                await spool.record([outcome(d, clock.now()) for d in await claim(spool, clock, name)])
            else:
                await failed(spool, clock, name)
        uid = instance.arrival.sop_instance_uid
        await carry_out(spool, action, uid=uid, to="archive")
        (delivery,) = await claim(spool, clock, "archive")
        assert delivery.wish == Wish(edits=EDITS), "of both, what is edited; not the form, which is another's"
        if action is Action.REPLAY:
            await carry_out(spool, action, destination="research")
            (again,) = await claim(spool, clock, "research")
            assert again.wish == made.wish_for("research")
