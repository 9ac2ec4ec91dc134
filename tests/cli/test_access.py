"""What commands say of who they are, whom they trust, and what they are told when that is not enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from anyio.from_thread import BlockingPortal
from typer.testing import CliRunner

from router.admin import Admin
from router.api.access import Access
from router.api.http import HttpApp
from router.api.server import HttpServer
from router.cli import build
from router.clock import ManualClock
from router.config.http import Http, Scope, Token, User
from router.config.settings import Modality, Settings
from router.config.tls import ListenerTls
from router.net.credentials import Credentials
from router.secrets import hash_token, verify
from router.telemetry import Telemetry
from router.views import Phase
from tests.api.test_access import HASH, PASSWORD
from tests.cli.conftest import Remote, Run
from tests.fake_store import KEY, FakeStore, FakeSwitches, learned, record
from tests.peers.certificates import Authority

READER, OPERATOR = "reader-" + "x" * 40, "operator-" + "x" * 40
HTTP = Http(
    users={"anna": User(password_hash=HASH, scopes=(Scope.ADMIN,))},
    tokens={
        "reader": Token(token_hash=hash_token(READER)),
        "operator": Token(token_hash=hash_token(OPERATOR), scopes=(Scope.OPERATE,)),
    },
)


@contextmanager
def guarded(portal: BlockingPortal, tls: ListenerTls | None = None) -> Iterator[Remote]:
    """A gateway that asks who somebody is."""
    store, telemetry, clock, switches = FakeStore(), Telemetry(), ManualClock(), FakeSwitches()
    admin = Admin(
        spool=store,
        settings=Settings(modalities={"pacs": Modality(ae_title="PACS", host="h", port=104)}),
        clock=clock,
        phase=lambda: Phase.RUNNING,
        destinations_up=telemetry.destinations_up,
        dicom_ports=lambda: (11112,),
        switches=switches.switches,
        learned=learned,
    )
    access = portal.call(lambda: Access(HTTP, clock, telemetry))
    app = portal.call(lambda: HttpApp(admin=admin, telemetry=telemetry, clock=clock, access=access))
    server = HttpServer(app, tls=Credentials(tls, "http") if tls else None)
    server.bind("127.0.0.1", 0)
    serving = portal.start_task_soon(server.serve)
    scheme = "https" if tls else "http"
    yield Remote(url=f"{scheme}://127.0.0.1:{server.port}", store=store, switches=switches)
    portal.call(server.stop)
    serving.result(timeout=20)


@pytest.fixture
def closed(portal: BlockingPortal) -> Iterator[Remote]:
    with guarded(portal) as remote:
        yield remote


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "PASSWORD", "CA", "URL"):
        monkeypatch.delenv(f"DICOM_ROUTER_{name}", raising=False)


def test_without_anything_it_is_said_what_to_give(run: Run, closed: Remote) -> None:
    result = run("queue", "ls", "--url", closed.url)
    assert result.exit_code == 1
    assert result.stderr.strip() == (
        f"{closed.url} asks who you are: give --token (or DICOM_ROUTER_TOKEN), or --user NAME."
    )


def test_a_token(run: Run, closed: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("queue", "ls", "--url", closed.url, "--token", READER).exit_code == 0
    monkeypatch.setenv("DICOM_ROUTER_TOKEN", READER)
    assert run("queue", "ls", "--url", closed.url).exit_code == 0
    refused = run("queue", "hold", "--all", "--url", closed.url)
    assert refused.exit_code == 1
    assert refused.stderr.strip() == (
        f"{closed.url} does not let you in: reader has the scope read, and this needs operate."
    )
    assert run("queue", "hold", "--all", "--url", closed.url, "--token", OPERATOR).exit_code == 0
    wrong = run("queue", "ls", "--url", closed.url, "--token", "nonsense")
    assert wrong.exit_code == 1
    assert "there is no such token, or no such user with this password" in wrong.stderr
    assert "nonsense" not in wrong.output


def test_a_user_with_the_password_in_the_environment(
    run: Run, closed: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM_ROUTER_PASSWORD", PASSWORD)
    monkeypatch.setenv("DICOM_ROUTER_TOKEN", "of somebody else")
    assert run("drain", "--url", closed.url, "--user", "anna", "--by", "the boss").exit_code == 0
    shown = run("audit", "--url", closed.url, "--user", "anna").stdout
    assert "anna" in shown and "boss" not in shown
    assert run("queue", "ls", "--url", closed.url, "--user", "a:b").exit_code == 2


def test_a_password_is_asked_for_at_a_terminal_only(
    run: Run, closed: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("queue", "ls", "--url", closed.url, "--user", "anna")
    assert result.exit_code == 2
    assert "DICOM_ROUTER_PASSWORD" in result.stderr
    asked: list[str] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        assert hide_input and err
        asked.append(text)
        return PASSWORD

    monkeypatch.setattr("router.cli.identity._has_terminal", lambda: True)
    monkeypatch.setattr("router.cli.identity.typer.prompt", prompt)
    closed.store.records = [record(1)]
    assert run("queue", "ls", "--url", closed.url, "--user", "anna").exit_code == 0
    assert asked == ["Password of anna"], "once for all its requests"


def test_who_failed_too_often_is_told_how_long_to_wait(run: Run, closed: Remote) -> None:
    for _ in range(20):
        run("audit", "--url", closed.url, "--token", "guess")
    result = run("audit", "--url", closed.url, "--token", "guess")
    assert result.exit_code == 1
    assert "too many attempts from this address failed: try again in 6 s" in result.stderr


def test_files_need_more_than_reading(run: Run, closed: Remote, tmp_path: Path) -> None:
    closed.store.files = {KEY: b"image"}
    closed.store.records = [record(1)]
    refused = run("queue", "export", tmp_path / "a", 1, "--url", closed.url, "--token", READER)
    assert refused.exit_code == 1
    assert "this needs operate" in refused.stderr
    assert not list((tmp_path / "a").glob("*.dcm"))
    assert run("queue", "export", tmp_path / "b", 1, "--url", closed.url, "--token", OPERATOR).exit_code == 0


def test_credentials_on_a_plain_network_are_warned_of(run: Run) -> None:
    result = run("audit", "--url", "http://gateway.invalid:1", "--token", READER)
    assert "The token goes to gateway.invalid as plain text: use https." in result.stderr
    assert READER not in result.output
    assert "plain text" not in run("audit", "--url", "http://127.0.0.1:1", "--token", READER).stderr


def test_https(run: Run, portal: BlockingPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("http", "127.0.0.1")
    monkeypatch.setenv("DICOM_ROUTER_TOKEN", READER)
    with guarded(portal, ListenerTls(certificate=issued.certificate, key=issued.key)) as remote:
        assert run("queue", "ls", "--url", remote.url, "--ca", authority.ca).exit_code == 0

        def told(*arguments: str, url: str = remote.url) -> str:
            result = run("queue", "ls", "--url", url, *arguments)
            assert result.exit_code == 1, result.output
            return result.stderr.strip()

        unknown = told()
        assert unknown.startswith(f"no safe connection to {remote.url}: the peer's certificate was issued by")
        assert unknown.endswith("name it with --ca FILE.")
        other = told("--ca", authority.ca, url=remote.url.replace("127.0.0.1", "localhost"))
        assert "another name: use that name in --url" in other
        assert "perhaps it wants https" in told(url=remote.url.replace("https", "http"))
        assert told("--ca", str(tmp_path / "none.pem")).startswith("https: ")


def test_https_towards_a_plain_port(run: Run, closed: Remote) -> None:
    result = run("queue", "ls", "--url", closed.url.replace("http", "https"))
    assert result.exit_code == 1
    assert "does not speak TLS on this port: use http, or another port" in result.stderr


def test_a_certificate_of_ours_where_it_is_asked_for(
    run: Run, portal: BlockingPortal, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    issued, own = authority.issue("http", "127.0.0.1"), authority.issue("own")
    both = tmp_path / "both.pem"
    both.write_bytes(Path(own.certificate).read_bytes() + Path(own.key).read_bytes())
    tls = ListenerTls(certificate=issued.certificate, key=issued.key, client_ca=authority.ca)
    with guarded(portal, tls) as remote:
        asked = ("queue", "ls", "--url", remote.url, "--ca", authority.ca, "--token", READER)
        assert run(*asked, "--certificate", both).exit_code == 0
        refused = run(*asked)
        assert refused.exit_code == 1
        assert "it asks for a certificate of ours: give --certificate FILE" in refused.stderr


def test_every_command_that_asks_a_gateway_can_say_who_it_is(run: Run) -> None:
    def commands(app: typer.Typer, *path: str) -> Iterator[tuple[str, ...]]:
        for command in app.registered_commands:
            assert command.callback is not None
            yield (*path, command.name or command.callback.__name__)
        for group in app.registered_groups:
            assert group.typer_instance is not None
            yield from commands(group.typer_instance, *path, str(group.name))

    found = 0
    for path in commands(build()):
        shown = run(*path, "--help").output
        if "--url" in shown:
            found += 1
            for option in ("--token", "--user", "--ca", "--certificate"):
                assert option in shown, path
    assert found >= 18


def hashed(result: str) -> str:
    match = re.search(r"(scrypt|sha256)\$\S+", result)
    assert match is not None
    return match[0]


def test_a_password_is_hashed(run: Run) -> None:
    secret = " ".join(("long", "enough", "for 3"))
    result = CliRunner().invoke(build(), ["hash-secret"], input=secret + "\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert verify(secret, hashed(result.stdout)) and secret not in result.output
    short = CliRunner().invoke(build(), ["hash-secret"], input="short\n")
    assert short.exit_code == 0 and "12 characters" in short.stderr
    assert verify("short", hashed(short.stdout))
    assert CliRunner().invoke(build(), ["hash-secret"], input="\n").exit_code == 2
    assert run("hash-secret").exit_code == 2


def test_a_token_is_made(run: Run) -> None:
    result = run("hash-secret", "--token")
    token = result.stdout.splitlines()[0].removeprefix("token: ")
    assert verify(token, hashed(result.stdout))
    assert run("hash-secret", "--token").stdout != result.stdout


def test_check_refuses_what_is_open_by_accident_and_warns_of_the_rest(
    run: Run, configuration: Path, tmp_path: Path
) -> None:
    text = configuration.read_text()
    for http, code, sentence in (
        ("{port: 0, host: 0.0.0.0}", 2, "neither users nor tokens"),
        ("{port: 0, host: 0.0.0.0, allow_anonymous: true}", 0, "everybody on the network"),
        (f"{{port: 0, host: 0.0.0.0, tokens: {{t: {{token_hash: {hash_token(READER)}}}}}}}", 0, "plain text"),
    ):
        configuration.write_text(text.replace("http: {port: 0}", f"http: {http}"))
        result = run("check", "-c", configuration)
        assert result.exit_code == code
        assert sentence in result.stderr
        assert "sha256" not in result.output
