"""``echo``, ``send`` and ``sink``: act as a DICOM program towards the gateway or its peers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from router.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    WRONG_USE,
    ConfigOption,
    err,
    fail,
    out,
    progress,
    resolve_target,
    size,
    table,
)
from router.cli.tls_options import (
    AnyNameOption,
    CaOption,
    CertificateOption,
    KeyOption,
    TlsOption,
    client_tls,
    server_tls,
)

if TYPE_CHECKING:
    from router.scu import SendFile, Sent, Target
    from router.sink import SinkOptions

TargetArgument = Annotated[
    str, typer.Argument(help="A modality of the configuration, or AE@host:port.", metavar="TARGET")
]
CallingOption = Annotated[
    str | None, typer.Option("--calling-ae", help="Call as this AE title.", metavar="AE")
]
FAILURES_SHOWN = 20


def add_to(command: typer.Typer) -> None:
    """Register the commands."""
    command.command()(echo)
    command.command()(send)
    command.command()(sink)


def echo(
    target: TargetArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    calling_ae: CallingOption = None,
    tls: TlsOption = False,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: KeyOption = None,
    tls_any_name: AnyNameOption = False,
) -> None:
    """Ask a peer whether it answers (C-ECHO).

    Examples: [bold]dicom-router echo pacs -c router.yaml[/bold],
    [bold]dicom-router echo ARCHIVE@10.1.0.5:104[/bold]
    """
    from time import perf_counter

    import anyio

    from router import scu
    from router.errors import RouterError

    options = client_tls(tls, tls_ca, tls_certificate, tls_key, tls_any_name)
    whom = resolve_target(target, config, calling_ae, options, operation="echo")
    began = perf_counter()
    try:
        status = anyio.run(scu.echo, whom)
    except RouterError as error:
        fail(f"{describe(whom)}: {error}.")
    took = (perf_counter() - began) * 1000
    if status != 0:
        fail(f"{describe(whom)} answered with status {status:04X} after {took:.0f} ms.")
    out.print(f"{describe(whom)} answers, {took:.0f} ms for association, echo and release.", markup=False)


def send(
    target: TargetArgument,
    paths: Annotated[
        list[Path], typer.Argument(help="Files, and directories with all below them.", exists=True)
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    calling_ae: CallingOption = None,
    associations: Annotated[int, typer.Option("--associations", "-n", min=1, max=64, help="At once.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no notes.")] = False,
    tls: TlsOption = False,
    tls_ca: CaOption = None,
    tls_certificate: CertificateOption = None,
    tls_key: KeyOption = None,
    tls_any_name: AnyNameOption = False,
) -> None:
    """Send DICOM files (C-STORE), each data set byte for byte and in its own transfer syntax.

    What is no DICOM instance is left out with a note. Exit code 1 if any file was not stored.

    Examples: [bold]dicom-router send ROUTER@127.0.0.1:11112 series/ -n 4[/bold],
    [bold]dicom-router send pacs image.dcm -c router.yaml --calling-ae CT1[/bold]
    """
    options = client_tls(tls, tls_ca, tls_certificate, tls_key, tls_any_name)
    whom = resolve_target(target, config, calling_ae, options, operation="store")
    files = collect(paths, quiet=quiet)
    if not files:
        fail("There is nothing to send: no DICOM instance among these files.")
    results = _send_all(whom, files, associations, quiet=quiet)
    failed = [result for result in results if not result.is_stored]
    out.print(_summary(results))
    if len({_outcome(result) for result in results}) > 1:  # otherwise the table has said it all
        for result in failed[:FAILURES_SHOWN]:
            err.print(f"{result.file.path}: {_outcome(result)}", markup=False)
        if len(failed) > FAILURES_SHOWN:
            err.print(f"... and {len(failed) - FAILURES_SHOWN} more.")
    if failed:
        fail(f"{len(failed)} of {len(results)} not stored by {describe(whom)}.")


def collect(paths: list[Path], *, quiet: bool) -> list[SendFile]:
    """The DICOM instances among these files; the others are left out with a note."""
    from router.scu import Skipped, find_files

    files: list[SendFile] = []
    for found in find_files(paths):
        if isinstance(found, Skipped):
            if not quiet:
                err.print(f"{found.path}: left out: {found.because}", style="yellow", markup=False)
        else:
            files.append(found)
    return files


def _send_all(whom: Target, files: list[SendFile], associations: int, *, quiet: bool) -> list[Sent]:
    import anyio

    from router import scu

    results: list[Sent] = []
    with progress(f"to {describe(whom)}", len(files), quiet=quiet) as advance:

        def note(result: Sent) -> None:
            results.append(result)
            advance()

        async def run() -> None:
            await scu.send(whom, files, associations=associations, on_result=note)

        anyio.run(run)
    return results


def _summary(results: list[Sent]) -> Table:
    summary = table("outcome", "instances", "data")
    counts, amounts = Counter[str](), Counter[str]()
    for result in results:
        counts[_outcome(result)] += 1
        amounts[_outcome(result)] += result.file.data_set_bytes
    for outcome, count in counts.most_common():
        summary.add_row(outcome, str(count), size(amounts[outcome]))
    return summary


def _outcome(result: Sent) -> str:
    if result.status is None:
        return result.comment
    if result.status == 0:
        return "0000 success"
    word = "warning" if result.is_stored else "failure"
    return f"{result.status:04X} {word}" + (f" ({result.comment})" if result.comment else "")


def describe(whom: Target) -> str:
    """A peer as one word."""
    return f"{whom.called_ae}@{whom.host}:{whom.port}"


def sink(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: the system chooses.")],
    host: Annotated[str, typer.Option(help="Listen on this address only.")] = "127.0.0.1",
    ae_title: Annotated[str, typer.Option(help="Reject whoever calls another one.", metavar="AE")] = "",
    directory: Annotated[Path | None, typer.Option(help="Store files here; otherwise discard.")] = None,
    log: Annotated[Path | None, typer.Option(help="Append one JSON line for each instance.")] = None,
    fail_with: Annotated[
        list[str] | None,
        typer.Option("--fail", help="A status at a rate, as A700:5%.", metavar="STATUS:RATE"),
    ] = None,
    abort_after: Annotated[int | None, typer.Option(min=1, help="Abort at the n-th instance.")] = None,
    stall: Annotated[float, typer.Option(min=0, help="Seconds before each answer.")] = 0.0,
    reject: Annotated[
        str | None, typer.Option(help="Reject all: transient, permanent, calling-ae, called-ae.")
    ] = None,
    transfer_syntax: Annotated[
        list[str] | None, typer.Option(help="Accept only these; otherwise all.", metavar="UID")
    ] = None,
    window: Annotated[int, typer.Option(min=1, max=256, help="Accept so many unanswered at once.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Makes failures repeatable.")] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Speak TLS with this certificate (PEM).", metavar="FILE")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.", metavar="FILE")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Ask callers for a certificate of these.", metavar="FILE")
    ] = None,
    ready_file: Annotated[Path | None, typer.Option(help='Written once open: {"dicom":[PORT]}.')] = None,
) -> None:
    """Run a PACS for tests and acceptance: it takes everything, and fails on demand.

    Examples: [bold]dicom-router sink --port 4242 --directory /tmp/in[/bold],
    [bold]dicom-router sink --port 4242 --fail A700:5% --stall 0.2[/bold]
    """
    from router.sink import Rejection, SinkOptions, parse_failure

    try:
        options = SinkOptions(
            port=port,
            host=host,
            ae_title=ae_title,
            directory=directory,
            log=log,
            failures=tuple(map(parse_failure, fail_with or ())),
            abort_after=abort_after,
            stall_s=stall,
            reject=Rejection(reject) if reject is not None else None,
            transfer_syntaxes=tuple(transfer_syntax or ()),
            window=window,
            seed=seed,
            tls=server_tls(tls_certificate, tls_key, tls_client_ca),
            ready_file=ready_file,
        )
    except ValueError as error:
        fail(str(error), WRONG_USE)
    _run_sink(options)


def _run_sink(options: SinkOptions) -> NoReturn:
    import anyio

    from router.errors import TlsUnusable
    from router.sink import run_sink

    def say(bound: int) -> None:
        err.print(f"The sink listens on {options.host}:{bound}. Ctrl-C ends it.", markup=False)

    try:
        anyio.run(run_sink, options, say)
    except TlsUnusable as error:
        fail(f"{error}.", WRONG_USE)
    except OSError as error:
        fail(f"port {options.port} on {options.host} cannot be bound: {error.strerror or error}.")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(FAILED)
