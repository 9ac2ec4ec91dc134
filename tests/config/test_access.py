"""Addresses, listeners, users and identities in the configuration; what is wrong is told at its place."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from router.config.access import Identity, IdentityPolicy, User, parse_network
from router.config.settings import Limits, Operation
from router.secrets import hash_password
from tests.config.test_files import load, problems

SECRET = "-".join(("not", "to", "be", "shown"))
HASH = hash_password(SECRET)


def test_everything_that_says_who_may_come(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        """
        listeners:
          - {port: 104, name: inside, called_ae: [ROUTER, OLD_PACS], addresses: [10.0.0.0/8, "fd00::/8"]}
          - {port: 2762, name: outside, identity: required, accept_unknown: [echo]}
        users:
          station: {}
          alice: {passcode_hash: "${ALICE}"}
        modalities:
          ct: {ae_title: CT, host: h, port: 1, addresses: [10.1.0.0/16, 10.2.0.7], listeners: [inside],
               users: [alice], identity: {username: router, passcode: "${PASSCODE}"}}
        """,
        ALICE=HASH,
        PASSCODE=SECRET,
    )
    inside, outside = settings.listeners
    assert inside.called_ae == ("ROUTER", "OLD_PACS")
    assert inside.addresses == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (inside.identity, inside.accept_unknown) == (IdentityPolicy.IGNORED, None)
    assert (outside.identity, outside.accept_unknown) == (IdentityPolicy.REQUIRED, (Operation.ECHO,))
    assert settings.users == {"station": User(), "alice": User(passcode_hash=HASH)}
    ct = settings.modalities["ct"]
    assert ct.addresses == (ip_network("10.1.0.0/16"), ip_network("10.2.0.7"))
    assert (ct.listeners, ct.users) == (("inside",), ("alice",))
    assert ct.identity == Identity(username="router", passcode=SECRET)
    assert SECRET not in repr(settings)
    assert HASH not in repr(settings)


PEER = "modalities: {a: {ae_title: A, host: h, port: 1, %s}}"
WRONG = {
    "bits beyond the network": (
        PEER % "addresses: [10.1.2.3/16]",
        "10.1.2.3/16 is an address within 10.1.0.0/16",
    ),
    "no network": (PEER % "addresses: [pacs.example]", "addresses.0: expected a network such as 10.1.0.0/16"),
    "a number": (PEER % "addresses: [10]", "addresses.0: expected a network"),
    "unknown listener": (PEER % "listeners: ['11113']", "unknown listener '11113'; did you mean '11112'?"),
    "unknown user": ("users: {alice: {}}\n" + PEER % "users: [alise]", "unknown user 'alise'"),
    "nobody could come in": ("listeners: [{port: 1, identity: required}]", "there are no users"),
    "a passcode in place of its hash": (
        f"users: {{a: {{passcode_hash: {SECRET}}}}}",
        "expected a hash as 'dicom-router hash-secret' makes it",
    ),
    "an empty passcode": (PEER % "identity: {username: a, passcode: ''}", "must not be empty"),
    "a passcode without a name": (PEER % "identity: {passcode: a}", "identity.username: this key is missing"),
    "another policy": (
        "listeners: [{port: 1, identity: always}]",
        "expected 'ignored', 'optional' or 'required'",
    ),
    "a passcode of a user": ("users: {a: {passcode: b}}", "users.a.passcode: unknown key"),
    "a misspelt limit": ("listeners: [{port: 1, limits: {idle: 5}}]", "limits.idle: unknown key"),
    "more contexts than there can be": ("listeners: [{port: 1, limits: {contexts: 129}}]", "limits.contexts"),
}


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_told_at_its_place_and_without_secrets(tmp_path: Path, text: str, told: str) -> None:
    (line,) = problems(tmp_path, text)
    assert told in line
    assert f"router.yaml:{text.count(chr(10)) + 1}:" in line
    assert SECRET not in line


def test_a_network_may_have_spaces_around_it() -> None:
    assert parse_network(" 10.0.0.0/8 ") == ip_network("10.0.0.0/8")


def test_the_sample_configuration_has_every_limit() -> None:
    sample = (Path(__file__).resolve().parents[2] / "deploy" / "router.sample.yaml").read_text()
    missing = [name for name in Limits.__dataclass_fields__ if f"{name}:" not in sample]
    assert not missing
