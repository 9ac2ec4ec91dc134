"""What is written of an import: the configuration as YAML, and what of Orthanc's could not be honoured."""

from __future__ import annotations

import textwrap
from pathlib import Path

import yaml

from router.config.orthanc_import import Imported

_WIDTH = 110


def written(file: Path, imported: Imported) -> str:
    """The YAML file, with the report as its head. ``file`` is what it was made from."""
    lines = [f"Made from {file} by 'dicom-router import'.", *report(imported)]
    wrapped = [
        one
        for line in lines
        for one in textwrap.wrap(line, _WIDTH - 2, subsequent_indent="  ", break_on_hyphens=False)
    ]
    head = "".join(f"# {line}\n" for line in wrapped)
    body = yaml.safe_dump(
        dict(imported.configuration),
        sort_keys=False,
        allow_unicode=True,
        width=_WIDTH,
        default_flow_style=None,
    )
    return (
        f"{head}\n{body}"
        "rules: []                            # as - {rule: ct, when: {Modality: CT}, send: [NAME]}\n"
        "unmatched: hold\n"
    )


def report(imported: Imported, *, is_whole: bool = True) -> list[str]:
    """A line for each finding; not ``is_whole``: keys of which nothing is lost are only counted."""
    lines = [f"- {finding}" for finding in imported.findings]
    if imported.not_needed and is_whole:
        lines.append(f"- Without a counterpart, and nothing is lost: {', '.join(imported.not_needed)}.")
    elif imported.not_needed:
        lines.append(
            f"- {len(imported.not_needed)} more keys have no counterpart, and nothing is lost by it."
        )
    if imported.unknown:
        lines.append(f"- Unknown, and left out: {', '.join(imported.unknown)}.")
    return lines
