"""The configuration file: what it means, and that everything wrong with it is told at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config
from router.config.settings import ALL_OPERATIONS, Deliver, Modality, Operation, Settings
from router.errors import ConfigurationError

ECHO, STORE, COMMIT = Operation.ECHO, Operation.STORE, Operation.COMMIT


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "router.yaml"
    path.write_text(text)
    return config.load(path, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text, **environ)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


def modality(tmp_path: Path, entry: str) -> Modality:
    return load(tmp_path, f"modalities:\n  a: {entry}\n").modalities["a"]


def test_defaults_without_a_file_and_with_an_empty_one(tmp_path: Path) -> None:
    assert config.load(None, {}) == Settings()
    settings, rule_set = config.load_all(None, {})
    assert (settings, rule_set.rules, rule_set.unmatched) == (Settings(), (), "hold")
    assert load(tmp_path, "").listeners[0].port == 11112


def test_units_and_the_environment(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        ae_title: ${AET:-GATEWAY}
        listeners: [{port: "${PORT}", limits: {max_pdu_bytes: 64kB, idle_s: 2m}}]
        modalities:
          pacs: {ae_title: PACS, host: h, port: 104, deliver: {retry: {max_age: 3d, max_attempts: 5}}}
        spool: {segment_bytes: 1GiB}
        retention: 90m
        """,
        PORT="104",
    )
    assert settings.ae_title == "GATEWAY"
    assert (settings.listeners[0].port, settings.listeners[0].limits.max_pdu_bytes) == (104, 65536)
    assert settings.modalities["pacs"].deliver.retry.max_age == 3 * 86400
    assert (settings.spool.segment_bytes, settings.retention) == (1 << 30, 5400)


