"""TLS with DCMTK, Orthanc and pynetdicom, in both directions, with client certificates and without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from router import samples
from tests.corpus import Part10, read_part10
from tests.peers import free_port
from tests.peers.certificates import Authority, Issued
from tests.peers.dcmtk import StoreScp, storescu
from tests.peers.gateway import Gateway, modality, send_all_to
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
