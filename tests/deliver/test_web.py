"""Delivery to DICOMweb services: what is sent, and what each answer costs whom."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import anyio
import pytest

from router.clock import SystemClock
from router.config.settings import Deliver, Destination, Settings
from router.config.web import Auth
from router.deliver.lanes import Lanes
from router.deliver.renditions import Maker
from router.deliver.web import WINDOW_BYTES, Client, _authorization
from router.dicom.syntaxes import RLE_LOSSLESS
from router.errors import AssociationLost, AssociationTimeout, ConnectFailed
from router.model import DeliveryState, Form, Reason, Wish
from router.net.http_client import Answer
from router.telemetry import Telemetry
from tests.deliver.samples import EXPLICIT, FAST, META, MemoryQueue, content, delivery, instance
from tests.deliver.test_renditions import EDITS, Workshop, rendered

URL = "http://web.example/dicom-web"
Script = Callable[[int], "Answer | Exception | None"]


def stored(number: int) -> Answer:
    """Success, for the instance of that number."""
    item = {"00081155": {"Value": [f"1.2.3.{number}"]}}
    return Answer(status=200, body=json.dumps({"00081199": {"Value": [item]}}).encode())


THERE = Answer(status=200, body=b"")


@dataclass
class Service:
    """A service whose answers are scripted: by the number of the request, from 1; None: it is stored."""

    answer: Script = lambda number: None
    probe: Callable[[], Answer | Exception] = lambda: THERE
    requests: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    probes: int = 0

    @asynccontextmanager
    async def connect(self, destination: Destination) -> AsyncIterator[Client]:
        self.connections += 1
        yield _Connection(self)


class _Connection:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def post(
        self, url: str, headers: Mapping[str, str], body: AsyncIterator[memoryview], length: int
    ) -> Answer:
        assert url == f"{URL}/studies"
        whole = b"".join([bytes(piece) async for piece in body])
        assert len(whole) == length
        self._service.requests.append((headers, whole))
        answer = self._service.answer(len(self._service.requests))
        if isinstance(answer, Exception):
            raise answer
        return answer if answer is not None else self._stored(whole)

    def _stored(self, whole: bytes) -> Answer:
        """Every instance has its number at the beginning of its data set, or in what was made of it."""
        body = whole.partition(b"\r\n\r\n")[2][len(META) :]
        number, _, rest = body.partition(b" as ")
        return stored(int(number) if rest else body[0])

    async def options(self, url: str) -> Answer:
        await anyio.lowlevel.checkpoint()
        self._service.probes += 1
        answer = self._service.probe()
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def cloud(
    service: Service, workshop: Maker | None = None, **deliver: object
) -> AsyncIterator[MemoryQueue]:
    queue = MemoryQueue(SystemClock())
    block = Deliver(**{"associations": 1, "retry": FAST, "idle": 5.0, **deliver})  # type: ignore[arg-type]
    settings = Settings(destinations={"cloud": Destination(dicomweb=URL, deliver=block)})
    lanes = Lanes(
        queue, settings, queue.clock, Telemetry(), Random(1), web=service.connect, workshop=workshop
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lanes.run)
        yield queue
        tasks.cancel_scope.cancel()


def put(queue: MemoryQueue, *numbers: int, size: int = 1000, wish: Wish | None = None) -> None:
    now = queue.clock.now()
    made = (
        delivery(number, destination="cloud", created_at=now, of=instance(number, size=size))
        for number in numbers
    )
    queue.put(*(replace(one, wish=wish) for one in made))


def part(request: tuple[Mapping[str, str], bytes]) -> tuple[str, bytes]:
    """The header and the content of the one part of a request."""
    headers, body = request
    kind, _, boundary = headers["Content-Type"].partition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    delimiter = f"--{boundary}".encode()
    assert body.startswith(delimiter + b"\r\n")
    assert body.endswith(b"\r\n" + delimiter + b"--\r\n")
    head, _, rest = body[len(delimiter) + 2 :].partition(b"\r\n\r\n")
    return head.decode(), rest[: -len(delimiter) - 6]


def reasons(queue: MemoryQueue, number: int) -> list[Reason]:
    return [outcome.reason for outcome in queue.outcomes if outcome.delivery_id == number]


@pytest.mark.parametrize("size", [1000, WINDOW_BYTES * 2 + 7])
async def test_each_instance_is_a_request_with_the_stored_object(size: int) -> None:
    service = Service()
    async with cloud(service) as queue:
        put(queue, 1, 2, size=size)
        await queue.all_delivered([1, 2])
    assert service.connections == 1
    head, body = part(service.requests[0])
    assert head == "Content-Type: application/dicom"
    assert body == content(instance(1, size=size))
    assert queue.outcomes[0].transfer_syntax_uid == EXPLICIT


FAILED = json.dumps(
    {"00081198": {"Value": [{"00081155": {"Value": ["1.2.3.1"]}, "00081197": {"Value": [0xA900]}}]}}
).encode()


@pytest.mark.parametrize(
    ("answer", "state", "reason", "status", "comment"),
    [
        (Answer(status=409, body=FAILED), "dead", Reason.DATA_SET_MISMATCH, 0xA900, "HTTP 409 Conflict"),
        (Answer(status=413, body=b""), "dead", Reason.INVALID_INSTANCE, None, "HTTP 413"),
    ],
)
async def test_what_it_never_takes_is_dead_with_what_it_said(
    answer: Answer, state: str, reason: Reason, status: int | None, comment: str
) -> None:
    service = Service(answer=lambda number: answer)
    async with cloud(service, transcode=False) as queue:
        put(queue, 1)
        await queue.until(lambda: queue.states().get(1) is DeliveryState(state))
    outcome = queue.outcomes[-1]
    assert (outcome.reason, outcome.status) == (reason, status)
    assert outcome.comment.startswith(comment)


@pytest.mark.parametrize(
    ("answer", "reason", "counts"),
    [
        (Answer(status=500, body=b""), Reason.PROCESSING_FAILURE, True),
        (Answer(status=200, body=b"{}"), Reason.PROCESSING_FAILURE, True),
        (Answer(status=503, body=b""), Reason.OUT_OF_RESOURCES, False),
        (Answer(status=401, body=b""), Reason.REJECTED_PERMANENT, False),
        (ConnectFailed("refused"), Reason.CONNECT_FAILED, False),
    ],
)
async def test_what_passes_is_tried_again_and_its_fault_is_not_the_instances(
    answer: Answer | Exception, reason: Reason, counts: bool
) -> None:
    service = Service(answer=lambda number: answer if number == 1 else None)
    async with cloud(service) as queue:
        put(queue, 1)
        await queue.until(lambda: bool(queue.outcomes))
        first = queue.outcomes[0]
        assert (first.state, first.reason, first.counts) == (DeliveryState.PENDING, reason, counts)
        if reason is not Reason.REJECTED_PERMANENT:  # that one waits for longer than a test
            await queue.all_delivered([1])


async def test_a_connection_that_was_closed_while_idle_costs_no_attempt() -> None:
    gone = AssociationLost("the server closed the connection")
    service = Service(answer=lambda number: gone if number == 2 else None)
    async with cloud(service) as queue:
        put(queue, 1)
        await queue.all_delivered([1])
        put(queue, 2)
        await queue.all_delivered([2])
    assert reasons(queue, 2) == [Reason.SUCCESS]
    assert service.connections == 2


async def test_a_new_connection_that_is_closed_is_a_failed_attempt() -> None:
    gone = AssociationLost("the server closed the connection")
    service = Service(answer=lambda number: gone if number == 1 else None)
    async with cloud(service) as queue:
        put(queue, 1)
        await queue.all_delivered([1])
    assert reasons(queue, 1) == [Reason.CONNECTION_LOST, Reason.SUCCESS]


async def test_a_timeout_ends_the_connection() -> None:
    late = AssociationTimeout("no answer within 60 s")
    service = Service(answer=lambda number: late if number == 1 else None)
    async with cloud(service) as queue:
        put(queue, 1)
        await queue.all_delivered([1])
    assert reasons(queue, 1) == [Reason.TIMEOUT, Reason.SUCCESS]
    assert service.connections > 1


async def test_it_is_probed_while_it_is_down() -> None:
    is_down = True
    refused = ConnectFailed("refused")
    service = Service(
        answer=lambda number: refused if is_down else None,
        probe=lambda: refused if is_down else THERE,
    )
    async with cloud(service) as queue:
        put(queue, *range(1, 30))
        await queue.until(lambda: bool(queue.outcomes))
        is_down = False
        await queue.all_delivered(range(1, 30))
    assert len(service.requests) < 40  # it was not tried with each of them while it was down


async def test_a_form_that_is_preferred_is_made_first() -> None:
    service, workshop = Service(), Workshop()
    preferred = (Form(transfer_syntax_uid=RLE_LOSSLESS),)
    async with cloud(service, workshop, transfer_syntaxes=preferred) as queue:
        put(queue, 1)
        await queue.all_delivered([1])
    _, body = part(service.requests[0])
    assert body.endswith(rendered(instance(1), RLE_LOSSLESS))


@pytest.mark.parametrize("has_workshop", [True, False])
async def test_what_cannot_be_edited_does_not_leave(has_workshop: bool) -> None:
    service, workshop = Service(), Workshop()
    workshop.refuses = lambda key, uid: "it cannot be"
    async with cloud(service, workshop if has_workshop else None) as queue:
        put(queue, 1, wish=Wish(edits=EDITS))
        await queue.until(lambda: queue.states().get(1) is DeliveryState.DEAD)
    assert not service.requests


async def test_what_is_edited_is_sent_edited() -> None:
    service, workshop = Service(), Workshop()
    async with cloud(service, workshop) as queue:
        put(queue, 1, wish=Wish(edits=EDITS))
        await queue.all_delivered([1])
    assert part(service.requests[0])[1].endswith(rendered(instance(1), EXPLICIT))
    assert workshop.edits == [EDITS]


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (None, None),
        (Auth(bearer_token="abc"), "Bearer abc"),  # noqa: S106 - of nobody
        (Auth(username="u", password="p"), "Basic dTpw"),  # noqa: S106
        (Auth(username="Jürgen"), "Basic SsO8cmdlbjo="),
    ],
)
def test_who_we_are(auth: Auth | None, header: str | None) -> None:
    assert _authorization(Destination(dicomweb=URL, auth=auth)).get("Authorization") == header
