"""``hash-secret``: what the configuration keeps of a password or a token."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from router.cli.common import WRONG_USE, err, fail

SHORT = 12  # characters: below, a password is soon found by whoever has its hash


def add_to(command: typer.Typer) -> None:
    """Register the command."""
    command.command("hash-secret")(hash_secret)


def hash_secret(
    token: Annotated[bool, typer.Option("--token", help="Make a token, and print it with its hash.")] = False,
) -> None:
    """Print the hash of a password, which is asked for (or is the first line of standard input).

    The hash goes into the configuration (password_hash, or token_hash), the secret to whom it is for. A token
    is shown only here.

    Examples: [bold]dicom-router hash-secret[/bold], [bold]dicom-router hash-secret --token[/bold]
    """
    from router.secrets import hash_password, hash_token, make_token

    if token:
        made = make_token()
        typer.echo(f"token: {made}\ntoken_hash: {hash_token(made)}")
        return
    password = _ask() if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not password:
        fail("There is no password.", WRONG_USE)
    if len(password) < SHORT:
        err.print(f"This password is short: {SHORT} characters or more are hard to guess.", style="yellow")
    typer.echo(hash_password(password))


def _ask() -> str:
    answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True)
    return answer
