"""Files appear whole, under their names, and replace nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Deliver, Destination, Group, Settings
from router.deliver.folder import of_os_error
from router.deliver.lanes import Lanes
from router.deliver.renditions import Maker
from router.deliver.verdict import Fault
from router.model import Arrival, Delivery, DeliveryState, Instance, Reason, Wish
from router.telemetry import Telemetry
from tests.deliver.samples import EXPLICIT, FAST, MemoryQueue, content, delivery, instance
from tests.deliver.test_renditions import EDITS, Workshop, rendered

TEMPLATE = "{StudyInstanceUID}/{SOPInstanceUID}.dcm"


@asynccontextmanager
async def archive(template: str, workshop: Maker | None = None) -> AsyncIterator[MemoryQueue]:
    queue = MemoryQueue(SystemClock())
    settings = Settings(
        destinations={"archive": Destination(folder=template, deliver=Deliver(associations=2, retry=FAST))}
    )
    lanes = Lanes(queue, settings, queue.clock, Telemetry(), Random(1), workshop=workshop)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lanes.run)
        yield queue
        tasks.cancel_scope.cancel()


def put(queue: MemoryQueue, *instances: Instance) -> None:
    now = queue.clock.now()
    queue.put(*(delivery(of.key, destination="archive", of=of, created_at=now) for of in instances))


def named(of: Instance, uid: str) -> Instance:
    arrival: Arrival = replace(of.arrival, sop_instance_uid=uid)
    return replace(of, arrival=arrival)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def reasons(queue: MemoryQueue, number: int) -> list[Reason]:
    return [outcome.reason for outcome in queue.outcomes if outcome.delivery_id == number]


@pytest.mark.parametrize("size", [0, 1000, 1024 * 1024, 3 * 1024 * 1024 + 7])
async def test_the_whole_object_is_written(tmp_path: Path, size: int) -> None:
    one = instance(1, size=size)
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, one)
        await queue.all_delivered([1])
    assert files(tmp_path) == {"UNKNOWN/1.2.3.1.dcm": content(one)}


@pytest.mark.parametrize("size", [1000, 2 * 1024 * 1024])
async def test_the_same_again_is_a_duplicate(tmp_path: Path, size: int) -> None:
    one = instance(1, size=size)
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, one)
        await queue.all_delivered([1])
        queue.outcomes.clear()
        put(queue, one)
        await queue.all_delivered([1])
        assert reasons(queue, 1) == [Reason.DUPLICATE]
    assert len(files(tmp_path)) == 1


async def test_another_content_under_one_name_gets_a_suffix_and_nothing_is_overwritten(
    tmp_path: Path,
) -> None:
    first, second = named(instance(1), "1.2.9"), named(instance(2), "1.2.9")
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, first)
        await queue.all_delivered([1])
        put(queue, second)
        await queue.all_delivered([2])
    assert files(tmp_path) == {"UNKNOWN/1.2.9.dcm": content(first), "UNKNOWN/1.2.9-2.dcm": content(second)}


async def test_what_a_crash_left_half_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "UNKNOWN").mkdir()
    (tmp_path / "UNKNOWN" / ".1.2.3.1.dcm.1.part").write_bytes(b"half of a longer one" * 1000)
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, instance(1))
        await queue.all_delivered([1])
    assert files(tmp_path) == {"UNKNOWN/1.2.3.1.dcm": content(instance(1))}


async def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    first, second = named(instance(1), "1.2.9"), named(instance(2), "1.2.9")
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, first)
        await queue.all_delivered([1])
        put(queue, second)
        await queue.all_delivered([2])
    assert files(tmp_path) == {"UNKNOWN/1.2.9.dcm": content(first), "UNKNOWN/1.2.9-2.dcm": content(second)}


async def test_a_full_disk_pauses_the_destination_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, failures = os.fsync, [OSError(errno.ENOSPC, "No space left on device") for _ in range(2)]

    def full(number: int) -> None:
        if failures and not os.path.isdir(f"/proc/self/fd/{number}"):
            raise failures.pop()
        genuine(number)

    monkeypatch.setattr(os, "fsync", full)
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        put(queue, instance(1))
        await queue.until(lambda: bool(queue.outcomes))
        assert files(tmp_path) == {} or not failures
        await queue.all_delivered([1])
        assert reasons(queue, 1) == [Reason.DISK, Reason.DISK, Reason.SUCCESS]
        assert [outcome.counts for outcome in queue.outcomes] == [False, False, True]
    assert list(files(tmp_path)) == ["UNKNOWN/1.2.3.1.dcm"]


async def test_corrupt_bytes_are_not_written(tmp_path: Path) -> None:
    async with archive(f"{tmp_path}/{TEMPLATE}") as queue:
        queue.corrupt |= {1, 2}
        put(queue, instance(1), instance(2, size=2 * 1024 * 1024))
        await queue.until(lambda: len(queue.outcomes) == 2)
    assert set(queue.states().values()) == {DeliveryState.DEAD}
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, Fault.DESTINATION),
        (errno.EROFS, Fault.DESTINATION),
        (errno.EACCES, Fault.DESTINATION),
        (errno.ENAMETOOLONG, Fault.INSTANCE),
        (errno.ENOTDIR, Fault.INSTANCE),
    ],
)
def test_whose_fault(number: int, fault: Fault) -> None:
    verdict = of_os_error(OSError(number, "x"))
    assert (verdict.reason, verdict.fault) == (Reason.DISK, fault)


async def test_a_folder_is_found_to_be_back_although_another_one_takes_everything(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(tmp_path / "not mounted")
    deliver = Deliver(retry=FAST)
    settings = Settings(
        destinations={
            "first": Destination(folder=f"{first}/{TEMPLATE}", deliver=deliver),
            "second": Destination(folder=f"{second}/{TEMPLATE}", deliver=deliver),
        },
        groups={"safe": Group(first_of=("first", "second"))},
    )
    queue, telemetry = MemoryQueue(SystemClock()), Telemetry()
    lanes = Lanes(queue, settings, queue.clock, telemetry, Random(1))

    def put_one(number: int) -> None:
        queue.put(delivery(number, destination="safe", created_at=queue.clock.now()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lanes.run)
        put_one(1)
        await queue.all_delivered([1])
        assert list(files(second)) == ["UNKNOWN/1.2.3.1.dcm"]
        (tmp_path / "not mounted").mkdir()
        with anyio.fail_after(20):
            while not telemetry.destinations_up()["first"]:
                await anyio.wait_all_tasks_blocked()
        put_one(2)
        await queue.all_delivered([2])
        tasks.cancel_scope.cancel()
    assert files(tmp_path / "not mounted") == {"UNKNOWN/1.2.3.2.dcm": content(instance(2))}


def to_edit(queue: MemoryQueue) -> Delivery:
    now = queue.clock.now()
    return replace(delivery(1, destination="archive", created_at=now), wish=Wish(edits=EDITS))


async def test_what_is_to_be_edited_is_written_edited(tmp_path: Path) -> None:
    workshop = Workshop()
    async with archive(f"{tmp_path}/{TEMPLATE}", workshop) as queue:
        queue.put(to_edit(queue))
        await queue.all_delivered([1])
    (written,) = files(tmp_path).values()
    assert written.endswith(rendered(instance(1), EXPLICIT))
    assert workshop.edits == [EDITS]


@pytest.mark.parametrize("has_workshop", [True, False])
async def test_what_cannot_be_edited_is_not_written(tmp_path: Path, has_workshop: bool) -> None:
    workshop = Workshop()
    workshop.refuses = lambda key, uid: "PatientName: it cannot be"
    async with archive(f"{tmp_path}/{TEMPLATE}", workshop if has_workshop else None) as queue:
        queue.put(to_edit(queue))
        await queue.until(lambda: queue.states().get(1) is DeliveryState.DEAD)
    assert files(tmp_path) == {}
    expected = "PatientName: it cannot be" if has_workshop else "nobody can make its edits here"
    assert queue.outcomes[-1].comment.endswith(expected)
