"""router.api.access: who is let in, what they may do, how others are refused, and what is said of it."""

from __future__ import annotations

import base64
import hashlib
import threading

import anyio
import pytest
from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from router.api.access import REMEMBERED, WAITING, Access, Denial
from router.api.http import HttpApp
from router.api.scopes import PREFIX, scope_needed
from router.api.throttle import ATTEMPTS, REFILL_S
from router.api.v1 import build_api
from router.config.http import Http, MetricsAccess, Scope, Token, User
from router.secrets import ScryptHash, hash_token
from router.spool.orders import ALLOWED
from tests.api.asgi import Answer, ask
from tests.api.test_http import Served

PASSWORD = "-".join(("Blau", "Kraut: 7"))
TOKENS = {scope: f"{scope}-{'x' * 40}" for scope in Scope}
_SALT = b"0123456789abcdef"
# As ``hash-secret`` makes it, but quick.
_KEY = hashlib.scrypt(PASSWORD.encode(), salt=_SALT, n=16, r=1, p=1, dklen=32)
HASH = f"scrypt$16$1$1${base64.b64encode(_SALT).decode()}${base64.b64encode(_KEY).decode()}"
USERS = {"anna": User(password_hash=HASH, scopes=(Scope.OPERATE,)), "zoë": User(password_hash=HASH)}
CLOSED = Http(
    host="0.0.0.0",
    users=USERS,
    tokens={f"t-{s}": Token(token_hash=hash_token(TOKENS[s]), scopes=(s,)) for s in Scope},
)


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Guarded(Served):
    """An HTTP application with an ``http`` block."""

    def __init__(self, http: Http = CLOSED) -> None:
        super().__init__()
        self.told: list[tuple[str, str, str]] = []
        self.access = Access(http, self.clock, self.telemetry, lambda *refusal: self.told.append(refusal))
        self.app = HttpApp(admin=self.admin, telemetry=self.telemetry, clock=self.clock, access=self.access)

    async def get(self, path: str, headers: dict[str, str] | None = None, client: str = "10.9.8.7") -> Answer:
        return await ask(self.app, "GET", path, headers=headers, client=client)

    async def post(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return await ask(self.app, "POST", path, headers=headers, client="10.9.8.7")

    def denied(self, reason: Denial) -> float:
        name = f'dicom_router_http_denials_total{{reason="{reason}"}} '
        lines = self.telemetry.render().decode().splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


QUEUE, HOLD, DRAIN = f"{PREFIX}/queue", f"{PREFIX}/queue/hold", f"{PREFIX}/drain"


async def test_probes_are_for_everybody_and_bland(guarded: Guarded) -> None:
    guarded.store.is_accepting = False
    for headers in ({}, bearer("wrong"), {"Authorization": "Nonsense"}):
        assert (await guarded.get("/healthz", headers)).json == {"status": "alive"}
        answer = await guarded.get("/readyz", headers)
        assert (answer.status, answer.json) == (503, {"is_ready": False})
    answer = await guarded.get("/readyz", bearer(TOKENS[Scope.READ]))
    assert answer.json == {"is_ready": False, "reasons": ["disk_low"], "warnings": []}


async def test_the_audit_is_told_of_wrong_credentials_and_of_too_little_right(guarded: Guarded) -> None:
    await guarded.get(QUEUE)  # without any: a browser's first question
    assert not guarded.told
    await guarded.get(QUEUE, bearer("wrong"))
    assert guarded.told == [("", "10.9.8.7", Denial.WRONG)]
    await guarded.post(DRAIN, bearer(TOKENS[Scope.READ]))
    ((who, address, because),) = guarded.told[1:]
    assert (address, because) == ("10.9.8.7", Denial.SCOPE)
    assert who


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/nothing", QUEUE, f"{PREFIX}/openapi.json", f"{PREFIX}/x"]
)
async def test_nothing_else_is_answered_without_credentials(guarded: Guarded, path: str) -> None:
    answer = await guarded.get(path)
    assert answer.status == 401
    assert "say who you are" in answer.json["error"]
    assert guarded.denied(Denial.MISSING) == 1


