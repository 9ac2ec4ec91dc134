"""Addresses and forms of the page: whatever a browser sends is refused in words, or means one thing."""

from __future__ import annotations

from router.spool.orders import Action
from router.web import asked
from router.web.story import PAGE_ORDERS

WORDS = tuple(
    b"destination=|state=dead|state=|sop_instance_uid=|calling_ae=|after=|ids=|which=all+that+match|uid=|before=|"
    b"&|;|=|+|%|%00|%ff|%C3%A9|(unmatched)|9223372036854775807|-1|1.2.840".split(b"|")
)


def target(data: bytes) -> None:
    """Read a query or form, as a list and as each order."""
    try:
        fields = asked.fields_of(data)
        listing = asked.listing_of(fields)
    except asked.BadRequest as error:
        assert f"{error}"
        return
    kept = {name: asked.text(fields, name) or "" for name in asked.FILTERS}
    after = asked.text(fields, "after")
    _, _, query = asked.address("/queue", kept, after=after).partition("?")
    assert asked.listing_of(asked.fields_of(query.encode())) == listing, "a link means what was asked"
    for action in PAGE_ORDERS:
        _order(action, fields)


def _order(action: Action, fields: asked.Fields) -> None:
    try:
        request = asked.order_of(action, fields)
    except asked.BadRequest:
        return
    has_filter = any(
        (request.destination is not None, request.state, request.sop_instance_uid, request.calling_ae)
    )
    assert not (request.ids and has_filter), "ticked ones, or all that match"
    assert not request.everything
    again: dict[str, list[str]] = {}
    for name, value in asked.kept(fields, "which", "ids"):
        again.setdefault(name, []).append(value)
    assert asked.order_of(action, again) == request, "what is confirmed is what was asked about"
