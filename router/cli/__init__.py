"""The command line: one module for each group of commands; what they need is imported when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from router import __version__
from router.cli import (
    demo,
    importing,
    inspect,
    operators,
    query,
    queue,
    retrieve,
    scu,
    secret,
    serve,
    spool,
    testing,
    tls,
    transcode,
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"dicom-router {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """What stands before the command."""


def build() -> typer.Typer:
    """The whole command, ready to be called."""
    command = typer.Typer(
        name="dicom-router",
        help="An asynchronous DICOM routing gateway: receives, queues on disk, routes by rules, forwards.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    command.callback()(_root)
    for module in (
        serve, inspect, testing, scu, query, retrieve, transcode, importing, demo, operators, secret
    ):  # fmt: skip
        module.add_to(command)
    command.add_typer(queue.build(), name="queue")
    command.add_typer(spool.build(), name="spool")
    command.add_typer(tls.build(), name="tls")
    return command
