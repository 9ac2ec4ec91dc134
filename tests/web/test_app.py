"""router.web.app: what is shown to whom, that nothing foreign becomes markup, and what an order needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest

from router.api.access import Access
from router.api.http import HttpApp
from router.api.scopes import scope_needed
from router.config.http import Http, Scope, Token
from router.errors import NotAllowed, StorageError
from router.model import DeliveryState, QueueDepth, Reason, RuleTrace
from router.secrets import hash_token
from router.spool.orders import Action, Operator, Selection
from router.web.app import CONTENT_SECURITY_POLICY
from router.web.words import ORDERS
from tests.api.asgi import Answer, ask
from tests.api.test_http import Served, served
from tests.fake_store import DECISION, record, trace

__all__ = ["served"]  # a fixture

HOST = "127.0.0.1:8080"
NOBODY = Operator(who="nobody", address="")
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Host": HOST}
SCRIPT = {**HTML, "HX-Request": "true"}
TOKENS = {scope: f"token-of-{scope}-0123456789-0123456789" for scope in Scope}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


async def get(served: Served, target: str, headers: dict[str, str] | None = None) -> str:
    """A page that is there, as text."""
    answer = await ask(served.app, "GET", target, headers=headers or HTML)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.body.decode()


async def order(
    served: Served, action: str, headers: dict[str, str] | None = None, **fields: object
) -> Answer:
    body = urlencode(fields, doseq=True).encode()
    return await ask(
        served.app, "POST", f"/orders/{action}", body, headers or {**HTML, "Origin": f"http://{HOST}"}
    )


def guarded(served: Served) -> None:
    """From now on there are tokens, one for each scope."""
    tokens = {str(scope): Token(token_hash=hash_token(TOKENS[scope]), scopes=(scope,)) for scope in Scope}
    access = Access(Http(tokens=tokens), served.clock, served.telemetry)
    served.app = HttpApp(admin=served.admin, telemetry=served.telemetry, clock=served.clock, access=access)


def as_(scope: Scope, headers: dict[str, str] = HTML) -> dict[str, str]:
    return {**headers, "Authorization": f"Bearer {TOKENS[scope]}"}


@pytest.fixture
def full(served: Served) -> Served:
    """With something in each corner."""
    served.store.records = [
        record(number, state=state) for number, state in enumerate(DeliveryState, start=1)
    ]
    served.store.totals = [QueueDepth(destination="pacs", state=DeliveryState.DEAD, count=1, oldest_at=5.0)]
    served.store.traces = [trace(record(1), record(2, state=DeliveryState.DELIVERED), decision=DECISION)]
    served.telemetry.destination_up("pacs", False)
    return served


PAGES = ("/", "/queue", "/queue?state=delivered", "/queue/1", "/trace", "/trace?uid=1.2.3", "/audit")


def test_nothing_of_it_is_imported_before_somebody_looks() -> None:
    program = "import sys; import router.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "router.app" in loaded
    assert not [name for name in loaded if name.startswith(("jinja2", "router.web", "fastapi"))]


async def test_programs_still_get_the_links(served: Served) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = await ask(served.app, "GET", "/", headers=headers)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json["metrics"] == "/metrics"


@pytest.mark.parametrize(
    "target", [*PAGES, "/orders/discard?ids=1", "/nothing-below/queue", "/queue/x", "/orders/x"]
)
async def test_every_answer_is_closed_to_strangers(full: Served, target: str) -> None:
    answer = await ask(full.app, "GET", target, headers=HTML)
    if target.startswith("/nothing"):
        assert answer.status == 404
        return
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "default-src 'self'" in CONTENT_SECURITY_POLICY
    assert "frame-ancestors 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"


class Markup(HTMLParser):
    """What a page is made of: its tags, attributes, ids and the words between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.depth: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "img", "option", "br"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "option":
            assert self.depth.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize("target", [*PAGES, "/orders/discard?ids=1&ids=2", "/orders/drain"])
