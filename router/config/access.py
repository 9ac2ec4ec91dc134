"""Who may come in, beside the AE title: addresses, listeners, users, and what a listener asks of its callers.

Names that refer to something are checked here, each at its line. A passcode stands here as a hash only
(``users``), or comes from the environment (``identity`` towards a peer).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.yaml_nodes import Block, Problems, suggestion, walk
from router.secrets import parse_password_hash

if TYPE_CHECKING:
    from router.config.settings import Settings

_STRICT = ConfigDict(extra="forbid")
_LONGEST_IDENTITY_BYTES = 0xFFFF  # a two-byte length (PS3.7 Table D.3-14)


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """``10.1.0.0/16``, ``fd00::/8`` or a single address; anything else is a ``ValueError``."""
    if not isinstance(value, str):
        raise ValueError("expected a network such as 10.1.0.0/16 (in quotes where it is IPv6)")
    try:
        return ip_network(value.strip())
    except ValueError:
        pass
    try:
        meant = ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError("expected a network such as 10.1.0.0/16 or fd00::/8, or an address") from None
    raise ValueError(f"{value.strip()} is an address within {meant}; write the one that is meant")


def _as_user_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected text (put it in quotes if it looks like a number)")
    if not 1 <= len(value.encode()) <= _LONGEST_IDENTITY_BYTES:
        raise ValueError("must not be empty, nor longer than 64 kB")
    return value


def _as_passcode(value: object) -> object:
    return None if value is None else _as_user_text(value)


def _as_hash(value: object) -> object:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("expected text: the hash of a passcode")
    parse_password_hash(value)
    return value


Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(parse_network)]
IdentityText = Annotated[str, BeforeValidator(_as_user_text)]


class IdentityPolicy(StrEnum):
    """What a listener does with a caller's user identity (PS3.7 D.3.3.7)."""

    IGNORED = "ignored"  # neither looked at nor answered, except where the caller's modality names users
    OPTIONAL = "optional"  # who gives one must give a right one
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class User:
    """Somebody who may come in by name, and with a passcode where a hash is given."""

    passcode_hash: Annotated[str | None, BeforeValidator(_as_hash)] = Field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Identity:
    """As whom we come in at a peer. ``passcode`` belongs into the environment: ``${PACS_PASSCODE}``."""

    username: IdentityText
    passcode: Annotated[str | None, BeforeValidator(_as_passcode)] = Field(default=None, repr=False)


def check_access(settings: Settings, tree: Block, problems: Problems) -> None:
    """Listeners and users that are named exist, and whoever must be a user can be one."""
    labels = tuple(listener.label for listener in settings.listeners)
    for name, modality in settings.modalities.items():
        for key, given, known in (
            ("listeners", modality.listeners, labels),
            ("users", modality.users, tuple(settings.users)),
        ):
            for place, one in enumerate(given):
                if one not in known:
                    mark = walk(tree, ("modalities", name, key, place)).mark
                    where, kind = f"modalities.{name}.{key}.{place}", key.removesuffix("s")
                    problems.add(mark, f"{where}: unknown {kind} {one!r}{suggestion(one, known)}")
    for place, listener in enumerate(settings.listeners):
        if listener.identity is IdentityPolicy.REQUIRED and not settings.users:
            mark = walk(tree, ("listeners", place, "identity")).mark
            problems.add(mark, f"listeners.{place}.identity: there are no users, so nobody could come in")
    for name in settings.users:
        if not 1 <= len(name.encode()) <= _LONGEST_IDENTITY_BYTES:
            problems.add(
                walk(tree, ("users",)).mark, "users: a name must not be empty, nor longer than 64 kB"
            )
