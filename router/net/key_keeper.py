"""Keeps certificates fresh while the gateway runs: reads again what has changed, and says in time what ends.

Looked at every ``check_files`` and at SIGHUP. A file that cannot be used is an error in the log, and what was
in use stays so. What ends within ``warn_before`` is a warning in the log once a day, and in ``/readyz``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
from anyio import to_thread

from router.clock import Clock
from router.config.tls import TlsDefaults
from router.logs import get_logger
from router.net.credentials import Dated
from router.net.keyring import Keyring, Refreshed
from router.telemetry import Telemetry

DAY_S = 86400.0
CRL_WARN_S = DAY_S  # a revocation list lives for a week or so: it is made anew without anybody's doing

log = get_logger("net")


class KeyKeeper:
    """Looks after one keyring."""

    def __init__(
        self,
        keyring: Keyring,
        settings: TlsDefaults,
        clock: Clock,
        telemetry: Telemetry,
        *,
        on_refreshed: Callable[[Refreshed], None] = lambda refreshed: None,
    ) -> None:
        self._keyring = keyring
        self._settings = settings
        self._clock = clock
        self._telemetry = telemetry
        self._on_refreshed = on_refreshed
        self._told_at: dict[Dated, float] = {}
        self._ending: tuple[Dated, ...] = ()
        self._looking = anyio.Lock()

    async def run(self) -> None:
        """Look at the files again and again until cancelled; for the first time after a while."""
        while self._keyring:
            await anyio.sleep(self._settings.check_files)
            await self.look()

    async def look(self, *, all_of_them: bool = False) -> bool:
        """Read again what has changed, or everything; whether all of it can be used."""
        async with self._looking:
            refreshed = await to_thread.run_sync(lambda: self._keyring.refresh(all_of_them=all_of_them))
            for one in refreshed:
                self._telemetry.tls_reloaded("failure" if one.problem else "success")
                if one.problem:
                    log.error("certificates not reloaded", used_by=one.used_by, because=one.problem)
                else:
                    log.info("certificates reloaded", used_by=one.used_by)
                self._on_refreshed(one)
            now = self._clock.now()
            self._tell(await to_thread.run_sync(self._keyring.dated, now), now)
            return not any(one.problem for one in refreshed)

    def warnings(self) -> tuple[str, ...]:
        """What ends soon or has ended, for operators."""
        now = self._clock.now()
        return tuple(describe_end(one, now) for one in self._ending)

    def _tell(self, dated: Sequence[Dated], now: float) -> None:
        for one in dated:
            self._telemetry.certificate_ends(one.kind, one.path, one.not_after - now)
        self._ending = tuple(one for one in dated if ends_soon(one, self._settings.warn_before, now))
        self._told_at = {one: at for one, at in self._told_at.items() if one in self._ending}
        for one in self._ending:
            if now - self._told_at.get(one, -DAY_S) >= DAY_S:
                self._told_at[one] = now
                tell = log.error if one.not_after <= now else log.warning
                tell("certificate ends", kind=one.kind, path=one.path, in_s=round(one.not_after - now))


def ends_soon(one: Dated, warn_before_s: float, now: float) -> bool:
    """Whether somebody has to do something about it."""
    return one.not_after - now < (min(warn_before_s, CRL_WARN_S) if one.kind == "crl" else warn_before_s)


def describe_end(one: Dated, now: float) -> str:
    """One line for operators."""
    left_s = one.not_after - now
    if left_s <= 0:
        return f"{one.kind} {one.path} has ended {_long(-left_s)} ago"
    return f"{one.kind} {one.path} ends in {_long(left_s)}"


def _long(seconds: float) -> str:
    hours = int(seconds // 3600)
    if hours < 48:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{hours // 24} days"
