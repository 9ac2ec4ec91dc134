"""Handshakes that fail, and what is said of them at both ends; sessions, limits, and the wrong protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from router.config.settings import Limits, Listener
from router.config.tls import ClientCertificate, ListenerTls, ModalityTls, TlsProfile
from router.errors import AssociationRejected, ConnectFailed, TlsFailed
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.listener import ListeningPort
from router.net.requestor import associate, release
from tests.net.test_connection import REQUEST, Scp, store
from tests.peers.certificates import Authority, Issued


@dataclass
class Counted:
    """What was counted of handshakes."""

    secured: list[tuple[str, str, bool]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)

    def tls_secured(self, role: str, version: str, *, is_resumed: bool) -> None:
        self.secured.append((role, version, is_resumed))

    def tls_failed(self, role: str, reason: str) -> None:
        self.failed.append((role, reason))


@dataclass(frozen=True, kw_only=True)
class Pki:
    """Two authorities, and good identities for both ends."""

    ours: Authority
    other: Authority
    server: Issued
    client: Issued


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    ours, other = Authority(directory, "ours"), Authority(directory, "other")
    return Pki(ours=ours, other=other, server=ours.issue("server"), client=ours.issue("client"))


def server(
    issued: Issued,
    *,
    client_ca: str | None = None,
    crl: tuple[str, ...] = (),
    profile: TlsProfile | None = None,
    client_certificate: ClientCertificate = ClientCertificate.REQUIRED,
    handshake_timeout: float = 10.0,
) -> ListenerTls:
    return ListenerTls(
        certificate=issued.certificate,
        key=issued.key,
        client_ca=client_ca,
        crl=crl,
        profile=profile,
        client_certificate=client_certificate,
        handshake_timeout=handshake_timeout,
    )


def client(
    authority: Authority,
    issued: Issued | None = None,
    *,
    crl: tuple[str, ...] = (),
    profile: TlsProfile | None = None,
    check_hostname: bool = True,
    server_name: str | None = None,
) -> ModalityTls:
    return ModalityTls(
        ca=authority.ca,
        certificate=issued.certificate if issued else None,
        key=issued.key if issued else None,
        crl=crl,
        profile=profile,
        check_hostname=check_hostname,
        server_name=server_name,
    )


@asynccontextmanager
async def listening(
    tls: ListenerTls | None,
    counted: Counted,
    handler: Callable[[Connection], Awaitable[None]] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[ListeningPort]:
    port = ListeningPort(
        Listener(port=0, host="127.0.0.1", tls=tls, limits=limits or Limits()),
        handler or Scp(),
        on_reject=lambda _: None,
        tls=Credentials(tls, "server", counted) if tls is not None else None,
        observer=counted,
    )
    port.bind()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(port.serve)
        yield port
        tasks.cancel_scope.cancel()


async def connect(
    port: ListeningPort, tls: ModalityTls | Credentials | None, connect_s: float = 10.0
) -> Connection:
    keys = Credentials(tls, "client") if isinstance(tls, ModalityTls) else tls
    return await associate(host="127.0.0.1", port=port.port, request=REQUEST, tls=keys, connect_s=connect_s)


Case = Callable[[Pki], tuple[ListenerTls, ModalityTls]]
FAILURES: dict[str, tuple[Case, str, str, str]] = {  # a requestor's reason and words, an acceptor's reason
    "expired": (
        lambda p: (server(p.ours.expired("expired")), client(p.ours)),
        "expired",
        "the peer's certificate has expired",
        "refused_by_peer",
    ),
    "not yet valid": (
        lambda p: (server(p.ours.from_tomorrow("tomorrow")), client(p.ours)),
        "not_yet_valid",
        "the peer's certificate is not valid yet: is the clock right",
        "refused_by_peer",
    ),
    "wrong name": (
        lambda p: (server(p.ours.issue("elsewhere", "pacs.example")), client(p.ours)),
        "wrong_name",
        "the peer's certificate is not for '127.0.0.1' (see tls.server_name)",
        "refused_by_peer",
    ),
    "unknown authority": (
        lambda p: (server(p.other.issue("theirs")), client(p.ours)),
        "unknown_ca",
        "the peer's certificate was issued by an authority that we do not trust",
        "refused_by_peer",
    ),
    "revoked": (
        lambda p: (server(p.server), client(p.ours, crl=(p.ours.revoke(p.server, name="r1"),))),
        "revoked",
        "the peer's certificate has been revoked",
        "refused_by_peer",
    ),
    "revocation list expired": (
        lambda p: (
            server(p.server),
            client(
                p.ours,
                crl=(p.ours.revoke(next_update=datetime.now(UTC) - timedelta(hours=1), name="r2"),),
            ),
        ),
        "crl_unusable",
        "the revocation list (crl) has expired",
        "refused_by_peer",
    ),
    "revocation list of another": (
        lambda p: (server(p.server), client(p.ours, crl=(p.other.revoke(name="r3"),))),
        "crl_unusable",
        "there is no revocation list (crl) of its issuer",
        "refused_by_peer",
    ),
    "client without a certificate": (
        lambda p: (server(p.server, client_ca=p.ours.ca), client(p.ours)),
        "no_client_certificate",
        "the peer asks for a client certificate, and none is configured",
        "no_client_certificate",
    ),
    "client expired": (
        lambda p: (
            server(p.server, client_ca=p.ours.ca),
            client(p.ours, p.ours.expired("expired-client")),
        ),
        "refused_by_peer",
        "the peer refuses our certificate: it has expired, or is not valid yet there",
        "expired",
    ),
    "client of an unknown authority": (
        lambda p: (server(p.server, client_ca=p.ours.ca), client(p.ours, p.other.issue("their-client"))),
        "refused_by_peer",
        "it does not trust the authority that issued it",
        "unknown_ca",
    ),
    "client revoked": (
        lambda p: (
            server(p.server, client_ca=p.ours.ca, crl=(p.ours.revoke(p.client, name="r4"),)),
            client(p.ours, p.client),
        ),
        "refused_by_peer",
        "the peer refuses our certificate: it has been revoked",
        "revoked",
    ),
}


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", FAILURES)
async def test_each_failure_has_its_sentence(pki: Pki, name: str, maximum: ssl.TLSVersion) -> None:
    case, reason, sentence, their_reason = FAILURES[name]
    listener, modality = case(pki)
    counted = Counted()
    keys = Credentials(modality, "client", counted)
    keys.context.maximum_version = maximum
    async with listening(listener, counted) as port:
        with pytest.raises(TlsFailed) as caught:
            await connect(port, keys)
        with anyio.fail_after(10):
            while not any(role == "acceptor" for role, _ in counted.failed):
                await anyio.lowlevel.checkpoint()
        assert port.associations == 0
    assert str(caught.value).startswith(f"no TLS with 127.0.0.1:{port.port}: ")
    if name == "client without a certificate" and maximum is ssl.TLSVersion.TLSv1_2:
        sentence = "it asks for a client certificate, and none is configured, or"  # one alert for both
    assert sentence in str(caught.value)
    assert caught.value.reason == reason
    assert sorted(counted.failed) == [("acceptor", their_reason), ("requestor", reason)]


@pytest.mark.parametrize(
    "name",
    [
        "mutual",
        "certificate is optional",
        "other name",
        "any name",
        "pinned",
        "no revocation",
    ],
)
async def test_what_is_well(pki: Pki, name: str) -> None:
    elsewhere = pki.ours.issue("elsewhere", "pacs.example")
    pinned = ModalityTls(ca=pki.server.certificate)
    optional = server(pki.server, client_ca=pki.ours.ca, client_certificate=ClientCertificate.OPTIONAL)
    listener, modality = {
        "mutual": (server(pki.server, client_ca=pki.ours.ca), client(pki.ours, pki.client)),
        "certificate is optional": (optional, client(pki.ours)),
        "other name": (server(elsewhere), client(pki.ours, server_name="pacs.example")),
        "any name": (server(elsewhere), client(pki.ours, check_hostname=False)),
        "pinned": (server(pki.server), pinned),
        "no revocation": (server(pki.server), client(pki.ours, crl=(pki.ours.revoke(name="r5"),))),
    }[name]
    async with listening(listener, Counted()) as port:
        connection = await connect(port, modality)
        assert await store(connection, b"12345678") == 0
        await release(connection)


async def test_profiles_meet_where_they_can(pki: Pki) -> None:
    for ours in TlsProfile:
        async with listening(server(pki.server, profile=ours), Counted()) as port:
            for theirs in TlsProfile:
                await release(await connect(port, client(pki.ours, profile=theirs)))


@pytest.mark.parametrize("is_old", ["listener", "modality"])
async def test_no_common_version(pki: Pki, is_old: str) -> None:
    old = Credentials(client(pki.ours, profile=TlsProfile.LEGACY), "client")
    old.context.maximum_version = ssl.TLSVersion.TLSv1_2
    counted = Counted()
    async with listening(server(pki.server), counted) as port:
        assert port._tls is not None
        if is_old == "modality":
            port._tls.context.minimum_version = ssl.TLSVersion.TLSv1_3
        else:
            old.context.minimum_version = ssl.TLSVersion.TLSv1_2
            port._tls.context.minimum_version = ssl.TLSVersion.TLSv1_3
        with pytest.raises(TlsFailed, match="no TLS version that both sides take") as caught:
            await connect(port, old)
    assert caught.value.reason == "no_common_version"
    assert ("acceptor", "no_common_version") in counted.failed


async def test_no_common_cipher_suite(pki: Pki) -> None:
    keys = Credentials(client(pki.ours, pki.client), "client")
    keys.context.maximum_version = ssl.TLSVersion.TLSv1_2
    keys.context.set_ciphers("ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256")
    counted = Counted()
    async with listening(server(pki.server), counted) as port:
        with pytest.raises(TlsFailed, match="no cipher suite that both sides take") as caught:
            await connect(port, keys)
    assert caught.value.reason == "no_common_cipher"
    assert ("acceptor", "no_common_cipher") in counted.failed


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_second_association_resumes_the_session(pki: Pki, maximum: ssl.TLSVersion) -> None:
    counted = Counted()
    keys = Credentials(client(pki.ours, pki.client), "client", counted)
    keys.context.maximum_version = maximum
    scp = Scp()
    shown: list[frozenset[str]] = []

    async def serve(connection: Connection) -> None:
        shown.append(connection.certificate_names)
        await scp(connection)

    async with listening(server(pki.server, client_ca=pki.ours.ca), counted, serve) as port:
        for _ in range(2):
            await release(await connect(port, keys))
        keys.reload()
        await release(await connect(port, keys))
    mine = [is_resumed for role, _, is_resumed in counted.secured if role == "requestor"]
    assert mine == [False, True, False]
    assert len(set(shown)) == 1 and "localhost" in shown[0]  # a resumed session is the same caller's


async def test_plain_dicom_on_a_tls_port_is_rejected_and_named(pki: Pki) -> None:
    counted = Counted()
    async with listening(server(pki.server), counted) as port:
        with pytest.raises(AssociationRejected) as caught:
            await connect(port, None)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 2, 1)
    assert counted.failed == [("acceptor", "plain_peer")]


async def test_a_web_browser_on_a_tls_port_is_dropped(pki: Pki) -> None:
    counted = Counted()
    async with listening(server(pki.server), counted) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
    assert counted.failed == [("acceptor", "plain_peer")]


async def test_tls_towards_a_plain_port_is_named_at_both_ends(pki: Pki) -> None:
    counted = Counted()
    async with listening(None, counted) as port:
        with pytest.raises(TlsFailed, match="the peer speaks plain DICOM on that port, not TLS"):
            await connect(port, client(pki.ours))
        await port.wait_idle()
    assert counted.failed == [("acceptor", "tls_peer")]


async def test_plain_towards_a_tls_port_of_another_maker_is_named() -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(bytes.fromhex("1503010002020a"))  # fatal, unexpected_message
        writer.close()

    async with await asyncio.start_server(alert, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(
            TlsFailed, match="the peer speaks TLS on that port, and none is configured"
        ) as caught:
            await associate(host="127.0.0.1", port=port, request=REQUEST)
    assert caught.value.reason == "tls_peer"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "the peer closed the connection at our TLS hello: it may not speak TLS on that port"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the peer speaks another protocol"),
        (b"\x99\x98\x97", "the peer speaks something else on that port, not TLS"),
        (b"\x16\x03\x03", "the peer closed the connection during the TLS handshake"),
    ],
)
async def test_what_answers_is_no_tls(pki: Pki, answer: bytes, sentence: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(TlsFailed) as caught:
            await associate(
                host="127.0.0.1", port=port, request=REQUEST, tls=Credentials(client(pki.ours), "client")
            )
    assert sentence in str(caught.value)


async def test_a_peer_that_says_nothing_is_not_waited_for(pki: Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TlsFailed, match=r"no TLS handshake within 0\.05 s: the peer may not") as caught:
            await associate(
                host="127.0.0.1",
                port=port,
                request=REQUEST,
                connect_s=0.05,
                tls=Credentials(client(pki.ours), "client"),
            )
    assert caught.value.reason == "timeout"


async def test_nobody_listens(pki: Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    with pytest.raises(ConnectFailed) as caught:
        await associate(
            host="127.0.0.1", port=number, request=REQUEST, tls=Credentials(client(pki.ours), "client")
        )
    assert not isinstance(caught.value, TlsFailed)


async def test_a_caller_that_says_nothing_is_dropped(pki: Pki) -> None:
    counted = Counted()
    async with listening(server(pki.server, handshake_timeout=0.05), counted) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        assert port.associations == 0
    assert counted.failed == [("acceptor", "timeout")]


async def test_callers_that_say_nothing_keep_nobody_out(pki: Pki) -> None:
    counted = Counted()
    async with listening(server(pki.server), counted, limits=Limits(associations=3, handshakes=5)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(20)]
        connection = await connect(port, client(pki.ours))
        assert await store(connection, b"12345678") == 0
        await release(connection)
        assert len(port._shaking) <= 5
        for _, writer in silent:
            writer.close()
    assert counted.failed.count(("acceptor", "over_limit")) >= 15


async def test_a_port_that_closes_hangs_up_on_handshakes(pki: Pki) -> None:
    async with listening(server(pki.server), Counted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        with anyio.fail_after(10):
            while not port._shaking:
                await anyio.lowlevel.checkpoint()
            await port.drain()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        writer.close()


async def test_open_associations_go_on_when_certificates_change(pki: Pki, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first = authority.issue("rotating")
    tls = server(first)
    async with listening(tls, Counted()) as port:
        before = await connect(port, client(authority))
        second = authority.issue("rotating")  # into the same files
        assert port._tls is not None and port._tls.has_changed()
        port._tls.reload()
        after = await connect(port, client(authority))
        ders = []
        for connection in (before, after):
            assert await store(connection, b"12345678") == 0
            assert connection.transport is not None
            ders.append(connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
            await release(connection)
    assert ders == [first.der, second.der]


async def test_the_alert_of_a_peer_that_has_gone_is_read_all_the_same(pki: Pki) -> None:
    """With TLS 1.3 a server refuses us while we send already; its reset must not hide its word."""
    keys = Credentials(client(pki.ours), "client")
    theirs = Credentials(server(pki.server, client_ca=pki.ours.ca), "server")

    def refuse(listener: socket.socket) -> None:
        taken, _ = listener.accept()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close: reset
        with pytest.raises(ssl.SSLError):
            theirs.context.wrap_socket(taken, server_side=True)
        taken.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        flushed = Connection.flush

        async def flush_late(connection: Connection) -> None:
            thread.join()  # the loop has read nothing more
            await flushed(connection)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(TlsFailed) as caught:
            patch.setattr(Connection, "flush", flush_late)
            await associate(host="127.0.0.1", port=port, request=REQUEST, tls=keys)
    assert caught.value.reason == "no_client_certificate"


async def test_damage_on_the_way_ends_the_association(pki: Pki) -> None:
    scp = Scp()
    async with listening(server(pki.server), Counted(), scp) as port:
        connection = await connect(port, client(pki.ours))
        assert connection.transport is not None
        fd = connection.transport.get_extra_info("socket").fileno()
        os.write(fd, b"\x17\x03\x03\x00\x20" + bytes(32))
        await port.wait_idle()
        connection.abort()
    assert scp.ended == ["AssociationLost"]