async def test_a_refusal_says_in_which_ways_to_come(guarded: Guarded) -> None:
    async def ways(http: Http) -> list[str]:
        headers = await raw_headers(Guarded(http))
        return [value for name, value in headers if name == "www-authenticate"]

    bearer_way, basic_way = 'Bearer realm="dicom-router"', 'Basic realm="dicom-router", charset="UTF-8"'
    assert await ways(CLOSED) == [bearer_way, basic_way]
    assert await ways(Http(host="0.0.0.0", tokens=CLOSED.tokens)) == [bearer_way]
    assert await ways(Http(host="0.0.0.0", users=USERS)) == [basic_way]


async def raw_headers(guarded: Guarded) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        found.extend((name.decode(), value.decode()) for name, value in message.get("headers", ()))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": ("10.0.0.1", 1)}
    await guarded.app(scope, receive, send)
    return found


@pytest.mark.parametrize("scope", Scope)
async def test_a_scope_allows_what_it_is_for(guarded: Guarded, scope: Scope) -> None:
    headers = bearer(TOKENS[scope])
    order = {"ids": [1]}
    statuses = [
        (await guarded.get(QUEUE, headers)).status,
        (await ask(guarded.app, "POST", HOLD, order, headers)).status,
        (await guarded.post(DRAIN, headers)).status,
    ]
    wanted = {Scope.READ: [200, 403, 403], Scope.OPERATE: [200, 200, 403], Scope.ADMIN: [200, 200, 200]}
    assert statuses == wanted[scope]
    assert guarded.denied(Denial.SCOPE) == wanted[scope].count(403)
    assert len(guarded.store.orders.given) == wanted[scope][1:2].count(200)


async def test_a_refusal_for_the_scope_names_both(guarded: Guarded) -> None:
    answer = await guarded.post(DRAIN, basic("anna"))
    assert (answer.status, answer.json) == (
        403,
        {"error": "anna has the scope operate, and this needs admin"},
    )


async def test_users_by_password(guarded: Guarded) -> None:
    assert (await guarded.get(QUEUE, basic("anna"))).status == 200
    assert (await guarded.get(QUEUE, basic("zoë"))).status == 200
    lower = {"Authorization": basic("anna")["Authorization"].replace("B", "b", 1)}
    assert (await guarded.get(QUEUE, lower)).status == 200
    for name, password in (("anna", "wrong"), ("anna", ""), ("nobody", PASSWORD), ("", ""), ("t-read", "x")):
        answer = await guarded.get(QUEUE, basic(name, password))
        assert (answer.status, "no such" in answer.json["error"]) == (401, True)
    assert guarded.denied(Denial.WRONG) == 5


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic",
        "Basic !",
        "Basic YWJj",
        "Basic /w==",
        "Digest x",
        "x" * 5000,
        "Token abc",
        " ",
    ],
)
async def test_what_is_no_credentials(guarded: Guarded, header: str) -> None:
    answer = await guarded.get(QUEUE, {"Authorization": header})
    assert answer.status == 401
    assert "Authorization header" in answer.json["error"]
    assert guarded.denied(Denial.MALFORMED) == 1


async def test_two_headers_are_one_too_many(guarded: Guarded) -> None:
    headers = {"Authorization": bearer(TOKENS[Scope.ADMIN])["Authorization"], "authorization": "Bearer x"}
    assert (await guarded.get(QUEUE, headers)).status == 401


async def test_who_acted_is_who_was_proven_to_be(guarded: Guarded) -> None:
    claim = {"X-Dicom-Router-User": "the boss"}
    await guarded.post(f"{PREFIX}/destinations/pacs/pause", {**basic("anna"), **claim})
    await guarded.post(DRAIN, {**bearer(TOKENS[Scope.ADMIN]), **claim})
    page = (await guarded.get(f"{PREFIX}/audit", bearer(TOKENS[Scope.READ]))).json
    assert [(line["who"], line["address"]) for line in page["operations"]] == [
        ("t-admin", "10.9.8.7"),
        ("anna", "10.9.8.7"),
    ]


async def test_metrics_may_be_for_everybody() -> None:
    anonymous = Guarded(Http(host="0.0.0.0", users=USERS, metrics=MetricsAccess.ANONYMOUS))
    assert (await anonymous.get("/metrics")).status == 200
    assert (await anonymous.get("/metrics", basic("zoë"))).status == 200
    assert (await anonymous.get("/metrics", bearer("wrong"))).status == 401
    assert (await anonymous.get(QUEUE)).status == 401