async def test_markup_is_whole_and_has_nothing_that_the_policy_forbids(full: Served, target: str) -> None:
    found = Markup(await get(full, target))
    assert found.depth == []
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id twice"
    for tag, attributes in found.tags:
        assert tag != "style"
        assert tag != "script" or attributes["src"]
        assert not [name for name in attributes if name == "style" or name.startswith(("on", "hx-on"))]
        for name in ("src", "href", "action", "formaction", "hx-get", "hx-post"):
            value = attributes.get(name)
            assert value is None or value.startswith(("/", "#")), f"{name}={value}"
    labelled = {attributes.get("for") for tag, attributes in found.tags if tag == "label"}
    for tag, attributes in found.tags:
        if tag == "input" and "id" in attributes:
            assert attributes["id"] in labelled


@pytest.mark.parametrize("target", PAGES)
async def test_what_came_over_the_wire_is_text(served: Served, target: str) -> None:
    evil = record(1, state=DeliveryState.PENDING, calling_ae=EVIL, last_comment=EVIL, destination=EVIL)
    evil = replace(evil, history=tuple(replace(one, comment=EVIL, carried_by=EVIL) for one in evil.history))
    served.store.records = [evil]
    served.store.totals = [QueueDepth(destination=EVIL, state=DeliveryState.PENDING, count=1, oldest_at=5.0)]
    rules = (RuleTrace(rule=EVIL, matched=True, because=EVIL),)
    served.store.traces = [trace(evil, decision=replace(DECISION, trace=rules, destinations=(EVIL,)))]
    await ask(served.app, "POST", "/api/v1/drain", headers={"X-Dicom-Router-User": quote(EVIL)})
    text = await get(served, target)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert Markup(text).depth == []
    if target not in ("/trace", "/queue?state=delivered"):
        assert "&lt;script&gt;" in text, "it is shown, as text"


@pytest.mark.parametrize("uid", [EVIL, "1.2.9"])
async def test_what_is_searched_in_vain_is_said_as_text(served: Served, uid: str) -> None:
    answer = await ask(served.app, "GET", f"/trace?uid={quote(uid)}", headers=HTML)
    assert answer.status == 404
    assert b"is known here" in answer.body
    assert b"<script>alert" not in answer.body


async def test_the_overview_tells_of_destinations(full: Served) -> None:
    full.store.records = [record(1, reason=Reason.OUT_OF_RESOURCES)]
    text = await get(full, "/")
    for words in (
        "Takes images",
        "PACS@h:104",
        "down",
        "The destination has no room",
        "Out of resources (A700)",
    ):
        assert words in text
    assert "full" not in text, "what a peer adds stays off the overview"


async def test_a_part_is_the_middle_alone(full: Served) -> None:
    whole, part = await get(full, "/"), await get(full, "/", SCRIPT)
    assert "<html" in whole
    assert "<html" not in part
    assert part.strip() in whole


async def test_a_trace_tells_the_story(full: Served) -> None:
    text = await get(full, "/trace?uid=%201.2.3%0A")
    for words in (
        "CT1",
        "10.1.0.21",
        "CT Image Storage",
        "Modality is CT",
        "Attempt 1",
        "Out of resources (A700)",
        "full",
    ):
        assert words in text


async def test_the_queue_is_paged(served: Served) -> None:
    served.store.records = [record(number, state=DeliveryState.DEAD) for number in range(1, 121)]
    first = await get(served, "/queue?state=dead&destination=pacs")
    assert first.count('name="ids"') == 50
    assert "/queue?destination=pacs&amp;state=dead&amp;after=50" in first
    last = await get(served, "/queue?state=dead&destination=pacs&after=100")
    assert last.count('name="ids"') == 20
    assert ">More<" not in last


async def test_what_is_not_over_stands_there_by_what_needs_somebody(full: Served) -> None:
    text = await get(full, "/queue")
    numbers = [
        text.index(f'id="delivery-{number}"') for number in (5, 4, 2, 1)
    ]  # dead, held, active, pending
    assert numbers == sorted(numbers)
    assert 'id="delivery-3"' not in text


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/queue/99", 404),
        ("/queue/abc", 404),
        ("/queue?state=asleep", 400),
        ("/queue?after=x", 400),
        ("/orders/reboot", 404),
        ("/orders/discard", 400),
        ("/static/../app.py", 404),
        ("/static/page.js", 404),
    ],
)
async def test_a_refusal_is_a_page_with_a_sentence(served: Served, target: str, status: int) -> None:
    answer = await ask(served.app, "GET", target, headers=HTML)
    assert answer.status == status
    assert b"To the overview" in answer.body


