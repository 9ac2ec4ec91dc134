"""router.app: one gateway with its ports, its spool and a peer, from start to orderly end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import msgspec
import pytest

from router import config, samples, scu
from router.app import Gateway, StartFailed, first_cause
from router.config.tls import ModalityTls
from router.errors import AssociationRejected
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.scu import SendFile, Target
from router.secrets import hash_token, make_token
from router.sink import Sink, SinkOptions
from tests.peers.certificates import Authority

CONFIGURATION = """
ae_title: ROUTER
data_dir: data
listeners: [{port: 0, host: 127.0.0.1}]
http: {port: 0}
spool: {segment_bytes: 1MB, min_free_bytes: 0}
modalities:
  pacs: {ae_title: PACS, host: 127.0.0.1, port: PORT, deliver: {idle: 0s, retry: {initial: 1s}}}
accept_unknown: [echo, store]
drain: 10s
rules:
  - rule: all
    send: pacs
"""


def write_configuration(directory: Path, *, pacs_port: int = 1, extra: str = "") -> Path:
    path = directory / "router.yaml"
    path.write_text(CONFIGURATION.replace("PORT", str(pacs_port)) + extra)
    return path


def make(path: Path, **options: Path | dict[str, str]) -> Gateway:
    settings, rule_set = config.load_all(path, {})
    return Gateway(settings, rule_set, config_path=path, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Target]:
    """A gateway in this loop; it is asked to stop, and has stopped, when the block is left."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.run)
        await gateway.wait_ready()
        yield Target(host="127.0.0.1", port=gateway.ports.dicom[0], called_ae="ROUTER", calling_ae="MODALITY")
        gateway.stop()


class Peer(Sink):
    """A sink that says when an association has come to its end."""

    def __init__(self, directory: Path | None = None) -> None:
        super().__init__(SinkOptions(directory=directory))
        self.served = anyio.Event()

    async def serve(self, connection: Connection) -> None:
        await super().serve(connection)
        self.served.set()


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[int]:
    """The peer's port, while it listens."""
    ports: list[int] = []
    bound = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        bound.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.run, ready)
        await bound.wait()
        yield ports[0]
        tasks.cancel_scope.cancel()


def sample(directory: Path) -> SendFile:
    made = samples.generate(directory, ct_slices=1, mr_slices=0, bundled=False)
    found = scu.examine(made[0].path)
    assert isinstance(found, SendFile)
    return found


def metric(gateway: Gateway, line: str) -> bool:
    return line.encode() in gateway.telemetry.render()


