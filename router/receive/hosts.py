"""The addresses of configured hosts, for ``check_host``: asked of the resolver now and then, not by callers.

Whoever calls with the AE title of such a modality would otherwise decide how often the resolver is asked, and
wait with everybody else where it does not answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Iterable

from router.clock import Clock
from router.logs import get_logger

KNOWN_FOR_S = 60.0
UNKNOWN_FOR_S = 10.0  # until a host that could not be resolved is asked for again
RESOLVE_S = 5.0

log = get_logger("receive")


class Hosts:
    """What the resolver says, remembered for a while."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._found: dict[str, tuple[float, frozenset[str]]] = {}  # until when, and what
        self._asking: dict[str, asyncio.Event] = {}

    async def addresses_of(self, hosts: Iterable[str]) -> dict[str, Collection[str]]:
        """The addresses of each; none of a host that cannot be resolved now."""
        return {host: await self._resolve(host) for host in dict.fromkeys(hosts)}

    async def _resolve(self, host: str) -> frozenset[str]:
        while (asking := self._asking.get(host)) is not None:
            await asking.wait()
        until, found = self._found.get(host, (0.0, frozenset()))
        if self._clock.monotonic() < until:
            return found
        asked = self._asking[host] = asyncio.Event()
        try:
            found = await _ask(host)
            lasts_s = KNOWN_FOR_S if found else UNKNOWN_FOR_S
            self._found[host] = (self._clock.monotonic() + lasts_s, found)
        finally:
            del self._asking[host]
            asked.set()
        return found


async def _ask(host: str) -> frozenset[str]:
    try:
        async with asyncio.timeout(RESOLVE_S):
            infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:  # TimeoutError is one
        log.warning("host cannot be resolved", host=host, detail=str(error) or "no answer")
        return frozenset()
    return frozenset(str(info[4][0]) for info in infos)