async def test_a_failing_store_is_said(served: Served) -> None:
    async def fail() -> list[QueueDepth]:
        raise StorageError("the disk is gone", out_of_resources=False)

    served.store.depths = fail  # type: ignore[method-assign]
    answer = await ask(served.app, "GET", "/", headers=HTML)
    assert (answer.status, b"The disk is gone" in answer.body) == (503, True)


async def test_files_are_kept_for_good(served: Served) -> None:
    text = await get(served, "/")
    addresses = {
        value for _, attributes in Markup(text).tags for value in attributes.values() if value
    } & set(_static(text))
    assert len(addresses) == 6
    for address in addresses:
        answer = await ask(served.app, "GET", address, headers=HTML)
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = await ask(served.app, "HEAD", address, headers=HTML)
        assert (head.status, head.body) == (200, b"")


def _static(text: str) -> Iterator[str]:
    return (part for part in text.replace("'", '"').split('"') if part.startswith("/static/"))


async def test_everybody_who_looks_at_once_is_shown_the_same_status(served: Served) -> None:
    await get(served, "/")
    served.telemetry.destination_up("pacs", True)
    assert "not tried yet" in await get(served, "/")
    served.clock.advance(1.0)
    assert "not tried yet" not in await get(served, "/")


# Orders


async def test_pause_and_resume(served: Served) -> None:
    assert b"Nothing more is sent to pacs" in (await order(served, "pause", destination="pacs")).body
    assert served.switches.paused == {"pacs": True}
    assert "Paused by http since" in await get(served, "/"), "at once, whatever was shown a moment ago"
    assert b"Images are sent to pacs again." in (await order(served, "unpause", destination="pacs")).body
    assert (await order(served, "pause", destination="nowhere")).status == 404


@pytest.mark.parametrize("action", [Action.HOLD, Action.RESUME, Action.RETRY, Action.DISCARD])
async def test_orders_about_deliveries(served: Served, action: Action) -> None:
    answer = await order(served, action, ids=["1", "2"], destination="pacs")
    assert answer.status == 200
    await order(served, action, which="all that match", destination="pacs", state="dead")
    first, second = served.store.orders.given
    assert (first.action, first.selection) == (action, Selection(ids=(1, 2)))
    assert second.selection == Selection(destination="pacs", state=DeliveryState.DEAD)


async def test_all_that_match_nothing_in_particular_is_refused(served: Served) -> None:
    assert (await order(served, "discard", which="all that match")).status == 409
    assert served.store.orders.given == []


async def test_a_script_gets_one_sentence_and_looks_again(served: Served) -> None:
    answer = await order(served, "pause", {**SCRIPT, "Origin": f"http://{HOST}"}, destination="pacs")
    assert answer.headers["hx-trigger"] == "look"
    assert answer.body.startswith(b'<p class="notice">')
    served.store.orders.refuse_with = NotAllowed("hold is for pending deliveries: no. 1 is dead")
    answer = await order(served, "hold", {**SCRIPT, "Origin": f"http://{HOST}"}, ids=1)
    assert (answer.status, b'class="notice bad"' in answer.body) == (409, True)
    assert b"Hold is for pending deliveries: no. 1 is dead" in answer.body


async def test_drain(served: Served) -> None:
    assert (await order(served, "drain")).status == 200
    assert "Draining" in await get(served, "/")
    assert (await order(served, "drain")).status == 409
    assert (await order(served, "undrain")).status == 200
    assert "Takes images" in await get(served, "/")
    text = await get(served, "/audit")
    assert text.index("undrain") < text.index(">drain<")


