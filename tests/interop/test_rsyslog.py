"""The audit trail in rsyslog, over TLS with certificates on both sides and over UDP."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import samples
from tests.audit.schema import Parsed, parse
from tests.corpus import read_part10
from tests.peers import wait_until
from tests.peers.certificates import Authority
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.rsyslog import Rsyslog
from tests.peers.sender import store_files
from tests.peers.sink import Sink

CT = "1.2.840.10008.5.1.4.1.1.2"

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


def configuration(syslog: dict[str, object], sink: Sink) -> dict[str, object]:
    return {
        "modalities": {"sink": modality(sink.port, "SINK")},
        "rules": send_all_to("sink"),
        "audit": {"syslog": {"host": "127.0.0.1", **syslog}},
    }


def send_study(gateway: Gateway, sink: Sink, directory: Path) -> None:
    """A small study, with three CT slices in it, all the way."""
    made = samples.generate(directory, ct_slices=3, mr_slices=0, bundled=False)
    files = [read_part10(one.path) for one in made if one.transfer_syntax_uid == "1.2.840.10008.1.2.1"]
    assert store_files(gateway.port, files) == [0] * len(files)
    sink.wait_for({file.sop_instance_uid for file in files})
    gateway.wait_quiet()


def parsed(lines: list[list[str]]) -> list[Parsed]:
    """The messages; the header is as PS3.15 A.6 wants it."""
    for priority, application, process, identifier, _ in lines:
        assert (priority, application, identifier) == ("85", "dicom-router", "DICOM+RFC3881")
        assert process.isdigit()
    return [parse(line[4].removeprefix("\ufeff")) for line in lines]


@pytest.mark.parametrize("transport", ["tls", "udp"])
def test_rsyslog_has_the_trail(tmp_path: Path, transport: str) -> None:
    authority = Authority(tmp_path / "pki")
    with Rsyslog(tmp_path / "rsyslog", authority) as rsyslog, Sink(tmp_path / "sink") as sink:
        tls = {"tls": {"ca": authority.ca, **authority.issue("gateway").pair}}
        syslog = {"port": rsyslog.tls, **tls} if transport == "tls" else {"port": rsyslog.udp}
        settings = configuration({"transport": transport, **syslog}, sink)
        with Gateway(tmp_path / "gateway", settings) as gateway:
            send_study(gateway, sink, tmp_path / "study")
            gateway.stop()
        messages = parsed(rsyslog.wait_for(5))
    assert [one.event for one in messages] == ["110100", "110104", "110102", "110104", "110100"]
    received, queued, delivered = messages[1:4]
    assert received.sop_classes[CT] == 3
    assert received.sop_classes == queued.sop_classes == delivered.sop_classes
    assert received.study == queued.study == delivered.study != "unknown"


def test_what_happened_while_rsyslog_was_away_is_there_when_it_is_back(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    with Rsyslog(tmp_path / "rsyslog", authority) as rsyslog, Sink(tmp_path / "sink") as sink:
        tls = {"ca": authority.ca, **authority.issue("gateway").pair}
        with Gateway(tmp_path / "gateway", configuration({"port": rsyslog.tls, "tls": tls}, sink)) as gateway:
            rsyslog.wait_for(1)
            rsyslog.stop()
            send_study(gateway, sink, tmp_path / "study")
            waiting = 'dicom_router_audit_waiting{outlet="syslog"}'
            wait_until(lambda: gateway.metrics()[waiting] == 3, "the study is to be told")
            assert "do not get through (syslog)" in gateway.get("/readyz")
            rsyslog.start()
            messages = parsed(rsyslog.wait_for(4))
            sent = 'dicom_router_audit_messages_total{outcome="sent",outlet="syslog"}'
            wait_until(lambda: gateway.metrics()[sent] == 4, "all are counted")  # rendered once a second
    assert [one.event for one in messages] == ["110100", "110104", "110102", "110104"]
