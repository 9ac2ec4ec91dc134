"""``move`` and ``get``: have a peer send what it has, to somebody or here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli import cancelling
from router.cli.common import (
    DEFAULT_CONFIG,
    WRONG_USE,
    ConfigOption,
    fail,
    load_configuration,
    may_ask,
    resolve_target,
)
from router.cli.fetching import Fetching
from router.cli.query_options import (
    LevelName,
    QuietOption,
    RootName,
    RootOption,
    TimeoutOption,
    UniqueKeysOption,
    UniqueLevelOption,
)
from router.cli.scu import CallingOption, TargetArgument, describe
from router.cli.sub_operations import bar, conclude
from router.cli.tls_options import (
    AnyNameOption,
    CaOption,
    CertificateOption,
    KeyOption,
    TlsOption,
    client_tls,
)

if TYPE_CHECKING:
    from router.dicom.query import Query
    from router.query.exchange import Cancellation
    from router.query.retrieve import RetrieveEnded

MOVE_SILENCE_S = 600.0  # peers need not say anything of a C-MOVE before its end (PS3.4 §C.4.2.3.1)
MAX_AE_TITLE = 16


def add_to(command: typer.Typer) -> None:
    """Register the commands."""
    command.command()(move)
    command.command()(get)


def move(
    target: TargetArgument,
    key: UniqueKeysOption,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="To this AE title, or modality of the configuration; otherwise to our own AE title.",
            metavar="AE",
        ),
    ] = None,
    level: UniqueLevelOption = None,
    model: RootOption = None,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    calling_ae: CallingOption = None,
    tls: TlsOption = False,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: KeyOption = None,
    tls_any_name: AnyNameOption = False,
) -> None:
    """Have a peer send what it has to somebody (C-MOVE), whose AE title it must know.

    Without --to that is ourselves: the running gateway, which then does what
    its rules say.

    Exit code 1 if anything failed; what did is listed. Ctrl-C stops it.

    Examples: [bold]dicom-router move pacs -k StudyInstanceUID=1.2.3[/bold],
    [bold]dicom-router move pacs -k StudyInstanceUID=1.2.3 -k SeriesInstanceUID=1.2.3.4 --to WS1[/bold]
    """
    options = client_tls(tls, tls_ca, tls_certificate, tls_key, tls_any_name)
    query = _query(key, level, model)
    whom = resolve_target(target, config, calling_ae, options, operation="move")
    destination = whom.calling_ae if to is None else _ae_title(to, config)

    async def work(cancellation: Cancellation) -> RetrieveEnded:
        from router.query import retrieve

        with bar(f"{describe(whom)} to {destination}", quiet=quiet) as on_progress:
            return await retrieve.move(
                whom,
                query,
                destination,
                on_progress=on_progress,
                timeout_s=timeout or max(whom.response_s, MOVE_SILENCE_S),
                cancellation=cancellation,
            )

    ended = cancelling.run_cancellable(whom, work)
    conclude(whom, ended, "move", f"sent to {destination}")


def get(
    target: TargetArgument,
    key: UniqueKeysOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Into this directory, as UID.dcm.", metavar="DIRECTORY")
    ],
    level: UniqueLevelOption = None,
    model: RootOption = None,
    timeout: TimeoutOption = None,
    quiet: QuietOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    calling_ae: CallingOption = None,
    tls: TlsOption = False,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: KeyOption = None,
    tls_any_name: AnyNameOption = False,
) -> None:
    """Fetch what a peer has into a directory (C-GET). It need not know how to reach us.

    Each instance becomes a file, its data set as it came, once it is whole and
    on disk. No file is overwritten. Where the peer may be queried (find), it is
    first asked which SOP classes there are, so that each of these is accepted
    in every transfer syntax.

    Exit code 1 if anything failed; what did is listed. Ctrl-C stops it.

    Examples: [bold]dicom-router get pacs -k StudyInstanceUID=1.2.3 -o out/[/bold],
    [bold]dicom-router get ARCHIVE@10.1.0.5:104 -k PatientID=4711 -o out/[/bold]
    """
    options = client_tls(tls, tls_ca, tls_certificate, tls_key, tls_any_name)
    query = _query(key, level, model)
    whom = resolve_target(target, config, calling_ae, options, operation="get")
    if output.exists() and not output.is_dir():
        fail(f"{output} is no directory.", WRONG_USE)
    fetching = Fetching(
        whom=whom,
        query=query,
        directory=output,
        timeout_s=timeout or whom.response_s,
        may_ask=may_ask(target, config, "find"),
        quiet=quiet,
    )
    ended = cancelling.run_cancellable(whom, fetching.run, on_failure=fetching.summarize)
    fetching.summarize()
    conclude(whom, ended, "get", f"fetched into {output}", fetching.problem())


def _query(keys: list[str], level: LevelName | None, model: RootName | None) -> Query:
    from router.dicom.query import Level, Model, parse_keys, retrieve_query

    try:
        return retrieve_query(
            parse_keys(keys),
            level=Level(level) if level else None,
            model=Model(model) if model else None,
        )
    except ValueError as error:
        fail(f"{error}.", WRONG_USE)


def _ae_title(name: str, config_path: Path) -> str:
    """That of a modality, or the name itself."""
    if config_path.exists():
        modality = load_configuration(config_path)[0].modalities.get(name)
        if modality is not None:
            return modality.ae_title
    title = name.strip()
    if not (
        1 <= len(title) <= MAX_AE_TITLE and title.isascii() and title.isprintable() and "\\" not in title
    ):
        fail(f"--to: {name!r} is no modality, and no AE title: up to {MAX_AE_TITLE} characters.", WRONG_USE)
    return title
