"""``spool``: look into the store itself, with the gateway running or not."""

from __future__ import annotations

import typer


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Look into the store itself.", no_args_is_help=True)
    return group
