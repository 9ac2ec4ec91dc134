"""Nobody but the gateway's user, and at most its group, can read what the spool writes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from router.clock import ManualClock
from router.spool import inspect
from tests.spool.samples import append, opened

OTHERS, GROUP_WRITES = stat.S_IRWXO, stat.S_IWGRP


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    found = {directory.name: directory.stat().st_mode}
    for path in directory.rglob("*"):
        with suppress(FileNotFoundError):  # housekeeping makes a segment under another name
            found[path.name] = path.stat().st_mode
    return found


def open_to_others(directory: Path) -> list[str]:
    return [name for name, mode in modes(directory).items() if mode & OTHERS]


async def test_whatever_the_umask_is(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    async with opened(directory, ManualClock()) as spool:
        await append(spool)
        assert len(modes(directory)) >= 6
        assert open_to_others(directory) == []
        assert not directory.stat().st_mode & GROUP_WRITES
        assert not directory.parent.stat().st_mode & OTHERS
        assert {oct(mode) for name, mode in modes(directory).items() if name.endswith((".seg", "lock"))} == {
            "0o100600"
        }


async def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path, ManualClock()):
        pass
    for path in (tmp_path / "ledger.db", tmp_path / "segments", tmp_path / "large"):
        path.chmod(0o755)
    async with opened(tmp_path, ManualClock()) as spool:
        await append(spool)
        assert [name for name in open_to_others(tmp_path) if name != tmp_path.name] == []


async def test_a_ledger_that_is_rebuilt(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async with opened(directory, ManualClock()) as spool:
        await append(spool)
    inspect.rebuild(directory, replace=True)
    async with opened(directory, ManualClock()):
        assert open_to_others(directory) == []
