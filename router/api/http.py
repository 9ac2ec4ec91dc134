"""The HTTP application: ``/metrics``, ``/healthz``, ``/readyz``, and everything else to whom it belongs.

Nothing is answered before ``access`` has admitted who asks.

Plain ASGI. The probes need no framework, and FastAPI (10 MB and half a second) is imported, in a thread, by
the first request under ``/api/``, the page and its templates by the first request for it: a gateway that only
Prometheus watches never pays for them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio import to_thread

from router.admin import Admin
from router.api.access import CALLER, Access, Caller, Refused, asked_of
from router.api.bodies import Unwanted, gather, replay
from router.api.scopes import LOGIN, ORDERS
from router.clock import Clock
from router.config.http import Http
from router.telemetry import CONTENT_TYPE, Telemetry

METRICS_CACHE_S = 1.0  # rendering walks every series; several scrapers share one rendering

# ASGI's own words (asgiref.typing is no dependency of uvicorn).
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = "application/json"
_CLOSE = ((b"connection", b"close"),)
_PAGES = ("/queue", "/trace", "/audit", LOGIN)
_PAGES_BELOW = ("/queue/", ORDERS, "/static/")
_LINKS = {
    "metrics": "/metrics",
    "alive": "/healthz",
    "ready": "/readyz",
    "status": "/api/v1/status",
    "queue": "/api/v1/queue",
    "openapi": "/api/v1/openapi.json",
}


class HttpApp:
    """Answers each request, or hands it to the application whose path it is."""

    def __init__(
        self, *, admin: Admin, telemetry: Telemetry, clock: Clock, access: Access | None = None
    ) -> None:
        self._admin = admin
        self._access = access if access is not None else Access(Http(), clock, telemetry)
        self._telemetry = telemetry
        self._clock = clock
        self._rendering = anyio.Lock()
        self._rendered = b""
        self._rendered_until = -1.0
        self._loading = anyio.Lock()
        self._api: Asgi | None = None
        self._web: Asgi | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        caller = await self._access.admit(
            asked_of(scope["method"], path, scope.get("client"), scope["headers"])
        )
        if isinstance(caller, Refused):
            await _respond(send, *_error(caller.status, caller.sentence), headers=caller.headers)
            return
        scope[CALLER] = caller
        load = self._load_api if path.startswith("/api/") else self._load_web if _is_page(scope) else None
        if load is not None:
            body = await gather(receive)
            if isinstance(body, Unwanted):
                # The rest of it may be under way: the connection is of no more use.
                await _respond(send, *_error(body.status, body.sentence), headers=_CLOSE)
            elif body is not None:
                await (await load())(scope, replay(body, receive), send)
            return
        answers: dict[str, Callable[[], Awaitable[tuple[int, str, bytes]]]] = {
            "/": self._index,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": partial(self._readyz, caller),
        }
        answer = answers.get(path)
        if answer is None:
            status, kind, body = _error(404, f"nothing is at {path}; / lists what there is")
        elif scope["method"] not in ("GET", "HEAD"):
            status, kind, body = _error(405, f"{path} is only for GET")
        else:
            status, kind, body = await answer()
        await _respond(send, status, kind, b"" if scope["method"] == "HEAD" else body)

    async def _index(self) -> tuple[int, str, bytes]:
        return 200, _JSON, msgspec.json.encode(_LINKS)

    async def _healthz(self) -> tuple[int, str, bytes]:
        return 200, _JSON, b'{"status":"alive"}'

    async def _readyz(self, caller: Caller) -> tuple[int, str, bytes]:
        """Why not is for those who may read: it names what is wrong with the disk, and files."""
        readiness = self._admin.readiness()
        body = {"is_ready": readiness.is_ready} if caller.scope is None else readiness
        return 200 if readiness.is_ready else 503, _JSON, msgspec.json.encode(body)

    async def _metrics(self) -> tuple[int, str, bytes]:
        async with self._rendering:
            if self._clock.monotonic() >= self._rendered_until:
                self._rendered = await to_thread.run_sync(self._telemetry.render)
                self._rendered_until = self._clock.monotonic() + METRICS_CACHE_S
            return 200, CONTENT_TYPE, self._rendered

    async def _load_api(self) -> Asgi:
        async with self._loading:
            if self._api is None:
                self._api = await to_thread.run_sync(_import_api, self._admin)
            return self._api

    async def _load_web(self) -> Asgi:
        async with self._loading:
            if self._web is None:
                self._web = await to_thread.run_sync(_import_web, self._admin, self._clock)
            return self._web


def _is_page(scope: Scope) -> bool:
    """Whether the page for people is asked for. Programs that ask for ``/`` get the list of links."""
    path = scope["path"]
    if path == "/":
        return any(name.lower() == b"accept" and b"text/html" in value for name, value in scope["headers"])
    return path in _PAGES or path.startswith(_PAGES_BELOW)


def _import_api(admin: Admin) -> Asgi:
    from router.api.v1 import build_api

    return build_api(admin)


def _import_web(admin: Admin, clock: Clock) -> Asgi:
    from router.web.app import WebApp

    return WebApp(admin, clock)


def _error(status: int, sentence: str) -> tuple[int, str, bytes]:
    return status, _JSON, msgspec.json.encode({"error": sentence})


async def _respond(
    send: Send, status: int, kind: str, body: bytes, *, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    all_headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": body})
