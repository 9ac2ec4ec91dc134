"""The credentials of a whole configuration, kept fresh: who uses which, when they end, what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.config.settings import Settings
from router.config.tls import ListenerTls, ModalityTls
from router.errors import TlsUnusable
from router.net.credentials import Credentials, Dated, TlsObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What became of one block that was read again. An empty ``problem``: it is in use."""

    used_by: str
    problem: str = ""


class Keyring:
    """One ``Credentials`` for each different ``tls`` block. Raises ``TlsUnusable``, naming whose it is."""

    def __init__(self, settings: Settings, observer: TlsObserver | None = None) -> None:
        self._servers: dict[ListenerTls, Credentials] = {}
        self._clients: dict[ModalityTls, Credentials] = {}
        for listener in settings.listeners:
            if listener.tls is not None and listener.tls not in self._servers:
                made = _made(listener.tls, f"listener {listener.label}", observer)
                self._servers[listener.tls] = made
        if (http := settings.http.tls) is not None and http not in self._servers:
            self._servers[http] = _made(http, "http", observer)
        for name, modality in settings.modalities.items():
            if modality.tls is not None and modality.tls not in self._clients:
                self._clients[modality.tls] = _made(modality.tls, f"modality {name}", observer)
        for name, destination in settings.destinations.items():
            if destination.tls is not None and destination.tls not in self._clients:
                self._clients[destination.tls] = _made(destination.tls, f"destination {name}", observer)
        audit = settings.audit
        if audit is not None and audit.syslog is not None and audit.syslog.tls is not None:
            if audit.syslog.tls not in self._clients:
                self._clients[audit.syslog.tls] = _made(audit.syslog.tls, "audit", observer)

    @property
    def servers(self) -> Mapping[ListenerTls, Credentials]:
        return self._servers

    @property
    def clients(self) -> Mapping[ModalityTls, Credentials]:
        return self._clients

    def __iter__(self) -> Iterator[Credentials]:
        yield from self._servers.values()
        yield from self._clients.values()

    def __bool__(self) -> bool:
        return bool(self._servers or self._clients)

    def refresh(self, *, all_of_them: bool = False) -> list[Refreshed]:
        """Read again what has changed, or everything. Reads files: call it in a thread."""
        refreshed: list[Refreshed] = []
        for credentials in self:
            if all_of_them or credentials.has_changed():
                try:
                    credentials.reload()
                except TlsUnusable as error:
                    refreshed.append(Refreshed(used_by=credentials.used_by, problem=str(error)))
                else:
                    refreshed.append(Refreshed(used_by=credentials.used_by))
        return refreshed

    def dated(self, now: float) -> list[Dated]:
        """When each file ends, each once; what cannot be read has no end. Reads files."""
        found: dict[Dated, None] = {}
        for credentials in self:
            try:
                found.update(dict.fromkeys(credentials.dated(now)))
            except TlsUnusable:
                continue
        return list(found)


def _made(tls: ListenerTls | ModalityTls, used_by: str, observer: TlsObserver | None) -> Credentials:
    try:
        return Credentials(tls, used_by, observer)
    except TlsUnusable as error:
        raise TlsUnusable(f"{used_by}: {error}", key=error.key) from None
