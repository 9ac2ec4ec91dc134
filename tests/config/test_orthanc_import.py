"""Orthanc's configuration: read as it lies, taken over in our words, and nothing passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router import config
from router.config import orthanc_file
from router.config.orthanc_file import Json
from router.config.orthanc_import import Imported, translate
from router.config.orthanc_notes import INSTEAD, NOT_NEEDED
from router.config.settings import ALL_OPERATIONS, Operation, Settings
from router.config.tls import TlsProfile
from router.errors import ConfigurationError
from router.secrets import verify

BASE = Path("/etc/orthanc")


def imported(**given: Json) -> Imported:
    return translate(given, BASE)


def settings(tmp_path: Path, **given: Json) -> Settings:
    path = tmp_path / "router.yaml"
    path.write_text(json.dumps(imported(**given).configuration))
    return config.load(path, {})


def told(found: Imported) -> dict[str, str]:
    return {finding.key: finding.sentence for finding in found.findings if finding.key}


# -- the files -----------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> dict[str, Json]:
    path = tmp_path / "orthanc.json"
    path.write_text(text, encoding="utf-8")
    return orthanc_file.read(path)


def test_comments_are_no_part_of_strings(tmp_path: Path) -> None:
    text = r"""
    { // a comment with "quotes" and { braces
      "Name" : "http://a/*b*/", /* over
      lines */ "DicomAet" : "A\"//B"
    }"""
    assert read(tmp_path, text) == {"Name": "http://a/*b*/", "DicomAet": 'A"//B'}


def test_references_outside_of_strings_become_strings(tmp_path: Path) -> None:
    given = read(tmp_path, '{"DicomPort": ${PORT:-4242}, "DicomAet": "${AET}"}')
    assert given == {"DicomPort": "${PORT:-4242}", "DicomAet": "${AET}"}
    assert orthanc_file.is_reference(given["DicomPort"])
    assert not orthanc_file.is_reference("$5")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n // x\n "a": }', "orthanc.json:3:7: Expecting value"),
        ('{"a": 1, "a": 2}', "orthanc.json: a stands there twice"),
        ('{"a": {"b": 1, "b": 2}}', "orthanc.json: b stands there twice"),
        ("[1]", "orthanc.json: not a mapping of keys to values"),
        ("[" * 100_000, "orthanc.json: "),
    ],
)
def test_what_is_no_configuration_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert caught.value.problems[0].removeprefix(f"{tmp_path}/").startswith(problem)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "orthanc.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigurationError, match="not UTF-8 from byte 7 on"):
        orthanc_file.read(tmp_path / "orthanc.json")


def test_the_files_of_a_folder_are_one_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no \*\.json file in it"):
        orthanc_file.read(tmp_path)
    (tmp_path / "a.json").write_text('{"DicomAet": "A"}')
    (tmp_path / "b.json").write_text('{"DicomPort": 104}')
    (tmp_path / "c.txt").write_text("not read")
    assert orthanc_file.read(tmp_path) == {"DicomAet": "A", "DicomPort": 104}
    (tmp_path / "c.json").write_text('{"DicomPort": 105}')
    with pytest.raises(ConfigurationError, match=r"c\.json: DicomPort stands in .*b\.json as well"):
        orthanc_file.read(tmp_path)


# -- who we are, and who may come ----------------------------------------------------------------------------


def test_an_empty_configuration_means_orthancs_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert (found.ae_title, found.listeners[0].port, found.http.port) == ("ORTHANC", 4242, 8042)
    assert found.accept_unknown == (Operation.ECHO, Operation.STORE)
    assert not found.check_called_ae
    assert not found.modalities


def test_identity_and_limits(tmp_path: Path) -> None:
    found = settings(
        tmp_path, DicomAet="HOSPITAL", DicomPort=104, DicomCheckCalledAet=True, MaximumPduLength=65536,
        DicomScpTimeout=90, DicomAlwaysAllowEcho=False, DicomAlwaysAllowStore=False,
        DicomAlwaysAllowFind=True,
    )  # fmt: skip
    assert (found.ae_title, found.listeners[0].port, found.check_called_ae) == ("HOSPITAL", 104, True)
    assert (found.listeners[0].limits.max_pdu_bytes, found.listeners[0].limits.idle_s) == (65536, 90)
    assert found.accept_unknown == (Operation.FIND,)


def test_what_a_gateway_cannot_be_is_told() -> None:
    found = imported(DicomServerEnabled=False, DicomScpTimeout=0, DicomCheckCalledAet="yes")
    assert told(found).keys() >= {"DicomServerEnabled", "DicomScpTimeout", "DicomCheckCalledAet"}
    assert found.configuration["listeners"] == [{"port": 4242, "host": "127.0.0.1"}]


def test_ae_titles_are_compared_more_strictly_and_that_is_told_where_it_counts() -> None:
    assert "StrictAetComparison" in told(imported())
    assert "StrictAetComparison" not in told(imported(StrictAetComparison=True))


# -- modalities ----------------------------------------------------------------------------------------------


def test_both_spellings_of_a_modality(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        DicomCheckModalityHost=True,
        DicomAlwaysAllowStore=False,
        DicomModalities={
            "ct": ["CT1", "10.1.0.21", 104],
            "vendor": ["CT2", "10.1.0.22", "104", "GE"],
            "pacs": {
                "AET": "PACS", "Host": "pacs", "Port": 11112, "AllowStore": False, "AllowMove": False,
                "AllowStorageCommitment": False, "AllowFindWorklist": False, "LocalAet": "OUT", "Timeout": 20,
                "AllowTranscoding": False, "RetrieveMethod": "C-GET",
            },
        },
    )  # fmt: skip
    ct, vendor, pacs = (found.modalities[name] for name in ("ct", "vendor", "pacs"))
    assert (ct.ae_title, ct.host, ct.port, ct.accept, ct.check_host) == (
        "CT1", "10.1.0.21", 104, ALL_OPERATIONS, True
    )  # fmt: skip
    assert (vendor.ae_title, vendor.port) == ("CT2", 104)
    assert pacs.accept == (Operation.ECHO, Operation.FIND, Operation.GET)
    assert pacs.send == ALL_OPERATIONS, "in Orthanc AllowX forbids what comes in, and nothing else"
    assert pacs.local_ae_title == "OUT"
    assert (pacs.deliver.connect_timeout, pacs.deliver.response_timeout) == (20, 20)
    assert not pacs.deliver.transcode


def test_what_everybody_may_ask_cannot_be_forbidden_to_one(tmp_path: Path) -> None:
    entry: dict[str, Json] = {"AET": "A", "Host": "h", "Port": 1, "AllowStore": False, "AllowFind": False}
    found = imported(DicomModalities={"a": entry})
    assert "DicomModalities.a.AllowStore" in told(found), "DicomAlwaysAllowStore is true by default"
    assert "DicomModalities.a.AllowFind" not in told(found)
    accept = settings(tmp_path, DicomModalities={"a": entry}).modalities["a"].accept
    assert Operation.STORE in accept
    assert Operation.FIND not in accept


def test_a_wrong_host_is_refused_more_than_in_orthanc_and_that_is_told() -> None:
    assert "DicomCheckModalityHost" in told(imported(DicomCheckModalityHost=True))
    nobody: dict[str, Json] = {"DicomAlwaysAllowEcho": False, "DicomAlwaysAllowStore": False}
    assert "DicomCheckModalityHost" not in told(imported(DicomCheckModalityHost=True, **nobody))


def test_timeouts_and_transcoding_of_all(tmp_path: Path) -> None:
    entries: dict[str, Json] = {
        "a": ["A", "h", 1],
        "b": {"AET": "B", "Host": "h", "Port": 1, "Timeout": 5},
    }
    found = settings(
        tmp_path, DicomModalities=entries, DicomScuTimeout=33, TranscodeDicomProtocol=False
    ).modalities
    assert [found[name].deliver.response_timeout for name in "ab"] == [33, 5]
    assert not any(found[name].deliver.transcode for name in "ab")
    assert told(imported(DicomModalities={"a": ["A", "h", 1]}, DicomScuTimeout=0)).keys() >= {
        "DicomModalities.a"
    }


@pytest.mark.parametrize("entry", [["A", "h"], ["A", "h", 1, "GE", 5], {"AET": "A"}, 7])
def test_a_modality_that_is_none_is_left_out_and_told(entry: Json) -> None:
    found = imported(DicomModalities={"a": entry, "b": ["B", "h", 1]})
    assert "left out" in told(found)["DicomModalities.a"]
    modalities = found.configuration["modalities"]
    assert isinstance(modalities, dict)
    assert list(modalities) == ["b"]


def test_modalities_that_are_elsewhere() -> None:
    found = imported(DicomModalitiesInDatabase=True, DicomModalities=[1])
    assert told(found).keys() >= {"DicomModalitiesInDatabase", "DicomModalities"}


# -- TLS and HTTP --------------------------------------------------------------------------------------------

FILES: dict[str, Json] = {
    "DicomTlsCertificate": "c.pem",
    "DicomTlsPrivateKey": "/keys/k.pem",
    "DicomTlsTrustedCertificates": "../ca.pem",
}


def test_tls_in_both_directions(tmp_path: Path) -> None:
    found = settings(
        tmp_path, DicomTlsEnabled=True, **FILES,
        DicomModalities={"a": {"AET": "A", "Host": "h", "Port": 1, "UseDicomTls": True}},
    )  # fmt: skip
    listener, outgoing = found.listeners[0].tls, found.modalities["a"].tls
    assert listener is not None
    assert outgoing is not None
    assert (listener.certificate, listener.key) == ("/etc/orthanc/c.pem", "/keys/k.pem")
    assert listener.client_ca == "/etc/ca.pem"
    assert (outgoing.certificate, outgoing.ca, outgoing.check_hostname) == (
        "/etc/orthanc/c.pem", "/etc/ca.pem", True
    )  # fmt: skip


def test_tls_without_certificates_of_callers(tmp_path: Path) -> None:
    found = settings(
        tmp_path, DicomTlsEnabled=True, DicomTlsRemoteCertificateRequired=False,
        DicomTlsMinimumProtocolVersion=2, DicomTlsCiphersAccepted=["X"], **FILES,
    )  # fmt: skip
    listener = found.listeners[0].tls
    assert listener is not None
    assert (listener.client_ca, listener.profile) == (None, TlsProfile.LEGACY)


def test_files_of_a_tls_that_is_off_are_not_taken_over() -> None:
    assert "tls" not in imported(**FILES).configuration


def test_servers_are_verified_even_where_orthanc_did_not() -> None:
    given: dict[str, Json] = {
        "DicomTlsRemoteCertificateRequired": False,
        "DicomModalities": {"a": {"AET": "A", "Host": "h", "Port": 1, "UseDicomTls": True}},
    }
    assert told(imported(**given)).keys() >= {"DicomTlsRemoteCertificateRequired", "UseDicomTls"}


def test_users_are_kept_as_hashes(tmp_path: Path) -> None:
    found = imported(RemoteAccessAllowed=True, RegisteredUsers={"alice": "secret", "bob": "${BOB}"})
    assert "secret" not in json.dumps(found.configuration)
    assert "RegisteredUsers.bob" in told(found)
    path = tmp_path / "router.yaml"
    path.write_text(json.dumps(found.configuration))
    http = config.load(path, {}).http
    assert (http.host, list(http.users)) == ("0.0.0.0", ["alice"])
    assert verify("secret", http.users["alice"].password_hash)


def test_a_port_that_everybody_reached_stays_here_until_somebody_is_named(tmp_path: Path) -> None:
    assert "RemoteAccessAllowed" in told(imported(RemoteAccessAllowed=True, AuthenticationEnabled=False))
    assert settings(tmp_path, RemoteAccessAllowed=True).http.host == "127.0.0.1"
    off = imported(RemoteAccessAllowed=True, RegisteredUsers={"a": "b"}, HttpServerEnabled=False)
    assert "host" not in dict(off.configuration["http"])  # type: ignore[arg-type]


def test_https(tmp_path: Path) -> None:
    tls = settings(
        tmp_path, SslEnabled=True, SslCertificate="h.pem", SslVerifyPeers=True,
        SslTrustedClientCertificates="clients.pem",
    ).http.tls  # fmt: skip
    assert tls is not None
    assert (tls.certificate, tls.client_ca) == ("/etc/orthanc/h.pem", "/etc/orthanc/clients.pem")
    assert settings(tmp_path, SslEnabled=False, SslCertificate="h.pem").http.tls is None


# -- the rest ------------------------------------------------------------------------------------------------


def test_every_key_is_taken_over_or_accounted_for() -> None:
    found = imported(LuaScripts=["a.lua"], StableAge=60, Zzz=1, _note="mine", OverwriteInstances="Always")
    assert told(found).keys() >= {"LuaScripts", "OverwriteInstances"}
    assert (found.not_needed, found.unknown) == (("StableAge",), ("Zzz",))


@pytest.mark.parametrize("nothing", [False, 0, "", None])
def test_what_is_switched_off_is_not_told_of(nothing: Json) -> None:
    found = imported(WebDavEnabled=nothing, MaximumStorageSize=nothing, LuaScripts=[], Pkcs11={})
    assert told(found).keys() == {"StrictAetComparison"}


def test_no_key_stands_in_two_tables() -> None:
    assert not NOT_NEEDED & INSTEAD.keys()
