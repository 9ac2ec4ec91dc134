"""``destination``, ``corrupt``, ``drain``, ``undrain``, ``audit``: what operators do beside the queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import (
    DEFAULT_URL,
    WRONG_USE,
    JsonOption,
    UrlOption,
    err,
    fail,
    out,
    print_json,
    size,
    table,
    uid_name,
    when,
)
from router.cli.identity import asks_gateway
from router.cli.orders import ByOption, print_done
from router.cli.source import DataDirOption, open_source

if TYPE_CHECKING:
    from router.views import DestinationStatus, DrainView

LOOK_EVERY_S = 1.0  # while a drain is waited for
NameArgument = Annotated[str, typer.Argument(help="The destination's name.")]


def add_to(command: typer.Typer) -> None:
    """Register the commands and groups."""
    destinations = typer.Typer(help="Where instances go: look, pause, resume.", no_args_is_help=True)
    destinations.command("ls")(asks_gateway(ls))
    destinations.command("contexts")(asks_gateway(contexts))
    destinations.command("pause")(asks_gateway(pause))
    destinations.command("resume")(asks_gateway(resume))
    command.add_typer(destinations, name="destination")
    damaged = typer.Typer(help="Instances whose bytes were damaged on our disk.", no_args_is_help=True)
    damaged.command("ls")(asks_gateway(ls_corrupt))
    damaged.command("discard")(asks_gateway(discard_corrupt))
    command.add_typer(damaged, name="corrupt")
    command.command()(asks_gateway(drain))
    command.command()(asks_gateway(undrain))
    command.command()(asks_gateway(audit))


def ls(url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """List destinations: whether they answer, are paused, and what waits for them.

    Example: [bold]dicom-router destination ls[/bold]
    """
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import DestinationStatus

    try:
        found = Client(url).get(tuple[DestinationStatus, ...], "destinations")
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(found)
        return
    listing = table("destination", "kind", "state", "pending", "active", "held", "dead", "oldest")
    for item in found:
        oldest = f"{item.oldest_s:.0f} s" if item.oldest_s is not None else ""
        counts = map(str, (item.pending, item.active, item.held, item.dead))
        listing.add_row(item.name, item.kind, _state(item), *counts, oldest)
    out.print(listing)


def _state(item: DestinationStatus) -> str:
    if item.paused_at is not None:
        return f"[yellow]paused[/yellow] by {item.paused_by} since {when(item.paused_at)}"
    if item.is_up is None:
        return "not tried yet"
    return "[green]up[/green]" if item.is_up else "[red]down[/red]"


def contexts(name: NameArgument, url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Show which SOP classes and transfer syntaxes a destination has accepted and refused lately.

    What was refused is not proposed again until its time is over, or the gateway is restarted.

    Example: [bold]dicom-router destination contexts pacs[/bold]
    """
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import ContextView

    try:
        found = Client(url).get(tuple[ContextView, ...], "destinations", name, "contexts")
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(found)
        return
    listing = table("SOP class", "transfer syntax", "answer", "proposed again")
    for item in found:
        again = f"in {item.expires_in_s:.0f} s" if item.expires_in_s is not None else ""
        said = "[green]accepted[/green]" if item.is_accepted else "[red]refused[/red]"
        listing.add_row(uid_name(item.sop_class_uid), uid_name(item.transfer_syntax_uid), said, again)
    out.print(listing)


def pause(name: NameArgument, by: ByOption = None, url: UrlOption = DEFAULT_URL) -> None:
    """Send a destination nothing more, until it is resumed; a restart does not resume it.

    Example: [bold]dicom-router destination pause pacs[/bold]
    """
    _post(url, by, "destinations", name, "pause")
    out.print(f"{name} is paused; what was on its way to it ends.", markup=False)


def resume(name: NameArgument, by: ByOption = None, url: UrlOption = DEFAULT_URL) -> None:
    """Go on sending to a paused destination.

    Example: [bold]dicom-router destination resume pacs[/bold]
    """
    _post(url, by, "destinations", name, "resume")
    out.print(f"{name} is sent to again.", markup=False)


