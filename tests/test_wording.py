"""router.wording: what people read."""

from __future__ import annotations

import pytest

from router.wording import plural, size, span, when


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "under 1 ms"),
        (0.0424, "42 ms"),
        (0.42, "0.4 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h"),
        (3605.0, "1 h"),
        (3 * 86400 + 7200.0, "3 d 2 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (5 * 1024**3, "5.0 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_instants_are_local_and_may_be_missing() -> None:
    assert when(None) == ""
    assert len(when(1_700_000_000.0)) == len("2023-11-14 22:13:20")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "delivery", "1 delivery"), (2, "delivery", "2 deliveries"), (1200, "image", "1,200 images")],
)
def test_numbers_with_their_noun(number: int, noun: str, text: str) -> None:
    assert plural(number, noun) == text