def test_paths_are_meant_from_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, "data_dir: ../d\ndestinations: {f: {folder: 'x/{PatientID}.dcm'}}")
    assert settings.data_dir == tmp_path.parent / "d"
    assert settings.destinations["f"].folder == f"{tmp_path}/x/{{PatientID}}.dcm"
    assert load(tmp_path, "data_dir: /var/x").data_dir == Path("/var/x")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ae_titel: X", "1:1: ae_titel: unknown key; did you mean 'ae_title'?"),
        ("x: 1", "1:1: x: unknown key"),
        ("listeners: [{prot: 1, port: 2}]", "1:14: listeners.0.prot: unknown key; did you mean 'port'?"),
        ("listeners: [{host: h}]", "1:13: listeners.0.port: this key is missing"),
        ("listeners: [{port: 70000}]", "1:20: listeners.0.port: input should be less than or equal to 65535"),
        ("listeners: [{port: true}]", "1:20: listeners.0.port: expected a port number"),
        ("listeners: {port: 1}", "1:12: listeners: expected a list"),
        ("http: 8080", "1:7: http: expected a mapping of keys to values"),
        ("ae_title: 12", "1:11: ae_title: expected an AE title (put it in quotes if it looks like a number)"),
        ("ae_title: ABCDEFGHIJKLMNOPQ", "1:11: ae_title: expected an AE title: 1 to 16"),
        ("retention: 3 fortnights", "1:12: retention: expected a duration such as 30s, 10m, 2h or 3d"),
        ("spool: {segment_bytes: 64QB}", "1:24: spool.segment_bytes: expected a size"),
        (f"spool: {{segment_bytes: '{'9' * 400}'}}", "1:24: spool.segment_bytes: expected a size"),
        (f"retention: 0x{'f' * 400}", "1:12: retention: expected a duration"),
        ("retention: .inf", "1:12: retention: expected a duration"),
        ("retention: .nan", "1:12: retention: expected a duration"),
        (
            "listeners: [{port: 1, limits: {max_pdu_bytes: 8GB}}]",
            "1:47: listeners.0.limits.max_pdu_bytes: input should",
        ),
        ("data_dir: ~nobody0/x", "1:11: data_dir: '~nobody0' is nobody's home directory"),
        (
            "destinations: {a: {folder: ~nobody0/x}}",
            "1:28: destinations.a.folder: '~nobody0' is nobody's home",
        ),
        ("audit: {file: ~nobody0/x}", "1:15: audit.file: '~nobody0' is nobody's home"),
        (
            "audit: {syslog: {host: h, tls: {ca: ~nobody0/x}}}",
            "1:37: audit.syslog.tls.ca: '~nobody0' is nobody's",
        ),
        ("http: {tls: {key: ~nobody0/x, certificate: c}}", "1:19: http.tls.key: '~nobody0' is nobody's home"),
        ("ae_title: ${file:~nobody0/x}", "1:11: '~nobody0' is nobody's home directory"),
        ("tls: {crl: [a, ~nobody0/x]}", "1:12: tls.crl: '~nobody0' is nobody's home"),
        ('destinations: {a: {folder: "a\\0b"}}', "1:28: this has a NUL character in it"),
        ("log_level: loud", "1:12: log_level: expected debug, info, warning or error"),
        ("accept_unknown: [eco]", "1:18: accept_unknown.0: expected 'echo', 'store'"),
        ("accept_unknown: [eco]", "did you mean 'echo'?"),
        ("unmatched: archiv", "1:12: unmatched: 'archiv' is neither hold nor drop nor a destination"),
        ("- a", "1:1: the configuration must be a mapping"),
        ("drain: ${X}", "1:8: environment variable X is not set"),
        ("ae_title: A\nae_title: B", "2:1: key 'ae_title' stands here a second time"),
        ("destinations: {a: {folder: x, first: 1}}", "1:31: destinations.a.first: unknown key"),
        ("destinations: {a: {folder: '{PatentID}'}}", "did you mean 'PatientID'?"),
        ("destinations: {hold: {folder: x}}", "1:16: destinations.hold: this name has a meaning of its own"),
        ("destinations: {'a b': {folder: x}}", "1:16: destinations.a b: a name is of letters"),
        (
            "listeners: [{port: 1, name: a}, {port: 2, name: a}]",
            "1:33: listeners.1: another listener is called 'a'",
        ),
        ("listeners: [{port: 1}, {port: 1, host: h}]", "1:24: listeners.1: another listener is called '1'"),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1}}\ndestinations: {a: {folder: x}}",
            "2:16: destinations.a: a modality has this name already",
        ),
    ],
)
def test_each_problem_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1, lines
    assert lines[0].startswith("router.yaml:") and problem in lines[0], lines[0]


