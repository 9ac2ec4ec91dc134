"""Fragments and frames: every way of telling frames apart, and offset tables that lie."""

from __future__ import annotations

import mmap
import struct

import pytest
from hypothesis import given, strategies as st

from router.errors import CannotTranscode
from router.transform.elements import Fragments
from router.transform.fragments import join, split

A, B = b"\xff\xd8\xffa-first", b"a-rest-\xff\xd9"  # a JPEG stream in two fragments
C, D = b"\xff\xd8\xffc-first-", b"c-\xff\xd9\0"
OFFSETS = (0, len(A) + len(B) + 16)


def table(*offsets: int) -> bytes:
    return struct.pack(f"<{len(offsets)}I", *offsets)


def table64(*offsets: int) -> bytes:
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def streams(fragments: Fragments, frames: int, **how: bytes | bool) -> list[bytes]:
    return [bytes(stream) for stream in split(fragments, frames, **how)]  # type: ignore[arg-type]


def test_as_many_fragments_as_frames_are_one_each_whatever_a_table_says() -> None:
    for basic in (b"", table(0, len(A) + 8), table(0, 4), table(7)):
        assert streams(Fragments((basic, A, B)), 2) == [A, B]


def test_a_single_fragment_is_not_copied() -> None:
    items = bytearray(b"one"), bytearray(b"two")
    first, _ = split(Fragments((b"", *items)), 2)
    assert isinstance(first, memoryview)
    assert first.obj is items[0]


def test_a_basic_offset_table_joins_fragments() -> None:
    assert streams(Fragments((table(*OFFSETS), A, B, C, D)), 2) == [A + B, C + D]


@pytest.mark.parametrize("is_rle", [True, False])
def test_one_frame_is_all_fragments(is_rle: bool) -> None:
    assert streams(Fragments((b"", A, B)), 1, is_rle=is_rle) == [A + B]


def test_markers_tell_frames_apart_where_there_is_no_table() -> None:
    assert streams(Fragments((b"", A, B, C, D)), 2) == [A + B, C + D]


def test_a_fragment_that_looks_like_a_beginning_inside_a_frame_is_none() -> None:
    assert streams(Fragments((b"", A, C, D)), 1) == [A + C + D]


def test_several_streams_are_never_taken_for_one_frame() -> None:
    with pytest.raises(CannotTranscode, match="cannot be told apart"):
        split(Fragments((b"", A, B, C, D)), 1)


@pytest.mark.parametrize(
    "offsets",
    [
        (0,),
        (0, 5),
        (8, OFFSETS[1]),
        (OFFSETS[1], 0),
        (0, 0),
        (0, 0xFFFFFFFF),
        (0, OFFSETS[1], OFFSETS[1] + 8),
    ],
)
def test_a_basic_offset_table_that_lies_is_noticed(offsets: tuple[int, ...]) -> None:
    with pytest.raises(CannotTranscode, match=r"[Oo]ffset [Tt]able"):
        split(Fragments((table(*offsets), A, B, C, D)), 2)


def test_a_basic_offset_table_of_an_impossible_length_is_noticed() -> None:
    with pytest.raises(CannotTranscode, match="impossible length"):
        split(Fragments((b"\0" * 7, A, B, C, D)), 2)


def test_the_extended_offset_table_says_where_frames_start_and_how_long_they_are() -> None:
    fragments = Fragments((b"", A, B, C, D))
    lengths = table64(len(A + B), len(C + D) - 1)
    found = streams(fragments, 2, extended_offsets=table64(*OFFSETS), extended_lengths=lengths)
    assert found == [A + B, (C + D)[:-1]]


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [
        (table64(0), table64(1, 1)),
        (table64(*OFFSETS), table64(1)),
        (table64(*OFFSETS), table64(1, 1000)),
        (table64(*OFFSETS), table64(0, 1)),
        (table64(0, 3), table64(1, 1)),
    ],
)
def test_an_extended_offset_table_that_lies_is_noticed(offsets: bytes, lengths: bytes) -> None:
    with pytest.raises(CannotTranscode):
        split(Fragments((b"", A, B, C, D)), 2, extended_offsets=offsets, extended_lengths=lengths)


def test_streams_without_markers_need_a_table() -> None:
    with pytest.raises(CannotTranscode, match="cannot be told apart"):
        split(Fragments((b"", A, B, C, D)), 2, is_rle=True)
    assert streams(Fragments((table(*OFFSETS), A, B, C, D)), 2, is_rle=True) == [A + B, C + D]


@pytest.mark.parametrize("items", [(), (b"",)])
def test_no_fragments_are_no_frames(items: tuple[bytes, ...]) -> None:
    with pytest.raises(CannotTranscode, match="no fragments"):
        split(Fragments(items), 1)


@given(st.lists(st.binary(min_size=1), min_size=1, max_size=6))
def test_what_was_joined_is_split_again(frames: list[bytes]) -> None:
    joined = join(frames)
    assert all(len(item) % 2 == 0 for item in joined.items)
    offsets = struct.unpack(f"<{len(frames)}I", joined.items[0])
    starts = [sum(len(item) + 8 for item in joined.items[1 : 1 + index]) for index in range(len(frames))]
    assert list(offsets) == starts
    padded = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    assert streams(joined, len(frames), is_rle=True) == padded


def test_beyond_four_gigabytes_the_basic_offset_table_is_empty() -> None:
    with mmap.mmap(-1, 3 << 30) as memory:  # of which no page is ever touched
        frame = memoryview(memory)
        assert join([frame, frame]).items[0] == table(0, (3 << 30) + 8)
        assert join([frame, frame, frame]).items[0] == b""
        frame.release()