async def test_a_question_changes_nothing(full: Served) -> None:
    for action in ORDERS:
        text = await get(full, f"/orders/{action}?ids=1&ids=2&destination=pacs")
        assert f'action="/orders/{action}"' in text
    assert (full.store.orders.given, full.store.orders.lines) == ([], [])
    assert "Discard these 2 deliveries?" in await get(full, "/orders/discard?ids=1&ids=2")
    every = await get(full, "/orders/discard?which=all+that+match&destination=(unmatched)&state=held")
    assert "all deliveries for (unmatched) in the state held" in every
    assert 'name="which" value="all that match"' in every


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://["])
@pytest.mark.parametrize("action", ORDERS)
async def test_no_orders_from_another_sites_page(served: Served, action: str, origin: str) -> None:
    answer = await order(served, action, {**HTML, "Origin": origin}, ids=1, destination="pacs")
    assert answer.status == 403
    assert (served.store.orders.given, served.store.orders.lines) == ([], [])


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
async def test_pages_are_only_to_be_looked_at(served: Served, method: str) -> None:
    assert (await ask(served.app, method, "/queue", headers=HTML)).status == 405


# Scopes


@pytest.mark.parametrize("target", [*PAGES, "/orders/drain", "/static/page.js"])
async def test_nobody_looks_without_credentials(full: Served, target: str) -> None:
    guarded(full)
    assert (await ask(full.app, "GET", target, headers=HTML)).status == 401


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("action", ORDERS)
async def test_an_order_needs_its_scope_and_has_the_proven_name(
    served: Served, action: str, scope: Scope
) -> None:
    needed = Scope.ADMIN if action in ("drain", "undrain") else Scope.OPERATE
    assert scope_needed("POST", f"/orders/{action}") is needed
    guarded(served)
    await served.admin.actions.pause("pacs", NOBODY)
    if action == "undrain":
        await served.admin.actions.drain(NOBODY)
    headers = {**as_(scope), "Origin": f"http://{HOST}", "X-Dicom-Router-User": "somebody else"}
    answer = await order(served, action, headers, ids=1, destination="pacs")
    assert answer.status == (200 if scope.includes(needed) else 403)
    if not scope.includes(needed):
        return
    given = [one.by.who for one in served.store.orders.given] or [served.store.orders.lines[0].who]
    if action in ("pause", "unpause", "drain", "undrain"):
        given = [served.store.orders.lines[0].who]
    assert given == [str(scope)]


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("target", PAGES)
async def test_only_what_is_allowed_is_offered(full: Served, target: str, scope: Scope) -> None:
    guarded(full)
    text = await get(full, target, as_(scope))
    offered = {
        str(value).removeprefix("/orders/")
        for _, attributes in Markup(text).tags
        for name, value in attributes.items()
        if name in ("action", "formaction", "hx-post") and str(value).startswith("/orders/")
    }
    assert all(scope.includes(scope_needed("POST", f"/orders/{action}")) for action in offered)
    if target == "/":
        assert ("pause" in offered, "drain" in offered) == (scope is not Scope.READ, scope is Scope.ADMIN)
    assert str(scope) in text.split("<footer>")[-1]


async def test_who_looks_without_a_name_can_log_in(served: Served) -> None:
    tokens = {"anna": Token(token_hash=hash_token(TOKENS[Scope.OPERATE]), scopes=(Scope.OPERATE,))}
    settings = Http(tokens=tokens, allow_anonymous=True)
    access = Access(settings, served.clock, served.telemetry)
    served.app = HttpApp(admin=served.admin, telemetry=served.telemetry, clock=served.clock, access=access)
    assert 'href="/login"' in await get(served, "/")
    assert (await ask(served.app, "GET", "/login", headers=HTML)).status == 401
    answer = await ask(served.app, "GET", "/login", headers=as_(Scope.OPERATE))
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert 'href="/login"' not in await get(served, "/", as_(Scope.OPERATE))


async def test_where_nobody_has_to_log_in_nothing_asks_for_it(served: Served) -> None:
    assert 'href="/login"' not in await get(served, "/")


async def test_a_question_that_one_may_not_answer_has_no_button(full: Served) -> None:
    guarded(full)
    text = await get(full, "/orders/drain", as_(Scope.OPERATE))
    assert "You are not allowed to do that." in text
    assert 'action="/orders/drain"' not in text
