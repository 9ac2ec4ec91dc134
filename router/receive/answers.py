"""Answering several messages of one association at once, in whatever order they are ready (PS3.7 D.3.3.3).

The reader starts an answer for each message and reads on; how many are unanswered is bounded by the window
that was agreed on, and what they hold in memory by bytes. What is ready at one moment leaves in one write.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from router.errors import AssociationError, RemoteProtocolError
from router.net.connection import Connection


class Answers:
    """What one association is still owed. To be used inside ``run``."""

    def __init__(
        self,
        connection: Connection,
        *,
        limit: int,
        cap_bytes: int,
        on_cap: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._limit = limit
        self._cap_bytes = cap_bytes
        self._on_cap = on_cap
        self._owed_bytes = 0
        self._said = 0  # queued, not written yet
        self._is_ready = anyio.Event()
        self._is_freed = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def run(self, converse: Callable[[], Awaitable[None]]) -> None:
        """Run ``converse``, which reads; return or raise as it does, once nothing is owed any more."""
        failure: AssociationError | RemoteProtocolError | None = None
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._write)
            try:
                await converse()
            except (AssociationError, RemoteProtocolError) as error:
                failure = error
            await self.wait_empty()  # what has arrived whole is still stored
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def wait_room(self) -> None:
        """Return when another message may be read: what is behind it waits in the peer."""
        if self._owed_bytes >= self._cap_bytes:
            self._on_cap()
        while self._connection.owed >= self._limit or self._owed_bytes >= self._cap_bytes:
            await self._wait_freed()

    async def wait_empty(self) -> None:
        """Return when every answer has been written."""
        while self._connection.owed:
            await self._wait_freed()

    def start(self, context_id: int, answer: Callable[[], Awaitable[bytes]], *, held_bytes: int) -> None:
        """Have ``answer`` make the response to a message that has been read whole."""
        assert self._tasks is not None  # noqa: S101 - inside run
        self._connection.owed += 1
        self._owed_bytes += held_bytes
        self._tasks.start_soon(self._answer, context_id, answer, held_bytes)

    def say(self, context_id: int, response: bytes) -> None:
        """Answer at once."""
        self._connection.owed += 1
        self._queue(context_id, response)

    async def _answer(self, context_id: int, answer: Callable[[], Awaitable[bytes]], held_bytes: int) -> None:
        response = await answer()
        self._owed_bytes -= held_bytes
        self._queue(context_id, response)

    def _queue(self, context_id: int, response: bytes) -> None:
        try:
            self._connection.association.send_message(context_id, response)
        except AssociationError:
            pass  # over: the reader is told why
        self._said += 1
        self._is_ready.set()

    async def _write(self) -> None:
        while True:
            await self._is_ready.wait()
            self._is_ready = anyio.Event()
            said, self._said = self._said, 0
            try:
                await self._connection.flush()
            except (AssociationError, RemoteProtocolError):
                pass  # as above
            self._connection.owed -= said
            self._is_freed.set()

    async def _wait_freed(self) -> None:
        self._is_freed = anyio.Event()
        await self._is_freed.wait()
