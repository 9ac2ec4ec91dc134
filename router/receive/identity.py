"""User identity negotiation as acceptor (PS3.7 D.3.3.7): is the passcode the user's?

To compare with a hash is slow on purpose. So it is done in a thread, one at a time; a passcode that was right
is remembered (as a keyed hash that this process alone can make) and costs nothing the next time; and a peer
that sent too many wrong ones for a user is refused unseen for a while. Whoever is unknown is compared too,
against a hash of nothing: how long an answer takes tells nobody which users there are.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from anyio import CapacityLimiter, to_thread

from router import secrets
from router.clock import Clock
from router.config.settings import Settings
from router.dicom.codes import RejectReason, RejectResult, RejectSource
from router.net.rate import Buckets, peer_key
from router.receive.admission import Passport, Refusal, refuse

MOST_WAITING = 32  # verifications; whoever comes then is told to come again


class Identities:
    """Verifies the passports of all listeners."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._one = CapacityLimiter(1)
        self._waiting = 0
        self._key = os.urandom(32)
        self._right: dict[tuple[str, str], bytes] = {}  # by user and the hash that stands for it
        self._failures: dict[int, Buckets] = {}  # by limit
        self._decoy = ""

    async def problem(
        self, settings: Settings, passport: Passport, *, peer: str, failures_per_minute: int
    ) -> Refusal | None:
        """Why this passport does not let its bearer in; None where it does."""
        user = settings.users.get(passport.username)
        if user is not None and user.passcode_hash is None:
            return None  # the name is enough
        hashed = user.passcode_hash if user is not None else None
        failures = self._failures_of(failures_per_minute)
        # By user too, because many callers may have one address; not by names that a caller makes up.
        key = f"{peer_key(peer)} {passport.username if user is not None else ''}"
        if not failures.take(key, self._clock.monotonic()):
            return _COME_AGAIN  # before it is compared with anything: the answer would be worth guessing for
        if hashed is not None and self._is_remembered(passport, hashed):
            failures.give_back(key)
            return None
        if self._waiting >= MOST_WAITING:
            failures.give_back(key)
            return _COME_AGAIN
        self._waiting += 1
        try:
            is_right = await to_thread.run_sync(self._verify, passport, hashed, limiter=self._one)
        finally:
            self._waiting -= 1
        if is_right and hashed is not None:
            self._right[passport.username, hashed] = self._digest(passport)
            failures.give_back(key)
            return None
        return refuse(RejectReason.USER_NO_REASON, "identity_not_recognised")

    def _failures_of(self, per_minute: int) -> Buckets:
        if per_minute not in self._failures:
            self._failures[per_minute] = Buckets(per_minute / 60.0, burst_s=60.0)
        return self._failures[per_minute]

    def _verify(self, passport: Passport, hashed: str | None) -> bool:
        """In a thread."""
        if not self._decoy:
            self._decoy = secrets.hash_password("")
        try:
            passcode = (passport.passcode or b"").decode("utf-8")
        except UnicodeDecodeError:
            passcode, hashed = "", None
        is_right = secrets.verify(passcode, hashed if hashed is not None else self._decoy)
        return is_right and hashed is not None and bool(passport.passcode)

    def _is_remembered(self, passport: Passport, hashed: str) -> bool:
        known = self._right.get((passport.username, hashed))
        return known is not None and hmac.compare_digest(known, self._digest(passport))

    def _digest(self, passport: Passport) -> bytes:
        return hashlib.blake2b(passport.passcode or b"", key=self._key).digest()


_COME_AGAIN = Refusal(
    result=RejectResult.TRANSIENT,
    source=RejectSource.SERVICE_PROVIDER_PRESENTATION,
    reason=RejectReason.PRESENTATION_TEMPORARY_CONGESTION,
    label="identity_throttled",
)
