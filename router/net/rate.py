"""How often: token buckets, one for each of any number of peers, in bounded memory. Pure.

A bucket holds what ``BURST_S`` let in, so that a sender that opens many associations at once and then none is
not hindered; over a longer time it is the rate that counts.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

BURST_S = 10.0
MOST_PEERS = 16384  # buckets kept; those who were seen longest ago are forgotten first
_SITE_BITS = 64  # of an IPv6 address: the rest is for a machine to choose (RFC 4291 §2.5.4)


@lru_cache(maxsize=4096)
def peer_key(address: str) -> str:
    """What counts as one peer: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _SITE_BITS), strict=False))


class Bucket:
    """One bucket; it is full at first."""

    __slots__ = ("_at", "_level", "_most", "_per_second")

    def __init__(self, per_second: float, now: float, *, burst_s: float = BURST_S) -> None:
        self._per_second = per_second
        self._most = max(per_second * burst_s, 1.0)
        self._level = self._most
        self._at = now

    def take(self, now: float) -> bool:
        """Take one; whether there was one."""
        self._level = min(self._most, self._level + (now - self._at) * self._per_second)
        self._at = now
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True

    def give_back(self) -> None:
        """Undo a ``take``."""
        self._level = min(self._most, self._level + 1.0)


class Buckets:
    """A bucket for each peer."""

    def __init__(self, per_second: float, *, burst_s: float = BURST_S) -> None:
        self._per_second = per_second
        self._burst_s = burst_s
        self._by_peer: dict[str, Bucket] = {}  # who was seen last is last

    def __len__(self) -> int:
        return len(self._by_peer)

    def take(self, peer: str, now: float) -> bool:
        """Take one from this peer's bucket; whether there was one."""
        bucket = self._by_peer.pop(peer, None)
        if bucket is None:
            bucket = Bucket(self._per_second, now, burst_s=self._burst_s)
            if len(self._by_peer) >= MOST_PEERS:
                del self._by_peer[next(iter(self._by_peer))]
        self._by_peer[peer] = bucket
        return bucket.take(now)

    def give_back(self, peer: str) -> None:
        """Undo a ``take`` of this peer."""
        if (bucket := self._by_peer.get(peer)) is not None:
            bucket.give_back()
