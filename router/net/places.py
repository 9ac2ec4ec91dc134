"""Who gets a place on a listener, and who has to make room: counting and deciding, no I/O.

The rates are asked first, because they are for the load that comes with coming at all; then how many are
here. Where all places are taken, room is made by whoever could be spared the longest: first those who have
connected and asked for nothing, then those who have an association and do nothing with it. So a flood that
only holds places cannot keep out who has work for us.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from router.config.settings import Limits
from router.dicom.codes import RejectReason, RejectResult, RejectSource
from router.dicom.pdu import encode_associate_rj
from router.net.rate import Bucket, Buckets, peer_key

SILENT_S = 2.0  # connected, and no request: it may have to make room
IDLE_S = 10.0  # an association on which nothing is asked
LOOK_S = 0.05  # between two looks at all associations for somebody to spare
MOST_SILENT = 32  # sent away in one look, so that a flood needs few of them


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlace:
    """Why somebody is turned away: the A-ASSOCIATE-RJ, its word in the metric, and the limit that says so."""

    answer: bytes
    label: str
    limit: str = ""


def _transient(reason: int) -> bytes:
    return encode_associate_rj(RejectResult.TRANSIENT, RejectSource.SERVICE_PROVIDER_PRESENTATION, reason)


_CONGESTED = _transient(RejectReason.PRESENTATION_TEMPORARY_CONGESTION)
_OVER_LIMIT = _transient(RejectReason.PRESENTATION_LOCAL_LIMIT_EXCEEDED)
DRAINING = NoPlace(answer=_CONGESTED, label="draining")
_ALL_TAKEN = NoPlace(answer=_OVER_LIMIT, label="local_limit_exceeded", limit="associations")
_PEER_HAS_MANY = NoPlace(answer=_OVER_LIMIT, label="local_limit_exceeded", limit="associations_per_peer")
_TOO_MANY_NEW = NoPlace(answer=_CONGESTED, label="rate_exceeded", limit="new_per_second")
_PEER_TOO_OFTEN = NoPlace(answer=_OVER_LIMIT, label="rate_exceeded", limit="new_per_second_per_peer")


class Guest(Protocol):
    """What is asked of a connection."""

    def spare_s(self) -> float: ...

    @property
    def has_asked(self) -> bool: ...


_Guest = TypeVar("_Guest", bound=Guest)


class Places:
    """The places of one listener."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._all = Bucket(limits.new_per_second, now)
        self._each = Buckets(limits.new_per_second_per_peer)
        self._taken: Counter[str] = Counter()
        self._count = 0
        self._look_at = now

    def comes(self, peer: str, now: float) -> NoPlace | None:
        """Somebody has connected: None where that is not too often."""
        key = peer_key(peer)
        if not self._each.take(key, now):
            return _PEER_TOO_OFTEN
        if not self._all.take(now):
            self._each.give_back(key)
            return _TOO_MANY_NEW
        return None

    def is_full(self) -> bool:
        """Every place is taken."""
        return self._count >= self._limits.associations

    def has_many(self, peer: str) -> NoPlace | None:
        """None where this peer may have another place."""
        return _PEER_HAS_MANY if self._taken[peer_key(peer)] >= self._limits.associations_per_peer else None

    def no_place(self) -> NoPlace:
        """The word for it that every place is taken."""
        return _ALL_TAKEN

    def take(self, peer: str) -> None:
        """It has a place from now on."""
        self._taken[peer_key(peer)] += 1
        self._count += 1

    def leave(self, peer: str) -> None:
        """Its place is free again."""
        key = peer_key(peer)
        self._taken[key] -= 1
        self._count -= 1
        if not self._taken[key]:
            del self._taken[key]

    def who_makes_room(self, guests: Iterable[_Guest], now: float) -> list[_Guest]:
        """Whom to send away for somebody else; nobody where all are at work, or it was asked just now."""
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        silent: list[tuple[float, _Guest]] = []
        idlest: tuple[float, _Guest] | None = None
        for guest in guests:
            spare_s = guest.spare_s()
            if not guest.has_asked:
                if spare_s >= SILENT_S:
                    silent.append((spare_s, guest))
            elif spare_s >= IDLE_S and (idlest is None or spare_s > idlest[0]):
                idlest = spare_s, guest
        if silent:
            silent.sort(key=lambda one: one[0], reverse=True)
            return [guest for _, guest in silent[:MOST_SILENT]]
        return [idlest[1]] if idlest is not None else []
