"""TLS with DCMTK, Orthanc and pynetdicom, in both directions, with client certificates and without."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.harness import load
from router import samples
from tests.corpus import Part10, read_part10
from tests.peers import free_port, wait_until
from tests.peers.certificates import Authority, Issued
from tests.peers.dcmtk import StoreScp, storescu
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.orthanc import Orthanc
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@dataclass(frozen=True, kw_only=True)
class Pki:
    """An authority, and an identity for each end."""

    authority: Authority
    gateway: Issued
    peer: Issued

    def dcmtk(self, *more: str) -> tuple[str, ...]:
        """DCMTK's options for its own identity and for whom it trusts."""
        return ("+tls", self.peer.key, self.peer.certificate, "+cf", self.authority.ca, *more)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    return Pki(authority=authority, gateway=authority.issue("gateway"), peer=authority.issue("peer"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = samples.generate(tmp_path_factory.mktemp("study"), ct_slices=3, mr_slices=0, bundled=False)
    return [sample.path for sample in made if sample.transfer_syntax_uid == "1.2.840.10008.1.2.1"]


def hashes(paths: list[Path]) -> set[tuple[str, str]]:
    return {(file.sop_instance_uid, file.sha256) for file in map(read_part10, paths)}


def kept(files: list[Part10]) -> set[tuple[str, str]]:
    return {(file.sop_instance_uid, file.sha256) for file in files}


@dataclass(frozen=True, kw_only=True)
class Termination:
    """A gateway with a plain listener, one with TLS and one with mutual TLS; everything goes to a sink."""

    gateway: Gateway
    sink: Sink
    tls_port: int
    mutual_port: int


@pytest.fixture
def inbound(tmp_path: Path, pki: Pki) -> Iterator[Termination]:
    tls_port, mutual_port, plain = free_port(), free_port(), free_port()
    with Sink(tmp_path / "sink") as sink:
        configuration = {
            "tls": pki.gateway.pair,
            "listeners": [
                {"port": plain, "host": "127.0.0.1"},
                {"port": tls_port, "host": "127.0.0.1", "tls": {}},
                {"port": mutual_port, "host": "127.0.0.1", "tls": {"client_ca": pki.authority.ca}},
            ],
            "modalities": {"sink": modality(sink.port, "SINK")},
            "rules": send_all_to("sink"),
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            yield Termination(gateway=gateway, sink=sink, tls_port=tls_port, mutual_port=mutual_port)


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
@pytest.mark.parametrize("is_mutual", [False, True], ids=["server", "mutual"])
def test_storescu_comes_in_over_tls(
    inbound: Termination, pki: Pki, study: list[Path], profile: str, is_mutual: bool
) -> None:
    port = inbound.mutual_port if is_mutual else inbound.tls_port
    said = storescu(port, study, *pki.dcmtk(profile))
    inbound.gateway.wait_quiet()
    assert set(inbound.sink.data_sets()) == hashes(study), said


@pytest.mark.parametrize("is_mutual", [False, True], ids=["server", "mutual"])
def test_storescp_is_sent_to_over_tls(tmp_path: Path, pki: Pki, study: list[Path], is_mutual: bool) -> None:
    asks = "-rc" if is_mutual else "-ic"
    with StoreScp(tmp_path / "scp", *pki.dcmtk(asks)) as scp:
        tls = {"ca": pki.authority.ca, **(pki.gateway.pair if is_mutual else {})}
        configuration = {
            "modalities": {"scp": {**modality(scp.port, "SCP"), "tls": tls}},
            "rules": send_all_to("scp"),
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            storescu(gateway.port, study)
            gateway.wait_quiet()
            log = gateway.log_text()
        assert set(scp.data_sets()) == hashes(study), log


@pytest.mark.parametrize("is_mutual", [False, True], ids=["server", "mutual"])
def test_orthanc_both_ways_over_tls(tmp_path: Path, pki: Pki, study: list[Path], is_mutual: bool) -> None:
    options: dict[str, object] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": pki.peer.certificate,
        "DicomTlsPrivateKey": pki.peer.key,
        "DicomTlsTrustedCertificates": pki.authority.ca,
        "DicomTlsRemoteCertificateRequired": is_mutual,
    }
    with Orthanc(tmp_path / "orthanc", options) as orthanc, Sink(tmp_path / "sink") as sink:
        own = pki.gateway.pair if is_mutual else {}
        tls = {**pki.gateway.pair, **({"client_ca": pki.authority.ca} if is_mutual else {})}
        tls_port = free_port()
        configuration = {
            "listeners": [
                {"port": free_port(), "host": "127.0.0.1", "name": "plain"},
                {
                    "port": tls_port,
                    "host": "127.0.0.1",
                    "name": "tls",
                    "tls": tls,
                },
            ],
            "modalities": {
                "orthanc": {**modality(orthanc.port, "ORTHANC"), "tls": {"ca": pki.authority.ca, **own}},
                "sink": modality(sink.port, "SINK"),
            },
            "rules": [
                {"rule": "out", "when": {"listener": "plain"}, "send": "orthanc"},
                {"rule": "in", "when": {"listener": "tls"}, "send": "sink"},
            ],
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            plain = json.loads((gateway.directory / "ready.json").read_text())["dicom"][0]
            storescu(plain, study)
            gateway.wait_quiet()
            assert set(orthanc.data_sets()) == {uid for uid, _ in hashes(study)}, gateway.log_text()
            orthanc.send_all(tls_port, has_tls=True)
            gateway.wait_quiet()
            assert {uid for uid, _ in sink.data_sets()} == {uid for uid, _ in hashes(study)}


def fingerprint(port: int, authority: Authority) -> bytes:
    """Of the certificate that a port shows now."""
    context = ssl.create_default_context(cafile=authority.ca)
    with (
        socket.create_connection(("127.0.0.1", port)) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1") as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return shown


def test_certificates_are_rotated_under_load(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    first = authority.issue("rotating")
    configuration = {
        "listeners": [{"port": free_port(), "host": "127.0.0.1", "tls": first.pair}],
        "tls": {"check_files": "100ms"},
        "unmatched": "drop",
    }
    with Gateway(tmp_path / "gateway", configuration) as gateway, ThreadPoolExecutor(1) as threads:
        port = json.loads((gateway.directory / "ready.json").read_text())["dicom"][0]
        assert fingerprint(port, authority) == first.der
        sending = threads.submit(
            load, port, size=40_000, associations=4, count=10**6, seconds=4.0, ca=authority.ca
        )
        shown = [first.der]
        while not sending.done():
            issued = authority.issue("rotating")
            wait_until(lambda der=issued.der: fingerprint(port, authority) == der, "it is in use")  # type: ignore[misc]
            shown.append(issued.der)
        sent = sending.result()
        counted = gateway.metrics()
    assert sent.errors == [] and sent.refused == 0 and sent.acknowledged > 100
    assert len(shown) > 5
    assert counted['dicom_router_tls_reloads_total{outcome="success"}'] >= len(shown) - 1
    assert counted["dicom_router_instances_received_total"] == sent.acknowledged


def test_a_destination_that_cannot_be_trusted_gets_nothing_and_says_why(
    tmp_path: Path, pki: Pki, study: list[Path]
) -> None:
    stranger = Authority(tmp_path / "other", "other").issue("stranger")
    own = ("--tls-certificate", stranger.certificate, "--tls-key", stranger.key)
    with Sink(tmp_path / "sink", *own) as sink:
        tls = {"tls": {"ca": pki.authority.ca}}
        retry = {"initial": "100ms", "maximum": "100ms"}
        configuration = {
            "modalities": {"sink": {**modality(sink.port, "SINK", retry=retry), **tls}},
            "rules": send_all_to("sink"),
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            storescu(gateway.port, study)
            failed = 'dicom_router_tls_failures_total{reason="unknown_ca",role="requestor"}'
            wait_until(lambda: gateway.metrics().get(failed, 0) > 0, "it has been tried")
            (uid, *_) = [uid for uid, _ in hashes(study)]
            wait_until(
                lambda: "authority that we do not trust" in json.dumps(gateway.trace(uid)), "it says why"
            )
            assert "tls_failed" in json.dumps(gateway.deliveries("pending"))
        assert sink.lines() == []