async def test_it_says_where_it_is(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    gateway = make(write_configuration(tmp_path), ready_file=ready_file)
    async with running(gateway) as target:
        written = msgspec.json.decode(ready_file.read_bytes())
        assert written == {"dicom": [target.port], "http": gateway.ports.http}
        assert target.port > 0
        assert await scu.echo(target) == 0


async def test_an_instance_goes_all_the_way(tmp_path: Path) -> None:
    file = sample(tmp_path / "study")
    peer = Peer(tmp_path / "in")
    sent: list[scu.Sent] = []
    async with listening(peer) as port:
        gateway = make(write_configuration(tmp_path, pacs_port=port))
        async with running(gateway) as target:
            await scu.send(target, [file], on_result=sent.append)
            assert sent[0].is_stored
            with anyio.fail_after(20):
                await peer.served.wait()
    (arrived,) = (tmp_path / "in").glob("*.dcm")
    assert arrived.read_bytes().endswith(file.path.read_bytes()[file.data_set_offset :])
    assert metric(gateway, "dicom_router_instances_received_total 1.0")


async def test_what_was_not_delivered_is_there_after_a_restart(tmp_path: Path) -> None:
    sent: list[scu.Sent] = []
    async with running(make(write_configuration(tmp_path))) as target:  # nobody listens on port 1
        await scu.send(target, [sample(tmp_path / "study")], on_result=sent.append)
    assert sent[0].is_stored
    peer = Peer()
    async with listening(peer) as port, running(make(write_configuration(tmp_path, pacs_port=port))):
        with anyio.fail_after(30):
            await peer.served.wait()
    assert peer.stored == 1


@pytest.mark.parametrize("key", ["http", "listeners"])
async def test_a_taken_port_is_one_clear_sentence(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = write_configuration(tmp_path).read_text()
        before = "http: {port: 0}" if key == "http" else "{port: 0, host: 127.0.0.1}"
        (tmp_path / "router.yaml").write_text(
            text.replace(before, before.replace("port: 0", f"port: {port}"))
        )
        with pytest.raises(StartFailed, match=rf"{key}: port {port} on 127\.0\.0\.1 cannot be bound"):
            await make(tmp_path / "router.yaml").run()
    async with running(make(write_configuration(tmp_path))):  # the spool was let go of
        pass


async def test_a_spool_in_use_is_refused(tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    async with running(make(path)):
        with pytest.raises(StartFailed, match="cannot be used"):
            await make(path).run()


async def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartFailed, match="data_dir"):
        await make(write_configuration(tmp_path)).run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    gateway = make(write_configuration(tmp_path))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.run)
            await gateway.wait_ready()
            os.kill(os.getpid(), number)


async def test_a_second_signal_does_not_wait_for_an_open_association(tmp_path: Path) -> None:
    gateway = make(write_configuration(tmp_path))
    with anyio.fail_after(8):  # less than ``drain``
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.run)
            await gateway.wait_ready()
            async with await anyio.connect_tcp("127.0.0.1", gateway.ports.dicom[0]) as idle:
                os.kill(os.getpid(), signal.SIGTERM)
                await anyio.wait_all_tasks_blocked()
                os.kill(os.getpid(), signal.SIGTERM)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    while True:
                        await idle.receive()


