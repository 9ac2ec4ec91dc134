"""Slows down whoever guesses: attempts that failed, by address, in bounded memory.

For each address a bucket of attempts, filled again with time. Pure: ``now`` is the monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

ATTEMPTS = 20  # at once: a page asks for several things at a time, a person mistypes a few times
REFILL_S = 6.0  # for one more: 14,400 a day
ADDRESSES = 4096  # remembered; the one that failed longest ago is forgotten first
_NETWORK_BITS = 64  # of an IPv6 address: what one subscriber has (RFC 6177)


@dataclass(slots=True, kw_only=True)
class _Bucket:
    left: float
    at: float


class Throttle:
    """Take before an attempt, give back when it succeeded."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, address: str, now: float) -> float:
        """One attempt more from this address: 0 where it may be made, else the seconds until it may."""
        key = _network(address)
        bucket = self._buckets.pop(key, None) or _Bucket(left=float(ATTEMPTS), at=now)
        bucket.left = min(float(ATTEMPTS), bucket.left + (now - bucket.at) / REFILL_S)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        if bucket.left < 1.0:
            return (1.0 - bucket.left) * REFILL_S
        bucket.left -= 1.0
        return 0.0

    def give_back(self, address: str) -> None:
        """The attempt was no failure."""
        bucket = self._buckets.get(_network(address))
        if bucket is not None:
            bucket.left = min(float(ATTEMPTS), bucket.left + 1.0)

    def is_used_up(self, address: str) -> bool:
        """Whether the next attempt from there has to wait."""
        bucket = self._buckets.get(_network(address))
        return bucket is not None and bucket.left < 1.0

    def __len__(self) -> int:
        return len(self._buckets)


def _network(address: str) -> str:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(int(found) >> (128 - _NETWORK_BITS))
