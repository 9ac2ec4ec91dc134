"""Taking connections from the kernel: a few at a time, and none while there are no descriptors for them.

asyncio's own server takes as many in one turn of the loop as the backlog holds, which under a flood leaves
everybody else waiting, and makes a transport of each before it is known from where it comes.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable

from router.logs import get_logger

BACKLOG = 1024  # connections the kernel keeps for us while the loop is busy
TURN = 4  # taken in one turn of the loop: two milliseconds, with what they ask
PAUSE_S = 1.0  # without descriptors, until it is tried again
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

log = get_logger("net")


class Accepting:
    """One bound socket. ``on_accepted`` gets each connection, non-blocking, and its peer's address."""

    def __init__(
        self,
        sock: socket.socket,
        on_accepted: Callable[[socket.socket, str], None],
        *,
        on_exhausted: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_accepted = on_accepted
        self._on_exhausted = on_exhausted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to take connections, on the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Take none any more, and close the socket."""
        if self._loop is not None:
            if self._sock.fileno() >= 0:
                self._loop.remove_reader(self._sock.fileno())
            if self._pause is not None:
                self._pause.cancel()
            self._loop = None
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(TURN):
            try:
                taken, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # it went away before it was taken: accept(2) says so of any network error
                self._rest(error)
                return
            taken.setblocking(False)
            self._on_accepted(taken, str(address[0]))

    def _rest(self, error: OSError) -> None:
        self._on_exhausted()
        log.error(
            "no more connections can be taken",
            detail=error.strerror,
            what_to_do="raise the limit of open files (systemd: LimitNOFILE), or lower limits.associations",
        )
        assert self._loop is not None  # noqa: S101 - it accepts
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(PAUSE_S, self.start)


def raise_descriptor_limit() -> int:
    """Use as many open files as the system allows this process, not the few that are the default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return soft
    return hard
