"""The audit trail of a whole gateway, as a repository with TLS, one with UDP and a file receive it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from router import scu
from router.app import Gateway
from router.config.tls import ModalityTls
from router.errors import AssociationRejected, TlsFailed
from router.net.credentials import Credentials
from router.scu import Target
from tests.audit.schema import Parsed, parse
from tests.peers import free_port
from tests.peers.certificates import Authority
from tests.peers.syslog import server_context, tls_repository, udp_repository
from tests.test_app import Peer, listening, make, metric, running, sample, write_configuration

SECRETS = ("Müller".encode(), b"Maria", b"SAMPLE-")  # of the generated patients' names and numbers
TRAIL = Counter(
    {
        ("110100", "110120", "0"): 1,  # Application Start
        ("110113", "110126", "4"): 1,  # Security Alert, Node Authentication: a wrong called AE title
        ("110104", "", "0"): 2,  # Instances Transferred: to us, and from us
        ("110102", "", "0"): 1,  # Begin Transferring
        ("110113", "110132", "0"): 2,  # Use of Restricted Function: pause, resume
        ("110113", "110129", "0"): 2,  # Security Configuration: the certificate of the audit, at each reload
        ("110113", "110131", "0"): 1,  # Software Configuration: a reload
        ("110113", "110131", "4"): 1,  # and one in vain
        ("110100", "110121", "0"): 1,  # Application Stop
    }
)


def kinds(messages: list[Parsed]) -> Counter[tuple[str, str, str]]:
    return Counter((one.event, one.kind, one.outcome) for one in messages)


async def ask(gateway: Gateway, request: str) -> bytes:
    """An HTTP request, whole answer."""
    async with await anyio.connect_tcp("127.0.0.1", gateway.ports.http) as http:
        await http.send(f"{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                answer += await http.receive()
    return answer


async def everything(gateway: Gateway, target: Target, peer: Peer, directory: Path) -> None:
    """Whatever there is a message of."""
    with pytest.raises(AssociationRejected):
        await scu.echo(replace(target, called_ae="WRONG"))
    await scu.send(target, [sample(directory / "study")], on_result=lambda _: None)
    with anyio.fail_after(20):
        await peer.served.wait()
    for action in ("pause", "resume"):
        answer = await ask(gateway, f"POST /api/v1/destinations/pacs/{action}")
        assert b"200 OK" in answer
    assert await gateway.reload()
    text = (directory / "router.yaml").read_text()
    (directory / "router.yaml").write_text(text + "nonsense: 1\n")
    await gateway.reload()


async def test_the_whole_trail_over_tls_and_in_a_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    context = server_context(**authority.issue("arr").pair, client_ca=authority.ca)
    own = authority.issue("gateway")
    peer = Peer()
    async with tls_repository(context) as repository, listening(peer) as port:
        extra = (
            f"check_called_ae: true\n"
            f"tls: {{certificate: {own.certificate}, key: {own.key}, ca: {authority.ca}}}\n"
            f"audit:\n"
            f"  syslog: {{host: 127.0.0.1, port: {repository.port}}}\n"
            f"  file: audit.log\n"
            f"  enterprise_site_id: Site A\n"
        )
        gateway = make(write_configuration(tmp_path, pacs_port=port, extra=extra))
        async with running(gateway) as target:
            await everything(gateway, target, peer, tmp_path)
        received = await repository.wait_for(sum(TRAIL.values()))
    messages = [parse(one.message) for one in received]
    assert kinds(messages) == TRAIL
    assert (messages[0].kind, messages[-1].kind) == ("110120", "110121")
    assert [one.message for one in received] == (tmp_path / "audit.log").read_bytes().splitlines()
    assert {one.priority for one in received if one.message.count(b'OutcomeIndicator="4"')} == {84}
    assert repository.connections == 1
    assert not [secret for secret in SECRETS for one in received if secret in one.message]
    assert metric(gateway, 'dicom_router_audit_messages_total{outcome="sent",outlet="syslog"} 12.0')
    assert metric(gateway, 'dicom_router_audit_messages_total{outcome="sent",outlet="file"} 12.0')
    (arrived,) = (one for one in messages if one.all("*/@EventActionCode") == ["C"])
    (left,) = (one for one in messages if one.all("*/@EventActionCode") == ["R"])
    assert arrived.participant("110153")["UserID"] == "MODALITY"
    assert left.participant("110152")["UserID"] == "PACS"
    assert arrived.study == left.study != "unknown"
    assert list(arrived.sop_classes.values()) == [1]


async def test_over_udp(tmp_path: Path) -> None:
    async with udp_repository() as repository:
        extra = (
            f"audit: {{syslog: {{host: 127.0.0.1, port: {repository.port}, transport: udp}}, "
            "events: [application]}\n"
        )
        async with running(make(write_configuration(tmp_path, extra=extra))):
            pass
        received = await repository.wait_for(2)
    assert kinds([parse(one.message) for one in received]) == Counter(
        {("110100", "110120", "0"): 1, ("110100", "110121", "0"): 1}
    )


async def test_a_repository_that_is_not_there_is_in_nobodys_way(tmp_path: Path) -> None:
    Authority(tmp_path)
    peer = Peer()
    async with listening(peer) as port:
        syslog = f"{{host: 127.0.0.1, port: {free_port()}, tls: {{ca: ca.pem}}}}"
        extra = f"audit: {{syslog: {syslog}, file: audit.log}}\n"
        gateway = make(write_configuration(tmp_path, pacs_port=port, extra=extra))
        with anyio.fail_after(30):
            async with running(gateway) as target:
                await scu.send(target, [sample(tmp_path / "study")], on_result=lambda _: None)
                await peer.served.wait()
                readiness = await ask(gateway, "GET /readyz")
    assert b"200 OK" in readiness
    assert b"audit messages do not get through (syslog): no connection to 127.0.0.1" in readiness
    assert len((tmp_path / "audit.log").read_bytes().splitlines()) == 5, "the file has all the same"
    assert metric(gateway, 'dicom_router_audit_messages_total{outcome="dropped",outlet="syslog"} 5.0')


async def test_who_fetches_files_is_told_with_their_study(tmp_path: Path) -> None:
    gateway = make(write_configuration(tmp_path, extra="audit: {file: audit.log, events: [operators]}\n"))
    async with running(gateway) as target:
        await scu.send(target, [sample(tmp_path / "study")], on_result=lambda _: None)
        (delivery,) = (await waiting(gateway))["deliveries"]
        for _ in range(2):
            assert b"200 OK" in await ask(gateway, f"GET /api/v1/instances/{delivery['key']}/file")
    (message,) = [parse(line) for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert message.event == "110103"
    assert message.all("ActiveParticipant/@UserID")[0] == "http"
    assert message.study not in ("", "unknown")
    assert list(message.sop_classes.values()) == [2]


async def waiting(gateway: Gateway) -> dict[str, list[dict[str, str]]]:
    """What ``/queue`` says as soon as something is in it."""
    with anyio.fail_after(20):
        while True:
            answer = await ask(gateway, "GET /api/v1/queue")
            page: dict[str, list[dict[str, str]]] = json.loads(answer.partition(b"\r\n\r\n")[2])
            if page["deliveries"]:
                return page
            await anyio.sleep(0.02)


async def test_who_fails_in_the_handshake_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("own")
    text = write_configuration(tmp_path, extra="audit: {file: audit.log, events: [authentication]}\n")
    tls = (
        "port: 0, host: 127.0.0.1, name: secure, tls: {certificate: own.pem, key: own.key, client_ca: ca.pem}"
    )
    text.write_text(text.read_text().replace("port: 0, host: 127.0.0.1", tls))
    gateway = make(text)
    stranger = Authority(tmp_path / "other", "other").issue("stranger")
    async with running(gateway) as plain:
        keys = ModalityTls(ca=authority.ca, certificate=stranger.certificate, key=stranger.key)
        for _ in range(5):
            with pytest.raises(TlsFailed):
                await scu.echo(replace(plain, tls=Credentials(keys, "test")))
        with pytest.raises(AssociationRejected):
            await scu.echo(plain)
        async with await anyio.connect_tcp("127.0.0.1", plain.port):
            pass  # a probe of a load balancer says nothing, and nothing is said of it
    messages = [parse(line) for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert [one.one("ParticipantObjectIdentification/@ParticipantObjectID") for one in messages] == [
        "127.0.0.1"
    ] * 3
    said = [one.alert for one in messages]
    assert said[0].startswith(
        "at listener secure: TLS handshake failed: the peer's client certificate was issued by"
    )
    assert "speaks plain DICOM" in said[1]
    assert said[2].endswith(": 4 times more")


async def test_without_an_audit_the_lanes_have_the_spool_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.app.AuditedQueue", None)
    async with running(make(write_configuration(tmp_path))) as target:
        assert await scu.echo(target) == 0
