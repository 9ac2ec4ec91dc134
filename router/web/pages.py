"""What is shown at which address: values of ``router.admin``, bounded, for a template."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio

from router.admin import Admin
from router.api.access import Caller
from router.api.scopes import LOGIN, ORDERS, scope_needed
from router.clock import Clock
from router.errors import UnknownItem
from router.spool.orders import ALLOWED, Operator
from router.views import DeliveryView, Status
from router.web import asked
from router.web.asked import Fields
from router.web.overview import blockers, overview
from router.web.story import PAGE_ORDERS, delivery_story, story
from router.web.words import badge_of, delivery_words

GLANCE_S = 1.0  # everybody who looks within it is shown the same status
ASKED_MAX = 8  # of the destinations that are down, those whose last answer is looked up
AUDIT_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What counts of a request."""

    method: str
    path: str
    fields: Fields
    is_part: bool  # a script asks: for the middle of the page, or for what became of an order
    caller: Caller
    by: Callable[[], Operator]  # raises ``ForeignPage``

    def may(self, action: str) -> bool:
        """Whether the caller is allowed to give this order, as it will be decided when the order comes."""
        needed = scope_needed("POST", f"{ORDERS}{action}")
        return self.caller.scope is not None and self.caller.scope.includes(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What is to be rendered."""

    template: str
    content: dict[str, object]
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


def page(template: str, *, status: int = 200, **content: object) -> Page:
    """A page with this content."""
    return Page(template=template, content=content, status=status)


class Pages:
    """The pages of one gateway that only show something."""

    def __init__(self, admin: Admin, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock
        self._glancing = anyio.Lock()
        self._glance: tuple[float, Status] | None = None
        self._said: tuple[Status, dict[str, DeliveryView]] | None = None
        self._routes: tuple[tuple[re.Pattern[str], Callable[..., Awaitable[Page]]], ...] = (
            (re.compile("/"), self._overview),
            (re.compile("/queue"), self._queue),
            (re.compile("/queue/([0-9]{1,19})"), self._delivery),
            (re.compile("/trace"), self._trace),
            (re.compile("/audit"), self._audit),
            (re.compile(LOGIN), self._login),
        )

    async def show(self, request: Request) -> Page:
        """The page at an address. Raises ``RouterError``, ``UnknownItem`` where there is none."""
        for pattern, show in self._routes:
            found = pattern.fullmatch(request.path)
            if found is not None:
                return await show(request, *found.groups())
        raise UnknownItem(f"nothing is at {request.path}")

    def forget(self) -> None:
        """Something was ordered: whoever looks next sees what came of it."""
        self._glance = None

    async def _status(self) -> Status:
        async with self._glancing:
            now = self._clock.monotonic()
            if self._glance is None or now - self._glance[0] >= GLANCE_S:
                self._glance = (now, await self._admin.status())
            return self._glance[1]

    async def _last_said(self, status: Status) -> dict[str, DeliveryView]:
        """Of destinations that are down, the delivery that was tried; looked up once for each status."""
        async with self._glancing:
            if self._said is None or self._said[0] is not status:
                said: dict[str, DeliveryView] = {}
                for name in [one.name for one in status.destinations if one.is_up is False][:ASKED_MAX]:
                    first = await self._admin.first_pending(name)
                    if first is not None:
                        said[name] = first
                self._said = (status, said)
            return self._said[1]

    async def _blocked(self) -> dict[str, str]:
        return blockers((await self._status()).destinations)

    async def _overview(self, _request: Request) -> Page:
        status = await self._status()
        said = await self._last_said(status)
        shown = overview(
            status, self._admin.rates(), said, now=self._clock.now(), monotonic=self._clock.monotonic()
        )
        return page("overview.html", shown=shown, here="/")

    async def _queue(self, request: Request) -> Page:
        listing = asked.listing_of(request.fields)
        found = await (self._admin.unfinished if listing.state is None else self._admin.queue)(listing)
        destinations = (await self._status()).destinations
        names, blocked = dict.fromkeys(one.name for one in destinations), blockers(destinations)
        names.update(dict.fromkeys(one.destination or asked.UNMATCHED for one in found.totals))
        fields = {name: asked.text(request.fields, name) or "" for name in asked.FILTERS}
        after, following = asked.text(request.fields, "after"), found.next_after
        shown = found.deliveries
        return page(
            "queue.html",
            rows=[
                (one, badge_of(one), delivery_words(one, blocked.get(one.destination, ""))) for one in shown
            ],
            totals=found.totals,
            fields=fields,
            names=list(names),
            here=asked.address("/queue", fields, after=after),
            first=asked.address("/queue", fields) if after is not None else None,
            following=asked.address("/queue", fields, after=following) if following is not None else None,
            is_cut=listing.state is None and len(shown) == listing.limit,
            orders=[one for one in PAGE_ORDERS if any(row.state in ALLOWED[one] for row in shown)],
            UNMATCHED=asked.UNMATCHED,
            ALL=asked.ALL,
        )

    async def _delivery(self, request: Request, number: str) -> Page:
        delivery = await self._admin.delivery(asked.number(number, "the delivery") or 0)
        return page("delivery.html", told=delivery_story(delivery, await self._blocked()), here=request.path)

    async def _trace(self, request: Request) -> Page:
        uid = asked.text(request.fields, "uid")
        if uid is None:
            return page("trace.html", uid_asked="", told=None, here=None)
        key = asked.text(request.fields, "key")
        try:
            traces = await self._admin.trace(uid)
        except UnknownItem:
            return page("trace.html", status=404, uid_asked=uid, told=None, here=None)
        told = story(traces, await self._blocked(), key)
        return page(
            "trace.html", uid_asked=uid, told=told, here=asked.address("/trace", {"uid": uid}, key=key)
        )

    async def _audit(self, request: Request) -> Page:
        before = asked.number(asked.text(request.fields, "before"), "before")
        found = await self._admin.actions.audit(AUDIT_ROWS, before)
        earlier = None if found.next_before is None else f"/audit?before={found.next_before}"
        here = "/audit" if before is None else f"/audit?before={before}"
        return page("audit.html", lines=found.operations, earlier=earlier, before=before, here=here)

    async def _login(self, _request: Request) -> Page:
        """Whoever comes so far has said who they are."""
        done = page("done.html", sentence="You are logged in.", back="/", is_bad=False, here=None)
        return replace(done, status=303, headers=((b"location", b"/"),))
