"""What the commands share: their options, their consoles, and how they end.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 the command
line or the configuration is wrong.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from router.wording import size as size, when as when

if TYPE_CHECKING:
    from router.config.settings import Settings
    from router.config.tls import ModalityTls
    from router.net.credentials import Credentials
    from router.rules import RuleSet
    from router.scu import Target

FAILED = 1
WRONG_USE = 2
DEFAULT_CALLING_AE = "DICOM_ROUTER"

# What is read by a program is never cut or folded to fit a terminal that is not there.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
err = Console(stderr=True, soft_wrap=True, highlight=False)

_ADDRESS = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>\[[^\]]+\]|[^:@]+):(?P<port>\d{1,5})")

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="DICOM_ROUTER_CONFIG", help="The configuration file.", metavar="FILE"
    ),
]
UrlOption = Annotated[
    str,
    typer.Option(
        "--url", envvar="DICOM_ROUTER_URL", help="The running gateway's HTTP address.", metavar="HTTP"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
DEFAULT_CONFIG = Path("router.yaml")
DEFAULT_URL = "http://127.0.0.1:8080"


@contextmanager
def progress(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where somebody looks at it; what is yielded moves it by one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_off = quiet or not err.is_terminal
    with Progress(*columns, console=err, disable=is_off, transient=True) as shown:
        bar = shown.add_task(escape(what), total=total)
        yield lambda: shown.advance(bar)


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """End the command with one clear sentence."""
    err.print(sentence, style="red", markup=False)
    raise typer.Exit(code)


def print_json(content: object) -> None:
    """Values of ``admin`` and plain containers, readable."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def load_configuration(path: Path, *, with_files: bool = False) -> tuple[Settings, RuleSet]:
    """Settings and rules, or exit 2 with each problem on its own line.

    ``with_files``: also look at the certificates and keys that it names, which not everybody may read.
    """
    from router import config
    from router.errors import ConfigurationError

    try:
        if not with_files:
            return config.load_all(path)
        from router.net.credentials import complaints

        return config.load_all(path, checks=(complaints,))
    except ConfigurationError as error:
        for problem in error.problems:
            err.print(problem, markup=False)
        fail(f"{path}: {_count(len(error.problems), 'problem')}; nothing was started.", WRONG_USE)
    except OSError as error:
        hint = " Name the configuration with -c FILE." if not path.exists() else ""
        fail(f"{path}: {error.strerror or error}.{hint}", WRONG_USE)


def resolve_target(
    text: str,
    config_path: Path,
    calling_ae: str | None,
    tls: ModalityTls | None = None,
    *,
    operation: str | None = None,
) -> Target:
    """``AE@host:port``, with TLS where ``tls`` is given, or the name of a modality in the configuration.

    ``operation``: what is to be asked of it; a modality's ``send`` must have it.
    """
    from router.scu import Target

    if address := _ADDRESS.fullmatch(text):
        return Target(
            host=address["host"].strip("[]"),
            port=int(address["port"]),
            called_ae=address["ae"],
            calling_ae=calling_ae or DEFAULT_CALLING_AE,
            tls=_credentials(tls, text),
        )
    if not config_path.exists():
        fail(
            f"{text!r} is no address (AE@host:port), and there is no configuration {config_path} that could "
            "name it: give an address, or the configuration with -c FILE.",
            WRONG_USE,
        )
    settings, _ = load_configuration(config_path)
    modality = settings.modalities.get(text)
    if modality is None:
        fail(
            f"{config_path} has no modality {text!r}{did_you_mean(text, list(settings.modalities))}.",
            WRONG_USE,
        )
    if operation is not None and operation not in modality.send:
        fail(
            f"{config_path} does not allow to ask {text!r} for this: add {operation} to its `send` "
            f"(now {', '.join(modality.send) or 'nothing'}).",
            WRONG_USE,
        )
    return Target(
        host=modality.host,
        port=modality.port,
        called_ae=modality.ae_title,
        calling_ae=calling_ae or modality.local_ae_title or settings.ae_title,
        connect_s=modality.deliver.connect_timeout,
        response_s=modality.deliver.response_timeout,
        max_pdu_bytes=modality.deliver.max_pdu_bytes,
        tls=_credentials(modality.tls, text),
        identity=modality.identity,
    )


def may_ask(text: str, config_path: Path, operation: str) -> bool:
    """The target that ``resolve_target`` has resolved may be asked for this: an address for everything."""
    if _ADDRESS.fullmatch(text):
        return True
    return operation in load_configuration(config_path)[0].modalities[text].send


def _credentials(tls: ModalityTls | None, used_by: str) -> Credentials | None:
    if tls is None:
        return None
    from router.errors import TlsUnusable
    from router.net.credentials import Credentials

    try:
        return Credentials(tls, used_by)
    except TlsUnusable as error:
        fail(f"{used_by}: {error}.", WRONG_USE)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint for a misspelt name, empty where nothing is near."""
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (it has {', '.join(known)})" if known else ""


def table(*columns: str) -> Table:
    """A table whose cells fold rather than lose characters."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def uid_name(uid: str) -> str:
    """What a UID stands for, or the UID where nobody knows."""
    from router.dicom import names

    return names.uid_name(uid)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
