"""Delivery to a DICOMweb service by STOW-RS (PS3.18 §10.5): one instance in each request.

Each worker has a connection of its own, so as many are under way as ``associations`` allows, and what an
answer says is said of one instance. What is sent is the stored Part 10 object as it is: the data set byte for
byte, streamed in windows where it is large.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import MappingProxyType
from typing import Protocol

import anyio

from router.clock import Clock
from router.config.settings import Destination
from router.config.tls import ModalityTls
from router.deliver.any_form import must_be_made
from router.deliver.desk import Desk, Signal
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.shaping import Shaper
from router.deliver.verdict import Fault, Verdict, of_error, of_opening
from router.deliver.web_verdict import of_answer, of_probe
from router.errors import (
    AssociationError,
    AssociationLost,
    ConnectFailed,
    RemoteProtocolError,
    StorageError,
)
from router.model import Delivery, Instance
from router.net.credentials import Credentials
from router.net.http_client import Answer, HttpClient

WINDOW_BYTES = 1024 * 1024
JSON = "application/dicom+json"


class Client(Protocol):
    """What the sender asks of a connection; see :class:`router.net.http_client.HttpClient`."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: AsyncIterator[memoryview], length: int
    ) -> Answer: ...

    async def options(self, url: str) -> Answer: ...


Clients = Callable[[Destination], AbstractAsyncContextManager[Client]]


def clients(keys: Mapping[ModalityTls, Credentials]) -> Clients:
    """Real connections; ``keys`` has the credentials of every service with TLS."""
    return partial(_client, keys)


def _client(keys: Mapping[ModalityTls, Credentials], destination: Destination) -> HttpClient:
    deliver = destination.deliver
    return HttpClient(
        headers={**destination.headers, **_authorization(destination), "Accept": JSON},
        credentials=keys[destination.tls] if destination.tls is not None else None,
        connect_s=deliver.connect_timeout,
        answer_s=deliver.response_timeout,
        idle_s=deliver.idle,
    )


def _authorization(destination: Destination) -> dict[str, str]:
    auth = destination.auth
    if auth is None:
        return {}
    if auth.bearer_token is not None:
        return {"Authorization": f"Bearer {auth.bearer_token}"}
    pair = base64.b64encode(f"{auth.username}:{auth.password or ''}".encode())
    return {"Authorization": f"Basic {pair.decode('ascii')}"}


PLAIN = clients(MappingProxyType({}))


class WebSender:
    """Serves the desks of one service's lane."""

    can_probe = True

    def __init__(
        self,
        destination: Destination,
        *,
        content: Content,
        clock: Clock,
        clients: Clients = PLAIN,
        shaper: Shaper | None = None,
    ) -> None:
        self._destination = destination
        self._url = f"{destination.dicomweb}/studies"
        self._content = content
        self._clock = clock
        self._clients = clients
        self._shaper = shaper

    async def serve(self, desk: Desk) -> None:
        """Send what the desk gives, one after the other, as long as there is something."""
        async with self._clients(self._destination) as client:
            delivery = desk.take()
            if delivery is None and desk.is_probe:
                await self._probe(client, desk)
                delivery = desk.take()
            was_used = False
            while delivery is not None or await self._is_more(desk):
                if delivery is not None and self._is_ready(desk, delivery):
                    if not await self._send(client, desk, delivery, was_used=was_used):
                        return
                    was_used = True
                delivery = desk.take()

    def _is_ready(self, desk: Desk, delivery: Delivery) -> bool:
        has_rendition = desk.renditions.ready(delivery) is not None
        return has_rendition or not must_be_made(desk, delivery, self._clock)

    async def _is_more(self, desk: Desk) -> bool:
        """Wait for work, for as long as a connection is kept without any."""
        with anyio.move_on_after(self._destination.deliver.idle):
            while (signal := await desk.wait()) is Signal.WATCH:
                pass  # the connection looks after itself
            return signal is Signal.WORK
        return False

    async def _probe(self, client: Client, desk: Desk) -> None:
        """Find out whether anybody is there who would take what we send."""
        try:
            answer = await client.options(self._url)
        except (AssociationError, RemoteProtocolError) as error:
            desk.judge.unreached(of_opening(error), str(error))
            return
        verdict = of_probe(answer.status)
        if verdict.is_delivered:
            desk.judge.reached()
        else:
            desk.judge.unreached(verdict, f"HTTP {answer.status}")

    async def _send(self, client: Client, desk: Desk, delivery: Delivery, *, was_used: bool) -> bool:
        """Send one. False: the connection is of no more use."""
        rendition = desk.renditions.ready(delivery)
        instance = delivery.instance if rendition is None else rendition.instance
        content = self._content if rendition is None else rendition
        transcoding = None if rendition is None else rendition.transcoding
        started_at = self._clock.now()

        def ended(comment: str, status: int | None = None) -> Ended:
            return Ended(
                started_at=started_at,
                ended_at=self._clock.now(),
                status=status,
                comment=comment,
                transfer_syntax_uid=instance.arrival.transfer_syntax_uid,
                transcoding=transcoding,
            )

        try:
            answer = await self._post(client, instance, content)
        except (AssociationError, RemoteProtocolError, StorageError) as error:
            is_stale = isinstance(error, AssociationLost) and was_used
            if not (is_stale and desk.forgive(delivery)):  # it had probably been closed before
                desk.failed(delivery, _of_failure(error), ended(str(error)))
            return False
        judged = of_answer(answer.status, answer.body, instance.arrival.sop_instance_uid)
        told = desk.failed if judged.verdict.fault is Fault.DESTINATION else desk.answered
        told(delivery, judged.verdict, ended(judged.comment, judged.status))
        return True

    async def _post(self, client: Client, instance: Instance, content: Content) -> Answer:
        boundary = secrets.token_hex(16)
        # Without its transfer syntax, which the object says: Orthanc leaves out parts that have a parameter.
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        length = instance.place.length_bytes
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        if length <= WINDOW_BYTES:
            whole = memoryview(bytearray(length))
            await content.read(instance, [whole])
            body = self._at_once(head, whole, tail)
        else:
            await content.verify(instance)
            body = self._in_windows(head, instance, content, tail)
        return await client.post(self._url, headers, body, len(head) + length + len(tail))

    async def _at_once(self, head: bytes, whole: memoryview, tail: bytes) -> AsyncIterator[memoryview]:
        await self._pace(len(whole))
        yield memoryview(b"".join((head, whole, tail)))

    async def _in_windows(
        self, head: bytes, instance: Instance, content: Content, tail: bytes
    ) -> AsyncIterator[memoryview]:
        yield memoryview(head)
        length = instance.place.length_bytes
        for start in range(0, length, WINDOW_BYTES):
            window = memoryview(bytearray(min(WINDOW_BYTES, length - start)))
            await content.read_range(instance, start, [window])
            await self._pace(len(window))
            yield window
        yield memoryview(tail)

    async def _pace(self, count: int) -> None:
        """Send no faster than the destination's limit."""
        if self._shaper is not None:
            await self._shaper.pass_through(count)


def _of_failure(error: Exception) -> Verdict:
    """Where there was no connection no instance is to blame."""
    return of_opening(error) if isinstance(error, ConnectFailed) else of_error(error)
