"""DICOMweb destinations in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config.settings import Settings
from router.config.tls import ModalityTls, TlsProfile
from tests.config.test_files import load, problems

URL = "https://pacs.example/dicom-web"
TOKEN = "abcdefgh"  # noqa: S105 - of nobody


def destination(tmp_path: Path, entry: str, top: str = "") -> Settings:
    return load(tmp_path, f"{top}\ndestinations: {{cloud: {entry}}}")


def test_everything_that_it_may_have(tmp_path: Path) -> None:
    entry = (
        f'{{dicomweb: {URL}/, auth: {{bearer_token: "${{TOKEN}}"}}, headers: {{X-Tenant: a}}, '
        "tls: {ca: ca.pem, server_name: x.example}, deliver: {associations: 8}}"
    )
    settings = load(tmp_path, f"destinations: {{cloud: {entry}}}", TOKEN=TOKEN)
    cloud = settings.destinations["cloud"]
    assert (cloud.dicomweb, cloud.folder) == (URL, None)
    assert cloud.auth is not None
    assert cloud.auth.bearer_token == TOKEN
    assert TOKEN not in repr(cloud)
    assert cloud.headers == {"X-Tenant": "a"}
    assert cloud.tls == ModalityTls(
        ca=str(tmp_path / "ca.pem"), server_name="x.example", profile=TlsProfile.RFC8996
    )
    assert cloud.deliver.associations == 8


def test_what_this_machine_trusts_counts_where_nothing_is_said(tmp_path: Path) -> None:
    top = "tls: {ca: ours.pem}"
    said = destination(tmp_path, f"{{dicomweb: {URL}, tls: {{}}}}", top).destinations["cloud"].tls
    unsaid = destination(tmp_path, f"{{dicomweb: {URL}}}", top).destinations["cloud"].tls
    assert said is not None
    assert unsaid is not None
    assert (said.ca, unsaid.ca) == (str(tmp_path / "ours.pem"), None)
    plain = destination(tmp_path, "{dicomweb: http://127.0.0.1:8042/dicom-web}")
    assert plain.destinations["cloud"].tls is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{}", "1:23: destinations.cloud: give it either a folder or dicomweb, or make it a group"),
        (f"{{folder: x, dicomweb: {URL}}}", "give it either a folder or dicomweb"),
        ("{folder: x, auth: {username: u}}", "destinations.cloud.auth: only a dicomweb destination has it"),
        ("{folder: x, headers: {A: b}}", "cloud.headers: only a dicomweb destination has it"),
        ("{folder: x, tls: {ca: y}}", "cloud.tls: only a dicomweb destination has it"),
        ("{dicomweb: pacs.example}", "cloud.dicomweb: expected an address such as https://pacs.example"),
        ("{dicomweb: 'ftp://x/'}", "expected an address"),
        ("{dicomweb: 'http://x:99999/'}", "expected an address"),
        ("{dicomweb: 'http://u:p@x/'}", "the address is without user"),
        ("{dicomweb: 'http://x/?a=b'}", "the address is without user, '?' and '#'"),
        (f"{{dicomweb: {URL}, auth: {{}}}}", "cloud.auth: give it a bearer_token, or a username"),
        (f"{{dicomweb: {URL}, auth: {{bearer_token: t, username: u}}}}", "give it a bearer_token, or a user"),
        (f"{{dicomweb: {URL}, auth: {{token: t}}}}", "cloud.auth.token: unknown key"),
        (f"{{dicomweb: {URL}, headers: {{Authorization: x}}}}", "the gateway sets Authorization itself"),
        (f"{{dicomweb: {URL}, headers: {{'a b': x}}}}", "'a b' is no header"),
        (f'{{dicomweb: {URL}, headers: {{A: "x\\ny"}}}}', "'A' is no header, or its value is not printable"),
        ("{dicomweb: 'http://x/', tls: {ca: y}}", "cloud.tls: the address is http: without TLS"),
        (f"{{dicomweb: {URL}, tls: {{key: y}}}}", "cloud.tls.key: its certificate is missing beside it"),
        (f"{{dicomweb: {URL}, tls: }}", "cloud.tls: write tls: {}"),
    ],
)
def test_each_problem_is_told(tmp_path: Path, entry: str, problem: str) -> None:
    found = problems(tmp_path, f"destinations: {{cloud: {entry}}}")
    assert len(found) == 1
    assert problem in found[0]
