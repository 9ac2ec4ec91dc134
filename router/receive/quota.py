"""How much each source may have undelivered in the spool before it, and it alone, is answered with A700.

A source is a modality with a ``quota``, by its AE title, or everybody who is none, together
(``quota_unknown``): a limit for each unknown AE title would be none, because a caller chooses its title.

What is undelivered is counted by the ledger now and then, and by this module in between: what was stored
since the last count adds to it, what was delivered since is noticed at the next one. So a quota errs on the
side of refusing, by what arrived in one interval; and a count costs little, because the longer one took, the
later is the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import anyio

from router.clock import Clock
from router.config.settings import Settings
from router.errors import StorageError
from router.logs import get_logger
from router.receive.admission import candidates
from router.telemetry import Telemetry

EVERY_S = 1.0  # between two counts at least
COST = 20  # times what a count took, until the next
UNKNOWN = "(unknown)"  # the source of callers that are no modality, in metrics and logs

log = get_logger("receive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one source may have here. ``source``: a modality's name, or ``UNKNOWN``."""

    source: str
    limit_bytes: int


def quota_of(settings: Settings, calling_ae: str) -> Quota | None:
    """The quota that holds for a caller: the largest where several modalities have its AE title."""
    known = candidates(settings, calling_ae)
    if not known:
        limit = settings.quota_unknown
        return None if limit is None else Quota(source=UNKNOWN, limit_bytes=limit)
    limits = [modality.quota for modality in known]
    bounded = [limit for limit in limits if limit is not None]
    if len(bounded) < len(limits):
        return None
    name = next(name for name, modality in settings.modalities.items() if modality.ae_title == calling_ae)
    return Quota(source=name, limit_bytes=max(bounded))


class Usage:
    """What each source has undelivered, as far as is known. Pure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._counted: dict[str, int] = {}
        self._counting: dict[str, int] = {}
        self._since: dict[str, int] = {}

    def used_bytes(self, source: str) -> int:
        """By the last count and what came since."""
        return sum(known.get(source, 0) for known in (self._counted, self._counting, self._since))

    def add(self, source: str, stored_bytes: int) -> None:
        """An instance of that source is durable."""
        self._since[source] = self._since.get(source, 0) + stored_bytes

    def begin_count(self) -> None:
        """The ledger is asked now: what was stored before is in its answer."""
        for source, stored in self._since.items():
            self._counting[source] = self._counting.get(source, 0) + stored
        self._since = {}

    def counted(self, by_caller: Mapping[str, int]) -> None:
        """The ledger's answer, by calling AE title."""
        self._counted = {}
        self._counting = {}
        for calling_ae, total in by_caller.items():
            quota = quota_of(self._settings, calling_ae)
            if quota is not None:
                self._counted[quota.source] = self._counted.get(quota.source, 0) + total

    @property
    def sources(self) -> dict[str, int]:
        """What every source with a quota uses."""
        names = [name for name, modality in self._settings.modalities.items() if modality.quota is not None]
        if self._settings.quota_unknown is not None:
            names.append(UNKNOWN)
        return {name: self.used_bytes(name) for name in names}


class Counts(Protocol):
    """What is asked of the spool."""

    async def undelivered_bytes(self) -> dict[str, int]: ...


class Quotas:
    """The quotas of a gateway, asked for each instance."""

    def __init__(self, spool: Counts, settings: Settings, clock: Clock, telemetry: Telemetry) -> None:
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._usage = Usage(settings)
        self._exceeded: set[str] = set()
        limits = [settings.quota_unknown, *(m.quota for m in settings.modalities.values())]
        self._has_any = any(limit is not None for limit in limits)

    def problem(self, calling_ae: str) -> str:
        """Why nothing more is taken from a caller; empty where it is."""
        quota = quota_of(self._settings, calling_ae) if self._has_any else None
        if quota is None:
            return ""
        used = self._usage.used_bytes(quota.source)
        if used < quota.limit_bytes:
            if quota.source in self._exceeded:
                self._exceeded.discard(quota.source)
                log.info("quota free again", source=quota.source)
            return ""
        self._telemetry.quota_refused(quota.source)
        if quota.source not in self._exceeded:
            self._exceeded.add(quota.source)
            log.warning("quota used up", source=quota.source, used_bytes=used, quota_bytes=quota.limit_bytes)
        return "the quota for undelivered data from here is used up"

    def stored(self, calling_ae: str, stored_bytes: int) -> None:
        """An instance of that caller is durable."""
        quota = quota_of(self._settings, calling_ae) if self._has_any else None
        if quota is not None:
            self._usage.add(quota.source, stored_bytes)

    async def count(self) -> None:
        """Ask the ledger once. Raises ``StorageError``."""
        self._usage.begin_count()
        self._usage.counted(await self._spool.undelivered_bytes())
        for source, used in self._usage.sources.items():
            self._telemetry.undelivered(source, used)

    async def run(self) -> None:
        """Keep counting until cancelled; returns at once where there is no quota."""
        while self._has_any:
            began_at = self._clock.monotonic()
            try:
                await self.count()
            except StorageError as error:
                log.error("quotas not counted", detail=str(error))
            took_s = self._clock.monotonic() - began_at
            await anyio.sleep(max(EVERY_S, COST * took_s))