def test_rules_in_nobodys_home_are_told_at_their_place(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text("rules: [~nobody0/rules.yaml]")
    with pytest.raises(
        ConfigurationError, match=r"router\.yaml:1:9: rules: '~nobody0' is nobody's home directory"
    ):
        config.load_all(path, {})


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("- rule: a\n  send: nowhere\n")
    (tmp_path / "two.yaml").write_text("- rule: a\n  sent: x\n  stop: true\n")
    path = tmp_path / "router.yaml"
    path.write_text(
        "drain: soon\nrules:\n  - one.yaml\n  - {rule: b, when: {Modalty: CT}, send: x}\n  - two.yaml\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        config.load_all(path, {})
    assert [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems] == [
        "router.yaml:1:8: drain: expected a duration such as 30s, 10m, 2h or 3d",
        "router.yaml:4:22: unknown DICOM keyword 'Modalty'; did you mean 'Modality'?",
        "router.yaml:4:42: unknown destination 'x'",
        "one.yaml:2:9: unknown destination 'nowhere'",
        f"two.yaml:1:9: another rule is called 'a' already: {tmp_path}/one.yaml:1:9",
        "two.yaml:2:3: unknown key 'sent'; did you mean 'send'?",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "[PACS, 10.0.0.5, 104]",
        "[PACS, 10.0.0.5, '104', Generic]",
        "{AET: PACS, Host: 10.0.0.5, Port: 104}",
        "{AET: PACS, Host: 10.0.0.5, Port: '104', Manufacturer: GE, AllowEcho: true, UseDicomTls: false}",
        "{AET: PACS, Host: 10.0.0.5, Port: 104, LocalAet: '', Timeout: 0, RetrieveMethod: SystemDefault}",
        "{ae_title: PACS, host: 10.0.0.5, port: 104}",
    ],
)
def test_orthancs_spelling_of_a_modality(tmp_path: Path, entry: str) -> None:
    assert modality(tmp_path, entry) == Modality(ae_title="PACS", host="10.0.0.5", port=104)


def test_orthancs_allow_false_forbids_both_ways(tmp_path: Path) -> None:
    read = modality(tmp_path, "{AET: A, Host: h, Port: 1, AllowStore: false, AllowStorageCommitment: false}")
    left = tuple(o for o in ALL_OPERATIONS if o not in (STORE, COMMIT))
    assert read.accept == read.send == left
    read = modality(tmp_path, "{AET: A, Host: h, Port: 1, AllowStore: false, accept: [echo, store]}")
    assert read.accept == (ECHO,)
    assert STORE not in read.send


def test_orthancs_local_title_and_timeout(tmp_path: Path) -> None:
    read = modality(tmp_path, "{AET: A, Host: h, Port: 1, LocalAet: OUT, Timeout: 7}")
    assert read.local_ae_title == "OUT"
    assert (read.deliver.connect_timeout, read.deliver.response_timeout) == (7, 7)


def test_orthancs_keys_about_deliveries_add_up(tmp_path: Path) -> None:
    read = modality(
        tmp_path,
        "{AET: A, Host: h, Port: 1, AllowTranscoding: false, Timeout: 7, deliver: {associations: 3}}",
    )
    assert read.deliver == Deliver(transcode=False, connect_timeout=7, response_timeout=7, associations=3)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("[PACS, h]", "2:6: a modality as a list is [AET, Host, Port]"),
        ("[PACS, h, port]", "2:16: modalities.a.port: expected a port number"),
        (
            "{AET: A, ae_title: A, Host: h, Port: 1}",
            "2:7: AET is Orthanc's name for ae_title, which stands here",
        ),
        ("{AET: A, Host: h, Port: 1, AllowStore: 'no'}", "2:45: AllowStore must be true or false"),
        ("{AET: A, Host: h, Port: 1, RetrieveMethod: C-GET}", "2:33: RetrieveMethod is not supported yet"),
        ("{AET: A, Host: h, Port: 1, Manufacturer: Acme}", "2:47: 'Acme' is no manufacturer"),
        ("{AET: A, Host: h, Port: 1, AllowStores: true}", "did you mean 'AllowStore'?"),
        ("{AET: A, Host: h, Port: 0}", "2:30: modalities.a.port: input should be greater than or equal to 1"),
    ],
)
def test_orthancs_spelling_gone_wrong(tmp_path: Path, entry: str, problem: str) -> None:
    lines = problems(tmp_path, f"modalities:\n  a: {entry}\n")
    assert len(lines) == 1, lines
    assert problem in lines[0]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigurationError, match=r"router\.yaml:1:1: this is not YAML: it is not UTF-8"):
        config.load(path, {})
    path.write_text("rules: [latin.yaml]")
    (tmp_path / "latin.yaml").write_bytes("- rule: a\n  send: Müller\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin\.yaml:2:10: this is not YAML: it is not UTF-8"):
        config.load_all(path, {})
    with pytest.raises(FileNotFoundError):
        config.load(tmp_path / "none.yaml", {})


def test_a_modality_that_must_not_be_sent_to_is_no_destination(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(
        "modalities:\n  ct: {AET: CT, Host: h, Port: 1, AllowStore: false}\n"
        "rules: [{rule: a, send: ct}]\nunmatched: ct\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        config.load_all(path, {})
    assert [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems] == [
        "router.yaml:3:25: 'ct' may not be sent to: its 'send' lacks store",
        "router.yaml:4:12: unmatched: 'ct' may not be sent to: its 'send' lacks store",
    ]
