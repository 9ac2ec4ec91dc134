"""router.api.operators: each order by HTTP, who gave it, and what is answered where it cannot be."""

from __future__ import annotations

import pytest

from router.errors import NotAllowed, UnknownItem
from router.model import DeliveryState
from router.spool.orders import ALLOWED, Action, Selection
from tests.api.asgi import ask
from tests.api.test_http import Served, served
from tests.fake_store import KEY

__all__ = ["served"]  # a fixture


@pytest.mark.parametrize("action", ALLOWED)
async def test_orders(served: Served, action: Action) -> None:
    to = {"to": "pacs"} if action is Action.REDIRECT else {}
    answer = await ask(served.app, "POST", f"/api/v1/queue/{action}", {"ids": ["1", 2], **to})
    assert answer.status == 200
    assert answer.json == {"count": 2, "left_alone": {"active": 1}, "operation": 7}
    chosen = {"destination": "old", "state": "dead", "sop_instance_uid": "1.2", "calling_ae": "CT1"}
    await ask(served.app, "POST", f"/api/v1/queue/{action}", {**chosen, **to})
    first, second = served.store.orders.given
    assert (first.action, first.selection) == (action, Selection(ids=(1, 2)))
    assert (first.by.who, first.by.address) == ("http", "127.0.0.1")
    assert second.selection == Selection(
        destination="old", state=DeliveryState.DEAD, sop_instance_uid="1.2", calling_ae="CT1"
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 409),
        ({"ids": [1], "everything": True}, 409),
        ({"ids": ["x"]}, 422),
        ({"state": "asleep"}, 422),
        (b"{", 422),
        ({"destinaton": "x"}, 422),
    ],
)
@pytest.mark.parametrize("action", ALLOWED)
async def test_an_order_that_says_nothing_clear(
    served: Served, action: Action, body: object, status: int
) -> None:
    answer = await ask(served.app, "POST", f"/api/v1/queue/{action}", body)
    assert answer.status == status
    assert answer.json["error"]
    assert served.store.orders.given == []


async def test_a_state_that_does_not_allow_it_is_a_conflict(served: Served) -> None:
    served.store.orders.refuse_with = NotAllowed("hold is for pending deliveries: no. 1 is dead")
    answer = await ask(served.app, "POST", "/api/v1/queue/hold", {"ids": [1]})
    assert (answer.status, answer.json["error"]) == (409, "hold is for pending deliveries: no. 1 is dead")
    served.store.orders.refuse_with = UnknownItem("there is no delivery 1")
    assert (await ask(served.app, "POST", "/api/v1/queue/hold", {"ids": [1]})).status == 404


@pytest.mark.parametrize(
    ("said", "who"),
    [
        ("anna@ward", "anna@ward"),
        ("Zo%C3%AB%20%3Cz%3E", "Zoë <z>"),
        ("a%0Ab%1B[31m", "ab[31m"),
        ("x" * 500, "x" * 100),
        ("", "http"),
        ("%20", "http"),
    ],
)
async def test_who_asks_is_as_they_say_and_fit_to_be_shown(served: Served, said: str, who: str) -> None:
    await ask(served.app, "POST", "/api/v1/drain", headers={"X-Dicom-Router-User": said})
    page = (await ask(served.app, "GET", "/api/v1/audit")).json
    assert [(line["who"], line["address"]) for line in page["operations"]] == [(who, "127.0.0.1")]


async def test_destinations_are_paused_and_resumed(served: Served) -> None:
    assert (await ask(served.app, "POST", "/api/v1/destinations/pacs/pause")).status == 200
    (shown,) = (await ask(served.app, "GET", "/api/v1/destinations")).json
    assert (shown["name"], shown["paused_by"], shown["paused_at"]) == ("pacs", "http", 10.0)
    assert (await ask(served.app, "POST", "/api/v1/destinations/pacs/resume")).status == 200
    assert served.switches.paused == {"pacs": False}
    assert (await ask(served.app, "POST", "/api/v1/destinations/x/pause")).status == 404


async def test_a_drain_shows_in_readyz(served: Served) -> None:
    assert (await ask(served.app, "POST", "/api/v1/drain")).status == 200
    answer = await ask(served.app, "GET", "/readyz")
    assert (answer.status, answer.json["reasons"]) == (503, ["draining"])
    assert (await ask(served.app, "POST", "/api/v1/drain")).status == 409
    assert (await ask(served.app, "GET", "/api/v1/status")).json["drain"]["is_done"] is False
    assert (await ask(served.app, "POST", "/api/v1/undrain")).status == 200
    assert (await ask(served.app, "GET", "/readyz")).status == 200


async def test_files(served: Served) -> None:
    served.store.files = {KEY: bytes(2_500_000)}
    answer = await ask(served.app, "GET", f"/api/v1/instances/{KEY}/file")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-length"] == "2500000"
    assert answer.body == served.store.files[KEY]
    (line,) = (await ask(served.app, "GET", "/api/v1/audit")).json["operations"]
    assert (line["who"], line["action"], line["target"]) == ("http", "fetch", f"instance {KEY}")
    assert (await ask(served.app, "GET", "/api/v1/instances/5/file")).status == 404
    served.store.damaged = {KEY}
    assert (await ask(served.app, "GET", f"/api/v1/instances/{KEY}/file")).status == 409
    assert [item["key"] for item in (await ask(served.app, "GET", "/api/v1/instances/corrupt")).json] == [
        str(KEY)
    ]
    answer = await ask(served.app, "POST", "/api/v1/instances/corrupt/discard", {"keys": [str(KEY)]})
    assert (answer.status, answer.json["count"]) == (200, 1)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8080", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        (None, 200),
    ],
)
async def test_no_orders_from_another_sites_page(served: Served, origin: str | None, status: int) -> None:
    headers = {"Host": "127.0.0.1:8080"} | ({"Origin": origin} if origin is not None else {})
    assert (await ask(served.app, "POST", "/api/v1/drain", headers=headers)).status == status
    assert served.switches.is_refusing is (status == 200)
