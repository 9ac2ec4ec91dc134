"""What became of files in other transfer syntaxes, as Markdown tables with footnotes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from router.dicom.syntaxes import SYNTAXES, label

BEGIN = "<!-- begin: written by python -m bench.outcomes -->"
END = "<!-- end: written by python -m bench.outcomes -->"
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Outcome(Enum):
    """What became of one file, in the words and the order of a cell."""

    AS_IT_IS = "as it is"  # it has that transfer syntax already
    IDENTICAL = "identical"
    WITHOUT_PIXELS = "without pixels"  # re-encoded, there was no frame to compare
    WITHIN_BOUND = "within bound"
    REFUSED = "refused"
    BROKEN = "not proven"  # a codec's result failed the proof
    FAILED = "failed"  # it could not be tried: another time it may be

    @property
    def has_reason(self) -> bool:
        return self in (Outcome.REFUSED, Outcome.BROKEN, Outcome.FAILED)


_ORDER = {outcome: at for at, outcome in enumerate(Outcome)}
_SOURCES = {uid: at for at, uid in enumerate(SYNTAXES)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file and one target. ``because`` is given exactly where the outcome has a reason."""

    source_uid: str
    target_uid: str
    outcome: Outcome
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Targets that have a table of their own: what stands above it, and how each column is called."""

    title: str
    columns: dict[str, str]  # transfer syntax UID → head


def section(found: Sequence[Found], groups: Sequence[Group]) -> str:
    """All tables, then the reasons; whatever the order of ``found``."""
    footnotes = _Footnotes()
    parts = [f"{group.title}\n\n{_table(found, group, footnotes)}" for group in groups]
    notes = "\n".join(footnotes.lines())
    return "\n\n".join([*parts, *filter(None, [notes])])


def put_into(document: str, text: str) -> str:
    """``document`` with ``text`` between its two marks, all else kept. ``ValueError`` without the marks."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"there must be one line {BEGIN!r} and one {END!r}")
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{END!r} stands before {BEGIN!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


class _Footnotes:
    """Reasons, numbered in the order in which a reader meets them."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def note(self, because: str, count: int) -> str:
        """The raised number of a reason, which has been met ``count`` times more."""
        self._counts[because] += count
        return self._mark(because)

    def lines(self) -> list[str]:
        """A line for each."""
        return [f"- {self._mark(because)} {because} ({count})" for because, count in self._counts.items()]

    def _mark(self, because: str) -> str:
        return str(list(self._counts).index(because) + 1).translate(_RAISED)


def _table(found: Sequence[Found], group: Group, footnotes: _Footnotes) -> str:
    cells: dict[tuple[str, str], Counter[tuple[Outcome, str]]] = {}
    for one in found:
        cell = cells.setdefault((one.source_uid, one.target_uid), Counter())
        cell[one.outcome, _reason(one)] += 1
    rows = [["received as", "files", *group.columns.values()]]
    for source in _sources(found):
        row = [cells.get((source, target), Counter()) for target in group.columns]
        files = max(cell.total() for cell in row)
        rows.append([label(source), str(files), *(_cell(cell, footnotes) for cell in row)])
    return _markdown(rows)


def _reason(one: Found) -> str:
    """Without the names that stand at the row and above the column, so that like reasons are one."""
    for uid, word in ((one.target_uid, "the target"), (one.source_uid, "the source")):
        name = f"{label(uid)} "
        if one.because.startswith(name):
            return f"{word} {one.because.removeprefix(name)}"
    return one.because


def _sources(found: Iterable[Found]) -> list[str]:
    """In the order of the table of names; private and unknown ones last."""
    return sorted({one.source_uid for one in found}, key=lambda uid: (_SOURCES.get(uid, len(_SOURCES)), uid))


def _cell(cell: Counter[tuple[Outcome, str]], footnotes: _Footnotes) -> str:
    in_order = sorted(cell.items(), key=lambda item: (_ORDER[item[0][0]], -item[1], item[0][1]))
    parts = []
    for (outcome, because), count in in_order:
        if outcome is Outcome.AS_IT_IS:
            parts.append(outcome.value)
            continue
        mark = footnotes.note(because, count) if outcome.has_reason else ""
        parts.append(f"{count} {outcome.value}{mark}")
    return ", ".join(parts)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", "--:", *["---"] * (len(head) - 2)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
