"""router.web.asked: what addresses and forms mean, and which make no sense."""

from __future__ import annotations

import pytest

from router.model import DeliveryState, Listing
from router.spool.orders import Action
from router.views import OrderRequest
from router.web.asked import (
    ALL,
    FIELDS_MAX,
    PAGE_ROWS,
    BadRequest,
    address,
    fields_of,
    listing_of,
    number,
    order_of,
    text,
)


def test_a_listing() -> None:
    fields = fields_of(b"destination=pacs&state=dead&calling_ae=CT1&sop_instance_uid=+1.2%20&after=17")
    assert listing_of(fields) == Listing(
        destination="pacs",
        state=DeliveryState.DEAD,
        calling_ae="CT1",
        sop_instance_uid="1.2",
        limit=PAGE_ROWS,
        after=17,
    )
    assert listing_of(fields_of(b"destination=&state=")) == Listing(limit=PAGE_ROWS)
    assert listing_of(fields_of(b"destination=(unmatched)")).destination == ""


@pytest.mark.parametrize(
    "query", [b"state=asleep", b"after=-1", b"after=x", b"after=9223372036854775808", b"after=%D9%A1"]
)
def test_a_listing_that_makes_no_sense(query: bytes) -> None:
    with pytest.raises(BadRequest):
        listing_of(fields_of(query))


@pytest.mark.parametrize("encoded", [b"\xff", b"a=%ff", b"&".join(b"a=1" for _ in range(FIELDS_MAX + 1))])
def test_what_is_no_form(encoded: bytes) -> None:
    with pytest.raises(BadRequest):
        fields_of(encoded)


def test_text_is_bounded() -> None:
    assert text({"uid": ["\t1.2\0\n"]}, "uid") == "1.2"
    with pytest.raises(BadRequest):
        text({"uid": ["1" * 2000]}, "uid")


def test_an_order_is_for_what_is_ticked_or_for_all_that_match() -> None:
    assert order_of(Action.HOLD, fields_of(b"ids=1&ids=2&destination=pacs")) == OrderRequest(ids=(1, 2))
    every = {"which": [ALL], "destination": ["pacs"], "state": ["dead"], "ids": ["1"]}
    assert order_of(Action.RETRY, every) == OrderRequest(destination="pacs", state=DeliveryState.DEAD)
    with pytest.raises(BadRequest, match="tick the deliveries to discard"):
        order_of(Action.DISCARD, {"which": ["ticked"], "destination": ["pacs"]})
    with pytest.raises(BadRequest):
        order_of(Action.DISCARD, {"ids": ["x"]})


def test_addresses() -> None:
    assert address("/queue", {}) == "/queue"
    assert (
        address("/queue", {"destination": "a b&c", "state": ""}, after="3")
        == "/queue?destination=a+b%26c&after=3"
    )


def test_a_number_is_not_what_only_looks_like_one() -> None:
    assert number(None, "x") is None
    assert number("9223372036854775807", "x") == 2**63 - 1
    for wrong in ("", "1.0", " 1", "٣", "9" * 30):
        with pytest.raises(BadRequest):
            number(wrong, "x")
