"""The command line's way to a running gateway: JSON over HTTP into the values of ``admin``."""

from __future__ import annotations

import getpass
import http.client
import socket
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router.errors import NotAllowed, RouterError, StorageError, UnknownItem
from router.views import USER_HEADER

TIMEOUT_S = 30.0
ORDER_TIMEOUT_S = 600.0  # an order about a long queue is carried out in many small steps
PIECE_BYTES = 1024 * 1024
_T = TypeVar("_T")


class Unreachable(RouterError):
    """No gateway answers at that address."""


class _Refusal(msgspec.Struct):
    error: str = ""
    problems: list[str] = []


class Client:
    """Asks one gateway. Raises ``Unreachable``, ``UnknownItem`` or ``NotAllowed``."""

    def __init__(self, url: str, *, by: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotAllowed(f"{url!r} is no HTTP address: expected something like http://127.0.0.1:8080")
        self._url = url
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._by = by or _user()
        self._prefix = parts.path.rstrip("/") + "/api/v1"

    def get(self, kind: type[_T], *path: str, **query: object) -> _T:
        """The value at a path."""
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return self._ask("GET", kind, path, urlencode(asked))

    def post(self, kind: type[_T], *path: str, body: object) -> _T:
        """What the gateway answers to ``body``."""
        self._connection.timeout = ORDER_TIMEOUT_S
        return self._ask("POST", kind, path, "", msgspec.json.encode(body))

    def _ask(self, method: str, kind: type[_T], path: tuple[str, ...], query: str, body: bytes = b"") -> _T:
        target = "/".join((self._prefix, *(quote(part, safe="") for part in path)))
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        headers[USER_HEADER] = quote(self._by, safe=" @.-_+")
        try:
            self._connection.request(method, f"{target}?{query}" if query else target, body or None, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            self._connection.close()  # the next request opens it again
        if response.status != 200:
            raise self._refusal(response.status, content)
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"what answers at {self._url} is no dicom-router of this version") from error

    def download(self, out: BinaryIO, *path: str) -> None:
        """Copy what is at a path to ``out``, in pieces."""
        try:
            self._connection.request("GET", "/".join((self._prefix, *path)))
            response = self._connection.getresponse()
            if response.status != 200:
                raise self._refusal(response.status, response.read())
            while piece := response.read(PIECE_BYTES):
                out.write(piece)
            if response.length:  # http.client tells of a body that was cut off only where it is read whole
                raise StorageError("the gateway broke off in the middle of the file", out_of_resources=False)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            self._connection.close()

    def _unreachable(self, error: Exception) -> Unreachable:
        because = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(
            f"no gateway answers at {self._url} ({because}): is it running? Name another with --url HTTP."
        )

    def _refusal(self, status: int, content: bytes) -> RouterError:
        try:
            refusal = msgspec.json.decode(content, type=_Refusal)
        except msgspec.MsgspecError:
            refusal = _Refusal()
        if not refusal.error:
            return Unreachable(f"what answers at {self._url} (HTTP {status}) is no dicom-router")
        sentence = "; ".join((refusal.error, *refusal.problems))
        return UnknownItem(sentence) if status == 404 else NotAllowed(sentence)


def _user() -> str:
    """Who runs the command, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        name = "?"
    return f"{name}@{socket.gethostname()}"
