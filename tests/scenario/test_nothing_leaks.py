"""Patients' names and secrets are planted wherever a gateway meets them, and looked for in all that it says.

Its log is at info, as it is by default. Operators may see what a peer answered (``queue show``), so that is
no leak; what everybody who reads logs, metrics and outputs sees must hold nothing of it.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from bench import wire
from router.secrets import hash_password, hash_token
from tests.peers import free_port, wait_until
from tests.peers.certificates import Authority
from tests.peers.gateway import Gateway, modality, router
from tests.peers.instances import CT
from tests.peers.sender import Association, closes_or_aborts, frame
from tests.peers.talkative import talkative

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MARK = "zyxwplanted"  # in every planted word; nothing else has it
NAME, PATIENT_ID = f"{MARK}^name", f"{MARK}id"
TOKEN, PASSWORD = f"{MARK}token-0123456789-0123456789", f"{MARK} password"
COMMENT = f"no patient {NAME}"
INVALID_UID = 0x0117
UID = "1.2.826.0.1.3680043.10.1338.7"


def element(group: int, number: int, vr: str, value: str) -> bytes:
    raw = value.encode()
    raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    return struct.pack("<HH2sH", group, number, vr.encode(), len(raw)) + raw


def image(uid: str, *, charset: str = "ISO_IR 100", date: str = "20200101", more: bytes = b"") -> bytes:
    """A data set whose every text is planted."""
    return b"".join(
        (
            element(0x0008, 0x0005, "CS", charset),
            element(0x0008, 0x0016, "UI", CT[0]),
            element(0x0008, 0x0018, "UI", uid),
            element(0x0008, 0x0020, "DA", date),
            element(0x0008, 0x0060, "CS", "CT"),
            element(0x0008, 0x1030, "LO", f"{MARK} study"),
            element(0x0010, 0x0010, "PN", NAME),
            element(0x0010, 0x0020, "LO", PATIENT_ID),
            element(0x0010, 0x0030, "DA", f"{MARK}"),
            element(0x0020, 0x000D, "UI", f"{UID}.1"),
            element(0x0020, 0x000E, "UI", f"{UID}.2"),
            element(0x0020, 0x0013, "IS", f"{MARK}"),
            more,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The gateway, and the directory with its secrets."""

    gateway: Gateway
    secrets: Path

    def ask(
        self, path: str, *, authorization: str = "", body: object = None, host: str = "", accept: str = ""
    ) -> tuple[int, str]:
        """Status and body of one request."""
        headers = {"Content-Type": "application/json"}
        if authorization:
            headers["Authorization"] = authorization
        if host:
            headers["Host"] = host
        if accept:
            headers["Accept"] = accept
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.http, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def http(
        self, path: str, *, authorization: str = "", body: object = None, host: str = "", accept: str = ""
    ) -> int:
        """The status of one request."""
        return self.ask(path, authorization=authorization, body=body, host=host, accept=accept)[0]

    def metrics(self) -> str:
        return self.ask("/metrics", authorization=f"Bearer {TOKEN}")[1]


def secret_files(directory: Path) -> None:
    directory.mkdir()
    (directory / "password-hash").write_text(hash_password(PASSWORD) + "\n")
    (directory / "token-hash").write_text(hash_token(TOKEN) + "\n")
    (directory / "key-password").write_text(f"{MARK} key password\n")
    issued = Authority(directory).issue("own")
    key = serialization.load_pem_private_key(Path(issued.key).read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(f"{MARK} key password".encode()),
    )
    (directory / "own.key").write_bytes(encrypted)


