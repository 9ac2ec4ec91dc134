"""``tls check``, and TLS of ``echo``, ``send``, ``sink``, ``check`` and ``serve``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from router import samples
from router.config.tls import ListenerTls
from router.sink import Rejection, SinkOptions
from tests.cli.conftest import Run
from tests.peers.certificates import Authority, Issued

Start = Callable[[SinkOptions], str]


@dataclass(frozen=True, kw_only=True)
class Pki:
    """An authority and good identities for both ends."""

    authority: Authority
    server: Issued
    client: Issued

    def listener(self, issued: Issued | None = None, *, is_mutual: bool = False) -> ListenerTls:
        own = issued or self.server
        ca = self.authority.ca if is_mutual else None
        return ListenerTls(certificate=own.certificate, key=own.key, client_ca=ca)

    @property
    def trust(self) -> tuple[str, str]:
        return "--tls-ca", self.authority.ca

    @property
    def identity(self) -> tuple[str, ...]:
        return "--tls-certificate", self.client.certificate, "--tls-key", self.client.key


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    return Pki(authority=authority, server=authority.issue("server"), client=authority.issue("client"))


def test_check_says_what_is_negotiated(run: Run, start_sink: Start, pki: Pki) -> None:
    result = run("tls", "check", start_sink(SinkOptions(tls=pki.listener())), *pki.trust)
    assert result.exit_code == 0, result.output
    for line in (
        r"version TLSv1.3",
        "cipher suite TLS_AES_256_GCM_SHA384",
        "for localhost, 127.0.0.1",
        "client certificate is not asked for",
        "resumption yes",
        "association accepted",
    ):
        assert line in " ".join(result.stdout.split()), result.stdout


def test_check_as_json(run: Run, start_sink: Start, pki: Pki) -> None:
    address = start_sink(SinkOptions(tls=pki.listener(is_mutual=True)))
    result = run("tls", "check", address, *pki.trust, *pki.identity, "--json")
    found = json.loads(result.stdout[result.stdout.index("{") :])
    assert result.exit_code == 0
    assert (found["version"], found["asks_for_certificate"], found["is_resumed"]) == ("TLSv1.3", True, True)
    assert found["peer"]["names"] == ["localhost", "127.0.0.1"]


def test_check_of_a_port_that_asks_for_a_certificate(run: Run, start_sink: Start, pki: Pki) -> None:
    result = run("tls", "check", start_sink(SinkOptions(tls=pki.listener(is_mutual=True))), *pki.trust)
    assert result.exit_code == 1
    assert "the peer asks for a client certificate, and none is configured" in result.stderr
    assert "client certificate is asked for" in " ".join(result.stdout.split())


def test_check_of_a_certificate_that_is_not_taken_shows_it(run: Run, start_sink: Start, pki: Pki) -> None:
    elsewhere = pki.authority.issue("elsewhere", "pacs.example")
    result = run("tls", "check", start_sink(SinkOptions(tls=pki.listener(elsewhere))), *pki.trust)
    assert result.exit_code == 1
    assert "the peer's certificate is not for '127.0.0.1'" in result.stderr
    assert "pacs.example" in result.stdout


def test_check_of_a_plain_port(run: Run, start_sink: Start, pki: Pki) -> None:
    result = run("tls", "check", start_sink(SinkOptions()), *pki.trust)
    assert result.exit_code == 1
    assert "the peer speaks plain DICOM on that port, not TLS" in result.stderr


def test_check_of_a_peer_that_rejects(run: Run, start_sink: Start, pki: Pki) -> None:
    options = SinkOptions(tls=pki.listener(), reject=Rejection.CALLED_AE)
    result = run("tls", "check", start_sink(options), *pki.trust)
    assert result.exit_code == 1
    assert "version TLSv1.3" in " ".join(result.stdout.split())
    assert "the association is not: rejected permanently: called AE title" in result.stderr


def test_check_where_nobody_is(run: Run, pki: Pki) -> None:
    result = run("tls", "check", "NOBODY@127.0.0.1:1", *pki.trust)
    assert result.exit_code == 1
    assert "no connection to 127.0.0.1:1" in result.stderr


@pytest.mark.parametrize("has_tls", [True, False])
def test_a_modality_by_its_name(
    run: Run, start_sink: Start, configuration: Path, pki: Pki, has_tls: bool
) -> None:
    port = start_sink(SinkOptions(tls=pki.listener())).rpartition(":")[2]
    tls = f", tls: {{ca: {pki.authority.ca}}}" if has_tls else ""
    configuration.write_text(configuration.read_text().replace("port: 1}", f"port: {port}{tls}}}"))
    checked = run("tls", "check", "pacs", "-c", configuration)
    echoed = run("echo", "pacs", "-c", configuration)
    if has_tls:
        assert (checked.exit_code, echoed.exit_code) == (0, 0), checked.output + echoed.output
    else:
        assert checked.exit_code == 2
        assert "'pacs' is configured without TLS" in checked.stderr
        assert echoed.exit_code == 1


def test_files_are_sent_over_tls(run: Run, start_sink: Start, pki: Pki, tmp_path: Path) -> None:
    samples.generate(tmp_path / "study", ct_slices=1, mr_slices=0, bundled=False)
    address = start_sink(SinkOptions(tls=pki.listener(is_mutual=True)))
    result = run("send", address, tmp_path / "study", *pki.trust, *pki.identity)
    assert result.exit_code == 0, result.output
    refused = run("send", address, tmp_path / "study", *pki.trust)
    assert refused.exit_code == 1


def test_a_certificate_that_is_not_there(run: Run, pki: Pki, tmp_path: Path) -> None:
    result = run("echo", "A@127.0.0.1:1", *pki.trust, "--tls-certificate", tmp_path / "none.pem")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
    result = run("sink", "--port", 0, "--tls-certificate", tmp_path / "none.pem")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
    result = run("sink", "--port", 0, "--tls-key", tmp_path / "none.pem")
    assert result.exit_code == 2
    assert "give --tls-certificate too" in result.stderr


def test_files_are_checked_before_the_start(run: Run, configuration: Path, pki: Pki) -> None:
    text = configuration.read_text()
    own = f"certificate: {pki.server.certificate}, key: {pki.client.key}"
    configuration.write_text(text.replace("port: 0, host: 127.0.0.1", f"port: 0, tls: {{{own}}}"))
    for command in ("check", "serve"):
        result = run(command, "-c", configuration)
        assert result.exit_code == 2
        assert "router.yaml:4:" in result.stderr and "does not match the certificate" in result.stderr
    assert run("echo", "pacs", "-c", configuration).exit_code == 1  # who only calls needs no such key


def test_check_tells_of_certificates_that_end(run: Run, configuration: Path, pki: Pki) -> None:
    ended = pki.authority.expired("ended")
    own = f"certificate: {ended.certificate}, key: {ended.key}"
    text = configuration.read_text().replace("port: 0, host: 127.0.0.1", f"port: 0, tls: {{{own}}}")
    configuration.write_text(text)
    result = run("check", "-c", configuration)
    assert result.exit_code == 0
    assert f"certificate {ended.certificate} has ended" in result.stderr
