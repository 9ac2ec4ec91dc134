"""router.audit.carriers against receivers on loopback: what arrives, and what is noticed when it does not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import anyio
import pytest

from router.audit import carriers
from router.audit.carriers import AuditFile, CarrierFailed, TlsSyslog, UdpSyslog
from router.audit.codes import EventOutcome
from router.audit.syslog import Sender, syslog_message
from router.config.tls import ModalityTls
from router.net.credentials import Credentials
from tests.peers import free_port
from tests.peers.certificates import Authority, Issued
from tests.peers.syslog import server_context, tls_repository, udp_repository


def message(text: str) -> bytes:
    sender = Sender(host="gw", process="1")
    return syslog_message(text, sender=sender, at=0.0, outcome=EventOutcome.SUCCESS)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def trusting(authority: Authority, own: Issued | None = None) -> Credentials:
    certificate, key = (own.certificate, own.key) if own is not None else (None, None)
    return Credentials(ModalityTls(ca=authority.ca, certificate=certificate, key=key), "audit")


async def test_tls_carries_whole_messages_over_one_connection(authority: Authority) -> None:
    async with tls_repository(server_context(**authority.issue("arr").pair)) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority))
        long = "é" * 16000
        await carrier.send([message("one"), message(long)])
        await carrier.send([message("three")])
        received = await repository.wait_for(3)
        await carrier.close()
    assert [one.message.decode() for one in received] == ["one", long, "three"]
    assert all(one.has_bom and one.id == "DICOM+RFC3881" and one.priority == 85 for one in received)
    assert repository.connections == 1


async def test_tls_shows_our_certificate(authority: Authority) -> None:
    context = server_context(**authority.issue("arr").pair, client_ca=authority.ca)
    own = authority.issue("gateway")
    async with tls_repository(context) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority, own))
        await carrier.send([message("one")])
        await repository.wait_for(1)
        await carrier.close()


async def test_a_server_that_refuses_our_certificate_has_nothing_sent_to_it(authority: Authority) -> None:
    context = server_context(**authority.issue("arr").pair, client_ca=authority.ca)
    async with tls_repository(context) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority))
        with pytest.raises(CarrierFailed, match="client certificate"):
            await carrier.send([message("one")])
        await carrier.close()
    assert repository.received == []


async def test_an_unknown_server_has_nothing_sent_to_it(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    async with tls_repository(server_context(**other.issue("arr").pair)) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority))
        with pytest.raises(CarrierFailed, match="authority that we do not trust"):
            await carrier.send([message("one")])
    assert repository.received == []


async def test_a_lost_connection_is_made_anew(authority: Authority) -> None:
    async with tls_repository(server_context(**authority.issue("arr").pair)) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority))
        sent = 0
        while sent < 5:
            try:
                await carrier.send([message(str(sent))])
                sent += 1
            except CarrierFailed:
                continue  # again, as an outlet does
            await repository.wait_for(sent)
            repository.hang_up()
        await carrier.close()
    assert [int(one.message) for one in repository.received] == list(range(5)), "nothing is missing"
    assert repository.connections == 5


async def test_nobody_there(authority: Authority) -> None:
    carrier = TlsSyslog("127.0.0.1", free_port(), trusting(authority))
    with pytest.raises(CarrierFailed, match="no connection"):
        await carrier.send([message("one")])
    await carrier.close()


async def test_a_receiver_that_takes_nothing_is_given_up(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carriers, "WRITE_S", 0.2)
    async with tls_repository(server_context(**authority.issue("arr").pair), is_deaf=True) as repository:
        carrier = TlsSyslog("127.0.0.1", repository.port, trusting(authority))
        with pytest.raises(CarrierFailed):
            await carrier.send([bytes(8 * 1024 * 1024)])


async def test_udp_sends_a_datagram_for_each() -> None:
    async with udp_repository() as repository:
        carrier = UdpSyslog("127.0.0.1", repository.port)
        await carrier.send([message("one"), message("two")])
        received = await repository.wait_for(2)
        await carrier.close()
    assert [one.message for one in received] == [b"one", b"two"]


async def test_udp_notices_a_receiver_that_says_it_is_not_there() -> None:
    carrier = UdpSyslog("127.0.0.1", free_port())
    with anyio.fail_after(10), pytest.raises(CarrierFailed):
        while True:
            await carrier.send([message("one")])
            await anyio.lowlevel.checkpoint()
    await carrier.close()


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(CarrierFailed):
        await UdpSyslog("no-such-host.invalid", 514).send([message("one")])


async def test_a_file_has_a_line_for_each_and_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = AuditFile(str(path))
    await file.send([b"<a/>", b"<b/>"])
    await file.send([b"<c/>"])
    assert path.read_bytes() == b"<a/>\n<b/>\n<c/>\n"
    assert stat.S_IMODE(path.stat().st_mode) & 0o137 == 0
    await file.close()


async def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = AuditFile(str(path))
    await file.send([b"<a/>"])
    path.rename(tmp_path / "audit.log.1")
    await file.send([b"<b/>"])
    await file.close()
    again = AuditFile(str(path))
    await again.send([b"<c/>"])
    await again.close()
    assert path.read_bytes() == b"<b/>\n<c/>\n"
    assert (tmp_path / "audit.log.1").read_bytes() == b"<a/>\n"


async def test_no_half_line_stays_where_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"
    file = AuditFile(str(path))
    await file.send([b"<a/>"])
    real = os.write
    calls: list[int] = []

    def fail(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data)[:2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        with pytest.raises(CarrierFailed, match="No space left"):
            await file.send([b"<b/>"])
    assert path.read_bytes() == b"<a/>\n"
    await file.send([b"<b/>"])
    await file.close()
    assert path.read_bytes() == b"<a/>\n<b/>\n"


async def test_a_file_in_no_directory(tmp_path: Path) -> None:
    with pytest.raises(CarrierFailed, match="No such file"):
        await AuditFile(str(tmp_path / "none" / "audit.log")).send([b"<a/>"])
