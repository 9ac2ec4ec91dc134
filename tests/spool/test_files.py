from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from router.model import Buffer
from router.spool.files import IOV_MAX, Files, fill_with_zeros, write_all, write_durably


class ShortWrites(Files):
    """Never writes more than ``most`` bytes, nor takes more buffers than the kernel would."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.written = bytearray()

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, flags: int) -> int:
        assert len(buffers) <= IOV_MAX
        assert offset == len(self.written)
        some = b"".join(buffers)[: self.most]
        self.written += some
        return len(some)


@given(st.lists(st.binary(max_size=9), max_size=30), st.integers(1, 20))
def test_all_is_written_in_order_however_short_the_writes(buffers: list[bytes], most: int) -> None:
    files = ShortWrites(most)
    if not b"".join(buffers):
        return
    assert write_all(files, 0, [memoryview(b) for b in buffers], 0) == len(files.written)
    assert bytes(files.written) == b"".join(buffers)


def test_more_buffers_than_one_call_takes() -> None:
    files = ShortWrites(10**9)
    buffers = [i.to_bytes(2, "big") for i in range(2 * IOV_MAX + 5)]
    write_all(files, 0, buffers, 0)
    assert bytes(files.written) == b"".join(buffers)


def test_write_that_makes_no_progress_is_an_error() -> None:
    with pytest.raises(OSError, match="wrote nothing"):
        write_all(ShortWrites(0), 0, [b"x"], 0)


def test_real_file(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    try:
        fill_with_zeros(Files(), fd, 3 * 1024 * 1024 + 5)
        assert os.fstat(fd).st_size == 3 * 1024 * 1024 + 5
        assert write_durably(Files(), fd, [b"ab", b"cd"], 10) == 14
        assert os.pread(fd, 8, 8) == b"\0\0abcd\0\0"
    finally:
        os.close(fd)
