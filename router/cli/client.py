"""The command line's way to a running gateway: JSON over HTTP into the values of ``admin``."""

from __future__ import annotations

import http.client
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router.errors import NotAllowed, RouterError, UnknownItem

TIMEOUT_S = 30.0
_T = TypeVar("_T")


class Unreachable(RouterError):
    """No gateway answers at that address."""


class _Refusal(msgspec.Struct):
    error: str = ""
    problems: list[str] = []


class Client:
    """Asks one gateway. Raises ``Unreachable``, ``UnknownItem`` or ``NotAllowed``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotAllowed(f"{url!r} is no HTTP address: expected something like http://127.0.0.1:8080")
        self._url = url
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._prefix = parts.path.rstrip("/") + "/api/v1"

    def get(self, kind: type[_T], *path: str, **query: object) -> _T:
        """The value at a path."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return self._ask("GET", kind, path, urlencode(asked))

    def post(self, kind: type[_T], *path: str, body: object) -> _T:
        """What the gateway answers to ``body``."""
        return self._ask("POST", kind, path, "", msgspec.json.encode(body))

    def _ask(self, method: str, kind: type[_T], path: tuple[str, ...], query: str, body: bytes = b"") -> _T:
        target = "/".join((self._prefix, *(quote(part, safe="") for part in path)))
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            self._connection.request(method, f"{target}?{query}" if query else target, body or None, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            because = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unreachable(
                f"no gateway answers at {self._url} ({because}): is it running? Name another with --url HTTP."
            ) from error
        finally:
            self._connection.close()  # the next request opens it again
        if response.status != 200:
            raise self._refusal(response.status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"what answers at {self._url} is no dicom-router of this version") from error

    def _refusal(self, status: int, content: bytes) -> RouterError:
        try:
            refusal = msgspec.json.decode(content, type=_Refusal)
        except msgspec.MsgspecError:
            refusal = _Refusal()
        if not refusal.error:
            return Unreachable(f"what answers at {self._url} (HTTP {status}) is no dicom-router")
        sentence = "; ".join((refusal.error, *refusal.problems))
        return UnknownItem(sentence) if status == 404 else NotAllowed(sentence)
