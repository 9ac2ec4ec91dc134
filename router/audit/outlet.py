"""A bounded queue of messages before a carrier, and the task that empties it.

What does not fit is dropped, the latest: how something began says more than how it went on. It is counted,
and when messages get through again the trail itself is told how many are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from random import Random

import anyio

from router.audit.carriers import Carrier, CarrierFailed
from router.logs import get_logger
from router.telemetry import Telemetry

MESSAGES_MAX = 10_000  # of 2 kB or so each
BYTES_MAX = 16 * 1024 * 1024
BATCH_MAX = 16  # of messages at once: as many may be there twice after a connection was lost
RETRY_INITIAL_S = 1.0
RETRY_MAX_S = 60.0

log = get_logger("audit")


class Outlet:
    """One receiver of messages. ``on_gap`` is told how many it has missed, when it takes some again."""

    def __init__(
        self,
        name: str,
        carrier: Carrier,
        *,
        telemetry: Telemetry,
        rng: Random,
        on_gap: Callable[[Outlet, int], None],
    ) -> None:
        self.name = name
        self.problem = ""  # why nothing gets through at present
        self._carrier = carrier
        self._telemetry = telemetry
        self._rng = rng
        self._on_gap = on_gap
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0
        self._is_filled = anyio.Event()
        telemetry.audit_waiting(name, 0)

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: bytes) -> None:
        """Have a message sent. Never waits, never fails."""
        if len(self._queue) >= MESSAGES_MAX or self._bytes + len(message) > BYTES_MAX:
            self._drop(1)
            return
        self._queue.append(message)
        self._bytes += len(message)
        self._telemetry.audit_waiting(self.name, len(self._queue))
        self._is_filled.set()

    async def run(self) -> None:
        """Send until cancelled; what does not get through is sent again."""
        pause_s = RETRY_INITIAL_S
        while True:
            await self._is_filled.wait()
            if await self._send_some():
                pause_s = RETRY_INITIAL_S
            else:
                await anyio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, RETRY_MAX_S)

    async def finish(self) -> None:
        """Send what is left, until something does not get through, and close."""
        while self._queue and await self._send_some():
            pass
        await self._carrier.close()

    def give_up(self) -> None:
        """It is the end: what is left is lost."""
        if self._queue:
            self._drop(len(self._queue))
            self._queue.clear()

    async def _send_some(self) -> bool:
        # One by one while there is trouble: what is sent again may be there twice.
        batch = list(islice(self._queue, 1 if self.problem else BATCH_MAX))
        try:
            await self._carrier.send(batch)
        except CarrierFailed as error:
            if not self.problem:
                log.warning("audit messages do not get through", outlet=self.name, because=str(error))
            self.problem = str(error)
            return False
        for message in batch:
            self._queue.popleft()
            self._bytes -= len(message)
        if not self._queue:
            self._is_filled = anyio.Event()
        self._telemetry.audit_sent(self.name, len(batch))
        self._telemetry.audit_waiting(self.name, len(self._queue))
        self._well_again()
        return True

    def _well_again(self) -> None:
        if self.problem:
            self.problem = ""
            log.info("audit messages get through again", outlet=self.name)
        if self._missed:
            missed, self._missed = self._missed, 0
            self._on_gap(self, missed)

    def _drop(self, count: int) -> None:
        if not self._missed:
            log.error("audit messages are lost", outlet=self.name, waiting=len(self._queue))
        self._missed += count
        self._telemetry.audit_dropped(self.name, count)