async def test_reading_may_be_for_everybody_and_changing_is_not() -> None:
    reading = Guarded(Http(host="0.0.0.0", allow_anonymous=True))
    for path in ("/", "/metrics", QUEUE, f"{PREFIX}/audit"):
        assert (await reading.get(path)).status == 200
    assert (await reading.get("/readyz")).json["reasons"] == []
    assert (await reading.post(DRAIN)).status == 401
    assert (await reading.get(f"{PREFIX}/instances/1/file")).status == 401
    assert (await reading.get(QUEUE, bearer("wrong"))).status == 401, "who says something must be right"


async def test_an_exposed_port_without_anything_lets_nobody_in() -> None:
    """``check`` refuses it; if it comes about otherwise, it is shut."""
    shut = Guarded(Http(host="0.0.0.0"))
    assert (await shut.get(QUEUE)).status == 401
    assert (await shut.get(QUEUE, basic("anna"))).status == 401
    assert (await shut.get("/healthz")).status == 200
    assert (await Guarded(Http(allow_anonymous=False)).get(QUEUE)).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("gateway.localhost:8080", 200),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("", 403),
        ("[", 403),
    ],
)
async def test_an_open_port_answers_no_page_whose_name_was_bent_to_it(host: str, status: int) -> None:
    served = Guarded(Http())
    assert (await served.get(QUEUE, {"Host": host})).status == status
    assert (await served.get("/healthz", {"Host": host})).status == 200
    assert served.denied(Denial.FOREIGN_HOST) == (status == 403)


async def test_who_guesses_waits_and_who_is_known_does_not(guarded: Guarded) -> None:
    assert (await guarded.get(QUEUE, basic("anna"))).status == 200
    with capture_logs() as entries:
        for number in range(ATTEMPTS):
            assert (await guarded.get(QUEUE, bearer(f"guess {number}"))).status == 401
        for headers in (bearer("guess"), bearer(TOKENS[Scope.READ]), basic("zoë")):
            answer = await guarded.get(QUEUE, headers)
            assert answer.status == 429
            assert answer.headers["retry-after"] == str(int(REFILL_S))
            assert answer.json["error"].endswith("try again in 6 s")
    assert (await guarded.get(QUEUE, basic("anna"))).status == 200, "known before"
    assert (await guarded.get(QUEUE, bearer(TOKENS[Scope.READ]), client="10.1.1.1")).status == 200
    assert (await guarded.get("/healthz", bearer("guess"))).status == 200
    assert guarded.denied(Denial.WRONG) == ATTEMPTS
    assert guarded.denied(Denial.THROTTLED) == 4
    warned = [entry for entry in entries if entry["log_level"] == "warning"]
    assert len(warned) == ATTEMPTS + 1
    assert warned[-1]["event"] == "http credentials not looked at: too many failures"
    assert "guess" not in str(entries)
    guarded.clock.advance(REFILL_S)
    assert (await guarded.get(QUEUE, bearer(TOKENS[Scope.READ]))).status == 200


async def test_who_is_right_is_never_told_to_wait(guarded: Guarded) -> None:
    for number in range(3 * ATTEMPTS):
        guarded.access.use(CLOSED)  # forgets
        assert (await guarded.get(QUEUE, bearer(TOKENS[Scope.READ]))).status == 200, number


