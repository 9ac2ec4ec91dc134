"""``queue``: what waits, and why; what operators may order about it is in ``orders`` and ``export``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from router.cli import export, orders
from router.cli.common import (
    DEFAULT_URL,
    JsonOption,
    UrlOption,
    fail,
    out,
    print_json,
    size,
    table,
    when,
)
from router.cli.identity import asks_gateway
from router.cli.orders import CallingOption, DestinationOption, StateOption, UidOption
from router.cli.source import DataDirOption, Source, open_source
from router.model import DeliveryState, Listing

if TYPE_CHECKING:
    from router.model import QueueDepth
    from router.views import DeliveryView, QueuePage

STYLES = {
    DeliveryState.DELIVERED: "green",
    DeliveryState.DEAD: "red",
    DeliveryState.HELD: "yellow",
    DeliveryState.ACTIVE: "cyan",
}
UNFINISHED = (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.ACTIVE, DeliveryState.PENDING)


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="What waits for which destination, and why.", no_args_is_help=True)
    group.command("ls")(asks_gateway(ls))
    group.command("show")(asks_gateway(show))
    orders.add_to(group)
    export.add_to(group)
    return group


def ls(
    destination: DestinationOption = None,
    state: StateOption = None,
    uid: UidOption = None,
    calling_ae: CallingOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    after: Annotated[int | None, typer.Option(help="Go on after this number.")] = None,
    data_dir: DataDirOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """List what waits, is held or is dead, with totals; with --state anything else, too.

    Example: [bold]dicom-router queue ls --state dead --destination pacs[/bold]
    """
    from router.errors import RouterError

    asked = Listing(
        destination=destination,
        state=state,
        limit=limit,
        after=after,
        sop_instance_uid=uid,
        calling_ae=calling_ae,
    )
    try:
        source = open_source(url, data_dir)
        page = _unfinished(source, asked) if state is None and after is None else source.page(asked)
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(page)
        return
    out.print(_totals(page.totals))
    if page.deliveries:
        out.print(_listing(page.deliveries))
    if page.next_after is not None:
        state_option = f"--state {state} " if state is not None else ""
        out.print(f"There are more: {state_option}--after {page.next_after}", style="dim")
    elif sum(depth.count for depth in page.totals) > len(page.deliveries) == limit:
        out.print("There are more: choose with --state and --destination, or raise --limit.", style="dim")


def _unfinished(source: Source, asked: Listing) -> QueuePage:
    """What is not over yet, what needs somebody first."""
    from router.views import QueuePage

    found: list[DeliveryView] = []
    totals: tuple[QueueDepth, ...] = ()
    for state in UNFINISHED:
        page = source.page(replace(asked, state=state, limit=max(asked.limit - len(found), 1)))
        found += page.deliveries
        totals = page.totals
    return QueuePage(deliveries=tuple(found[: asked.limit]), next_after=None, totals=totals)


def show(
    delivery_id: Annotated[int, typer.Argument(help="The delivery's number, as in queue ls.", min=0)],
    data_dir: DataDirOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Show one delivery with each of its attempts.

    Example: [bold]dicom-router queue show 17[/bold]
    """
    from router.errors import RouterError

    try:
        delivery = open_source(url, data_dir).delivery(delivery_id)
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(delivery)
        return
    print_delivery(delivery)


def _totals(totals: tuple[QueueDepth, ...]) -> Table:
    listing = table("destination", "state", "count", "oldest")
    for depth in totals:
        listing.add_row(
            depth.destination or "(unmatched)", styled(depth.state), str(depth.count), when(depth.oldest_at)
        )
    return listing


def _listing(deliveries: tuple[DeliveryView, ...]) -> Table:
    listing = table("no.", "destination", "state", "reason", "tries", "size", "due", "SOP instance", "from")
    for item in deliveries:
        listing.add_row(
            item.delivery_id,
            item.destination or "(unmatched)",
            styled(item.state) if item.opens_at is None else "waiting",
            item.reason,
            str(item.attempts),
            size(item.size_bytes),
            when(item.due_at if item.opens_at is None else item.opens_at),
            item.sop_instance_uid,
            item.calling_ae,
        )
    return listing


def styled(state: DeliveryState) -> str:
    """A state in its colour."""
    style = STYLES.get(state)
    return f"[{style}]{state}[/{style}]" if style else str(state)


def print_delivery(delivery: DeliveryView) -> None:
    """One delivery and its attempts."""
    from router.outlook import describe_transcoding

    out.print(
        f"{delivery.destination or '(unmatched)'} (no. {delivery.delivery_id}): {styled(delivery.state)}, "
        f"{delivery.reason}, since {when(delivery.changed_at)}"
        + (f", due {when(delivery.due_at)}" if delivery.due_at is not None else "")
        + (f", waiting until {when(delivery.opens_at)}" if delivery.opens_at is not None else "")
    )
    for attempt in delivery.history:
        status = f" {attempt.status}" if attempt.status else ""
        comment = f" ({attempt.comment})" if attempt.comment else ""
        took = f"{(attempt.ended_at - attempt.started_at) * 1000:.0f} ms"
        at = f" at {attempt.carried_by}" if attempt.carried_by else ""
        result = f"{attempt.reason}{status}{at} in {took}{comment}"
        out.print(f"  attempt {attempt.number}, {when(attempt.started_at)}: {result}", markup=False)
        if attempt.transcoding is not None:
            out.print(f"    {describe_transcoding(attempt.transcoding)}", markup=False)
