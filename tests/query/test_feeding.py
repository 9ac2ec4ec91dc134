from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from router.clock import SystemClock
from router.errors import StorageError
from router.model import Arrival, Instance, InstanceState, Place
from router.query import feeding
from router.query.feeding import Feeder
from router.query.index import Index
from tests.dicom.wire import CT, EXPLICIT
from tests.query.answering import ORIGIN, data_set


class FakeSpool:
    """Instances that are there or not, a failure on demand, and how often each thing was asked."""

    def __init__(self) -> None:
        self.here: dict[int, bytes] = {}
        self.failure: StorageError | None = None
        self.compared = 0
        self.gate: anyio.Event | None = None

    def put(self, key: int) -> int:
        self.here[key] = data_set("1.2", "1.2.3", f"1.2.3.{key}")
        return key

    async def held(self, keys: Sequence[int]) -> list[Instance]:
        if self.failure is not None:
            raise self.failure
        return [self._instance(key) for key in keys if key in self.here]

    async def live_keys(self) -> array[int]:
        self.compared += 1
        live = array("q", self.here)
        if self.gate is not None:
            await self.gate.wait()
        return live

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        if instance.key not in self.here:
            raise StorageError("gone meanwhile", out_of_resources=False)
        return self.here[instance.key][:limit]

    def _instance(self, key: int) -> Instance:
        arrival = Arrival(
            sop_class_uid=CT,
            sop_instance_uid=f"1.2.3.{key}",
            transfer_syntax_uid=EXPLICIT,
            origin=ORIGIN,
            received_at=0.0,
        )
        place = Place(segment=1, offset=0, length_bytes=len(self.here[key]), data_set_offset=0)
        return Instance(key=key, arrival=arrival, place=place, content_hash=b"", state=InstanceState.ROUTED)


@asynccontextmanager
async def fed(spool: FakeSpool, directory: Path) -> AsyncIterator[tuple[Feeder, Index]]:
    index = Index(directory)
    feeder = Feeder(spool, index, SystemClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feeder.run)
        yield feeder, index
        tasks.cancel_scope.cancel()


async def test_what_is_told_is_looked_up_whatever_it_is(tmp_path: Path) -> None:
    spool = FakeSpool()
    async with fed(spool, tmp_path) as (feeder, index):
        assert await feeder.settle(10)
        feeder.changed([spool.put(1), spool.put(2), 3, 1])
        assert await feeder.settle(10)
        assert index.known([1, 2, 3]) == {1, 2}
        del spool.here[1]
        feeder.changed([1, 2])
        assert await feeder.settle(10)
        assert index.known([1, 2, 3]) == {2}


async def test_too_many_to_remember_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_KEYS", 10)
    spool = FakeSpool()
    async with fed(spool, tmp_path) as (feeder, index):
        assert await feeder.settle(10)
        assert spool.compared == 1
        feeder.changed([spool.put(key) for key in range(1, 200)])
        feeder.changed([spool.put(key) for key in range(200, 203)])
        assert await feeder.settle(10)
        assert spool.compared == 2
        assert len(index.known(range(300))) == 202


async def test_too_many_during_a_comparison_are_compared_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "MOST_KEYS", 10)
    spool = FakeSpool()
    spool.gate = anyio.Event()
    async with fed(spool, tmp_path) as (feeder, index):
        while not spool.compared:
            await anyio.lowlevel.checkpoint()
        feeder.changed([spool.put(key) for key in range(1, 30)])
        assert not await feeder.settle(0)
        spool.gate.set()
        assert await feeder.settle(10)
        assert spool.compared == 2
        assert len(index.known(range(300))) == 29


async def test_a_spool_that_fails_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "RETRY_S", 0.0)
    spool = FakeSpool()
    async with fed(spool, tmp_path) as (feeder, index):
        assert await feeder.settle(10)
        spool.failure = StorageError("no disk", out_of_resources=False)
        feeder.changed([spool.put(1)])
        while not feeder.problem:
            await anyio.lowlevel.checkpoint()
        assert "no disk" in feeder.problem
        assert not await feeder.settle(0)
        spool.failure = None
        assert await feeder.settle(10)
        assert not feeder.problem
        assert index.known([1]) == {1}


async def test_an_index_that_cannot_be_written_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "RETRY_S", 0.0)
    directory = tmp_path / "not yet"
    spool = FakeSpool()
    spool.put(1)
    async with fed(spool, directory) as (feeder, index):
        while not feeder.problem:
            await anyio.lowlevel.checkpoint()
        directory.mkdir()
        assert await feeder.settle(10)
        assert index.known([1]) == {1}
