"""The tls blocks: what they mean, what the top one gives, and what is wrong told at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config
from router.config.settings import Settings
from router.config.tls import ClientCertificate, ListenerTls, ModalityTls, TlsProfile
from router.errors import ConfigurationError
from router.net.credentials import complaints
from tests.config.test_files import load, modality, problems
from tests.peers.certificates import Authority

SECRET = "-".join(("not", "to", "be", "shown"))


def test_nothing_means_plain(tmp_path: Path) -> None:
    settings = load(tmp_path, "modalities: {a: {ae_title: A, host: h, port: 1}}")
    assert settings.listeners[0].tls is None
    assert settings.modalities["a"].tls is None


def test_a_block_says_everything_itself(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        listeners:
          - {port: 2762, tls: {certificate: r.pem, key: r.key, key_password: "${PW}", client_ca: /ca.pem,
               client_certificate: optional, crl: [a.crl, b.crl], profile: non-downgrading,
               handshake_timeout: 5s}}
        modalities:
          a: {ae_title: A, host: h, port: 1, certificate_names: [a.example], tls: {ca: ../ca.pem, crl: a.crl,
               check_hostname: false, server_name: a.example, profile: legacy}}
        """,
        PW=SECRET,
    )
    assert settings.listeners[0].tls == ListenerTls(
        certificate=f"{tmp_path}/r.pem",
        key=f"{tmp_path}/r.key",
        key_password=SECRET,
        client_ca="/ca.pem",
        client_certificate=ClientCertificate.OPTIONAL,
        crl=(f"{tmp_path}/a.crl", f"{tmp_path}/b.crl"),
        profile=TlsProfile.NON_DOWNGRADING,
        handshake_timeout=5.0,
    )
    assert settings.modalities["a"].tls == ModalityTls(
        ca=f"{tmp_path.parent}/ca.pem",
        crl=(f"{tmp_path}/a.crl",),
        check_hostname=False,
        server_name="a.example",
        profile=TlsProfile.LEGACY,
    )
    assert SECRET not in repr(settings)


TOP = "tls: {certificate: /c, key: /k, ca: /ca, crl: /crl, profile: legacy}\n"


def test_the_top_gives_what_is_left_out(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        TOP
        + """
listeners: [{port: 1, tls: {}}, {port: 2, tls: {certificate: /own, client_ca: /x}}]
modalities:
  a: {ae_title: A, host: h, port: 1, tls: {}}
  b: {ae_title: B, host: h, port: 1, tls: {certificate: /own, key: /own.key, ca: /own.ca, profile: rfc8996}}
""",
    )
    first, second = (listener.tls for listener in settings.listeners)
    assert first == ListenerTls(certificate="/c", key="/k", profile=TlsProfile.LEGACY)
    assert second == ListenerTls(certificate="/own", client_ca="/x", profile=TlsProfile.LEGACY)
    a, b = (modality.tls for modality in settings.modalities.values())
    assert a == ModalityTls(certificate="/c", key="/k", ca="/ca", crl=("/crl",), profile=TlsProfile.LEGACY)
    assert b == ModalityTls(certificate="/own", key="/own.key", ca="/own.ca", profile=TlsProfile.RFC8996)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "listeners: [{port: 1, tls: {client_caa: x}}]",
            "1:29: listeners.0.tls.client_caa: unknown key",
        ),
        ("listeners: [{port: 1, tls: {}}]", "1:28: listeners.0.tls: give it a certificate, or one for all"),
        ("listeners: [{port: 1, tls: }]", "1:28: listeners.0.tls: write tls: {}"),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1, tls: {profile: tls13}}}",
            "1:64: modalities.a.tls.profile: expected 'rfc8996'",
        ),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1, tls: {key: k}}}",
            "1:60: modalities.a.tls.key: its certificate is missing beside it",
        ),
        ("tls: {key: k}", "1:12: tls.key: its certificate is missing beside it"),
        ("tls: {check_files: 0s}", "1:20: tls.check_files: input should be greater than 0"),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1, certificate_names: [x]}}",
            "1:68: modalities.a.certificate_names: no listener asks callers for a certificate",
        ),
    ],
)
def test_each_problem_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1, lines
    assert problem in lines[0], lines[0]


@pytest.mark.parametrize("name", ["UseDicomTls: true", "tls: {}"])
def test_orthancs_key_asks_for_tls_with_what_the_top_says(tmp_path: Path, name: str) -> None:
    entry = f"{{AET: A, Host: h, Port: 1, {name}}}"
    settings = load(tmp_path, TOP + f"modalities: {{a: {entry}}}")
    tls = settings.modalities["a"].tls
    assert tls is not None and tls.certificate == "/c" and tls.ca == "/ca"


def test_orthancs_key_asks_for_nothing(tmp_path: Path) -> None:
    assert modality(tmp_path, "{AET: A, Host: h, Port: 1, UseDicomTls: false}").tls is None
    assert problems(tmp_path, "modalities: {a: {AET: A, Host: h, Port: 1, UseDicomTls: yes}}") == [
        "router.yaml:1:57: UseDicomTls must be true or false"
    ]


def checked(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        config.load_all(path, {}, (complaints,))
    return [line.removeprefix(f"{path}:") for line in caught.value.problems]


def test_files_are_looked_at_only_where_it_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("a"), authority.issue("b")
    path = tmp_path / "router.yaml"
    path.write_text(
        "tls: {certificate: a.pem, key: b.key}\n"
        "listeners:\n"
        "- {port: 1, tls: {}}\n"
        "- {port: 2, tls: {certificate: none.pem}}\n"
        "- {port: 3, tls: {certificate: b.pem, key: b.key, client_ca: b.key}}\n"
        "modalities: {x: {ae_title: X, host: h, port: 1, tls: {certificate: a.pem, key: a.key}}}\n"
    )
    settings, _ = config.load_all(path, {})
    assert isinstance(settings, Settings)
    lines = checked(path)
    assert [line.split(": ")[0] + " " + line.split(": ")[1] for line in lines] == [
        "1:32 listeners.0.tls.key",
        "4:32 listeners.1.tls.certificate",
        "5:62 listeners.2.tls.client_ca",
    ]
