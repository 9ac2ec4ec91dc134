"""The ``audit`` block: its defaults, its paths, and what is told where it makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config
from router.config.audit import ALL_EVENTS, AuditPatient, SyslogTransport
from router.config.settings import Settings
from router.errors import ConfigurationError
from router.net.credentials import complaints
from router.net.keyring import Keyring
from tests.peers.certificates import Authority


def load(directory: Path, text: str) -> Settings:
    path = directory / "router.yaml"
    path.write_text(text)
    return config.load_all(path, {}, checks=(complaints,))[0]


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load(directory, text)
    return [line.split("router.yaml:", 1)[1] for line in raised.value.problems]


def test_there_is_none_unless_asked_for(tmp_path: Path) -> None:
    assert load(tmp_path, "ae_title: A").audit is None


def test_a_file_alone(tmp_path: Path) -> None:
    audit = load(tmp_path, "audit: {file: log/audit.log}").audit
    assert audit is not None
    assert audit.file == str(tmp_path / "log" / "audit.log")
    assert audit.syslog is None
    assert audit.events == ALL_EVENTS
    assert audit.patient is AuditPatient.NONE


def test_syslog_is_with_tls_and_the_standards_port(tmp_path: Path) -> None:
    settings = load(tmp_path, "audit: {syslog: {host: arr.example}}")
    assert settings.audit is not None and settings.audit.syslog is not None
    syslog = settings.audit.syslog
    assert (syslog.transport, syslog.port_or_default) == (SyslogTransport.TLS, 6514)
    assert syslog.tls is not None and syslog.tls.check_hostname


def test_tls_has_what_stands_at_the_top(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("gateway")
    text = (
        "tls: {certificate: gateway.pem, key: gateway.key, ca: ca.pem}\naudit: {syslog: {host: arr.example}}"
    )
    settings = load(tmp_path, text)
    assert settings.audit is not None and settings.audit.syslog is not None
    tls = settings.audit.syslog.tls
    assert tls is not None
    assert (tls.ca, tls.certificate, tls.key) == (authority.ca, own.certificate, own.key)
    assert [one.used_by for one in Keyring(settings)] == ["audit"]


def test_what_the_documentation_shows_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    (tmp_path / "router.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    audit = config.load(tmp_path / "router.yaml", {}).audit
    assert audit is not None and audit.syslog is not None and audit.syslog.tls is not None
    assert sorted(audit.events) == sorted(ALL_EVENTS)


def test_udp(tmp_path: Path) -> None:
    settings = load(tmp_path, "audit: {syslog: {host: arr.example, transport: udp}}")
    assert settings.audit is not None and settings.audit.syslog is not None
    assert settings.audit.syslog.port_or_default == 514
    assert settings.audit.syslog.tls is None
    assert not Keyring(settings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("audit: {}", "1:8: audit: say where to: syslog, file or both"),
        ("audit:", "1:7: audit: say where to: syslog, file or both"),
        ("audit: {events: [import]}", "1:8: audit: say where to: syslog, file or both"),
        (
            "audit: {syslog: {host: a, transport: udp, tls: {}}}",
            "1:48: audit.syslog.tls: transport udp has no TLS",
        ),
        (
            "audit: {syslog: {host: a, tls: {key: k}}}",
            "1:38: audit.syslog.tls.key: its certificate is missing beside it",
        ),
        (
            "audit: {syslog: {host: a, tls: {ca: none.pem}}}",
            "1:37: audit.syslog.tls.ca: ",
        ),
        ("audit: {syslog: {port: 1}}", "1:17: audit.syslog.host: this key is missing"),
        ("audit: {file: a, evnts: []}", "1:18: audit.evnts: unknown key; did you mean 'events'?"),
        ("audit: {file: a, events: [exprt]}", "audit.events.0: expected 'application', 'authentication'"),
        ("audit: {file: a, patient: name}", "1:27: audit.patient: expected 'none' or 'id'"),
    ],
)
def test_what_makes_no_sense_is_told_where_it_stands(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in line for line in problems(tmp_path, text)), problems(tmp_path, text)