def configuration(directory: Path, secrets: Path, ports: dict[str, int]) -> dict[str, object]:
    (directory / "blocked").write_text("a file, where a directory should be")
    deliver = {"retry": {"initial": "100ms", "max_attempts": 2}}
    return {
        "tls": {
            "certificate": f"{secrets}/own.pem",
            "key": f"{secrets}/own.key",
            "key_password": f"${{file:{secrets}/key-password}}",
        },
        "modalities": {
            "full": modality(ports["full"], "FULL", **deliver),
            "picky": modality(ports["picky"], "PICKY", **deliver),
            "gone": {**modality(ports["gone"], "GONE", **deliver), "tls": {}},
        },
        "destinations": {
            "folder": {
                "folder": f"{directory}/files/{{PatientID}}/{{PatientName}}/{{SOPInstanceUID}}.dcm",
                "deliver": deliver,
            },
            "blocked": {"folder": f"{directory}/blocked/{{PatientID}}/x.dcm", "deliver": deliver},
        },
        "rules": [
            {"rule": "all", "send": ["full", "picky", "gone", "folder", "blocked"]},
            {
                "rule": "patient",
                "when": {
                    "PatientName": {"contains": MARK, "ignore_case": True},
                    "PatientID": {"matches": f"^{MARK}"},
                    "PatientBirthDate": {"lt": "20200101"},
                    "InstanceNumber": {"gt": 1},
                    "StudyDate": {"between": ["20100101", "20300101"]},
                },
                "send": "folder",
            },
            {"rule": "any-date", "unless": {"StudyDate": {"ge": "20300101"}}, "send": "folder"},
        ],
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("leaks")
    secret_files(directory / "secrets")
    with ExitStack() as running:
        ports = {
            "full": running.enter_context(talkative(0xA700, COMMENT)),
            "picky": running.enter_context(talkative(0xC000, COMMENT)),
            "gone": free_port(),
        }
        secrets = directory / "secrets"
        http = {
            "users": {"anna": {"password_hash": f"${{file:{secrets}/password-hash}}", "scopes": "operate"}},
            "tokens": {"scraper": {"token_hash": f"${{file:{secrets}/token-hash}}"}},
        }
        block = configuration(directory, secrets, ports)
        gateway = running.enter_context(Gateway(directory / "gateway", block, http=http))
        yield Site(gateway=gateway, secrets=secrets)


def send_images(port: int) -> None:
    uids = [f"{UID}.{number}" for number in range(10, 14)] + [f"{UID}.{MARK}", MARK * 20]
    with Association(port, [CT]) as association:
        for uid in uids:
            assert association.store(CT[0], uid, CT[1], image(uid)) in (0, INVALID_UID)
        odd = (
            image(f"{UID}.20", charset=f"{MARK} set"),
            image(f"{UID}.21", date=MARK),
            image(f"{UID}.22", more=element(0x0040, 0x0275, "SQ", NAME)),
            image(f"{UID}.23", more=b"\x10\x00\x40\x10LT\xff\xff" + NAME.encode()),
            NAME.encode() * 50,
            b"",
        )
        for number, data_set in enumerate(odd):
            association.store(CT[0], f"{UID}.{30 + number}", CT[1], data_set)


def send_nonsense(port: int) -> None:
    with Association(port, [CT]).sock as sock:  # half an image, and gone
        command = wire.store_rq(1, CT[0], f"{UID}.40")
        half = frame(1, image(f"{UID}.40"), 16384)[:-20]
        sock.sendall(wire.pdata(1, wire.COMMAND_LAST, command) + half)
        sock.shutdown(socket.SHUT_WR)
        closes_or_aborts(sock)
    for payload in (
        NAME.encode() * 10,
        struct.pack(">BBI", 0x01, 0, 200) + NAME.encode() * 20,
        struct.pack(">BBI", 0x09, 0, 20) + NAME.encode(),
        b"GET /?patient=" + NAME.encode() + b" HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(payload)
            sock.shutdown(socket.SHUT_WR)
            closes_or_aborts(sock)


def send_identity(port: int) -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field = f"{MARK} user".encode()
    identity.secondary_field = PASSWORD.encode()
    caller = AE(ae_title="CALLER")
    caller.add_requested_context(Verification)
    caller.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = caller.associate("127.0.0.1", port, ext_neg=[identity])
    if association.is_established:
        association.send_c_echo()
        association.release()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ask_http(site: Site) -> None:
    good = f"Bearer {TOKEN}"
    assert site.http(f"/api/v1/status?token={TOKEN}") == 401
    assert site.http(f"/{MARK}", authorization=good) == 404
    assert site.http("/api/v1/status", authorization=good) == 200
    assert site.http("/api/v1/status", authorization=basic("anna", PASSWORD)) == 200
    assert site.http(f"/api/v1/trace/{MARK}", authorization=good) == 404
    assert site.http(f"/api/v1/queue?calling_ae={MARK}&state={MARK}", authorization=good) == 422
    assert site.http("/api/v1/queue/hold", authorization=good, body={"ids": [1]}) == 403
    user = basic("anna", PASSWORD)
    assert site.http("/api/v1/queue/hold", authorization=user, body={"sop_instance_uid": NAME}) == 200
    assert site.http("/api/v1/queue/hold", authorization=user, body={NAME: NAME}) == 422
    for path in ("/", "/queue", f"/queue?calling_ae={MARK}&destination={MARK}", "/audit", "/trace"):
        assert site.http(path, authorization=user, accept="text/html") == 200
    assert site.http(f"/trace?uid={MARK}", authorization=user) == 404
    assert site.http(f"/queue?state={MARK}", authorization=user) == 400
    assert site.http(f"/orders/{MARK}", authorization=user) == 404
    assert site.http("/orders/pause", authorization=user, body={"destination": NAME}) == 404
    assert site.http("/orders/drain", authorization=user, body={}) == 403
    for wrong in (f"Bearer {MARK}", basic(MARK, PASSWORD), basic("anna", MARK), f"Basic {MARK}", MARK):
        assert site.http("/api/v1/status", authorization=wrong) == 401
    assert site.http("/healthz", host=f"{MARK}.example") == 200
    for request in (f"GET /{MARK} {MARK}\r\n\r\n", f"{MARK}\r\n\r\n", f"GET / HTTP/1.1\r\n{NAME}\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.gateway.http), timeout=20) as sock:
            sock.sendall(request.encode())
            with suppress(TimeoutError):
                closes_or_aborts(sock, 2.0)


def reload_with(site: Site, key: str, value: str) -> None:
    """A configuration in which a secret stands where it does not belong."""
    path = site.gateway.configuration
    before = path.read_text()
    count = site.gateway.log_text().count("reload failed")
    path.write_text(json.dumps({**json.loads(before), key: value}))
    os.kill(site.gateway.pid, signal.SIGHUP)
    wait_until(lambda: site.gateway.log_text().count("reload failed") > count, "the reload failed")
    path.write_text(before)


def clean(text: str) -> bool:
    """Nothing planted is in it, nor as base64."""
    encoded = [base64.b64encode((" " * n + PASSWORD).encode())[4:-4].decode() for n in range(3)]
    return MARK not in text.casefold() and not any(part in text for part in encoded)


def test_nothing_that_was_planted_is_in_any_log_or_output(site: Site) -> None:
    gateway = site.gateway
    send_images(gateway.port)
    send_nonsense(gateway.port)
    send_identity(gateway.port)
    ask_http(site)
    reload_with(site, "log_level", f"${{file:{site.secrets}/key-password}}")
    reload_with(site, "unmatched", f"${{file:{site.secrets}/key-password}}")
    reload_with(site, "ae_title", f"${{file:{site.secrets}/token-hash}}")

    def has_ended() -> bool:
        """Each destination has failed in its way, and the folder has files."""
        lines = [line for line in site.metrics().splitlines() if "dicom_router_deliveries_total" in line]
        return all(
            any(f'destination="{name}"' in line and f'outcome="{outcome}"' in line for line in lines)
            for name, outcome in (("picky", "dead"), ("blocked", "dead"), ("folder", "delivered"))
        )

    wait_until(has_ended, "deliveries have come to their ends")
    down = '"event":"destination down"'
    wait_until(
        lambda: all(
            any(down in line and f'"{name}"' in line for line in gateway.log_text().splitlines())
            for name in ("full", "gone")
        ),
        "destinations are down",
    )
    log, metrics = gateway.log_text(), site.metrics()
    for event in ("ready", "destination down", "http request denied", "reload failed"):
        assert f'"{event}' in log, "there was something to say"
    assert "insufficient_scope" in metrics
    outputs = {
        "log": log,
        "metrics": metrics,
        "overview": site.ask("/", authorization=f"Bearer {TOKEN}", accept="text/html")[1],
        "check": "".join(run_check(gateway.configuration)),
        "wrong token": "".join(run_queue(gateway, f"{MARK} wrong")),
    }
    assert gateway.stop() == 0
    outputs["log to its end"] = gateway.log_text()
    for where, text in outputs.items():
        found = [line for line in text.splitlines() if not clean(line)]
        assert not found, f"{where}: {found[:5]}"
    assert "Traceback" not in outputs["log to its end"]
    assert not_for_others(gateway.data_dir) == []


def run_check(path: Path) -> tuple[str, str]:
    wrong = path.with_name("wrong.yaml")
    settings = json.loads(path.read_text())
    token = settings["http"]["tokens"]["scraper"]["token_hash"]
    settings.update(log_level=token, http={**settings["http"], "metrics": token})
    wrong.write_text(json.dumps(settings))
    good, bad = router("check", "-c", str(path)), router("check", "-c", str(wrong))
    assert (good.returncode, bad.returncode) == (0, 2), good.stderr
    assert "sha256$" not in bad.stderr
    return good.stdout + good.stderr, bad.stdout + bad.stderr


def run_queue(gateway: Gateway, token: str) -> tuple[str, str]:
    result = router("queue", "ls", "--url", f"http://127.0.0.1:{gateway.http}", "--token", token)
    assert result.returncode == 1
    return result.stdout, result.stderr


def not_for_others(directory: Path) -> list[str]:
    """Files and directories that somebody else could read."""
    return [str(path) for path in (directory, *directory.rglob("*")) if path.stat().st_mode & stat.S_IRWXO]
