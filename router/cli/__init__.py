"""The command line: one module for each group of commands; what they need is imported when they run."""

from __future__ import annotations

import typer

from router.cli import demo, importing, inspect, operators, queue, scu, secret, serve, spool, tls, transcode


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
    for module in (serve, inspect, scu, transcode, importing, demo, operators, secret):
        module.add_to(command)
    command.add_typer(queue.build(), name="queue")
    command.add_typer(spool.build(), name="spool")
    command.add_typer(tls.build(), name="tls")
    return command
