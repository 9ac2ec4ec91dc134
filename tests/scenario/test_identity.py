"""Two gateways, the second of which wants to know who comes: the secrets stand in the environment only."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import wire
from router.secrets import hash_password
from tests.peers import free_port, wait_until
from tests.peers.gateway import Gateway, modality, router, send_all_to
from tests.peers.instances import CT, Maker
from tests.peers.sender import Association

PASSCODE = "-".join(("only", "in", "the", "environment"))


def test_a_gateway_comes_in_at_another_as_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSCODE", PASSCODE)
    monkeypatch.setenv("HASH", hash_password(PASSCODE))
    second = {
        "users": {"first": {"passcode_hash": "${HASH}"}},
        "modalities": {"first": {**modality(104, "ROUTER"), "users": ["first"]}},
        "accept_unknown": [],
        "unmatched": "hold",
    }
    made = Maker(40_000).make(1)
    with Gateway(tmp_path / "second", second) as target:
        known = {
            **modality(target.port, "SECOND"),
            "identity": {"username": "first", "passcode": "${PASSCODE}"},
        }
        strange = {**modality(target.port, "SECOND"), "identity": {"username": "first", "passcode": "wrong"}}
        first = {"modalities": {"known": known, "strange": strange}, "rules": send_all_to("known", "strange")}
        with Gateway(tmp_path / "first", first) as source:
            with Association(source.port, [CT]) as sender:
                assert sender.store(CT[0], made.uid, CT[1], made.data_set) == 0
            wait_until(lambda: target.depths() == {("", "held"): 1}, "it arrives at the second")
            attempts = (
                'dicom_router_delivery_attempts_total{destination="strange",reason="rejected_permanent"}'
            )
            wait_until(lambda: source.metrics().get(attempts, 0) > 0, "the wrong passcode is refused")
            asked = router("echo", "known", "-c", str(source.configuration))
            assert asked.returncode == 0, asked.stderr
            refused = router("echo", "strange", "-c", str(source.configuration))
            assert "rejected permanently: no reason given" in refused.stderr
            checked = router("check", "-c", str(source.configuration))
            said = [source.log_text(), target.log_text(), checked.stdout, asked.stdout, refused.stderr]
            said += [source.get("/api/v1/status"), source.get("/metrics"), target.get("/metrics")]
        assert (
            target.metrics()['dicom_router_association_rejections_total{reason="identity_not_recognised"}']
            >= 2
        )
    assert not [text for text in said if PASSCODE in text or "scrypt" in text]
    assert '"reason":"identity_not_recognised"' in target.log_text()


def test_nobody_without_an_identity_comes_in_where_one_is_required(tmp_path: Path) -> None:
    port = free_port()
    listeners = [{"port": port, "host": "127.0.0.1", "identity": "required"}]
    configuration = {"listeners": listeners, "users": {"station": {}}, "unmatched": "hold"}
    with (
        Gateway(tmp_path / "gateway", configuration),
        pytest.raises(wire.PeerError, match="type 3: 00010101"),  # permanent, user, no reason
    ):
        Association(port, [CT])
