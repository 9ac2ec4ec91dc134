"""Secrets as the configuration keeps them: as hashes, from which nobody gets the secret back.

``scrypt$N$r$p$SALT$HASH`` (base64) is for what people choose, and slow on purpose: call :func:`verify` in a
thread. ``sha256$HASH`` (hexadecimal) is only for tokens that :func:`make_token` made: what has 256 bits by
chance needs no slow hash, and a token is checked with each request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import dataclass, field

# OWASP's Password Storage Cheat Sheet: 16 MiB and five rounds, a fifth of a second.
COST_N, COST_R, COST_P = 2**14, 8, 5
SALT_BYTES, HASH_BYTES = 16, 32
TOKEN_BYTES = 32
MEMORY_CAP_BYTES = 256 * 1024 * 1024  # what one verification may take, whatever a configuration asks for
_ROUNDS_CAP = 64
_SALT_MIN, _HASH_MIN, _HASH_MAX = 8, 16, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ScryptHash:
    """A hash and all that made it of a password (RFC 7914)."""

    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    def matches(self, secret: str) -> bool:
        """Whether this is the secret; takes as long for a wrong one."""
        found = _scrypt(_bytes(secret), self.salt, (self.n, self.r, self.p), len(self.hash))
        return hmac.compare_digest(found, self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenHash:
    """The SHA-256 of a token."""

    hash: bytes = field(repr=False)

    def matches(self, secret: str) -> bool:
        """Whether this is the secret; takes as long for a wrong one."""
        return hmac.compare_digest(hashlib.sha256(_bytes(secret)).digest(), self.hash)


def hash_password(password: str) -> str:
    """What the configuration keeps of a password."""
    salt = secrets.token_bytes(SALT_BYTES)
    found = _scrypt(_bytes(password), salt, (COST_N, COST_R, COST_P), HASH_BYTES)
    encoded = [base64.b64encode(part).decode("ascii") for part in (salt, found)]
    return "$".join(("scrypt", str(COST_N), str(COST_R), str(COST_P), *encoded))


def hash_token(token: str) -> str:
    """What the configuration keeps of a token that was made by :func:`make_token`."""
    return f"sha256${hashlib.sha256(_bytes(token)).hexdigest()}"


def make_token() -> str:
    """A secret that nobody has to remember."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def verify(secret: str, hashed: str) -> bool:
    """Whether ``hashed`` was made of this secret. Raises ``ValueError`` for what is no hash."""
    kind = parse_token_hash if hashed.startswith("sha256$") else parse_password_hash
    return kind(hashed).matches(secret)


def parse_password_hash(text: str) -> ScryptHash:
    """Raises ``ValueError``; what was given is not in its message."""
    parts = text.split("$")
    try:
        kind, n, r, p = parts[0], int(parts[1]), int(parts[2]), int(parts[3])
        salt, found = (base64.b64decode(part, validate=True) for part in parts[4:])
    except (IndexError, ValueError, binascii.Error):
        raise ValueError(_NO_PASSWORD_HASH) from None
    is_cost = n > 1 and n & (n - 1) == 0 and r > 0 and 0 < p <= _ROUNDS_CAP
    if kind != "scrypt" or not is_cost or len(salt) < _SALT_MIN or not _HASH_MIN <= len(found) <= _HASH_MAX:
        raise ValueError(_NO_PASSWORD_HASH)
    if _memory_bytes(n, r, p) > MEMORY_CAP_BYTES:
        raise ValueError(f"this scrypt hash asks for more than {MEMORY_CAP_BYTES // 1024**2} MiB each time")
    return ScryptHash(n=n, r=r, p=p, salt=salt, hash=found)


def parse_token_hash(text: str) -> TokenHash:
    """Raises ``ValueError``; what was given is not in its message."""
    kind, _, encoded = text.partition("$")
    try:
        found = bytes.fromhex(encoded)
    except ValueError:
        found = b""
    if kind != "sha256" or len(found) != hashlib.sha256().digest_size:
        raise ValueError(_NO_TOKEN_HASH)
    return TokenHash(hash=found)


_NO_PASSWORD_HASH = "expected a hash as 'dicom-router hash-secret' makes it (scrypt$...)"  # noqa: S105
_NO_TOKEN_HASH = "expected a hash as 'dicom-router hash-secret --token' makes it (sha256$...)"  # noqa: S105


def _bytes(secret: str) -> bytes:
    # One form of letters that have several (RFC 8265 §4.2.2): two keyboards, one password.
    return unicodedata.normalize("NFC", secret).encode("utf-8", "surrogatepass")


def _scrypt(secret: bytes, salt: bytes, cost: tuple[int, int, int], length: int) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(
        secret, salt=salt, n=n, r=r, p=p, maxmem=2 * _memory_bytes(n, r, p) + 1024 * 1024, dklen=length
    )


def _memory_bytes(n: int, r: int, p: int) -> int:
    return 128 * r * (n + p)
