"""One request to an ASGI application, without a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from router.api.http import Asgi, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


async def ask(
    app: Asgi,
    method: str,
    target: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    *,
    client: str = "127.0.0.1",
) -> Answer:
    path, _, query = target.partition("?")
    content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    messages: list[Message] = []
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
        ],
        "client": (client, 50000),
        "server": ("127.0.0.1", 8080),
    }
    await app(scope, receive, send)
    start = messages[0]
    return Answer(
        status=start["status"],
        headers={name.decode().lower(): value.decode() for name, value in start["headers"]},
        body=b"".join(message.get("body", b"") for message in messages[1:]),
    )
