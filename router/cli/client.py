"""The command line's way to a running gateway: JSON over HTTP into the values of ``admin``."""

from __future__ import annotations

import getpass
import http.client
import socket
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from router.cli.identity import Identity, current
from router.errors import NotAllowed, RouterError, StorageError, TlsUnusable, UnknownItem
from router.views import USER_HEADER

TIMEOUT_S = 30.0
ORDER_TIMEOUT_S = 600.0  # an order about a long queue is carried out in many small steps
PIECE_BYTES = 1024 * 1024
_T = TypeVar("_T")


class Unreachable(RouterError):
    """No gateway answers at that address."""


class NotLetIn(NotAllowed):
    """The gateway does not know us, or not well enough."""


class _Refusal(msgspec.Struct):
    error: str = ""
    problems: list[str] = []


class Client:
    """Asks one gateway. Raises ``Unreachable``, ``UnknownItem`` or ``NotAllowed``.

    ``identity`` is that of the command where it is not given.
    """

    def __init__(self, url: str, *, by: str | None = None, identity: Identity | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotAllowed(f"{url!r} is no HTTP address: expected something like http://127.0.0.1:8080")
        self._url = url
        self._host = parts.hostname
        self._is_secure = parts.scheme == "https"
        self._identity = identity if identity is not None else current()
        self._connection = self._connect(parts.hostname, parts.port)
        self._by = by or _user()
        self._prefix = parts.path.rstrip("/") + "/api/v1"

    def _connect(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self._is_secure:
            from router.net.credentials import Credentials

            try:
                context = Credentials(self._identity.tls(), self._url).context
            except TlsUnusable as error:
                raise NotAllowed(f"https: {error}") from error
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        if not self._identity.is_anonymous:
            self._identity.warn_of_plain_text(host)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

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
        headers = {"Accept": "application/json", "Content-Type": "application/json", **self._who()}
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
            self._connection.request("GET", "/".join((self._prefix, *path)), headers=self._who())
            response = self._connection.getresponse()
            if response.status != 200:
                raise self._refusal(response.status, response.read())
            while piece := response.read(PIECE_BYTES):
                out.write(piece)
            if response.length:  # http.client tells of a body that was cut off only where it is read whole
                raise StorageError("the gateway broke off in the middle of the file", out_of_resources=False)
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        except OSError as error:
            if self._told_by_tls(error):  # else it is the disk that ``out`` is on
                raise self._unreachable(error) from error
            raise
        finally:
            self._connection.close()

    def _who(self) -> dict[str, str]:
        authorization = self._identity.authorization()
        return {"Authorization": authorization} if authorization else {}

    def _told_by_tls(self, error: Exception) -> str:
        """What went wrong with TLS, if that is it."""
        from router.net import tls_words

        if not isinstance(error, OSError):
            return ""
        side = tls_words.Side(
            is_server=False,
            expected_name=self._host,
            has_certificate=self._identity.certificate is not None,
        )
        found = tls_words.explain(error, side)
        if found is None:
            return ""
        hint = _HINTS.get(found.reason)
        return f"{found}" if hint is None else f"{hint[0] or found}: {hint[1]}"

    def _unreachable(self, error: Exception) -> Unreachable:
        if told := self._told_by_tls(error):
            return Unreachable(f"no safe connection to {self._url}: {told}.")
        if not self._is_secure and isinstance(error, http.client.BadStatusLine | ConnectionResetError):
            return Unreachable(f"what answers at {self._url} does not speak HTTP: perhaps it wants https.")
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
        if status == 401 and self._identity.is_anonymous:
            return NotLetIn(
                f"{self._url} asks who you are: give --token (or DICOM_ROUTER_TOKEN), or --user NAME."
            )
        if status in (401, 403, 429):
            return NotLetIn(f"{self._url} does not let you in: {sentence}.")
        return UnknownItem(sentence) if status == 404 else NotAllowed(sentence)


# What a command can do about it: in whose words, and what. By the reasons of ``router.net.tls_words``.
_HINTS = {
    "unknown_ca": ("", "name it with --ca FILE"),
    "no_client_certificate": ("it asks for a certificate of ours", "give --certificate FILE"),
    "wrong_name": ("its certificate is for another name", "use that name in --url"),
    "plain_peer": ("it does not speak TLS on this port", "use http, or another port"),
}


def _user() -> str:
    """Who runs the command, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        name = "?"
    return f"{name}@{socket.gethostname()}"
