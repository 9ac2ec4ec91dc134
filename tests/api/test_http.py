"""router.api: probes and metrics, the JSON interface, and a real server on a port that the system chose."""

from __future__ import annotations

import http.client
import socket

import anyio
import pytest
from anyio import to_thread

from router.admin import Admin
from router.api.http import METRICS_CACHE_S, HttpApp, Receive, Scope, Send
from router.api.server import HttpServer
from router.clock import ManualClock
from router.config.settings import Modality, Settings
from router.errors import StorageError
from router.model import DeliveryState, QueueDepth
from router.telemetry import Telemetry
from router.views import Phase
from tests.api.asgi import ask
from tests.fake_store import DECISION, KEY, FakeStore, FakeSwitches, learned, record, trace


class Served:
    """An HTTP application and what it stands on."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.switches = FakeSwitches()
        self.clock = ManualClock()
        self.telemetry = Telemetry()
        self.phase = Phase.RUNNING
        self.admin = Admin(
            spool=self.store,
            settings=Settings(modalities={"pacs": Modality(ae_title="PACS", host="h", port=104)}),
            clock=self.clock,
            phase=lambda: self.phase,
            destinations_up=self.telemetry.destinations_up,
            dicom_ports=lambda: (11112,),
            switches=self.switches.switches,
            learned=learned,
        )
        self.app = HttpApp(admin=self.admin, telemetry=self.telemetry, clock=self.clock)


@pytest.fixture
def served() -> Served:
    return Served()


async def test_it_is_alive(served: Served) -> None:
    answer = await ask(served.app, "GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "alive"})


async def test_ready_says_why_not(served: Served) -> None:
    assert (await ask(served.app, "GET", "/readyz")).status == 200
    served.phase = Phase.DRAINING
    served.store.is_accepting = False
    answer = await ask(served.app, "GET", "/readyz")
    assert answer.status == 503
    assert answer.json == {"is_ready": False, "reasons": ["draining", "disk_low"], "warnings": []}


async def test_metrics_are_rendered_once_a_second(served: Served) -> None:
    served.telemetry.received(1)
    first = await ask(served.app, "GET", "/metrics")
    assert first.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"dicom_router_instances_received_total 1.0" in first.body
    served.telemetry.received(1)
    assert b"instances_received_total 1.0" in (await ask(served.app, "GET", "/metrics")).body
    served.clock.advance(METRICS_CACHE_S)
    assert b"instances_received_total 2.0" in (await ask(served.app, "GET", "/metrics")).body


async def test_head_has_no_body(served: Served) -> None:
    answer = await ask(served.app, "HEAD", "/healthz")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/metrics", 405),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/queue", 405),
        ("GET", "/api/v1/queue/9", 404),
        ("GET", "/api/v1/trace/1.2.9", 404),
        ("GET", "/api/v1/queue/abc", 422),
        ("GET", "/api/v1/queue?state=asleep", 422),
        ("GET", "/api/v1/queue?limit=0", 422),
        ("GET", "/api/v1/queue?after=99999999999999999999", 422),
    ],
)
async def test_a_refusal_is_json_with_a_sentence(served: Served, method: str, path: str, status: int) -> None:
    answer = await ask(served.app, method, path)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]


async def test_the_queue(served: Served) -> None:
    served.store.records = [record(1), record(2, state=DeliveryState.DEAD), record(3)]
    served.store.totals = [
        QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=2, oldest_at=10.0)
    ]
    page = (await ask(served.app, "GET", "/api/v1/queue?limit=1&destination=pacs&state=pending")).json
    assert [item["delivery_id"] for item in page["deliveries"]] == ["1"]
    assert page["next_after"] == "1"
    assert page["totals"] == [{"destination": "pacs", "state": "pending", "count": 2, "oldest_at": 10.0}]
    one = (await ask(served.app, "GET", "/api/v1/queue/2")).json
    assert (one["state"], one["key"]) == ("dead", str(KEY))


async def test_trace(served: Served) -> None:
    served.store.traces = [trace(record(1), decision=DECISION)]
    (arrival,) = (await ask(served.app, "GET", "/api/v1/trace/1.2.3")).json
    assert arrival["rules"] == [{"rule": "ct", "matched": True, "because": "Modality is CT"}]
    assert arrival["deliveries"][0]["history"][0]["reason"] == "out_of_resources"


async def test_status(served: Served) -> None:
    served.telemetry.destination_up("pacs", True)
    status = (await ask(served.app, "GET", "/api/v1/status")).json
    assert status["phase"] == "running"
    assert status["destinations"][0]["is_up"] is True


async def test_a_failing_store_is_said_without_a_traceback(served: Served) -> None:
    async def fail() -> list[QueueDepth]:
        raise StorageError("the disk is gone", out_of_resources=False)

    served.store.depths = fail  # type: ignore[method-assign]
    answer = await ask(served.app, "GET", "/api/v1/status")
    assert (answer.status, answer.json) == (503, {"error": "the disk is gone"})


async def test_every_answer_is_described(served: Served) -> None:
    description = (await ask(served.app, "GET", "/api/v1/openapi.json")).json
    paths = {path.removeprefix("/api/v1/"): set(kinds) for path, kinds in description["paths"].items()}
    asked = {"queue", "queue/{delivery_id}", "trace/{sop_instance_uid}", "status", "audit", "destinations"}
    asked |= {"instances/corrupt", "instances/{key}/file", "destinations/{name}/contexts"}
    ordered = {f"queue/{action}" for action in ("hold", "resume", "retry", "discard", "redirect", "replay")}
    ordered |= {"destinations/{name}/pause", "destinations/{name}/resume", "drain", "undrain"}
    ordered |= {"instances/corrupt/discard"}
    assert paths == {path: {"get"} for path in asked} | {path: {"post"} for path in ordered}
    assert "DeliveryView" in description["components"]["schemas"]


def get(port: int) -> tuple[int, bytes]:
    """``/healthz`` over a real connection. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_the_server_answers_on_a_port_of_the_systems_choice_and_stops(
    served: Served, *, is_cancelled: bool
) -> None:
    for _ in range(2):  # what one left in the loop would deafen the next, which has its descriptor
        server = HttpServer(served.app)
        server.bind("127.0.0.1", 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            assert await to_thread.run_sync(get, server.port) == (200, b'{"status":"alive"}')
            if is_cancelled:
                tasks.cancel_scope.cancel()
            else:
                await server.stop()


async def test_a_request_under_way_is_answered_when_the_server_stops() -> None:
    is_asked = anyio.Event()
    answered: list[tuple[int, bytes]] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        is_asked.set()
        await anyio.sleep(0.3)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    async def ask_for_it() -> None:
        answered.append(await to_thread.run_sync(get, server.port))

    server = HttpServer(slow)
    server.bind("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        tasks.start_soon(ask_for_it)
        await is_asked.wait()
        await server.stop()
    assert answered == [(200, b"late")]


def test_a_taken_port_is_an_error_of_the_system_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        HttpServer(Served().app).bind("127.0.0.1", taken.getsockname()[1])


async def test_what_a_destination_takes(served: Served) -> None:
    answer = await ask(served.app, "GET", "/api/v1/destinations/pacs/contexts")
    assert answer.status == 200
    assert [(row["is_accepted"], row["expires_in_s"]) for row in answer.json] == [
        (True, None),
        (False, 840.0),
    ]
    assert (await ask(served.app, "GET", "/api/v1/destinations/nowhere/contexts")).status == 404
