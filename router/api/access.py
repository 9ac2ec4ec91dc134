"""Who is asking, and whether they may: every HTTP request passes here first.

Passwords are slow to check on purpose, so that happens in a thread, one at a time, and what was right is
remembered (as a keyed hash, while the process lives). Whoever fails too often from one address is told to
wait; those who have shown who they are do not wait for others behind the same address. Names that somebody
only claims are in no log: people type passwords into the wrong field.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import anyio
from anyio import to_thread

from router.api.scopes import METRICS, PROBES, scope_needed
from router.api.throttle import Throttle
from router.clock import Clock
from router.config.http import Http, MetricsAccess, Scope, is_loopback
from router.logs import get_logger
from router.secrets import ScryptHash, parse_password_hash, parse_token_hash
from router.telemetry import Telemetry

CALLER = "router.caller"  # where the ASGI scope keeps who was admitted
REMEMBERED = 256  # credentials that were right; the one not used for longest is forgotten first
WAITING = 16  # passwords that wait to be checked at once; more are told to come again
HEADER_CAP_BYTES = 4096
_REALM = 'realm="dicom-router"'

_log = get_logger("api")


class Denial(StrEnum):
    """Why somebody was not let in: also the label of the metric."""

    MISSING = "missing_credentials"
    MALFORMED = "malformed_credentials"
    WRONG = "wrong_credentials"
    SCOPE = "insufficient_scope"
    THROTTLED = "too_many_failures"
    BUSY = "busy"
    FOREIGN_HOST = "foreign_host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in. ``name`` is None for who did not have to say it."""

    name: str | None
    scope: Scope | None  # None: nothing but what is for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What is answered to somebody who was not."""

    status: int
    sentence: str
    denial: Denial
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What counts of a request."""

    method: str
    path: str
    address: str  # of the peer
    host: str | None  # the Host header
    authorization: tuple[bytes, ...]  # every Authorization header


class Access:
    """The ``http`` block, applied to each request."""

    def __init__(
        self,
        settings: Http,
        clock: Clock,
        telemetry: Telemetry,
        on_refused: Callable[[str, str, str], None] = lambda who, address, because: None,
    ) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._on_refused = on_refused
        self._throttle = Throttle()
        self._key = secrets.token_bytes(32)
        self._waiting = 0
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self.use(settings)

    def use(self, settings: Http) -> None:
        """From now on these users and tokens count, and nobody who was let in before is remembered."""
        self._settings = settings
        self._users = {name: parse_password_hash(u.password_hash) for name, u in settings.users.items()}
        self._tokens = {name: parse_token_hash(t.token_hash) for name, t in settings.tokens.items()}
        self._nobody = _nobody(self._users)
        self._remembered: dict[bytes, Caller] = {}

    async def admit(self, asked: Asked) -> Caller | Refused:
        """Who it is, where the request may go on; else what to answer. Counts and logs who is refused."""
        settings = self._settings
        is_probe = asked.path in PROBES
        if settings.is_open:
            if is_probe or _is_here(asked.host):
                return Caller(name=None, scope=Scope.ADMIN)
            return self._refuse(asked, _FOREIGN_HOST)
        found = await self._authenticate(asked)
        if is_probe:  # never refused: whoever asks would take the gateway for dead
            return found if isinstance(found, Caller) else Caller(name=None, scope=None)
        if isinstance(found, Refused):
            return found
        needed = scope_needed(asked.method, asked.path)
        if asked.path == METRICS and settings.metrics is MetricsAccess.ANONYMOUS:
            return found
        if found.scope is not None and found.scope.includes(needed):
            return found
        if found.name is None:
            return self._refuse(asked, self._missing(needed))
        return self._refuse(asked, _too_little(found, needed), who=found.name)

    async def _authenticate(self, asked: Asked) -> Caller | Refused:
        """Whom the credentials prove, or the anonymous caller where there are none."""
        if not asked.authorization:
            return Caller(name=None, scope=Scope.READ if self._settings.allow_anonymous else None)
        header = asked.authorization[0]
        if len(asked.authorization) > 1 or len(header) > HEADER_CAP_BYTES:
            return self._refuse(asked, _MALFORMED)
        known = self._recall(header)
        if known is not None:
            return known
        wait_s = self._throttle.take(asked.address, self._clock.monotonic())
        if wait_s > 0:
            return self._refuse(asked, _wait(wait_s, Denial.THROTTLED))
        found = await self._prove(header)
        if isinstance(found, Caller):
            self._throttle.give_back(asked.address)
            self._remember(header, found)
            return found
        if found.denial is Denial.BUSY:
            self._throttle.give_back(asked.address)
        return self._refuse(asked, found)

    async def _prove(self, header: bytes) -> Caller | Refused:
        kind, _, given = header.partition(b" ")
        given = given.strip()
        if kind.lower() == b"bearer" and given:
            return self._by_token(given.decode("latin-1"))
        credentials = _basic(given) if kind.lower() == b"basic" else None
        if credentials is None:
            return _MALFORMED
        return await self._by_password(*credentials)

    async def _by_password(self, name: str, password: str) -> Caller | Refused:
        if self._waiting >= WAITING:
            return _wait(1.0, Denial.BUSY)
        wanted, granted = self._users.get(name, self._nobody), self._settings.users.get(name)
        if wanted is None:
            return self._wrong()
        self._waiting += 1
        try:
            is_right = await to_thread.run_sync(wanted.matches, password, limiter=self._one_at_a_time)
        finally:
            self._waiting -= 1
        if not is_right or granted is None or self._settings.users.get(name) is not granted:
            return self._wrong()
        return Caller(name=name, scope=granted.scope)

    def _by_token(self, given: str) -> Caller | Refused:
        found: str | None = None
        for name, wanted in self._tokens.items():  # all of them: how long it takes tells nothing
            if wanted.matches(given):
                found = name
        if found is None:
            return self._wrong()
        return Caller(name=found, scope=self._settings.tokens[found].scope)

    def _recall(self, header: bytes) -> Caller | None:
        key = self._mark(header)
        known = self._remembered.pop(key, None)
        if known is not None:
            self._remembered[key] = known
        return known

    def _remember(self, header: bytes, caller: Caller) -> None:
        self._remembered[self._mark(header)] = caller
        if len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    def _mark(self, header: bytes) -> bytes:
        return hmac.digest(self._key, header, hashlib.sha256)

    def _missing(self, needed: Scope) -> Refused:
        return Refused(
            status=401,
            sentence=f"say who you are, with a token or as a user: this needs the scope {needed}",
            denial=Denial.MISSING,
            headers=self._challenges(),
        )

    def _wrong(self) -> Refused:
        return Refused(
            status=401,
            sentence="there is no such token, or no such user with this password",
            denial=Denial.WRONG,
            headers=self._challenges(),
        )

    def _challenges(self) -> tuple[tuple[bytes, bytes], ...]:
        ways = [f"Bearer {_REALM}"] if self._tokens or not self._users else []
        ways += [f'Basic {_REALM}, charset="UTF-8"'] if self._users else []
        return tuple((b"www-authenticate", way.encode()) for way in ways)

    def _refuse(self, asked: Asked, refused: Refused, who: str | None = None) -> Refused:
        """Count and log. Neither the path nor what was given: both may hold what no log may."""
        self._telemetry.http_denied(refused.denial)
        named = {} if who is None else {"who": who}
        is_news = refused.denial in (Denial.WRONG, Denial.SCOPE, Denial.FOREIGN_HOST)
        tell = _log.warning if is_news else _log.debug
        tell("http request denied", reason=refused.denial.value, address=asked.address, **named)
        if is_news:
            self._on_refused(who or "", asked.address, refused.denial.value)
        if refused.denial is Denial.WRONG and self._throttle.is_used_up(asked.address):
            _log.warning("http credentials not looked at: too many failures", address=asked.address)
        return refused


def asked_of(
    method: str, path: str, client: tuple[str, int] | None, headers: Iterable[tuple[bytes, bytes]]
) -> Asked:
    """What counts of an ASGI request."""
    found = [(name.lower(), value) for name, value in headers]
    hosts = [value.decode("latin-1") for name, value in found if name == b"host"]
    return Asked(
        method=method,
        path=path,
        address=client[0] if client else "",
        host=hosts[0] if hosts else None,
        authorization=tuple(value for name, value in found if name == b"authorization"),
    )


_MALFORMED = Refused(
    status=401,
    sentence="the Authorization header is neither 'Bearer TOKEN' nor 'Basic' with a user and a password",
    denial=Denial.MALFORMED,
    headers=((b"www-authenticate", f'Bearer {_REALM}, error="invalid_request"'.encode()),),
)
_FOREIGN_HOST = Refused(
    status=403,
    sentence="without users and tokens only requests to localhost are answered: a page of another site could "
    "have made this one (see http in the configuration)",
    denial=Denial.FOREIGN_HOST,
)


def _wait(seconds: float, denial: Denial) -> Refused:
    whole = max(1, math.ceil(seconds))
    said = "too many attempts from this address failed" if denial is Denial.THROTTLED else "too many at once"
    return Refused(
        status=429,
        sentence=f"{said}: try again in {whole} s",
        denial=denial,
        headers=((b"retry-after", str(whole).encode()),),
    )


def _too_little(caller: Caller, needed: Scope) -> Refused:
    return Refused(
        status=403,
        sentence=f"{caller.name} has the scope {caller.scope}, and this needs {needed}",
        denial=Denial.SCOPE,
        headers=(
            (b"www-authenticate", f'Bearer {_REALM}, error="insufficient_scope", scope="{needed}"'.encode()),
        ),
    )


def _nobody(users: Mapping[str, ScryptHash]) -> ScryptHash | None:
    """What a name that nobody has is checked against: that must take as long as a wrong password does."""
    for hashed in users.values():
        return replace(hashed, hash=bytes(len(hashed.hash)))
    return None


def _basic(given: bytes) -> tuple[str, str] | None:
    """User and password (RFC 7617 §2)."""
    try:
        name, colon, password = base64.b64decode(given, validate=True).decode("utf-8").partition(":")
        return (name, password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _is_here(host: str | None) -> bool:
    """A page of another site whose name was made to lead to us (DNS rebinding) still says its own name."""
    if host is None:
        return True
    name = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)
