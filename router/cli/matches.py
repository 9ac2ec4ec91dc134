"""The matches of a query as people and as scripts want them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import typer

from router.cli.common import out, table

if TYPE_CHECKING:
    from router.dicom.identifier import Attribute, Match
    from router.dicom.query import Query
    from router.dicom.tagpath import TagPath

TABLE_ROWS = 10_000  # a table is held until it is whole; JSON is not

Json = str | int | float | list["Json"] | dict[str, "Json"] | None


class Matches:
    """Takes matches as they come: JSON is printed at once, a table at the end."""

    def __init__(self, query: Query, *, is_json: bool, limit: int | None) -> None:
        self.limit = limit if is_json else min(limit or TABLE_ROWS, TABLE_ROWS)
        self._is_json = is_json
        self._columns = _columns(query)
        self._blank = _blank(query)
        self._rows: list[list[str]] = []

    def take(self, match: Match) -> None:
        """Show one, or keep it for the table."""
        if self._is_json:
            typer.echo(json.dumps({**self._blank, **as_json(match)}, ensure_ascii=False))
        else:
            self._rows.append([printable(match.text(path)) for path in self._columns])

    def end(self) -> None:
        """There are no more."""
        if self._rows:
            from rich.text import Text

            made = table(*(str(path.steps[-1]) for path in self._columns))
            for row in self._rows:
                made.add_row(*map(Text, row))
            out.print(made)


def _columns(query: Query) -> list[TagPath]:
    """What was asked, without what is above the level: that is the same in every match."""
    from router.dicom.query import UNIQUE_KEYS, levels_of
    from router.dicom.tagpath import parse

    above = {
        parse(UNIQUE_KEYS[one]) for one in levels_of(query.model)[: levels_of(query.model).index(query.level)]
    }
    return [key.path for key in query.keys if not (key.value and key.path in above)]


def _blank(query: Query) -> dict[str, Json]:
    """What was asked for and is not answered is empty, so that a script finds the same keywords always."""
    from router.dicom.identifier import Attribute
    from router.dicom.tagpath import vr_of

    attributes = (
        Attribute(tag=tag, items=() if vr_of(tag) == "SQ" else None)
        for tag in (key.path.steps[0].tag for key in query.keys)
    )
    return {attribute.name: _value(attribute) for attribute in attributes}


def as_json(match: Match) -> dict[str, Json]:
    """Keyword to value: a list where PS3.6 allows several, null where there is none."""
    return {attribute.name: _value(attribute) for attribute in match.attributes}


def _value(attribute: Attribute) -> Json:
    if attribute.items is not None:
        return [as_json(item) for item in attribute.items]
    values: list[Json] = [
        str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for value in attribute.values
    ]
    if attribute.is_multiple or len(values) > 1:
        return values
    return values[0] if values else None


def printable(text: str) -> str:
    """A peer's text without what a terminal would take for a command."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
