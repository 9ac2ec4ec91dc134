"""Where the queue is read: from a running gateway over HTTP, or from the directory of one that is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Protocol

import typer

if TYPE_CHECKING:
    from router.model import Listing
    from router.views import AuditPage, DeliveryView, QueuePage, TraceView

DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Look into a stopped gateway's data_dir instead of asking one that runs.",
        metavar="DIR",
    ),
]


class Source(Protocol):
    """All raise ``RouterError``."""

    def page(self, asked: Listing) -> QueuePage: ...

    def delivery(self, delivery_id: int) -> DeliveryView: ...

    def trace(self, sop_instance_uid: str) -> tuple[TraceView, ...]: ...

    def audit(self, limit: int, before: int | None) -> AuditPage: ...

    def write_file(self, key: int, out: BinaryIO) -> None:
        """A stored instance as a Part 10 file, checked against its hash."""


class _Running:
    """A gateway that answers at a URL."""

    def __init__(self, url: str) -> None:
        from router.cli.client import Client

        self._client = Client(url)

    def page(self, asked: Listing) -> QueuePage:
        from router.views import QueuePage

        return self._client.get(
            QueuePage,
            "queue",
            destination=asked.destination,
            state=asked.state,
            limit=asked.limit,
            after=asked.after,
            sop_instance_uid=asked.sop_instance_uid,
            calling_ae=asked.calling_ae,
        )

    def delivery(self, delivery_id: int) -> DeliveryView:
        from router.views import DeliveryView

        return self._client.get(DeliveryView, "queue", str(delivery_id))

    def trace(self, sop_instance_uid: str) -> tuple[TraceView, ...]:
        from router.views import TraceView

        return self._client.get(tuple[TraceView, ...], "trace", sop_instance_uid)

    def audit(self, limit: int, before: int | None) -> AuditPage:
        from router.views import AuditPage

        return self._client.get(AuditPage, "audit", limit=limit, before=before)

    def write_file(self, key: int, out: BinaryIO) -> None:
        self._client.download(out, "instances", str(key), "file")


class _Stopped:
    """The directory of a gateway; reading it does no harm where the gateway runs after all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def page(self, asked: Listing) -> QueuePage:
        from router.admin import queue_in

        return queue_in(self._directory, asked)

    def delivery(self, delivery_id: int) -> DeliveryView:
        from router.admin import delivery_in

        return delivery_in(self._directory, delivery_id)

    def trace(self, sop_instance_uid: str) -> tuple[TraceView, ...]:
        from router.admin import trace_in

        return trace_in(self._directory, sop_instance_uid)

    def audit(self, limit: int, before: int | None) -> AuditPage:
        from router.admin import audit_in

        return audit_in(self._directory, limit, before)

    def write_file(self, key: int, out: BinaryIO) -> None:
        from router.spool import inspect

        inspect.cat(self._directory, key, out)


def open_source(url: str, data_dir: Path | None) -> Source:
    """A stopped gateway where a directory is named, else the one at ``url``."""
    return _Running(url) if data_dir is None else _Stopped(data_dir)
