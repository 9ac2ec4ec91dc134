"""What a request asks for: addresses and forms of the page, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlencode

from router.errors import RouterError
from router.model import DeliveryState, Listing
from router.spool.orders import Action
from router.views import OrderRequest

PAGE_ROWS = 50
UNMATCHED = (
    "(unmatched)"  # what no rule matched has no destination; no name of the configuration has brackets
)
FIELDS_MAX = 2 * PAGE_ROWS
TEXT_MAX = 1024
ALL = "all that match"  # which deliveries an order is for: those ticked, or what was listed
_NUMBER_MAX = 2**63 - 1
FILTERS = ("destination", "state", "sop_instance_uid", "calling_ae")

Fields = Mapping[str, Sequence[str]]


class BadRequest(RouterError):
    """The address or the form makes no sense."""


def fields_of(encoded: bytes) -> Fields:
    """The fields of a query or a form; empty ones are left out."""
    try:
        return parse_qs(encoded.decode("ascii"), max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise BadRequest("the request cannot be read: it is no form of this page") from error


def text(fields: Fields, name: str) -> str | None:
    """One field without its blanks, as people paste UIDs with some; None where it is not given."""
    given = fields.get(name, ("",))[0].strip(" \t\r\n\0")
    if len(given) > TEXT_MAX:
        raise BadRequest(f"{name} is too long")
    return given or None


def number(given: str | None, name: str) -> int | None:
    """A number of a delivery or of the audit."""
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 19 or int(given) > _NUMBER_MAX:
        raise BadRequest(f"{name} is a number")
    return int(given)


def listing_of(fields: Fields) -> Listing:
    """Which deliveries are to be listed; no state: those that are not over."""
    destination = text(fields, "destination")
    return Listing(
        destination="" if destination == UNMATCHED else destination,
        state=_state(fields),
        sop_instance_uid=text(fields, "sop_instance_uid"),
        calling_ae=text(fields, "calling_ae"),
        limit=PAGE_ROWS,
        after=number(text(fields, "after"), "after"),
    )


def _state(fields: Fields) -> DeliveryState | None:
    given = text(fields, "state")
    try:
        return DeliveryState(given) if given is not None else None
    except ValueError as error:
        raise BadRequest(f"state is one of {', '.join(DeliveryState)}") from error


def order_of(action: Action, fields: Fields) -> OrderRequest:
    """Which deliveries an order is for: those that were ticked, or everything that the filter matches."""
    if text(fields, "which") == ALL:
        asked = listing_of(fields)
        return OrderRequest(
            destination=asked.destination,
            state=asked.state,
            sop_instance_uid=asked.sop_instance_uid,
            calling_ae=asked.calling_ae,
        )
    ids = tuple(number(one, "ids") or 0 for one in fields.get("ids", ()))
    if not ids:
        raise BadRequest(f"tick the deliveries to {action}, or choose all that match")
    return OrderRequest(ids=ids)


def kept(fields: Fields, *more: str) -> tuple[tuple[str, str], ...]:
    """The fields that an order needs again after it was confirmed."""
    names = (*FILTERS, *more)
    return tuple((name, value) for name in names for value in fields.get(name, ()))


def address(path: str, fields: Mapping[str, str], **changes: str | None) -> str:
    """The same list with something changed; None leaves a field out."""
    wanted = {**fields, **changes}
    query = urlencode({name: value for name, value in wanted.items() if value})
    return f"{path}?{query}" if query else path
