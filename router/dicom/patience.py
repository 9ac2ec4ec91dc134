"""How long the peer is waited for, and when it is late: the clockwork of an association. Pure.

A pause inside a message is bounded, and so is the whole of it; between the two stands a least rate, because a
peer that sends a byte a second never pauses. The rate is looked at once for each ``message_s``, over all that
time, so that neither a short pause nor a burst counts for much.
"""

from __future__ import annotations

import math
from enum import StrEnum


class Wait(StrEnum):
    """What the peer was late with: the limits' own names."""

    REQUEST = "request_s"
    REPLY = "reply_s"
    IDLE = "idle_s"
    PAUSE = "message_s"
    RATE = "message_bytes_per_second"
    TOTAL = "message_total_s"


class Patience:
    """Durations in seconds; ``now`` is the association's clock. 0 bytes per second: no least rate."""

    __slots__ = (
        "_bytes_per_second", "_checked_at", "_checked_bytes", "_message_at", "_message_s",
        "_total_s", "began_at", "heard_bytes", "idle_s", "is_stale", "last_at", "reply_s",
    )  # fmt: skip

    def __init__(
        self,
        *,
        reply_s: float,
        idle_s: float,
        message_s: float,
        bytes_per_second: float = 0.0,
        total_s: float = math.inf,
        now: float,
    ) -> None:
        self.reply_s = reply_s  # ARTIM; for a requestor also how long the peer may take for its answers
        self.idle_s = idle_s
        self._message_s = message_s
        self._bytes_per_second = bytes_per_second
        self._total_s = total_s
        self.last_at = now  # when something last arrived
        self.began_at = now  # when the wait of this state began
        self.is_stale = False  # it began later, by a call of ours that was not told the time
        self.heard_bytes = 0
        self._message_at = now
        self._checked_at = now
        self._checked_bytes = 0

    def begin_message(self, now: float) -> None:
        """The message under way is another one than before."""
        self._message_at = now
        self._check(now)

    def excuse(self, now: float) -> None:
        """It was we who did not read: what did not come until now is not the peer's fault."""
        self.last_at = now
        self._check(now)

    def idle_until(self) -> float:
        """When an association on which nothing is asked is over."""
        return self.last_at + self.idle_s

    def message_until(self) -> float:
        """When to look at the message under way."""
        last = self._checked_at if self._bytes_per_second else self.last_at
        return min(last + self._message_s, self._message_at + self._total_s)

    def late_in_message(self, now: float) -> Wait | None:
        """What the message under way is late with; None, and the next look later, where it comes well."""
        if now >= self.last_at + self._message_s:
            return Wait.PAUSE
        if now >= self._message_at + self._total_s:
            return Wait.TOTAL
        if self.heard_bytes - self._checked_bytes < self._bytes_per_second * self._message_s:
            return Wait.RATE
        self._check(now)
        return None

    def _check(self, now: float) -> None:
        self._checked_at = now
        self._checked_bytes = self.heard_bytes
