"""router.net.tls_flight: found wherever the records are cut, and nothing made of what is no flight."""

from __future__ import annotations

from hypothesis import given, strategies as st

from router.net.tls_flight import asks_for_certificate

HELLO = bytes.fromhex("02 000004 0303 0000")  # ServerHello, cut short: its content is not looked at
CERTIFICATE = bytes.fromhex("0b 000003 000000")
REQUEST = bytes.fromhex("0d 000004 01 01 0000")
DONE = bytes.fromhex("0e 000000")


def records(messages: bytes, *cuts: int) -> bytes:
    """Handshake messages in records that end at ``cuts``."""
    ends = [*sorted({cut % (len(messages) + 1) for cut in cuts}), len(messages)]
    pieces = [messages[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return b"".join(b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@given(st.lists(st.integers(min_value=0, max_value=200), max_size=5))
def test_a_request_is_seen(cuts: list[int]) -> None:
    assert asks_for_certificate(records(HELLO + CERTIFICATE + REQUEST + DONE, *cuts)) is True
    assert asks_for_certificate(records(HELLO + CERTIFICATE + DONE, *cuts)) is False


def test_a_flight_that_breaks_off_says_nothing() -> None:
    assert asks_for_certificate(b"") is None
    assert asks_for_certificate(records(HELLO + CERTIFICATE)) is None
    assert asks_for_certificate(bytes.fromhex("15 0303 0002 0228")) is None  # an alert


@given(st.binary(max_size=300))
def test_any_bytes_are_borne(flight: bytes) -> None:
    assert asks_for_certificate(flight) in (True, False, None)
