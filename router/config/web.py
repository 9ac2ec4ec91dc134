"""What a DICOMweb destination has besides: where it is, and how we show who we are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from router.config.yaml_nodes import Block, Problems, walk

if TYPE_CHECKING:
    from router.config.settings import Settings

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_OURS = frozenset({"accept", "authorization", "content-length", "content-type", "host", "transfer-encoding"})


def _checked_url(url: str) -> str:
    """An address of a DICOMweb service, below which ``/studies`` is."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or not url.isascii() or any(c.isspace() for c in url):
        raise ValueError("expected an address such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the address is without user, '?' and '#': see 'auth' for who we are")
    return url.rstrip("/")


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ValueError(f"{name!r} is no header, or its value is not printable ASCII")
        if name.lower() in _OURS:
            raise ValueError(f"the gateway sets {name} itself (see 'auth' for who we are)")
    return headers


Url = Annotated[str, AfterValidator(_checked_url)]
Headers = Annotated[dict[str, str], AfterValidator(_checked_headers)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Auth:
    """Who we are: a token, or a user and a password."""

    bearer_token: str | None = Field(default=None, repr=False)
    username: str | None = None
    password: str | None = Field(default=None, repr=False)


def check_web(settings: Settings, tree: Block, problems: Problems) -> None:
    """A destination is a folder or a service, and has only what belongs to that."""
    for name, destination in settings.destinations.items():
        block = walk(tree, ("destinations", name))
        where = f"destinations.{name}"
        assert isinstance(block, Block)  # noqa: S101 - pydantic made a destination of it
        if sum(block.get(key) is not None for key in ("folder", "dicomweb")) != 1:
            problems.add(block.mark, f"{where}: give it either a folder or dicomweb, or make it a group")
            continue
        if destination.dicomweb is None:
            for key in ("auth", "headers", "tls"):
                if block.get(key) is not None:
                    problems.add(
                        walk(block, (key,)).mark, f"{where}.{key}: only a dicomweb destination has it"
                    )
            continue
        auth = destination.auth
        if auth is not None and (auth.bearer_token is None) == (auth.username is None):
            mark = walk(tree, ("destinations", name, "auth")).mark
            problems.add(mark, f"{where}.auth: give it a bearer_token, or a username with a password")
        if destination.tls is not None and not destination.dicomweb.startswith("https:"):
            mark = walk(tree, ("destinations", name, "tls")).mark
            problems.add(mark, f"{where}.tls: the address is http: without TLS; write https:")
