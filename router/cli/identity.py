"""Who a command is towards a gateway, and whom it trusts: the options of every command that asks one."""

from __future__ import annotations

import base64
import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from router.cli.common import WRONG_USE, err, fail

if TYPE_CHECKING:
    from router.config.tls import ModalityTls

PASSWORD_VARIABLE = "DICOM_ROUTER_PASSWORD"  # noqa: S105 - its name
_PANEL = "Who you are, and whom you trust"

TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="DICOM_ROUTER_TOKEN",
        help="A token of the gateway; better in the environment, where others do not see it.",
        metavar="TOKEN",
        rich_help_panel=_PANEL,
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        help=f"A user of the gateway, instead of a token. The password is asked for, or {PASSWORD_VARIABLE}.",
        metavar="NAME",
        rich_help_panel=_PANEL,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="DICOM_ROUTER_CA",
        help="Who issued the gateway's certificate (PEM), for https; else whom this machine trusts.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        help="Our own certificate (PEM, with its key), where the gateway asks for one.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
_OPTIONS = {"token": TokenOption, "user": UserOption, "ca": CaOption, "certificate": CertificateOption}


@dataclass(slots=True, kw_only=True)
class Identity:
    """What the options say."""

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    ca: Path | None = None
    certificate: Path | None = None
    _password: str | None = field(default=None, repr=False)
    _has_warned: bool = False

    @property
    def is_anonymous(self) -> bool:
        """Nothing is said."""
        return self.user is None and not self.token

    def authorization(self) -> str | None:
        """The header that proves it. May ask at the terminal, once; exits where that is not possible."""
        if self.user is None:
            return f"Bearer {self.token}" if self.token else None
        if ":" in self.user:
            fail("--user: a name has no colon.", WRONG_USE)
        if self._password is None:
            self._password = _password_of(self.user)
        both = f"{self.user}:{self._password}".encode()
        return "Basic " + base64.b64encode(both).decode("ascii")

    def tls(self) -> ModalityTls:
        """Whom we trust, and what we show."""
        from router.config.tls import ModalityTls

        return ModalityTls(
            ca=str(self.ca) if self.ca else None,
            certificate=str(self.certificate) if self.certificate else None,
        )

    def warn_of_plain_text(self, host: str) -> None:
        """Say once that the network can read it, where there is one."""
        from router.config.http import is_loopback

        if not self._has_warned and not is_loopback(host):
            self._has_warned = True
            what = "token" if self.user is None else "password"
            err.print(f"The {what} goes to {host} as plain text: use https.", style="yellow", markup=False)


_current: ContextVar[Identity | None] = ContextVar("identity", default=None)


def current() -> Identity:
    """That of the command that runs."""
    return _current.get() or Identity()


def asks_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options; what they say is :func:`current` while it runs."""

    @functools.wraps(command)
    def identified(**given: Any) -> None:
        said = Identity(**{name: given.pop(name) for name in _OPTIONS})
        before = _current.set(said)
        try:
            command(**given)
        finally:
            _current.reset(before)

    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters.values()
    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    signature = [one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    identified.__signature__ = inspect.Signature([*signature, *ours])  # type: ignore[attr-defined]
    identified.__annotations__ = {**hints, **_OPTIONS}
    del identified.__wrapped__  # or its signature would be looked at instead
    return identified


def _password_of(user: str) -> str:
    password = os.environ.get(PASSWORD_VARIABLE)
    if password:
        return password
    if not _has_terminal():
        fail(f"No terminal to ask for the password of {user} at: give it in {PASSWORD_VARIABLE}.", WRONG_USE)
    answer: str = typer.prompt(f"Password of {user}", hide_input=True, err=True)
    return answer


def _has_terminal() -> bool:
    return sys.stdin.isatty()