def ls_corrupt(url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """List instances whose bytes do not match their hash any more. They are kept, and never sent.

    Example: [bold]dicom-router corrupt ls[/bold]
    """
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import StoredView

    try:
        found = Client(url).get(tuple[StoredView, ...], "instances", "corrupt", limit=1000)
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(found)
        return
    listing = table("key", "received", "from", "size", "SOP instance")
    for item in found:
        listing.add_row(
            item.key, when(item.received_at), item.calling_ae, size(item.size_bytes), item.sop_instance_uid
        )
    out.print(listing)


def discard_corrupt(
    keys: Annotated[list[int] | None, typer.Argument(help="Keys, as in corrupt ls.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    by: ByOption = None,
    url: UrlOption = DEFAULT_URL,
) -> None:
    """Let damaged instances go, and give up their deliveries.

    Example: [bold]dicom-router corrupt discard 1882567438292221952[/bold]
    """
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import CorruptRequest, Ordered

    if bool(keys) is everything:
        fail("Say which corrupt instances: keys, or --all.", WRONG_USE)
    request = CorruptRequest(keys=tuple(keys or ()), everything=everything)
    try:
        done = Client(url, by=by).post(Ordered, "instances", "corrupt", "discard", body=request)
    except RouterError as error:
        fail(str(error))
    print_done(done, "discarded")


def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Return when everything has gone out.")] = False,
    by: ByOption = None,
    url: UrlOption = DEFAULT_URL,
) -> None:
    """Take no new association (come again later, they are told) and go on delivering what is here.

    Associations that are open may end what they do. /readyz says draining. A restart, or undrain, ends it.

    Example: [bold]dicom-router drain --wait && systemctl stop dicom-router[/bold]
    """
    if not (wait and _drain_of(url) is not None):
        _post(url, by, "drain")
    if not wait:
        out.print("Draining: nobody new comes in. How far it is: drain --wait, or /api/v1/status.")
        return
    said: tuple[int, int] | None = None
    while True:
        now = _drain_of(url)
        if now is None:
            fail("Somebody has undone the drain.")
        if now.is_done:
            break
        if said != (said := (now.waiting, now.associations)):
            err.print(f"{now.waiting} waiting, {now.associations} associations open")
        time.sleep(LOOK_EVERY_S)
    out.print("Everything has gone out.")


def _drain_of(url: str) -> DrainView | None:
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import Status

    try:
        return Client(url).get(Status, "status").drain
    except RouterError as error:
        fail(str(error))


def undrain(by: ByOption = None, url: UrlOption = DEFAULT_URL) -> None:
    """Take associations again after a drain.

    Example: [bold]dicom-router undrain[/bold]
    """
    _post(url, by, "undrain")
    out.print("Associations are taken again.")


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option(help="Go on before this number.")] = None,
    data_dir: DataDirOption = None,
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Say who did what, the latest first.

    Example: [bold]dicom-router audit[/bold]
    """
    from router.errors import RouterError

    try:
        page = open_source(url, data_dir).audit(limit, before)
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(page)
        return
    listing = table("no.", "when", "who", "from", "what", "which", "count", "detail")
    for item in page.operations:
        unfinished = "" if item.ended_at is not None else " (not to its end)"
        listing.add_row(
            str(item.number), when(item.at), item.who, item.address, item.action, item.target,
            str(item.count), item.detail + unfinished,
        )  # fmt: skip
    out.print(listing)
    if page.next_before is not None:
        out.print(f"There are more: --before {page.next_before}", style="dim")


def _post(url: str, by: str | None, *path: str) -> None:
    from router.cli.client import Client
    from router.errors import RouterError
    from router.views import Ordered

    try:
        Client(url, by=by).post(Ordered, *path, body=None)
    except RouterError as error:
        fail(str(error))