async def test_a_password_is_checked_once_and_in_a_thread(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    matches = ScryptHash.matches

    def counted(self: ScryptHash, secret: str) -> bool:
        threads.append(threading.get_ident())
        return matches(self, secret)

    monkeypatch.setattr(ScryptHash, "matches", counted)
    for _ in range(5):
        assert (await guarded.get(QUEUE, basic("anna"))).status == 200
    assert len(threads) == 1 and threads[0] != threading.get_ident()
    await guarded.get(QUEUE, basic("nobody"))
    assert len(threads) == 2, "a name that nobody has takes as long"
    guarded.access.use(CLOSED)
    await guarded.get(QUEUE, basic("anna"))
    assert len(threads) == 3


async def test_what_is_remembered_is_bounded_and_no_password(guarded: Guarded) -> None:
    tokens = [f"{number}-{'y' * 40}" for number in range(REMEMBERED + 5)]
    http = Http(tokens={f"n{i}": Token(token_hash=hash_token(token)) for i, token in enumerate(tokens)})
    guarded.access.use(http)
    for token in tokens:
        assert (await guarded.get(QUEUE, bearer(token))).status == 200
    assert len(guarded.access._remembered) == REMEMBERED
    assert not any(b"yyyy" in key for key in guarded.access._remembered)


async def test_a_flood_of_passwords_does_not_pile_up(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(ScryptHash, "matches", lambda self, secret: not go_on.wait(20))
    answers: list[Answer] = []

    async def guess(number: int) -> None:
        answers.append(await guarded.get(QUEUE, basic("anna", str(number)), client=f"10.0.{number}.1"))

    async with anyio.create_task_group() as tasks:
        for number in range(WAITING + 3):
            tasks.start_soon(guess, number)
        await anyio.wait_all_tasks_blocked()
        assert [answer.status for answer in answers] == [429] * 3
        assert answers[0].headers["retry-after"] == "1"
        assert (await guarded.get(QUEUE, bearer(TOKENS[Scope.READ]))).status == 200, "tokens go on"
        go_on.set()
    assert guarded.denied(Denial.BUSY) == 3
    assert guarded.denied(Denial.WRONG) == WAITING


async def test_taken_back_is_taken_back_at_once(guarded: Guarded) -> None:
    headers = bearer(TOKENS[Scope.READ])
    assert (await guarded.get(QUEUE, headers)).status == 200
    guarded.access.use(Http(host="0.0.0.0", users=USERS))
    assert (await guarded.get(QUEUE, headers)).status == 401


async def test_logs_have_neither_path_nor_credentials(guarded: Guarded) -> None:
    with capture_logs() as entries:
        await guarded.get(f"{QUEUE}?token={TOKENS[Scope.ADMIN]}", bearer("swordfish"))
        await guarded.get(f"{PREFIX}/trace/1.2.840.99", basic("swordfish", "swordfish"))
        await guarded.post(DRAIN, basic("anna"))
    told = [entry for entry in entries if entry["log_level"] == "warning"]
    assert [entry.get("who") for entry in told] == [None, None, "anna"]
    assert {entry["address"] for entry in told} == {"10.9.8.7"}
    for hidden in ("swordfish", TOKENS[Scope.ADMIN], "1.2.840.99", PASSWORD):
        assert hidden not in str(entries)


def test_every_request_that_exists_has_a_scope_of_its_own(guarded: Guarded) -> None:
    """A new one that changes something needs admin until somebody has thought about it."""
    needed = {
        (method, route.path): scope_needed(method, route.path)
        for route in build_api(guarded.admin).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert len(needed) > 15
    orders = {("POST", f"{PREFIX}/queue/{action}") for action in ALLOWED}
    orders |= {("POST", f"{PREFIX}/destinations/{{name}}/{verb}") for verb in ("pause", "resume")}
    assert {key for key, scope in needed.items() if scope is Scope.OPERATE} == orders | {
        ("GET", f"{PREFIX}/instances/{{key}}/file")
    }
    assert {key for key, scope in needed.items() if scope is Scope.ADMIN} == {
        ("POST", f"{PREFIX}/drain"),
        ("POST", f"{PREFIX}/undrain"),
        ("POST", f"{PREFIX}/instances/corrupt/discard"),
    }
    assert {method for method, _ in needed} == {"GET", "POST"}


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", f"{PREFIX}/instances/1/file\n", Scope.OPERATE),
        ("HEAD", f"{PREFIX}/instances/1/file", Scope.OPERATE),
        ("GET", f"{PREFIX}/instances/a\nb/file", Scope.OPERATE),
        ("POST", f"{PREFIX}/queue/hold\n", Scope.OPERATE),
        ("POST", f"{PREFIX}/queue/holds", Scope.ADMIN),
        ("POST", f"{PREFIX}/anything/new", Scope.ADMIN),
        ("DELETE", f"{PREFIX}/queue", Scope.ADMIN),
        ("OPTIONS", "/", Scope.ADMIN),
        ("get", "/", Scope.ADMIN),
    ],
)
def test_requests_that_are_not_quite(method: str, path: str, scope: Scope) -> None:
    assert scope_needed(method, path) is scope


async def test_no_spelling_of_a_path_gets_a_file_for_less(guarded: Guarded) -> None:
    guarded.store.files = {7: b"a patient's"}
    headers = bearer(TOKENS[Scope.READ])
    for path in ("7/file", "7/file\n", "7/file/", "./7/file", "/7/file", "7//file", "7/file%0A", "7/FILE"):
        answer = await guarded.get(f"{PREFIX}/instances/{path}", headers)
        assert b"patient" not in answer.body, path
        assert answer.status in (403, 404, 307), path
