"""``import``: another program's configuration in our words."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from router.cli.common import WRONG_USE, err, fail


def add_to(command: typer.Typer) -> None:
    """Register the command."""
    command.command("import")(import_configuration)


def import_configuration(
    file: Annotated[
        Path, typer.Argument(help="Orthanc's configuration: orthanc.json, or the folder of its *.json files.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write it; standard output if not given.", metavar="FILE"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Turn Orthanc's configuration into one for this gateway, and say what cannot be honoured.

    Who may come in and what they may ask, where each modality is, timeouts, TLS and HTTP users are taken
    over. The report goes to standard error, and stands at the head of the file.

    Example: [bold]dicom-router import /etc/orthanc/orthanc.json -o router.yaml[/bold]
    """
    from router.config import orthanc_file
    from router.config.orthanc_import import translate
    from router.config.orthanc_report import report, written
    from router.errors import ConfigurationError

    try:
        given = orthanc_file.read(file)
    except ConfigurationError as error:
        fail("\n".join(error.problems), WRONG_USE)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}.", WRONG_USE)
    imported = translate(given, (file if file.is_dir() else file.parent).absolute())
    text = written(file, imported)
    problems = _problems(text)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write(output, text, force=force)
    for line in report(imported, is_whole=False):
        err.print(line, style="yellow", markup=False)
    if problems:
        err.print("What has to be put right before the gateway starts with it:", style="red")
        for problem in problems:
            err.print(problem, style="red", markup=False)
    if output is not None:
        err.print(f"{output} is written. Next: dicom-router check -c {output}", markup=False)


def _problems(text: str) -> list[str]:
    """What ``check`` would say of it."""
    from router import config
    from router.errors import ConfigurationError

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "router.yaml")
        path.write_text(text)
        try:
            config.load_all(path)
        except ConfigurationError as error:
            return [problem.removeprefix(f"{path}:") for problem in error.problems]
    return []


def _write(path: Path, text: str, *, force: bool) -> None:
    """Only its owner can read it: it may have hashes of passwords."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fail(f"{path} is there already: give another name, or --force to overwrite it.", WRONG_USE)
    except OSError as error:
        fail(f"{path}: {error.strerror or error}.", WRONG_USE)
