"""The page as an ASGI application: requests in, HTML out.

Everything is rendered in a thread. With JavaScript a page asks for itself again every few seconds (the header
``HX-Request``) and gets its middle part; without, links and forms do the same in whole pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

from router.admin import Admin
from router.api.access import CALLER
from router.api.callers import ForeignPage, operator_of
from router.api.scopes import ORDERS
from router.clock import Clock
from router.errors import NotAllowed, RouterError, UnknownItem
from router.logs import get_logger
from router.web import asked, orders
from router.web.asked import BadRequest
from router.web.assets import Assets
from router.web.pages import Page, Pages, Request
from router.web.render import Renderer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SAFE: Headers = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with none the Origin of our own forms would be null
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_FRESH: Headers = ((b"cache-control", b"no-store"), (b"vary", b"accept, hx-request"))
_FOR_GOOD: Headers = ((b"cache-control", b"private, max-age=31536000, immutable"),)
_HTML = "text/html; charset=utf-8"
_LOOKING = ("GET", "HEAD")
_STATUS_OF: tuple[tuple[type[RouterError], int], ...] = (
    (BadRequest, 400),
    (ForeignPage, 403),
    (UnknownItem, 404),
    (NotAllowed, 409),
    (RouterError, 503),
)

_log = get_logger("web")


class WebApp:
    """The page of one gateway. Reads files when it is made: make it in a thread."""

    def __init__(self, admin: Admin, clock: Clock) -> None:
        self._admin = admin
        self._assets = Assets()
        self._render = Renderer(self._assets)
        self._pages = Pages(admin, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request that was let in, with its body gathered."""
        path, is_head = scope["path"], scope["method"] == "HEAD"
        asset = self._assets.at(path) if scope["method"] in _LOOKING else None
        if asset is not None:
            await _respond(send, 200, asset.kind, asset.content, _FOR_GOOD, is_head=is_head)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        request = Request(
            method=scope["method"],
            path=path,
            fields={},
            is_part=headers.get(b"hx-request") == b"true",
            caller=scope[CALLER],
            by=lambda: operator_of(scope),
        )
        shown = await self._answer(request, scope, receive)
        content = {
            "is_part": request.is_part,
            "caller": request.caller,
            "may": request.may,
            "path": path,
            "ae_title": self._admin.ae_title,
            **shown.content,
        }
        body = await self._render(shown.template, content)
        await _respond(send, shown.status, _HTML, body, _FRESH + shown.headers, is_head=is_head)

    async def _answer(self, request: Request, scope: Scope, receive: Receive) -> Page:
        is_order = request.path.startswith(ORDERS)
        try:
            if request.method in _LOOKING:
                request = replace(request, fields=asked.fields_of(scope["query_string"]))
                return orders.confirmation(request) if is_order else await self._pages.show(request)
            if request.method != "POST" or not is_order:
                return orders.told(
                    request, "This is only to be looked at.", back="/", is_bad=True, status=405
                )
            request = replace(request, fields=asked.fields_of((await receive())["body"]))
            done = await orders.carry_out(request, self._admin.actions)
            self._pages.forget()
            return done
        except RouterError as error:
            status = next(status for kind, status in _STATUS_OF if isinstance(error, kind))
            if status == 503:
                _log.error("page failed", because=str(error))
            return orders.told(request, f"{error}", back="/", is_bad=True, status=status)


async def _respond(
    send: Send, status: int, kind: str, body: bytes, headers: Headers, *, is_head: bool = False
) -> None:
    all_headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        *_SAFE,
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": b"" if is_head else body})
