"""The ledger follows the records: senders are answered before it, and nothing is lost or overtaken."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from router.clock import ManualClock
from router.errors import CorruptRecord, StorageError
from router.spool.ledger import Ledger, NewRow
from router.spool.writer import TOGETHER
from tests.spool.samples import append, broken_ledger, claim, content, crash_copy, opened, read, routed


@contextmanager
def held_up_ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No row is named while this lasts."""
    gate = threading.Event()
    insert = Ledger.insert

    def wait(self: Ledger, rows: list[object]) -> None:
        gate.wait(10)
        insert(self, rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "insert", wait)
        try:
            yield
        finally:
            gate.set()


async def test_an_append_does_not_wait_for_the_ledger(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, clock) as spool:
        await append(spool, 1)  # the first in a segment does
        with held_up_ledger(monkeypatch), anyio.fail_after(5):
            second = await append(spool, 2)
            assert await read(spool, second) == content(2)


async def test_questions_know_what_was_answered(tmp_path: Path, clock: ManualClock) -> None:
    async with opened(tmp_path, clock) as spool:
        for seed in range(1, 30):
            instance = await append(spool, seed)
            (trace,) = await spool.trace(instance.arrival.sop_instance_uid)
            assert trace.instance == instance
            assert (await spool.stats()).unrouted == seed


async def test_a_kill_before_the_ledger_loses_nothing(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "a", clock) as spool:
        first = await append(spool, 1)
        with held_up_ledger(monkeypatch):
            others = [await append(spool, seed) for seed in range(2, 12)]
            left = await crash_copy(spool, tmp_path / "a", tmp_path / "b")
    async with opened(left, clock) as spool:
        found = await spool.take_unrouted(99)
        assert [i.key for i in found] == [i.key for i in (first, *others)]
        for seed, instance in enumerate(found, 1):
            assert await read(spool, instance) == content(seed)


async def test_damage_at_the_end_of_the_log_is_shown_unless_the_write_may_not_have_ended(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "a", clock) as spool:
        stored = [await append(spool, 1)]
        with held_up_ledger(monkeypatch):
            stored += [await append(spool, seed) for seed in range(2, 6)]
            left = await crash_copy(spool, tmp_path / "a", tmp_path / "b")
    for hurt in (stored[2], stored[-1]):
        with (left / "segments" / f"{hurt.place.segment:08d}.seg").open("r+b") as file:
            file.seek(hurt.place.offset + 50)
            file.write(b"!")
    async with opened(left, clock) as spool:
        found = await spool.take_unrouted(99)
        assert [i.key for i in found] == [i.key for i in stored[:-1]]
        with pytest.raises(CorruptRecord):
            await read(spool, found[2])
        assert [i.key for i in await spool.corrupt()] == [stored[2].key]


async def test_what_the_ledger_owes_is_overtaken_by_nothing(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, clock) as spool:
        await append(spool, 1)
        with broken_ledger(monkeypatch):
            owed = await append(spool, 2)
            with pytest.raises(StorageError):
                await spool.sync()
            assert (await spool.stats()).unrouted == 2  # asked of a ledger that has one of them
            with pytest.raises(StorageError):
                await append(spool, 3)  # nobody is promised more
            with pytest.raises(StorageError):
                await spool.route([routed(owed, "pacs")], clock.now())
            with pytest.raises(StorageError):
                await spool.take_unrouted(9)  # or the cursor would pass it
        await spool.route([routed(owed, "pacs")], clock.now())
        (delivery,) = await claim(spool, clock)
        assert await read(spool, delivery.instance) == content(2)
        assert await read(spool, await append(spool, 4)) == content(4)


async def test_decisions_that_come_one_by_one_are_committed_together(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    commit = Ledger.commit

    def counting(self: Ledger) -> None:
        commits.append(1)
        commit(self)

    async with opened(tmp_path, clock) as spool:
        instances = [await append(spool, seed) for seed in range(40)]
        await spool.sync()
        monkeypatch.setattr(Ledger, "commit", counting)
        async with anyio.create_task_group() as tasks:
            for instance in instances:
                tasks.start_soon(spool.route, [routed(instance, "pacs")], clock.now())
        assert len(commits) < 10
        assert len(await claim(spool, clock, limit=99)) == 40


async def test_what_nobody_waits_for_is_committed_with_what_somebody_does(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("dispatch", "writer"):
        monkeypatch.setattr(f"router.spool.{module}.LATER_S", 60.0)
    async with opened(tmp_path, clock) as spool:
        unwanted, wanted, late = [await append(spool, seed) for seed in range(3)]
        await spool.sync()
        ended: list[str] = []

        async def drop() -> None:
            await spool.route([routed(unwanted)], clock.now())
            ended.append("dropped")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drop)
            await anyio.sleep(0.05)
            assert not ended
            with anyio.fail_after(5):
                await spool.route([routed(wanted, "pacs")], clock.now())
            ended.append("routed")
        assert ended == ["dropped", "routed"]
        with anyio.fail_after(5):
            (trace,) = await spool.trace(late.arrival.sop_instance_uid)
        assert trace.instance == late


async def test_rows_come_in_few_transactions_and_at_the_latest_with_a_question(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted: list[int] = []
    insert = Ledger.insert

    def counting(self: Ledger, rows: Sequence[NewRow]) -> None:
        inserted.append(len(rows))
        insert(self, rows)

    monkeypatch.setattr("router.spool.writer.LATER_S", 60.0)
    async with opened(tmp_path, clock) as spool:
        await append(spool, 0)
        monkeypatch.setattr(Ledger, "insert", counting)
        for seed in range(1, 50):
            last = await append(spool, seed, 50)
        assert not inserted
        (trace,) = await spool.trace(last.arrival.sop_instance_uid)
        assert trace.instance == last
        for seed in range(TOGETHER):
            await append(spool, seed, 50)
        await spool.stats()
        assert inserted == [49, TOGETHER]
