"""``find``: ask a peer what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router.cli import cancelling
from router.cli.common import DEFAULT_CONFIG, WRONG_USE, ConfigOption, err, fail, resolve_target
from router.cli.matches import Matches, printable
from router.cli.query_options import (
    CharacterSetOption,
    KeysOption,
    LevelName,
    LevelOption,
    ModelName,
    ModelOption,
    QuietOption,
    TimeoutOption,
)
from router.cli.scu import CallingOption, TargetArgument, describe
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
    from router.query.find import FindEnded
    from router.scu import Target


def add_to(command: typer.Typer) -> None:
    """Register the command."""
    command.command()(find)


def find(
    target: TargetArgument,
    key: KeysOption = None,
    level: LevelOption = None,
    model: ModelOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Cancel after so many matches.", metavar="N")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for each match, in a line.")] = False,
    character_set: CharacterSetOption = "",
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
    """Ask a peer what it has (C-FIND): patients, studies, series, instances, worklist.

    What people look for is shown by itself; a key without a value adds a column.
    Values match as DICOM has it: * and ? in text, ranges of dates as
    20260101-20260131 or 20260101-. For series and instances, name by their UIDs
    what is above them.

    With --json each match is an object in a line: a keyword has text or a
    number, null where empty, a list where DICOM allows several values, and a
    list of objects for a sequence.

    Examples: [bold]dicom-router find pacs -k 'PatientName=DOE*' -k StudyDate=20260101-[/bold],
    [bold]dicom-router find pacs --level series -k StudyInstanceUID=1.2.3[/bold],
    [bold]dicom-router find pacs -k StudyDate=20260101 --json | jq -r .StudyInstanceUID[/bold],
    [bold]dicom-router find ris --model worklist -k ScheduledProcedureStepSequence.Modality=CT[/bold]
    """
    options = client_tls(tls, tls_ca, tls_certificate, tls_key, tls_any_name)
    query = _query(key or [], level, model, character_set)
    whom = resolve_target(target, config, calling_ae, options, operation="find")
    shown = Matches(query, is_json=json, limit=limit)
    ended = cancelling.run_cancellable(
        whom, lambda cancellation: _find(whom, query, shown, timeout, cancellation), on_failure=shown.end
    )
    shown.end()
    _conclude(whom, shown.limit, ended, quiet=quiet)


def _query(keys: list[str], level: LevelName | None, model: ModelName | None, character_set: str) -> Query:
    from router.dicom.identifier import check_identifier
    from router.dicom.query import Level, Model, find_query, parse_keys

    try:
        query = find_query(
            parse_keys(keys),
            level=Level(level) if level else None,
            model=Model(model) if model else None,
            character_set=character_set,
        )
        check_identifier(query)
    except ValueError as error:
        fail(f"{error}.", WRONG_USE)
    return query


async def _find(
    whom: Target, query: Query, shown: Matches, timeout_s: float | None, cancellation: Cancellation
) -> FindEnded:
    from router.query.find import find

    return await find(
        whom,
        query,
        on_match=shown.take,
        limit=shown.limit,
        timeout_s=timeout_s or whom.response_s,
        cancellation=cancellation,
    )


def _conclude(whom: Target, limit: int | None, ended: FindEnded, *, quiet: bool) -> None:
    """Say how it ended; exit code 1 where that was not as asked."""
    from router.dicom.codes import CommandField
    from router.dicom.statuses import Outcome, describe_status, outcome_of

    is_cut = limit is not None and ended.matches >= limit
    if not quiet:
        more = " and cancelled there: there may be more" if is_cut and ended.is_cancelled else ""
        err.print(f"{ended.matches} match{'' if ended.matches == 1 else 'es'}{more}.", markup=False)
        if ended.is_doubtful:
            err.print("The peer says that it may not have matched all keys (FF01).", style="yellow")
        if ended.status is None:
            err.print("The peer went on in spite of C-CANCEL: the association was aborted.", style="yellow")
    if ended.is_cancelled and not is_cut:
        fail("Cancelled.")
    if ended.status is not None and outcome_of(ended.status) in (Outcome.FAILURE, Outcome.WARNING):
        comment = f": {printable(ended.comment)}" if ended.comment else ""
        fail(f"{describe(whom)}: {describe_status(CommandField.C_FIND_RQ, ended.status)}{comment}.")
