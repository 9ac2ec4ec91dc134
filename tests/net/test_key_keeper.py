"""router.net.key_keeper: what is logged, counted and shown of certificates, with the clock turned by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.clock import ManualClock
from router.config.settings import Listener, Settings
from router.config.tls import ListenerTls, TlsDefaults
from router.net.key_keeper import DAY_S, KeyKeeper
from router.net.keyring import Keyring
from router.telemetry import Telemetry
from tests.peers.certificates import Authority

NOW = 1_700_000_000.0


class Kept:
    """A keeper with all that it needs; the certificate ends in 40 days."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        at = datetime.fromtimestamp(NOW, UTC)
        self.issued = self.authority.issue(
            "server", not_before=at - timedelta(days=1), not_after=at + timedelta(days=40)
        )
        self.tls = ListenerTls(
            certificate=self.issued.certificate, key=self.issued.key, client_ca=self.authority.ca
        )
        self.clock, self.telemetry = ManualClock(NOW), Telemetry()
        self.ring = Keyring(Settings(listeners=(Listener(port=2762, tls=self.tls),)))
        self.keeper = KeyKeeper(self.ring, TlsDefaults(), self.clock, self.telemetry)

    async def look(self, *, all_of_them: bool = False) -> list[tuple[str, str]]:
        """What was logged."""
        with capture_logs() as entries:
            await self.keeper.look(all_of_them=all_of_them)
        return [(entry["log_level"], entry["event"]) for entry in entries]

    def has(self, sample: str) -> bool:
        return sample.encode() in self.telemetry.render()


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


async def test_what_ends_is_said_in_time_and_once_a_day(kept: Kept) -> None:
    assert await kept.look() == []
    assert kept.keeper.warnings() == ()
    path = kept.issued.certificate
    expiry = f'dicom_router_certificate_expiry_seconds{{kind="certificate",path="{path}"}}'
    assert kept.has(f"{expiry} {40 * DAY_S:.7g}".replace("3456000", "3.456e+06"))
    kept.clock.advance(11 * DAY_S)
    assert await kept.look() == [("warning", "certificate ends")]
    assert kept.keeper.warnings() == (f"certificate {path} ends in 29 days",)
    assert await kept.look() == []
    kept.clock.advance(DAY_S)
    assert await kept.look() == [("warning", "certificate ends")]
    kept.clock.advance(30 * DAY_S)
    assert await kept.look() == [("error", "certificate ends")]
    assert kept.keeper.warnings() == (
        f"certificate {path} has ended 48 hours ago",
    ) or kept.keeper.warnings() == (f"certificate {path} has ended 2 days ago",)


async def test_a_new_certificate_is_taken_and_the_warning_goes(kept: Kept) -> None:
    kept.clock.advance(35 * DAY_S)
    await kept.look()
    assert kept.keeper.warnings()
    kept.authority.issue("server")
    assert ("info", "certificates reloaded") in await kept.look()
    assert kept.keeper.warnings() == ()
    assert kept.has('dicom_router_tls_reloads_total{outcome="success"} 1.0')


async def test_a_broken_file_keeps_the_old_and_says_so_once(kept: Kept) -> None:
    (credentials,) = kept.ring
    before = credentials.context
    Path(kept.issued.certificate).write_text("half a file")
    assert await kept.look() == [("error", "certificates not reloaded")]
    assert credentials.context is before
    assert kept.has('dicom_router_tls_reloads_total{outcome="failure"} 1.0')
    assert await kept.look() == []


async def test_everything_is_read_again_where_it_is_asked_for(kept: Kept) -> None:
    (credentials,) = kept.ring
    before = credentials.context
    assert await kept.look(all_of_them=True) == [("info", "certificates reloaded")]
    assert credentials.context is not before


async def test_a_revocation_list_is_waited_for_until_its_last_day(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("server")
    crl = authority.revoke(next_update=datetime.fromtimestamp(NOW, UTC) + timedelta(days=7))
    tls = ListenerTls(certificate=issued.certificate, key=issued.key, client_ca=authority.ca, crl=(crl,))
    clock = ManualClock(NOW)
    ring = Keyring(Settings(listeners=(Listener(port=2762, tls=tls),)))
    keeper = KeyKeeper(ring, TlsDefaults(), clock, Telemetry())
    await keeper.look()
    assert keeper.warnings() == ()
    clock.advance(6.5 * DAY_S)
    await keeper.look()
    assert keeper.warnings() == (f"crl {crl} ends in 12 hours",)
