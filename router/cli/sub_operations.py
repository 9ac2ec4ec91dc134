"""How far a retrieval is, and how it ended, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from router.cli.common import err, fail, out
from router.cli.matches import printable
from router.cli.scu import describe

if TYPE_CHECKING:
    from router.dicom.dimse import SubOperations
    from router.query.retrieve import RetrieveEnded
    from router.scu import Target

_COUNTED = (
    ("done", "completed"),
    ("with warnings", "warning"),
    ("failed", "failed"),
    ("not done", "remaining"),
)

_TROUBLE = ("with warnings", "failed")


@contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Callable[[SubOperations], None]]:
    """A bar on standard error, where somebody looks at it; what is yielded takes the peer's numbers."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as shown:
        task = shown.add_task(escape(what), total=None, said="")

        def take(counts: SubOperations) -> None:
            ended = (counts.completed or 0) + (counts.failed or 0) + (counts.warning or 0)
            said = ", ".join(
                f"{number} {word}" for word, number in _numbers(counts) if word in _TROUBLE and number
            )
            total = None if counts.remaining is None else ended + counts.remaining
            shown.update(task, completed=ended, total=total, said=said)

        yield take


def _numbers(counts: SubOperations) -> list[tuple[str, int]]:
    return [(word, getattr(counts, name)) for word, name in _COUNTED if getattr(counts, name) is not None]


def conclude(whom: Target, ended: RetrieveEnded, what: str, done: str, problem: str = "") -> None:
    """Say how it ended, in the peer's words and numbers; exit code 1 where anything failed.

    ``problem``: what speaks against success though the peer does not know it.
    """
    from router.dicom.codes import CommandField
    from router.dicom.statuses import describe_status

    field = CommandField.C_MOVE_RQ if what == "move" else CommandField.C_GET_RQ
    said = [f"{number} {word}" for word, number in _numbers(ended.counts) if number or word == "done"]
    numbers = ", ".join(said) or "it does not say how many"
    if ended.status is None:
        words = "it went on in spite of C-CANCEL, and the association was aborted"
    else:
        words = describe_status(field, ended.status)
    comment = f": {printable(ended.comment)}" if ended.comment else ""
    sentence = f"{describe(whom)}: {words}{comment}; instances {done}: {numbers}."
    for uid in ended.failed_uids:
        err.print(f"failed: {printable(uid)}", markup=False)
    if not ended.is_complete:
        fail(sentence)
    out.print(sentence, markup=False)
    if problem:
        fail(problem)
    if ended.counts.completed == 0 and not ended.counts.warning:
        fail("Nothing was sent: the peer has nothing that these keys name.")
