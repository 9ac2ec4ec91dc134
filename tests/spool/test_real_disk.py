"""A real file system that is full, read-only or gone, where this machine lets a test mount one."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio.to_thread
import pytest

from router.clock import SystemClock
from router.config.settings import SpoolSettings
from router.errors import StorageError
from router.model import Instance
from router.spool import Spool
from tests.spool.samples import META, MIB, append, content, keep_house, outcome, read, routed

SIZE = 400_000


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True, timeout=10)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB in memory."""
    directory = tmp_path / "disk"
    directory.mkdir()
    try:
        mount("-t", "tmpfs", "-o", "size=40m", "none", str(directory))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this process may not mount a tmpfs: {error}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False, capture_output=True, timeout=10)


@pytest.fixture
async def spool(disk: Path) -> AsyncIterator[Spool]:
    settings = SpoolSettings(segment_bytes=MIB, min_free_bytes=MIB)
    one = await anyio.to_thread.run_sync(lambda: Spool.open(disk / "spool", settings, SystemClock()))
    async with one.running():
        yield one


async def fill(spool: Spool) -> tuple[list[Instance], StorageError]:
    """Append until the spool refuses."""
    stored: list[Instance] = []
    while True:
        try:
            stored.append(await append(spool, len(stored), SIZE))
        except StorageError as error:
            return stored, error
        await keep_house(spool, spool.housekeeper.check_space)


async def deliver_all(spool: Spool, instances: list[Instance]) -> None:
    now = SystemClock().now()
    await spool.route([routed(i, "pacs") for i in instances], now)
    while found := await spool.claim("pacs", limit=20, lease_s=60, now=now + 1):
        for delivery in found:
            await read(spool, delivery.instance)
        await spool.record([outcome(d, now) for d in found])
    await spool.sync()


async def test_a_full_disk_refuses_delivers_and_accepts_again(spool: Spool, disk: Path) -> None:
    stored, error = await fill(spool)
    assert error.out_of_resources
    assert len(stored) > 10
    assert list(spool.problems) == ["disk_low"]
    await deliver_all(spool, stored)  # goes on while reception is refused
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == []
    assert await read_back(spool)


async def test_a_disk_that_others_fill_to_the_last_byte(spool: Spool, disk: Path) -> None:
    before = await append(spool, 1)
    hog = disk / "hog"
    with hog.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(64 * 1024)):
                pass
        except OSError:
            pass
    refused = 0
    for seed in range(2, 12):  # what room the segments have left is used up, and then it is refused
        try:
            await append(spool, seed, SIZE)
        except StorageError as error:
            refused += 1
            assert error.out_of_resources
    assert refused
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == ["disk_low"]
    assert await read(spool, before) == content(1)
    await deliver_all(spool, [before])
    hog.unlink()
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == []
    assert await read_back(spool)


async def test_a_read_only_file_system(spool: Spool, disk: Path) -> None:
    before = await append(spool, 1)
    large = spool.start_large(before.arrival)
    await large.write([META])
    mount("--bind", str(disk), str(disk))
    mount("-o", "remount,bind,ro", str(disk))
    try:
        for seed in range(2, 8):
            large = spool.start_large(before.arrival)
            with pytest.raises(StorageError):
                await large.write([content(seed, SIZE)])
            await large.abandon()
        assert list(spool.problems) == ["disk_failing"]
        with pytest.raises(OSError, match="Read-only"):
            await keep_house(spool, spool.housekeeper.probe)
        assert await read(spool, before) == content(1)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, capture_output=True, timeout=10)
    await keep_house(spool, spool.housekeeper.probe)
    assert list(spool.problems) == []
    assert await read_back(spool)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """An ext4 file system on a block device, and the device's name."""
    image, directory = tmp_path / "image", tmp_path / "device"
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(96 * MIB)
    try:
        subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True, timeout=30)
        made = subprocess.run(
            ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this process may not make a block device of a file: {error}")
    name = made.stdout.strip()
    try:
        mount(name, str(directory))
        yield directory, name
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=False, capture_output=True, timeout=10)
        subprocess.run(["losetup", "--detach", name], check=False, capture_output=True, timeout=10)


async def test_a_device_that_is_unmounted_under_the_spool_and_mounted_again(
    device: tuple[Path, str],
) -> None:
    directory, name = device
    settings = SpoolSettings(segment_bytes=MIB, min_free_bytes=MIB)
    spool = await anyio.to_thread.run_sync(lambda: Spool.open(directory / "spool", settings, SystemClock()))
    async with spool.running():
        before = await append(spool, 1)
        subprocess.run(["umount", "-l", str(directory)], check=True, capture_output=True, timeout=10)
        with pytest.raises(StorageError, match="gone"):
            await read(spool, before)  # not there, and not damaged for that
        await keep_house(spool, spool.housekeeper.check_space)
        assert list(spool.problems) == ["disk_gone"]
        with pytest.raises(StorageError) as caught:
            await append(spool, 2)
        assert caught.value.out_of_resources
        mount(name, str(directory))
        await keep_house(spool, spool.housekeeper.check_space)
        assert list(spool.problems) == []
        assert await read(spool, before) == content(1)
        for seed in range(3, 12):  # over into other segments
            await append(spool, seed, SIZE)
        assert await read_back(spool)
        await deliver_all(spool, [before])


async def test_a_disk_that_vanishes_and_comes_back(spool: Spool, disk: Path) -> None:
    before = await append(spool, 1)
    away = disk / "away"
    (disk / "spool").rename(away)
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == ["disk_gone"]
    with pytest.raises(StorageError) as caught:
        await append(spool, 2)
    assert caught.value.out_of_resources
    (disk / "spool").mkdir()  # the empty mount point, say
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == ["disk_gone"]
    (disk / "spool").rmdir()
    away.rename(disk / "spool")
    await keep_house(spool, spool.housekeeper.check_space)
    assert list(spool.problems) == []
    assert await read(spool, before) == content(1)
    assert await read_back(spool)


async def read_back(spool: Spool) -> bool:
    """It takes instances, and has them."""
    instance = await append(spool, 99, SIZE)
    return await read(spool, instance) == content(99, SIZE)
