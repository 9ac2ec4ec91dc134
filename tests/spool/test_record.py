from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from router.spool.record import (
    BLOCK,
    MARK_BYTES,
    decode_header,
    decode_page,
    encode_arrival,
    encode_header,
    encode_page,
    header_bytes,
    round_up,
)
from tests.spool.samples import arrival

ARRIVAL = arrival("1.2.3")
HEADER = encode_header(7, 12345, 99 << 20, 4000, 300, b"h" * 16, encode_arrival(ARRIVAL))


def test_header_round_trip() -> None:
    header = decode_header(HEADER + b"the object")
    assert header is not None
    assert header.synced_to == 12345
    assert (header.generation, header.key, header.length_bytes, header.data_set_offset) == (
        7,
        99 << 20,
        4000,
        300,
    )
    assert header.content_hash == b"h" * 16
    assert header.arrival == ARRIVAL
    assert header.header_bytes == len(HEADER) == header_bytes(encode_arrival(ARRIVAL))
    assert header.span_bytes == round_up(len(HEADER) + 4000) == 2 * BLOCK


def test_key_stands_right_before_the_object() -> None:
    assert int.from_bytes(HEADER[-MARK_BYTES:], "little") == 99 << 20


@given(st.integers(0, len(HEADER) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(position: int, change: int) -> None:
    damaged = bytearray(HEADER)
    damaged[position] ^= change
    assert decode_header(damaged) is None


@given(st.binary(max_size=600))
def test_garbage_is_no_header_and_no_page(garbage: bytes) -> None:
    assert decode_header(garbage) is None
    assert decode_page(garbage) is None


@given(st.integers(0, len(HEADER) - 1))
def test_cut_header_is_none(length: int) -> None:
    assert decode_header(HEADER[:length]) is None


@pytest.mark.parametrize(
    "arrival_as_json",
    [b'{"sop_class_uid": "\xff"}', b'{"extra": ' + b"[" * 100_000, b'{"received_at": 1e999}', b"null"],
)
def test_arrival_that_no_version_wrote_is_no_header(arrival_as_json: bytes) -> None:
    assert decode_header(encode_header(1, 0, 1 << 20, 10, 0, bytes(16), arrival_as_json)) is None


@pytest.mark.parametrize(("key", "length"), [(1 << 63, 10), (1, 1 << 63)])
def test_numbers_beyond_those_of_the_ledger_are_no_header(key: int, length: int) -> None:
    assert decode_header(encode_header(1, 0, key, length, 0, bytes(16), encode_arrival(ARRIVAL))) is None


def test_page_round_trip() -> None:
    page = encode_page(12, 34)
    assert len(page) == BLOCK
    assert decode_page(page) == (12, 34)
    assert decode_page(bytes(BLOCK)) is None
    assert decode_page(b"\xff" + page[1:]) is None
