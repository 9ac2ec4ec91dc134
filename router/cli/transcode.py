"""``transcode`` and ``codecs``: files into other transfer syntaxes, and which of them can be had here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from router.cli.common import WRONG_USE, JsonOption, err, fail, out, print_json, progress, size, table

if TYPE_CHECKING:
    from router.model import Form
    from router.scu import SendFile
    from router.transcoding import Finished, Task

FAILURES_SHOWN = 20


def add_to(command: typer.Typer) -> None:
    """Register the commands."""
    command.command()(transcode)
    command.command()(codecs)


def transcode(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, and directories with all below them.", exists=True)
    ],
    to: Annotated[
        str, typer.Option("--to", help="A transfer syntax: see 'dicom-router codecs'.", metavar="NAME")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A file for one file, else a directory.", metavar="PATH")
    ],
    quality: Annotated[int | None, typer.Option(help="Of a lossy JPEG: 1 to 100.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Of a lossy JPEG 2000: 10 means 10:1.")] = None,
    max_error: Annotated[int | None, typer.Option(help="Of each sample, for JPEG-LS near-lossless.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-n", min=0, help="0: one for each processor.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no notes.")] = False,
) -> None:
    """Write files in another transfer syntax, and prove that the image is the same.

    Whatever is compressed is decoded again and compared, frame by frame. No file is replaced. What cannot be
    had is said, and why; exit code 1 then.

    Examples: [bold]dicom-router transcode ct.dcm --to jpeg-2000-lossless -o ct.j2k.dcm[/bold],
    [bold]dicom-router transcode study/ --to jpeg-baseline --quality 90 -o preview/[/bold]
    """
    form = _form(to, quality=quality, ratio=ratio, max_error=max_error)
    tasks = _tasks(paths, form, output, quiet=quiet)
    if not tasks:
        fail("There is nothing to transcode: no DICOM instance among these files.")
    results = _run(tasks, workers, quiet=quiet)
    out.print(_summary(results))
    failed = [result for result in results if result.because]
    for result in failed[:FAILURES_SHOWN]:
        err.print(f"{result.task.file.path}: {result.because}", markup=False)
    if len(results) == 1 and results[0].result.made is not None:
        from router.outlook import describe_transcoding

        out.print(describe_transcoding(results[0].result.made.transcoding), markup=False)
    if failed:
        fail(f"{len(failed)} of {len(results)} not written.")


def _form(to: str, **losses: float | None) -> Form:
    from router.config.forms import parse_form

    given = {key: value for key, value in losses.items() if value is not None}
    try:
        return parse_form({"to": to, **given})
    except ValueError as error:
        fail(f"--to: {error}", WRONG_USE)


def _tasks(paths: list[Path], form: Form, output: Path, *, quiet: bool) -> list[Task]:
    from router.cli.scu import collect
    from router.transcoding import Task

    files = collect(paths, quiet=quiet)
    is_one = len(paths) == 1 and paths[0].is_file()
    if is_one and not output.is_dir():
        return [Task(file=file, form=form, target=output) for file in files]
    if output.exists() and not output.is_dir():
        fail(f"{output} is no directory, and there are several files to write.", WRONG_USE)
    return [Task(file=file, form=form, target=output / _below(file, paths)) for file in files]


def _below(file: SendFile, paths: list[Path]) -> Path:
    """Where a file lies below the directory that was named; by its name alone, where it was named itself."""
    for path in paths:
        if path.is_dir() and file.path.is_relative_to(path):
            return file.path.relative_to(path)
    return Path(file.path.name)


def _run(tasks: list[Task], workers: int, *, quiet: bool) -> list[Finished]:
    import anyio

    from router.config.settings import Transcode
    from router.transcoding import transcode_files

    results: list[Finished] = []
    with progress("transcoding", len(tasks), quiet=quiet) as advance:

        def note(result: Finished) -> None:
            results.append(result)
            advance()

        anyio.run(transcode_files, tasks, Transcode(workers=workers), note)
    return results


def _summary(results: list[Finished]) -> object:
    from router.dicom.syntaxes import shown

    rows = Counter[tuple[str, str]]()
    before, after = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for finished in results:
        made = finished.result.made
        outcome = "not written"
        if made is not None:
            outcome = "identical" if made.transcoding.is_lossless else "lossy, within its bound"
        row = shown(finished.task.file.transfer_syntax_uid), outcome
        rows[row] += 1
        before[row] += finished.task.file.data_set_bytes
        after[row] += made.length_bytes - made.data_set_offset if made is not None else 0
    summary = table("from", "outcome", "instances", "before", "after")
    for row, count in rows.most_common():
        summary.add_row(*row, str(count), size(before[row]), size(after[row]))
    return summary


def codecs(as_json: JsonOption = False) -> None:
    """Show which transfer syntaxes can be read and written here, by which library, under which licence.

    'Made' are those that a rule's [bold]transcode[/bold] or a
    destination's [bold]transfer_syntaxes[/bold] may name.

    Example: [bold]dicom-router codecs[/bold]
    """
    from router.transform.listing import listing

    rows = listing()
    if as_json:
        print_json(rows)
        return
    shown = table("transfer syntax", "UID", "read", "made", "pixels", "licence")
    passed = [row.name for row in rows if row.is_passed_only]
    for row in rows:
        if not row.is_passed_only:
            shown.add_row(row.name, row.uid, escape(row.read), escape(row.made), row.pixels, row.licence)
    out.print(shown)
    out.print(f"Passed through only, as whatever is private: {', '.join(passed)}.", markup=False)
