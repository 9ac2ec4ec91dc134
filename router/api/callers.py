"""Whose order a request is, for the audit, and whether it may be one at all.

The audit keeps who asked, by the name of their user or token, beside the address they came from. Where nobody
has to prove who they are (``http`` without users and tokens), it is what they say in the header
``X-Dicom-Router-User`` (percent-encoded).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

from router.api.access import CALLER, Caller
from router.errors import RouterError
from router.spool.orders import Operator
from router.views import USER_HEADER

WHO_MAX = 100  # characters kept of what somebody calls themselves


class ForeignPage(RouterError):
    """A page of another site, in an operator's browser, has made the request."""


def operator_of(scope: MutableMapping[str, Any]) -> Operator:
    """Who asks, and from where, by the ASGI scope. Raises ``ForeignPage``."""
    headers = {name.lower(): value.decode("latin-1") for name, value in reversed(scope["headers"])}
    origin = headers.get(b"origin")
    if origin is not None and _place(origin) != headers.get(b"host"):
        raise ForeignPage(f"orders are not taken from pages of {origin}")
    address = scope["client"][0] if scope.get("client") else ""
    caller = scope.get(CALLER)
    if isinstance(caller, Caller) and caller.name is not None:
        return Operator(who=caller.name, address=address)
    said = unquote(headers.get(USER_HEADER.lower().encode(), ""))
    who = "".join(letter for letter in said if letter.isprintable()).strip()[:WHO_MAX]
    return Operator(who=who or "http", address=address)


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # as of "http://["
        return ""
