"""``spool``: look into the store itself; only ``rebuild`` needs the gateway stopped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    WRONG_USE,
    ConfigOption,
    JsonOption,
    err,
    fail,
    load_configuration,
    out,
    print_json,
    size,
    table,
    when,
)

if TYPE_CHECKING:
    from router.spool.inspect import Damage

DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory", help="The spool's directory (data_dir), instead of a configuration.", metavar="DIR"
    ),
]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Look into the store itself.", no_args_is_help=True)
    group.command("ls")(ls)
    group.command("cat")(cat)
    group.command("verify")(verify)
    group.command("rebuild")(rebuild)
    return group


def ls(
    config: ConfigOption = DEFAULT_CONFIG, directory: DirectoryOption = None, as_json: JsonOption = False
) -> None:
    """List the instances whose bytes are kept, oldest first.

    Example: [bold]dicom-router spool ls -c router.yaml[/bold]
    """
    from router.admin import stored
    from router.errors import RouterError

    listing = table("key", "state", "received", "from", "size", "SOP instance")
    try:
        instances = list(stored(_where(config, directory)))
    except RouterError as error:
        fail(str(error))
    if as_json:
        print_json(instances)
        return
    for item in instances:
        listing.add_row(
            item.key,
            item.state,
            when(item.received_at),
            item.calling_ae,
            size(item.size_bytes),
            item.sop_instance_uid,
        )
    out.print(listing)


def cat(
    key: Annotated[int, typer.Argument(help="The instance's key, as in spool ls and trace.", min=0)],
    config: ConfigOption = DEFAULT_CONFIG,
    directory: DirectoryOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of to standard output.")
    ] = None,
) -> None:
    """Take one instance out as a DICOM file, after checking it against its hash.

    Example: [bold]dicom-router spool cat 1882567438292221952 -c router.yaml -o image.dcm[/bold]
    """
    from router.errors import RouterError
    from router.spool import inspect

    if output is None and sys.stdout.isatty():
        fail("A DICOM file is nothing for a terminal: name a file with -o FILE, or redirect.", WRONG_USE)
    where = _where(config, directory)
    try:
        if output is None:
            inspect.cat(where, key, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        unfinished = output.with_name(f".{output.name}.partial")
        with unfinished.open("wb") as file:
            inspect.cat(where, key, file)
        unfinished.replace(output)
    except (RouterError, OSError) as error:
        if output is not None:
            unfinished.unlink(missing_ok=True)
        fail(str(error))


def verify(config: ConfigOption = DEFAULT_CONFIG, directory: DirectoryOption = None) -> None:
    """Read every stored byte and compare it with the hash taken on arrival. Exit code 1 if anything differs.

    Example: [bold]dicom-router spool verify -c router.yaml[/bold]
    """
    from router.errors import RouterError
    from router.spool import inspect

    try:
        report = inspect.verify_all(_where(config, directory))
    except RouterError as error:
        fail(str(error))
    out.print(f"{report.checked} instances, {size(report.bytes_checked)} read.")
    _print_damage(report.damaged)
    if report.damaged:
        fail(f"{len(report.damaged)} of them damaged; the gateway will not send these.")


def rebuild(
    config: ConfigOption = DEFAULT_CONFIG,
    directory: DirectoryOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if there is a ledger; it is kept under another name.")
    ] = False,
) -> None:
    """Make a lost ledger anew from the segments, while the gateway is stopped.

    Everything found is routed again: nothing undelivered is lost, but peers may get what they have already.

    Example: [bold]dicom-router spool rebuild -c router.yaml[/bold]
    """
    from router.errors import NotAllowed, RouterError
    from router.spool import inspect

    try:
        report = inspect.rebuild(_where(config, directory), replace=replace)
    except NotAllowed as error:
        fail(f"{error}: say --replace if you mean it.", WRONG_USE)
    except RouterError as error:
        fail(str(error))
    out.print(f"{report.restored} instances restored, {size(report.bytes_restored)}.")
    if report.moved_to is not None:
        out.print(f"The ledger before is now {report.moved_to}.", markup=False)
    _print_damage(report.damaged)
    if report.damaged:
        raise typer.Exit(FAILED)


def _where(config: Path, directory: Path | None) -> Path:
    """The spool's directory, from wherever it is named."""
    if directory is not None:
        return directory
    return load_configuration(config)[0].data_dir


def _print_damage(damaged: Sequence[Damage]) -> None:
    for damage in damaged:
        name = f"instance {damage.key}" if damage.key is not None else "unknown"
        err.print(f"{damage.where}: {name}: {damage.problem}", style="red", markup=False)
