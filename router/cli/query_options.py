"""The options by which ``find``, ``move`` and ``get`` are told what is meant."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class LevelName(StrEnum):
    """``Level`` of ``dicom.query``, which is not imported only to print help."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


class ModelName(StrEnum):
    """``Model`` of ``dicom.query``."""

    STUDY = "study"
    PATIENT = "patient"
    WORKLIST = "worklist"


class RootName(StrEnum):
    """The models from which something can be retrieved."""

    STUDY = "study"
    PATIENT = "patient"


KeysOption = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        "-k",
        help="KEYWORD=VALUE to match; KEYWORD to have it shown. Also (gggg,eeee), Sequence.Keyword.",
        metavar="KEY",
    ),
]
LevelOption = Annotated[LevelName | None, typer.Option("--level", help="What a match is; otherwise study.")]
ModelOption = Annotated[
    ModelName | None,
    typer.Option("--model", help="The information model; otherwise study, or patient for that level."),
]
CharacterSetOption = Annotated[
    str,
    typer.Option(
        "--character-set",
        help="Send keys in this one, for peers that compare bytes; otherwise ISO_IR 192 if needed.",
        metavar="TERM",
    ),
]
UniqueKeysOption = Annotated[
    list[str],
    typer.Option(
        "--key",
        "-k",
        help="What to retrieve, as StudyInstanceUID=1.2.3; several times for several of them.",
        metavar="KEY",
    ),
]
UniqueLevelOption = Annotated[
    LevelName | None, typer.Option("--level", help="What is named; otherwise the lowest of the keys.")
]
RootOption = Annotated[
    RootName | None,
    typer.Option("--model", help="The information model; otherwise study, or patient for that level."),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0.1, help="Give up after so long without a word of the peer.", metavar="SECONDS"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
