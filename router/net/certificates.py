"""Certificates, keys and revocation lists as files: what they say, and what is wrong with them.

OpenSSL tells of a file that it cannot use in one word for all causes ("PEM lib"), so each is read here before
OpenSSL gets it. Passwords and keys are in no message.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from router.errors import TlsUnusable

_NOT_PEM = "is no PEM file (openssl x509 -inform DER makes one of a DER file)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says of itself."""

    subject: str
    issuer: str
    names: tuple[str, ...]  # those it is for: subject alternative names, else the common name
    not_before: float
    not_after: float
    fingerprint: str  # SHA-256, hexadecimal
    is_self_signed: bool


def describe(der: bytes) -> Certificate:
    """One certificate as it came over the wire. Raises ``ValueError``."""
    return _certificate(x509.load_der_x509_certificate(der))


def names_of(der: bytes) -> frozenset[str]:
    """Everything by which a configuration may name a certificate, in lower case; nothing of a broken one."""
    try:
        found = x509.load_der_x509_certificate(der)
        certificate = _certificate(found)
        common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return frozenset()
    names = (*certificate.names, certificate.subject, *(str(one.value) for one in common))
    return frozenset(name.casefold() for name in names) | {f"sha256:{certificate.fingerprint}"}


def read_certificates(path: str, key: str) -> list[Certificate]:
    """Every certificate of a file, in its order. Raises ``TlsUnusable``; ``key`` is who names the file."""
    return [_certificate(one) for one in _load_certificates(path, key)]


def check_pair(certificate: str, key: str | None, password: str | None) -> None:
    """The first certificate of a file belongs to the private key. Raises ``TlsUnusable``."""
    own = _load_certificates(certificate, "certificate")[0]
    path = key or certificate
    content = _read(path, "key" if key else "certificate")
    try:
        private = serialization.load_pem_private_key(content, password.encode() if password else None)
    except TypeError:
        wrong = "is encrypted: give its key_password" if not password else "is not encrypted: no key_password"
        raise TlsUnusable(f"the key in {path} {wrong}", key="key_password" if password else "key") from None
    except (ValueError, UnsupportedAlgorithm):
        if b"PRIVATE KEY-----" not in content:
            raise TlsUnusable(f"{path} has no private key in PEM form", key="key") from None
        if password:
            raise TlsUnusable(
                f"the key_password does not open the key in {path}", key="key_password"
            ) from None
        raise TlsUnusable(f"the private key in {path} is broken", key="key") from None
    if private.public_key() != own.public_key():
        raise TlsUnusable(f"the key in {path} does not match the certificate in {certificate}", key="key")


def next_update(path: str) -> float | None:
    """When a revocation list has to be replaced. Raises ``TlsUnusable``."""
    content = _read(path, "crl")
    try:
        found = x509.load_pem_x509_crl(content)
    except ValueError:
        raise TlsUnusable(
            f"{path} is no revocation list in PEM form (openssl crl -inform DER makes one of a DER file)",
            key="crl",
        ) from None
    return found.next_update_utc.timestamp() if found.next_update_utc is not None else None


def _read(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsUnusable(f"{path} cannot be read: {error.strerror or error}", key=key) from None


def _load_certificates(path: str, key: str) -> list[x509.Certificate]:
    content = _read(path, key)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        if b"-----BEGIN CERTIFICATE-----" in content:
            raise TlsUnusable(f"a certificate in {path} is broken", key=key) from None
        raise TlsUnusable(f"{path} {_NOT_PEM}, or has no certificate", key=key) from None


def _certificate(found: x509.Certificate) -> Certificate:
    return Certificate(
        subject=_text(found.subject),
        issuer=_text(found.issuer),
        names=_names(found),
        not_before=_instant(found.not_valid_before_utc),
        not_after=_instant(found.not_valid_after_utc),
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
        is_self_signed=found.subject == found.issuer,
    )


def _instant(moment: datetime) -> float:
    return moment.timestamp()


def _text(name: x509.Name) -> str:
    return name.rfc4514_string() or "(no name)"


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        alternative = None
    if alternative is not None:
        names = [
            str(one.value) for one in alternative if not isinstance(one, x509.OtherName | x509.DirectoryName)
        ]
        if names:
            return tuple(names)
    common = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return tuple(str(one.value) for one in common)
