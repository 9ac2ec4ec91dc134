"""``queue export``: the files of deliveries into a directory, with a list of what is what."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from router.cli.common import DEFAULT_URL, FAILED, UrlOption, err, fail, out
from router.cli.identity import asks_gateway
from router.cli.orders import AllOption, CallingOption, Chosen, DestinationOption, StateOption, UidOption
from router.cli.source import DataDirOption, Source, open_source
from router.model import DeliveryState, Listing

if TYPE_CHECKING:
    from router.views import DeliveryView

MANIFEST = "manifest.csv"
PAGE = 1000
OPEN = (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.PENDING, DeliveryState.ACTIVE)
_COLUMNS = (
    "file",
    "key",
    "delivery_id",
    "destination",
    "state",
    "reason",
    "sop_instance_uid",
    "sop_class_uid",
    "calling_ae",
    "size_bytes",
    "problem",
)
_UNSAFE = re.compile(r"[^0-9A-Za-z.-]")
_NAME_CHARACTERS = 64  # of a UID, which the wire may have made longer


@dataclass(slots=True, kw_only=True)
class Exported:
    """How far it is."""

    files: int = 0
    problems: int = 0


def add_to(group: typer.Typer) -> None:
    """Register the command."""
    group.command("export")(asks_gateway(export))


def export(
    directory: Annotated[Path, typer.Argument(help="Where the files go; made if need be.", file_okay=False)],
    ids: Annotated[list[int] | None, typer.Argument(help="Numbers, as in queue ls.")] = None,
    destination: DestinationOption = None,
    state: StateOption = None,
    uid: UidOption = None,
    calling_ae: CallingOption = None,
    everything: AllOption = False,
    data_dir: DataDirOption = None,
    url: UrlOption = DEFAULT_URL,
) -> None:
    """Write the .dcm files of deliveries to a directory, and a manifest.csv that says what each is.

    Without --state those that are not over: dead, held, pending and active ones. The queue is not changed.

    Examples: [bold]dicom-router queue export out/ -d pacs -s dead[/bold],
    [bold]dicom-router queue export out/ --all --data-dir /var/lib/dicom-router[/bold]
    """
    from router.errors import RouterError

    chosen = Chosen(
        ids=ids,
        destination=destination,
        state=state,
        reason=None,
        uid=uid,
        calling_ae=calling_ae,
        everything=everything,
    )
    chosen.check()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        source = open_source(url, data_dir)
        with (directory / MANIFEST).open("w", encoding="utf-8", newline="") as manifest:
            done = _export(source, _chosen(source, chosen), directory, manifest)
    except (RouterError, OSError) as error:
        fail(str(error))
    out.print(f"{done.files} files and {MANIFEST} in {directory}.", markup=False)
    if done.problems:
        err.print(f"{done.problems} could not be had: {MANIFEST} says why.", style="red")
        raise typer.Exit(FAILED)


def _chosen(source: Source, chosen: Chosen) -> Iterator[DeliveryView]:
    if chosen.ids:
        yield from map(source.delivery, chosen.ids)
        return
    for state in (chosen.state,) if chosen.state is not None else OPEN:
        asked = Listing(
            destination=chosen.destination,
            state=state,
            limit=PAGE,
            sop_instance_uid=chosen.uid,
            calling_ae=chosen.calling_ae,
        )
        while True:
            page = source.page(asked)
            yield from page.deliveries
            if page.next_after is None:
                break
            asked = replace(asked, after=int(page.next_after))


def _export(
    source: Source, deliveries: Iterator[DeliveryView], directory: Path, manifest: TextIO
) -> Exported:
    """One file for each instance, one line for each delivery."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    done = Exported()
    written: dict[str, str] = {}  # key → what was in the way, "" where nothing was
    lines = csv.DictWriter(manifest, _COLUMNS)
    lines.writeheader()
    columns = (SpinnerColumn(), TextColumn("{task.completed} files"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("export", total=None)
        for delivery in deliveries:
            name = file_name(delivery)
            if delivery.key not in written:
                written[delivery.key] = _write(source, delivery, directory / name)
                done.files += not written[delivery.key]
                progress.update(task, completed=done.files)
            problem = written[delivery.key]
            done.problems += bool(problem)
            row = {column: _cell(getattr(delivery, column, "")) for column in _COLUMNS}
            lines.writerow({**row, "file": "" if problem else name, "problem": problem})
    return done


def _write(source: Source, delivery: DeliveryView, path: Path) -> str:
    """Write one file, whole or not at all; what was in the way."""
    from router.cli.client import NotLetIn, Unreachable
    from router.errors import RouterError

    unfinished = path.with_name(f".{path.name}.partial")
    try:
        with unfinished.open("wb") as file:
            source.write_file(int(delivery.key), file)
        unfinished.replace(path)
    except (Unreachable, NotLetIn):
        unfinished.unlink(missing_ok=True)
        raise
    except RouterError as error:
        unfinished.unlink(missing_ok=True)
        return str(error)
    return ""


def file_name(delivery: DeliveryView) -> str:
    """The UID, made safe for any file system, and our own key, because one UID may arrive twice."""
    uid = _UNSAFE.sub("_", delivery.sop_instance_uid)[:_NAME_CHARACTERS].lstrip(".")
    return f"{uid}_{delivery.key}.dcm"


def _cell(value: object) -> str:
    """As text that no spreadsheet takes for a formula: some of it came over the wire."""
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
