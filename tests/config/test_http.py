"""The http block: who is granted what, what is left open on purpose only, and no secret in any message."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config
from router.config.http import Http, MetricsAccess, Scope, is_loopback
from router.config.tls import ListenerTls, TlsProfile
from router.errors import ConfigurationError
from router.secrets import hash_password, hash_token
from tests.config.test_files import load, problems

SECRET = "-".join(("not", "to", "be", "shown"))
TOKEN = hash_token(SECRET)
PASSWORD = hash_password(SECRET)


def test_nothing_said_is_this_machine_and_everything_allowed(tmp_path: Path) -> None:
    http = load(tmp_path, "").http
    assert (http.host, http.port, http.tls, http.metrics) == ("127.0.0.1", 8080, None, MetricsAccess.READ)
    assert http.is_local and http.is_open and http.warnings == ()


def test_a_block_says_everything(tmp_path: Path) -> None:
    (tmp_path / "hash").write_text(PASSWORD + "\n")
    http = load(
        tmp_path,
        """
        http:
          host: 0.0.0.0
          port: 8443
          tls: {certificate: h.pem, key: h.key, client_ca: ca.pem}
          users:
            anna@ward: {password_hash: "${file:hash}", scopes: [operate, read]}
            Zoë: {password_hash: "${P}"}
          tokens: {prometheus: {token_hash: "${T}"}, ci: {token_hash: "${T}", scopes: admin}}
          metrics: anonymous
        """,
        T=TOKEN,
        P=PASSWORD,
    ).http
    assert {name: user.scope for name, user in http.users.items()} == {"anna@ward": "operate", "Zoë": "read"}
    assert {name: token.scope for name, token in http.tokens.items()} == {"prometheus": "read", "ci": "admin"}
    assert http.tls == ListenerTls(
        certificate=f"{tmp_path}/h.pem",
        key=f"{tmp_path}/h.key",
        client_ca=f"{tmp_path}/ca.pem",
        profile=TlsProfile.RFC8996,
    )
    assert http.metrics is MetricsAccess.ANONYMOUS
    assert not http.is_local and not http.is_open and http.warnings == ()
    assert "scrypt" not in repr(http) and "sha256" not in repr(http)


def test_what_stands_at_the_top_is_its_certificate_too(tmp_path: Path) -> None:
    http = load(tmp_path, "tls: {certificate: /c, key: /k, ca: /ca}\nhttp: {tls: {}}").http
    assert http.tls == ListenerTls(certificate="/c", key="/k", profile=TlsProfile.RFC8996)


def test_scopes_include_those_before_them() -> None:
    assert [[a.includes(b) for b in Scope] for a in Scope] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("gw.localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.0.5", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_which_addresses_are_only_this_machine(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local
    assert Http(host=host).is_open is is_local


@pytest.mark.parametrize("host", ["0.0.0.0", '""', "'::'", "gateway.example"])
def test_what_others_can_reach_is_not_left_open_by_accident(tmp_path: Path, host: str) -> None:
    (problem,) = problems(tmp_path, "http:\n  host: " + host)
    assert problem.startswith("router.yaml:2:9: http.host: others can reach ")
    assert "dicom-router hash-secret" in problem and "allow_anonymous" in problem
    load(tmp_path, f"http: {{host: {host}, tokens: {{t: {{token_hash: {TOKEN}}}}}}}")
    open_on_purpose = load(tmp_path, f"http: {{host: {host}, allow_anonymous: true}}").http
    assert not open_on_purpose.is_open, "reading is not everything"
    assert "everybody on the network" in open_on_purpose.warnings[0]
    assert problems(tmp_path, f"http: {{host: {host}, allow_anonymous: false}}")


def test_passwords_on_a_plain_network_are_warned_of(tmp_path: Path) -> None:
    tokens = f"tokens: {{t: {{token_hash: {TOKEN}}}}}"
    (warning,) = load(tmp_path, f"http: {{host: 0.0.0.0, {tokens}}}").http.warnings
    assert "plain text" in warning
    assert load(tmp_path, f"http: {{{tokens}}}").http.warnings == ()


@pytest.mark.parametrize(
    ("http", "place", "sentence"),
    [
        ("users: {a: {}}", "users.a", "password_hash: this key is missing"),
        ("users: {a: {password_hash: HIDDEN}}", "users.a.password_hash", "hash-secret"),
        ("tokens: {a: {token_hash: HIDDEN}}", "tokens.a.token_hash", "hash-secret --token"),
        ("tokens: {a: {token_hash: PASSWORD}}", "tokens.a.token_hash", "hash-secret --token"),
        ("tokens: {a: {token: HIDDEN}}", "tokens.a.token", "unknown key; did you mean 'token_hash'?"),
        ("tokens: {a: {token_hash: TOKEN, scopes: []}}", "tokens.a.scopes", "at least 1"),
        ("tokens: {a: {token_hash: TOKEN, scopes: [write]}}", "tokens.a.scopes.0", "expected 'read'"),
        ('tokens: {"a:b": {token_hash: TOKEN}}', "tokens.a:b", "a name is of letters"),
        ("{users: {a: {password_hash: PASSWORD}}, tokens: {a: {token_hash: TOKEN}}}", "tokens.a", "already"),
        ("metrics: all", "metrics", "expected 'read' or 'anonymous'"),
        ("allow_anonymous: HIDDEN", "allow_anonymous", "valid boolean"),
        ("tls: {}", "tls", "give it a certificate"),
        ("{tls: {key: k.pem}}", "tls", "give it a certificate"),
        ("tls: ", "tls", "write tls: {}"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(tmp_path: Path, http: str, place: str, sentence: str) -> None:
    (tmp_path / "hidden").write_text(SECRET)
    text = http.replace("HIDDEN", "'${file:hidden}'").replace("TOKEN", TOKEN).replace("PASSWORD", PASSWORD)
    found = problems(tmp_path, "http: " + text if text[0] == "{" else "http:\n  " + text)
    assert any(f"http.{place}" in line and sentence in line for line in found), found
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "ae_title: 'SECRET, SECRET'",
        "log_level: SECRET",
        "unmatched: SECRET",
        "duplicates: SECRET",
        "retention: SECRET",
        "destinations: {g: {first_of: [SECRET]}}",
        "modalities: {a: {ae_title: SECRET, host: h, port: SECRET, accept: [SECRET], quota: SECRET}}",
        "modalities: {a: {ae_title: A, host: h, port: 1, deliver: {time_zone: SECRET, schedule: SECRET}}}",
        "modalities: {a: {ae_title: A, host: h, port: 1, deliver: {schedule: [{days: SECRET}]}}}",
        "destinations: {f: {folder: '{SECRET}'}}",
        "listeners: [{port: 1, name: SECRET}, {port: 2, name: SECRET}]",
        "listeners: [{port: 1, tls: {profile: SECRET}}]",
        "rules: [SECRET]",
        "rules: ['SECRET*.yaml']",
        "rules: [{rule: r, send: SECRET}]",
        "rules: [{rule: SECRET}, {rule: SECRET}]",
        "rules: [{rule: r, send: a, priority: SECRET}]",
        "rules: [{rule: r, stop: true, when: {PatientID: {matches: '(SECRET'}}}]",
        "rules: [{rule: r, stop: true, when: {StudyDate: {between: [SECRET, x]}, peer: {cidr: SECRET}}}]",
        "rules: [{rule: r, stop: true, when: {peer: SECRET, Modality: {lt: SECRET}, size_bytes: SECRET}}]",
        "spool: {segment_bytes: SECRET, clean_below: SECRET}",
    ],
)
@pytest.mark.parametrize("reference", ["${file:hidden}", "${HIDDEN}"])
def test_no_problem_shows_what_a_reference_stands_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, reference: str
) -> None:
    (tmp_path / "hidden").write_text(SECRET + "\n")
    path = tmp_path / "router.yaml"
    path.write_text(text.replace("SECRET", reference))
    with pytest.raises(ConfigurationError) as caught:
        config.load_all(path, {"HIDDEN": SECRET})
    assert SECRET.casefold() not in str(caught.value).casefold()
    assert SECRET not in capfd.readouterr().err
