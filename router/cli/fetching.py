"""What ``get`` does between the command line and the peer: asks what there is, fetches it, keeps account."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from router.cli.common import err, out, size
from router.cli.matches import printable
from router.cli.scu import describe
from router.cli.sub_operations import bar

if TYPE_CHECKING:
    from router.dicom.query import Query
    from router.query.exchange import Cancellation
    from router.query.get import Fetched
    from router.query.retrieve import RetrieveEnded
    from router.query.survey import Survey
    from router.scu import Target

PROBLEMS_SHOWN = 20


@dataclass(slots=True, kw_only=True)
class Fetching:
    """One ``get``."""

    whom: Target
    query: Query
    directory: Path
    timeout_s: float
    may_ask: bool
    quiet: bool
    kept: int = 0
    kept_bytes: int = 0
    there_already: int = 0
    problems: list[str] = field(default_factory=list)
    found: Survey | None = None

    async def run(self, cancellation: Cancellation) -> RetrieveEnded:
        """Ask, and fetch. Raises ``RouterError``."""
        from router.dicom.dimse import SubOperations
        from router.query.get import get
        from router.query.retrieve import RetrieveEnded

        self.found = await self._survey(cancellation) if self.may_ask else None
        if cancellation.is_wanted:
            return RetrieveEnded(status=0xFE00, counts=SubOperations(), is_cancelled=True)
        with bar(describe(self.whom), quiet=self.quiet) as on_progress:
            return await get(
                self.whom,
                self.query,
                self.directory,
                sop_class_uids=self.found.sop_class_uids if self.found else (),
                on_progress=on_progress,
                on_fetched=self._take,
                timeout_s=self.timeout_s,
                cancellation=cancellation,
            )

    async def _survey(self, cancellation: Cancellation) -> Survey | None:
        from router.errors import RouterError
        from router.query.survey import survey

        try:
            return await survey(self.whom, self.query, timeout_s=self.timeout_s, cancellation=cancellation)
        except RouterError as error:
            if not self.quiet and not cancellation.is_wanted:
                err.print(
                    f"Which SOP classes there are cannot be found out ({printable(str(error))}): "
                    "only the commonest are accepted.",
                    style="yellow",
                    markup=False,
                )
            return None

    def _take(self, fetched: Fetched) -> None:
        if fetched.path is None:
            self.problems.append(f"{printable(fetched.sop_instance_uid)}: {fetched.problem}")
            return
        self.kept += 1
        self.kept_bytes += fetched.data_set_bytes
        self.there_already += not fetched.is_new

    def summarize(self) -> None:
        """Say what there is now, and what could not be kept."""
        for problem in self.problems[:PROBLEMS_SHOWN]:
            err.print(problem, markup=False)
        if len(self.problems) > PROBLEMS_SHOWN:
            err.print(f"... and {len(self.problems) - PROBLEMS_SHOWN} more.")
        if self.kept:
            already = f", {self.there_already} of them there already" if self.there_already else ""
            count = f"{self.kept} instance{'' if self.kept == 1 else 's'}"
            out.print(f"{count} in {self.directory}{already}; {size(self.kept_bytes)}.", markup=False)

    def problem(self) -> str:
        """What speaks against success, whatever the peer says; "" where nothing does."""
        if self.problems:
            return f"{len(self.problems)} of the instances that came could not be kept."
        if self.found is not None and self.kept < self.found.instances:
            return f"The peer lists {self.found.instances} instances, and {self.kept} of them came."
        return ""
