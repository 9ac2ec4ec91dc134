"""The ``http`` block: where it listens, and who may do what there.

Nobody has to say who they are as long as there are neither users nor tokens and only this machine can reach
the port. Once there are, or where others can reach it, nothing is allowed without being granted.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.scalars import ListenPort
from router.config.tls import ListenerTls
from router.config.yaml_nodes import Block, Problems, walk
from router.secrets import parse_password_hash, parse_token_hash

if TYPE_CHECKING:
    from router.config.settings import Settings

_STRICT = ConfigDict(extra="forbid")
_NAME = re.compile(r"\w[\w.@-]{0,63}")  # never a colon: it ends the name in Basic credentials (RFC 7617 §2)


class Scope(StrEnum):
    """What somebody may do; each includes those before it."""

    READ = "read"  # look, but at no image
    OPERATE = "operate"  # order about the queue and destinations, and take files out
    ADMIN = "admin"  # take the gateway out of service, give damaged instances up

    def includes(self, other: Scope) -> bool:
        """Whether who has this one may do what needs the other."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {scope: rank for rank, scope in enumerate(Scope)}


class MetricsAccess(StrEnum):
    """Who may read ``/metrics``."""

    READ = "read"
    ANONYMOUS = "anonymous"


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _password_hash(value: str) -> str:
    parse_password_hash(value)
    return value


def _token_hash(value: str) -> str:
    parse_token_hash(value)
    return value


Scopes = Annotated[tuple[Scope, ...], BeforeValidator(_as_list), Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class User:
    """Somebody with a password (HTTP Basic, RFC 7617)."""

    password_hash: Annotated[str, AfterValidator(_password_hash)] = Field(repr=False)
    scopes: Scopes = (Scope.READ,)

    @property
    def scope(self) -> Scope:
        """The widest that is granted."""
        return max(self.scopes, key=_RANKS.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Token:
    """A program with a token (HTTP Bearer, RFC 6750)."""

    token_hash: Annotated[str, AfterValidator(_token_hash)] = Field(repr=False)
    scopes: Scopes = (Scope.READ,)

    @property
    def scope(self) -> Scope:
        """The widest that is granted."""
        return max(self.scopes, key=_RANKS.__getitem__)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Http:
    """Where the HTTP interface listens, and whom it answers."""

    host: str = "127.0.0.1"
    port: ListenPort = 8080
    tls: ListenerTls | None = None  # None: plain
    users: dict[str, User] = Field(default_factory=dict)
    tokens: dict[str, Token] = Field(default_factory=dict)
    allow_anonymous: bool | None = None  # true: who says nothing may read. None: see ``is_open``
    metrics: MetricsAccess = MetricsAccess.READ

    @property
    def is_local(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def is_open(self) -> bool:
        """Whoever reaches it may do everything."""
        return self.is_local and not self.users and not self.tokens and self.allow_anonymous is None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an administrator should know, and may well want so."""
        if self.is_local:
            return ()
        found: list[str] = []
        if self.tls is None and (self.users or self.tokens):
            found.append("http: passwords and tokens cross the network as plain text: give it tls")
        if self.allow_anonymous:
            found.append("http: allow_anonymous lets everybody on the network read status, queue and audit")
        return tuple(found)


def regranted(bound: Http, fresh: Http) -> Http:
    """What is bound, with the users, tokens and the rest of ``fresh`` that needs no new start."""
    return replace(
        bound,
        users=fresh.users,
        tokens=fresh.tokens,
        allow_anonymous=fresh.allow_anonymous,
        metrics=fresh.metrics,
    )


def is_loopback(host: str) -> bool:
    """Whether a host, as in a configuration or in a URL, is this machine and nobody else's way in."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost" or host.casefold().endswith(".localhost")


def check_http(settings: Settings, tree: Block, problems: Problems) -> None:
    """Names can be told apart, and what others can reach is not left open by accident."""
    http = settings.http
    for part in ("users", "tokens"):
        block = walk(tree, ("http", part))
        for key, _ in block.entries if isinstance(block, Block) and getattr(http, part) else ():
            where = f"http.{part}.{key.text}"
            if not _NAME.fullmatch(key.text):
                problems.add(key.mark, f"{where}: a name is of letters, digits, - _ . @ (64 at most)")
            elif part == "tokens" and key.text in http.users:
                problems.add(
                    key.mark, f"{where}: a user has this name already; the audit must tell them apart"
                )
    if http.is_local or http.users or http.tokens or http.allow_anonymous:
        return
    problems.add(
        walk(tree, ("http", "host")).mark,
        f"http.host: others can reach {http.host or 'all addresses'}, and there are neither users nor "
        "tokens: give it some (dicom-router hash-secret), or allow_anonymous: true to let everybody read, "
        "or listen on 127.0.0.1 only",
    )