async def test_a_reload_swaps_the_rules_or_leaves_them(tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    gateway = make(path)
    async with running(gateway):
        write_configuration(tmp_path, extra="  - rule: second\n    when: {Modality: CT}\n    send: pacs\n")
        assert await gateway.reload()
        assert metric(gateway, 'dicom_router_config_reloads_total{outcome="success"} 1.0')
        write_configuration(tmp_path, extra="  - rule: third\n    sendd: pacs\n")
        assert not await gateway.reload()
        assert metric(gateway, 'dicom_router_config_reloads_total{outcome="failure"} 1.0')
        path.unlink()
        assert not await gateway.reload()


async def test_a_reload_cannot_name_a_destination_that_is_not_served_yet(tmp_path: Path) -> None:
    gateway = make(write_configuration(tmp_path))
    async with running(gateway):
        text = write_configuration(tmp_path, extra="  - {rule: new, send: other}\n").read_text()
        text = text.replace("modalities:", "modalities:\n  other: {ae_title: O, host: h, port: 104}")
        (tmp_path / "router.yaml").write_text(text)
        config.load_all(tmp_path / "router.yaml", {})  # it is valid; only not without a restart
        assert not await gateway.reload()


async def test_who_may_use_http_is_taken_over_at_a_reload(tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    plain = path.read_text()
    gateway = make(path)

    async def ask(token: str) -> int:
        async with await anyio.connect_tcp("127.0.0.1", gateway.ports.http) as connection:
            lines = (
                "GET / HTTP/1.0",
                "Host: localhost",
                *([f"Authorization: Bearer {token}"] if token else []),
            )
            await connection.send("\r\n".join((*lines, "", "")).encode())
            return int((await connection.receive()).split()[1])

    async def configure(http: str) -> bool:
        path.write_text(plain.replace("http: {port: 0}", f"http: {{port: 0, {http}}}"))
        return await gateway.reload()

    first, second = make_token(), make_token()
    async with running(gateway):
        assert [await ask(""), await ask(first)] == [200, 200]
        assert await configure(f"tokens: {{a: {{token_hash: {hash_token(first)}}}}}")
        assert [await ask(""), await ask(first), await ask(second)] == [401, 200, 401]
        assert await configure(f"tokens: {{a: {{token_hash: {hash_token(second)}}}}}")
        assert [await ask(""), await ask(first), await ask(second)] == [401, 401, 200]
        assert not await configure("tokens: {a: {token_hash: broken}}")
        assert await ask(second) == 200
        assert await configure("allow_anonymous: false")
        assert await ask(second) == 401


def tls_configuration(directory: Path, more: str = "") -> tuple[Path, Authority]:
    """A gateway that speaks TLS, with a certificate that ends in ten days."""
    authority = Authority(directory)
    authority.issue("own", not_after=datetime.now(UTC) + timedelta(days=10))
    path = write_configuration(directory)
    text = path.read_text().replace(
        "port: 0, host: 127.0.0.1",
        f"port: 0, host: 127.0.0.1, tls: {{certificate: own.pem, key: own.key{more}}}",
    )
    path.write_text(text)
    return path, authority


async def test_certificates_are_read_again_at_a_signal(tmp_path: Path) -> None:
    path, authority = tls_configuration(tmp_path)
    gateway = make(path)
    keys = Credentials(ModalityTls(ca=authority.ca), "test")
    async with running(gateway) as plain:
        target = replace(plain, tls=keys)
        assert await scu.echo(target) == 0
        Path(tmp_path / "own.key").write_text("half a file")
        assert await gateway.reload()  # the rules are well
        assert metric(gateway, 'dicom_router_tls_reloads_total{outcome="failure"} 1.0')
        assert await scu.echo(target) == 0
        authority.issue("own")
        await gateway.reload()
        assert metric(gateway, 'dicom_router_tls_reloads_total{outcome="success"} 1.0')
        assert await scu.echo(target) == 0
        with pytest.raises(AssociationRejected):
            await scu.echo(plain)
        assert metric(gateway, 'dicom_router_tls_failures_total{reason="plain_peer",role="acceptor"} 1.0')


async def test_a_title_is_bound_to_its_certificate(tmp_path: Path) -> None:
    path, authority = tls_configuration(tmp_path, ", client_ca: ca.pem")
    text = path.read_text().replace("port: 1,", "port: 1, certificate_names: [pacs.example],")
    path.write_text(text)
    gateway = make(path)
    known, other = authority.issue("known", "pacs.example"), authority.issue("other", "other.example")
    async with running(gateway) as plain:
        for issued, calling_ae, is_in in (
            (known, "PACS", True),
            (other, "PACS", False),
            (other, "ANYBODY", True),
        ):
            tls = ModalityTls(ca=authority.ca, certificate=issued.certificate, key=issued.key)
            target = replace(plain, tls=Credentials(tls, "test"), calling_ae=calling_ae)
            if is_in:
                assert await scu.echo(target) == 0
            else:
                with pytest.raises(AssociationRejected, match="calling AE title not recognized"):
                    await scu.echo(target)
    reason = 'reason="certificate_not_recognised"'
    assert metric(gateway, f"dicom_router_association_rejections_total{{{reason}}} 1.0")


async def test_what_ends_soon_is_said_where_readiness_is_asked_for(tmp_path: Path) -> None:
    path, _ = tls_configuration(tmp_path)
    gateway = make(path)
    async with running(gateway):
        async with await anyio.connect_tcp("127.0.0.1", gateway.ports.http) as http:
            await http.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            with contextlib.suppress(anyio.EndOfStream):
                while True:
                    answer += await http.receive()
    assert b"200 OK" in answer
    assert b"ends in 9 days" in answer


async def test_a_certificate_that_cannot_be_used_is_one_clear_sentence(tmp_path: Path) -> None:
    path, _ = tls_configuration(tmp_path)
    (tmp_path / "own.key").unlink()
    with pytest.raises(StartFailed, match=r"listener 0: .*own\.key cannot be read"):
        await make(path).run()


async def test_systemd_is_told(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.setblocking(False)
        async with running(make(write_configuration(tmp_path), environ={"NOTIFY_SOCKET": str(address)})):
            assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"STOPPING=1"


def test_the_first_cause_is_found_in_nested_groups() -> None:
    cause = StartFailed("the reason")
    group = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [cause]), ValueError()])
    assert first_cause(group) is cause
