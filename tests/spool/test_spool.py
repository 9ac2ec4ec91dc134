"""The way of an instance through the spool, and what concurrent callers see."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from router.clock import ManualClock
from router.errors import UnknownItem
from router.model import (
    DeliveryState,
    InstanceState,
    Listing,
    Priority,
    QueueDepth,
    Reason,
    Routed,
)
from router.spool import Spool
from router.spool.orders import Action
from tests.spool.samples import (
    META,
    MIB,
    append,
    arrival,
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


async def test_round_trip(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool, 1)
    assert instance.state is InstanceState.RECEIVED
    assert instance.size_bytes == 5000
    assert await read(spool, instance) == content(1)
    assert await spool.read_head(instance, 10) == content(1)[len(META) :][:10]
    assert await spool.read_head(instance, 10**6) == content(1)[len(META) :]
    await spool.verify(instance)

    assert await spool.take_unrouted(10) == [instance]
    await spool.route([routed(instance, "pacs", "archive")], clock.now())
    (delivery,) = await claim(spool, clock)
    assert delivery.destination == "pacs"
    assert delivery.attempts == 0
    assert delivery.created_at == clock.now()
    assert delivery.instance.place == instance.place
    assert delivery.instance.arrival == instance.arrival
    assert delivery.instance.content_hash == instance.content_hash
    await spool.record([outcome(delivery, clock.now())])
    assert (await settled_stats(spool)).bytes_live == instance.place.length_bytes  # archive still wants it

    (delivery,) = await claim(spool, clock, "archive")
    await spool.record([outcome(delivery, clock.now())])
    assert (await settled_stats(spool)).bytes_live == 0
    (trace,) = await spool.trace(instance.arrival.sop_instance_uid)
    assert trace.instance.state is InstanceState.RELEASED
    assert trace.decision == decision("pacs", "archive")
    assert [d.state for d in trace.deliveries] == [DeliveryState.DELIVERED] * 2
    assert [d.history[0].reason for d in trace.deliveries] == [Reason.SUCCESS] * 2


async def test_keys_rise_even_when_the_clock_goes_back(spool: Spool, clock: ManualClock) -> None:
    first = await append(spool)
    clock.jump(-3600)
    second = await append(spool)
    assert second.key > first.key


async def test_same_uid_twice_is_two_instances(spool: Spool) -> None:
    first = await append(spool, 1, uid="1.2.3")
    second = await append(spool, 2, uid="1.2.3")
    assert await read(spool, first) == content(1)
    assert await read(spool, second) == content(2)
    assert [t.instance.key for t in await spool.trace("1.2.3")] == [first.key, second.key]


async def test_many_appends_at_once_each_get_their_own(spool: Spool) -> None:
    async def one(seed: int) -> None:
        instance = await append(spool, seed, 100 + seed * 37)
        assert await read(spool, instance) == content(seed, 100 + seed * 37)

    async with anyio.create_task_group() as group:
        for seed in range(200):
            group.start_soon(one, seed)
    assert (await spool.stats()).unrouted == 200


async def test_object_of_many_parts(spool: Spool) -> None:
    whole = content(5, 3000)
    instance = await spool.append(arrival(), [bytes([b]) for b in whole], len(META))
    assert await read(spool, instance) == whole


async def test_routing_twice_is_routing_once(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    item = routed(instance, "pacs")
    await spool.route([item, item], clock.now())
    await spool.route([Routed(key=instance.key, decision=decision("other"))], clock.now())
    assert [d.destination for d in await spool.depths()] == ["pacs"]
    await deliver_all(spool, clock)
    await spool.route([item], clock.now())
    assert await spool.depths() == []


async def deliver_all(spool: Spool, clock: ManualClock) -> None:
    for delivery in await claim(spool, clock):
        await spool.record([outcome(delivery, clock.now())])


async def test_held_without_destination(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([Routed(key=instance.key, decision=decision(hold=True))], clock.now())
    (record,) = await spool.list_deliveries(Listing(state=DeliveryState.HELD))
    assert (record.destination, record.reason) == ("", Reason.UNMATCHED)
    assert (await settled_stats(spool)).bytes_live > 0


async def test_dropped_is_released(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([Routed(key=instance.key, decision=decision())], clock.now())
    assert (await settled_stats(spool)).bytes_live == 0
    assert (await spool.trace(instance.arrival.sop_instance_uid))[0].decision == decision()


async def test_claim_takes_priority_then_age_and_leases(spool: Spool, clock: ManualClock) -> None:
    instances = [await append(spool, n) for n in range(4)]
    priorities = (Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL)
    for instance, priority in zip(instances, priorities, strict=True):
        await spool.route([routed(instance, "pacs", priority=priority)], clock.now())
        clock.advance(1)
    first = await claim(spool, clock, limit=3)
    assert [d.instance.key for d in first] == [instances[n].key for n in (2, 1, 3)]
    assert [d.priority for d in first] == [Priority.HIGH, Priority.NORMAL, Priority.NORMAL]
    assert [d.instance.key for d in await claim(spool, clock)] == [instances[0].key]
    assert await claim(spool, clock) == []
    await spool.give_back(first)
    assert len(await claim(spool, clock)) == 3


async def test_deferred_is_due_at_its_time_only(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([routed(instance, "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    later = clock.now() + 30
    await spool.record(
        [outcome(delivery, clock.now(), DeliveryState.PENDING, Reason.OUT_OF_RESOURCES, retry_at=later)]
    )
    assert await claim(spool, clock) == []
    assert await spool.next_due("pacs") == later
    clock.advance(30)
    (delivery,) = await claim(spool, clock)
    assert delivery.attempts == 1
    await spool.record([outcome(delivery, clock.now())])
    record = await spool.show(delivery.delivery_id)
    assert [(a.number, a.reason, a.status) for a in record.history] == [
        (1, Reason.OUT_OF_RESOURCES, 0xA700),
        (2, Reason.SUCCESS, 0),
    ]


async def test_recording_twice_is_recording_once(spool: Spool, clock: ManualClock) -> None:
    first, second = await append(spool, 1), await append(spool, 2)
    await spool.route([routed(first, "pacs"), routed(second, "pacs")], clock.now())
    done, kept = await claim(spool, clock)
    for _ in range(2):
        await spool.record([outcome(done, clock.now())])
    assert (await settled_stats(spool)).bytes_live == kept.instance.place.length_bytes
    assert (await spool.show(done.delivery_id)).attempts == 1


async def test_outcome_of_a_lost_lease_counts_only_if_delivered(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([routed(instance, "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    clock.advance(61)
    await keep_house(spool, spool.housekeeper.expire)
    await spool.record([outcome(delivery, clock.now(), DeliveryState.DEAD, Reason.CANNOT_UNDERSTAND)])
    assert (await spool.show(delivery.delivery_id)).state is DeliveryState.PENDING
    await spool.record([outcome(delivery, clock.now())])
    assert (await spool.show(delivery.delivery_id)).state is DeliveryState.DELIVERED


async def test_expired_lease_wakes_its_lane(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([routed(instance, "pacs")], clock.now())
    await claim(spool, clock)
    clock.advance(61)
    async with anyio.create_task_group() as group:
        group.start_soon(spool.wait_for_work, "pacs", None)
        await keep_house(spool, spool.housekeeper.expire)
    (delivery,) = await claim(spool, clock)
    assert (await spool.show(delivery.delivery_id)).reason is Reason.LEASE_EXPIRED


async def test_dead_keeps_the_bytes_until_retried(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([routed(instance, "pacs")], clock.now())
    (delivery,) = await claim(spool, clock)
    await spool.record([outcome(delivery, clock.now(), DeliveryState.DEAD, Reason.MAX_AGE)])
    assert (await settled_stats(spool)).bytes_live > 0
    assert await spool.depths() == [
        QueueDepth(destination="pacs", state=DeliveryState.DEAD, count=1, oldest_at=1_700_000_000.0)
    ]
    clock.advance(1000)
    assert (await spool.orders.carry_out(order(Action.RETRY, destination="elsewhere"))).count == 0
    assert (await spool.orders.carry_out(order(Action.RETRY, delivery.delivery_id))).count == 1
    (again,) = await claim(spool, clock)
    assert (again.attempts, again.created_at) == (0, clock.now())
    await spool.record([outcome(again, clock.now())])
    assert [a.number for a in (await spool.show(again.delivery_id)).history] == [1, 2]
    assert (await settled_stats(spool)).bytes_live == 0


async def test_work_wakes_a_waiting_lane(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    assert await claim(spool, clock) == []
    async with anyio.create_task_group() as group:
        group.start_soon(spool.wait_for_work, "pacs", None)
        await anyio.lowlevel.checkpoint()
        await spool.route([routed(instance, "pacs")], clock.now())
    await spool.wait_for_work("pacs", None)  # something is due: it does not wait
    assert len(await claim(spool, clock)) == 1
    await spool.wait_for_work("pacs", clock.now())  # the deadline has come
    async with anyio.create_task_group() as group:
        group.start_soon(spool.wait_for_work, "pacs", None)
        await anyio.lowlevel.checkpoint()
        spool.wake("pacs")


async def test_cancelled_claim_leaves_no_lease(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([routed(instance, "pacs")], clock.now())
    async with anyio.create_task_group() as group:
        group.start_soon(claim, spool, clock)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    await append(spool)  # whatever was queued before is done
    await spool.give_back([])
    while not await claim(spool, clock):
        await spool.wait_for_work("pacs", None)


async def test_cancelled_append_leaves_nothing_or_a_whole_instance(spool: Spool) -> None:
    async with anyio.create_task_group() as group:
        for seed in range(50):
            group.start_soon(append, spool, seed)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    kept = await append(spool, 77)
    found = await spool.take_unrouted(100)
    assert found[-1] == kept
    for instance in found:
        await spool.verify(instance)


async def test_retention_keeps_the_bytes_for_a_while(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock, retention_s=100.0) as spool:
        instance = await append(spool, 1)
        await deliver(spool, clock, instance)
        await keep_house(spool, spool.housekeeper.expire)
        assert await read(spool, instance) == content(1)
        assert (await settled_stats(spool)).bytes_live > 0
        clock.advance(101)
        await keep_house(spool, spool.housekeeper.expire)
        assert (await settled_stats(spool)).bytes_live == 0


async def test_history_is_forgotten_but_nothing_that_is_live(spool: Spool, clock: ManualClock) -> None:
    done, waiting = await append(spool, 1, uid="1.1"), await append(spool, 2, uid="1.2")
    await deliver(spool, clock, done)
    await spool.route([routed(waiting, "pacs")], clock.now())
    clock.advance(40 * 86400)
    await append(spool, 3)
    await keep_house(spool, spool.housekeeper.prune)
    assert await spool.trace("1.1") == []
    assert len((await spool.trace("1.2"))[0].deliveries) == 1
    assert len(await spool.list_deliveries(Listing())) == 1


async def test_operators_lists(spool: Spool, clock: ManualClock) -> None:
    instances = [await append(spool, n) for n in range(5)]
    await spool.route([routed(i, "pacs", "archive") for i in instances], clock.now())
    listed = await spool.list_deliveries(Listing(destination="pacs", limit=3))
    assert [r.key for r in listed] == [i.key for i in instances[:3]]
    assert listed[0].calling_ae == "CT1"
    assert listed[0].size_bytes == 5000
    rest = await spool.list_deliveries(
        Listing(destination="pacs", state=DeliveryState.PENDING, after=listed[-1].delivery_id)
    )
    assert [r.key for r in rest] == [i.key for i in instances[3:]]
    assert [(d.destination, d.count) for d in await spool.depths()] == [("archive", 5), ("pacs", 5)]
    with pytest.raises(UnknownItem):
        await spool.show(1)
    assert await spool.trace("9.9") == []


async def test_a_lane_that_waits_is_handed_what_is_routed_without_a_claim(
    spool: Spool, clock: ManualClock
) -> None:
    assert await claim(spool, clock) == []  # so the lane knows that nothing is due, and waits
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(spool.wait_for_work, "pacs", None)
        await anyio.wait_all_tasks_blocked()
        instances = [await append(spool, seed) for seed in range(3)]
        items = [Routed(key=i.key, decision=decision("pacs"), instance=i) for i in instances]
        await spool.route(items, clock.now())
    assert {q.state for q in await spool.depths()} == {DeliveryState.ACTIVE}
    deliveries = await claim(spool, clock)
    assert [d.instance.key for d in deliveries] == [i.key for i in instances]
    await spool.record([outcome(d, clock.now()) for d in deliveries])
    assert await spool.depths() == []
    assert [a.number for a in (await spool.show(deliveries[0].delivery_id)).history] == [1]


async def test_what_a_lane_does_not_wait_for_is_left_to_its_claim(spool: Spool, clock: ManualClock) -> None:
    instance = await append(spool)
    await spool.route([Routed(key=instance.key, decision=decision("pacs"), instance=instance)], clock.now())
    assert {q.state for q in await spool.depths()} == {DeliveryState.PENDING}
    assert len(await claim(spool, clock)) == 1


async def test_who_follows_is_told_of_what_is_stored_and_released(spool: Spool, clock: ManualClock) -> None:
    told: list[int] = []
    spool.follow(told.extend)
    first = await append(spool, 1)
    assert told == [first.key]  # before its sender is
    large = await append(spool, 2, 2 * MIB)
    second = await append(spool, 3)
    assert set(told) == {first.key, large.key, second.key}
    keys = [first.key, large.key, second.key, 12345]
    assert {one.key for one in await spool.held(keys)} == set(keys[:3])
    assert set(await spool.live_keys()) == set(keys[:3])
    told.clear()
    await spool.route([routed(first), routed(large)], clock.now())  # to nobody
    await spool.sync()
    while set(told) != {first.key, large.key}:
        await anyio.lowlevel.checkpoint()
    assert [one.key for one in await spool.held(keys)] == [second.key]
    assert list(await spool.live_keys()) == [second.key]
