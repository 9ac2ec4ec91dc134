"""The answering side put together: the index, who feeds it from the spool, and who answers from it."""

from __future__ import annotations

from collections.abc import Callable

from router.audit.auditor import Auditor
from router.clock import Clock
from router.config.settings import Settings
from router.deliver.renditions import Maker
from router.net.keyring import Keyring
from router.query.answering import Answering
from router.query.feeding import Feeder
from router.query.index import Index
from router.query.telling import Teller
from router.rules import RuleSet
from router.spool import Spool
from router.telemetry import Telemetry


class QueryService:
    """A gateway's; without ``index: true`` it does nothing and costs nothing."""

    def __init__(
        self,
        spool: Spool,
        settings: Callable[[], Settings],
        rules: Callable[[], RuleSet],
        clock: Clock,
        telemetry: Telemetry,
        keys: Keyring,
        maker: Maker | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self._feeder: Feeder | None = None
        self.desk: Answering | None = None  # None: queries are not answered
        if settings().index:
            index = Index(settings().data_dir)
            teller = Teller(auditor, spool.read_head)
            self._feeder = Feeder(spool, index, clock)
            self.desk = Answering(
                index, self._feeder, spool, settings, rules, telemetry, keys.clients, maker, teller
            )
            spool.follow(self._feeder.changed)

    def warnings(self) -> tuple[str, ...]:
        """What an operator should know."""
        problem = self._feeder.problem if self._feeder is not None else ""
        return (f"queries are not answered: {problem}",) if problem else ()

    async def run(self) -> None:
        """Keep the index in step until cancelled; returns at once where there is none."""
        if self._feeder is not None:
            await self._feeder.run()
