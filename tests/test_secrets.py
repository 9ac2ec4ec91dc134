"""router.secrets: what is kept of a secret, and that nothing else matches it."""

from __future__ import annotations

import base64
import hashlib

import pytest

from router.secrets import (
    hash_password,
    hash_token,
    make_token,
    parse_password_hash,
    parse_token_hash,
    verify,
)

# RFC 7914 §12: scrypt("password", "NaCl", N=1024, r=8, p=16), the first 40 of 64 bytes.
RFC_7914 = bytes.fromhex("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a388")


def test_a_password_matches_its_hash_and_nothing_else_does() -> None:
    hashed = hash_password("Blau-Kraut 7")
    assert hashed.startswith("scrypt$16384$8$5$")
    assert "Blau" not in hashed
    assert verify("Blau-Kraut 7", hashed)
    assert not verify("Blau-Kraut 8", hashed)
    assert not verify("", hashed)
    assert hash_password("Blau-Kraut 7") != hashed, "its salt is its own"


def test_a_letter_is_the_same_however_it_was_typed() -> None:
    assert verify("Zo\u00eb", hash_password("Zoe\u0308"))


def test_hashes_of_others_can_be_read() -> None:
    salt = b"NaClNaCl"
    other = hashlib.scrypt(b"password", salt=salt, n=1024, r=8, p=16, dklen=64)
    text = f"scrypt$1024$8$16${base64.b64encode(salt).decode()}${base64.b64encode(other).decode()}"
    assert verify("password", text)
    assert hashlib.scrypt(b"password", salt=b"NaCl", n=1024, r=8, p=16, dklen=40) == RFC_7914


def test_tokens_differ_and_match_their_hash() -> None:
    tokens = {make_token() for _ in range(50)}
    assert len(tokens) == 50 and min(map(len, tokens)) >= 43
    token = tokens.pop()
    assert hash_token(token) == f"sha256${hashlib.sha256(token.encode()).hexdigest()}"
    assert verify(token, hash_token(token))
    assert not verify(tokens.pop(), hash_token(token))


SALT, HASH = base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "swordfish",
        "scrypt$",
        f"scrypt$16384$8$5${SALT}",
        f"scrypt$16384$8$5${SALT}${HASH}$more",
        f"scrypt$16383$8$5${SALT}${HASH}",
        f"scrypt$0$8$5${SALT}${HASH}",
        f"scrypt$16384$8$-5${SALT}${HASH}",
        f"scrypt$16384$8$5$short${HASH}",
        f"scrypt$16384$8$5${SALT}$swordfish",
        f"scrypt$1048576$8$1${SALT}${HASH}",
        f"scrypt$16384$8$65${SALT}${HASH}",
        f"bcrypt$16384$8$5${SALT}${HASH}",
        hash_token("swordfish"),
    ],
)
def test_what_is_no_hash_of_a_password_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="scrypt") as raised:
        parse_password_hash(text)
    assert "swordfish" not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


@pytest.mark.parametrize(
    "text", ["", "swordfish", "sha256$", "sha256$00", "sha256$swordfish", "sha1$" + "0" * 64]
)
def test_what_is_no_hash_of_a_token_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="hash-secret --token") as raised:
        parse_token_hash(text)
    assert "swordfish" not in str(raised.value)
