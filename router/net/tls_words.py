"""What a failed TLS handshake means, in words that an administrator can act on.

OpenSSL says it in three ways: a code of the verification of a certificate (x509_vfy.h), an alert that the
peer sent (RFC 8446 §6.2; the reason's name says ALERT), and a reason of its own. What no table names is told
as OpenSSL says it. ``TlsReason`` is the closed set for metrics.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum

from router.errors import TlsFailed


class TlsReason(StrEnum):
    """Why there is no TLS connection."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_NAME = "wrong_name"
    UNKNOWN_CA = "unknown_ca"
    REVOKED = "revoked"
    CRL_UNUSABLE = "crl_unusable"
    BAD_CERTIFICATE = "bad_certificate"  # too weak, for another purpose, broken
    NO_CLIENT_CERTIFICATE = "no_client_certificate"  # asked for, and not sent
    REFUSED_BY_PEER = "refused_by_peer"  # the peer does not take our certificate
    NO_COMMON_VERSION = "no_common_version"
    NO_COMMON_CIPHER = "no_common_cipher"
    PLAIN_PEER = "plain_peer"
    TLS_PEER = "tls_peer"  # on a port without TLS
    TIMEOUT = "timeout"
    CLOSED = "closed"
    OVER_LIMIT = "over_limit"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Who we are in a handshake, as far as the words depend on it."""

    is_server: bool
    expected_name: str = ""  # for which the peer's certificate must be
    has_certificate: bool = True  # we have one to show


_VERIFICATION: dict[int, tuple[TlsReason, str]] = {
    9: (TlsReason.NOT_YET_VALID, "is not valid yet: is the clock right, here and where it was made?"),
    10: (TlsReason.EXPIRED, "has expired"),
    11: (TlsReason.CRL_UNUSABLE, "cannot be checked: the revocation list (crl) is not valid yet"),
    12: (TlsReason.CRL_UNUSABLE, "cannot be checked: the revocation list (crl) has expired"),
    3: (TlsReason.CRL_UNUSABLE, "cannot be checked: there is no revocation list (crl) of its issuer"),
    8: (TlsReason.CRL_UNUSABLE, "cannot be checked: the signature of the revocation list (crl) is wrong"),
    18: (TlsReason.UNKNOWN_CA, "is signed by itself and not among those that we trust"),
    19: (TlsReason.UNKNOWN_CA, "was issued by an authority that we do not trust"),
    20: (TlsReason.UNKNOWN_CA, "was issued by an authority that we do not trust"),
    21: (TlsReason.UNKNOWN_CA, "was issued by an authority that we do not trust"),
    23: (TlsReason.REVOKED, "has been revoked"),
    26: (TlsReason.BAD_CERTIFICATE, "is for another purpose (extended key usage)"),
    66: (TlsReason.BAD_CERTIFICATE, "has a key that is too weak for this profile"),
    67: (TlsReason.BAD_CERTIFICATE, "was issued with a key that is too weak for this profile"),
    68: (TlsReason.BAD_CERTIFICATE, "was signed with a digest that is too weak for this profile"),
}
_WRONG_NAME = (62, 64)  # host name, IP address
_NO_CLIENT_CERTIFICATE = "the peer asks for a client certificate, and none is configured for it"
_REFUSED = "the peer refuses our certificate"

# Alerts of the peer that say something of our certificate.
_OURS: dict[str, str] = {
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_REFUSED}: it is not valid yet there, for another name, or broken",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": f"{_REFUSED}: it is of a kind that it does not take",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_REFUSED}: it has been revoked",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REFUSED}: it has expired, or is not valid yet there",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_REFUSED}, and does not say why",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REFUSED}: it does not trust the authority that issued it",
    "TLSV1_ALERT_ACCESS_DENIED": f"{_REFUSED}: it is valid, but may not come in",
    "TLSV1_ALERT_DECRYPT_ERROR": f"{_REFUSED}: its signature cannot be verified there",
}
_VERSION = "there is no TLS version that both sides take"
_CIPHER = "there is no cipher suite that both sides take"
_BY_REASON: dict[str, tuple[TlsReason, str]] = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (TlsReason.NO_CLIENT_CERTIFICATE, _NO_CLIENT_CERTIFICATE),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        TlsReason.NO_CLIENT_CERTIFICATE,
        "the peer sent no client certificate, and this port asks for one (client_ca)",
    ),
    "TLSV1_ALERT_PROTOCOL_VERSION": (TlsReason.NO_COMMON_VERSION, _VERSION),
    "UNSUPPORTED_PROTOCOL": (TlsReason.NO_COMMON_VERSION, _VERSION),
    "VERSION_TOO_LOW": (TlsReason.NO_COMMON_VERSION, _VERSION),
    "NO_PROTOCOLS_AVAILABLE": (TlsReason.NO_COMMON_VERSION, _VERSION),
    "WRONG_SSL_VERSION": (TlsReason.NO_COMMON_VERSION, _VERSION),
    "NO_SHARED_CIPHER": (TlsReason.NO_COMMON_CIPHER, _CIPHER),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": (TlsReason.NO_COMMON_CIPHER, "there is no signature for both sides"),
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": (TlsReason.NO_COMMON_CIPHER, _CIPHER),
    "DH_KEY_TOO_SMALL": (TlsReason.NO_COMMON_CIPHER, "the peer's key exchange is too weak for this profile"),
    "TLSV1_UNRECOGNIZED_NAME": (
        TlsReason.WRONG_NAME,
        "the peer does not go by this name (set tls.server_name to one that it knows)",
    ),
    "WRONG_VERSION_NUMBER": (TlsReason.PLAIN_PEER, "the peer does not speak TLS on this port"),
    "HTTP_REQUEST": (TlsReason.PLAIN_PEER, "the peer speaks HTTP, not TLS"),
}
FIRST_BYTES = 8  # of a peer, to see what it speaks
_DICOM_FIRST = range(0x01, 0x08)  # PDU types (PS3.8 §9.3)
_TLS_FIRST = (0x15, 0x16)  # alert and handshake records (RFC 8446 §5.1)


def is_tls(first: bytes) -> bool:
    """Whether what a peer sent first begins a TLS record: a handshake, or an alert."""
    return len(first) >= 2 and first[0] in _TLS_FIRST and first[1] == 0x03


def may_be_tls(first: bytes) -> bool:
    """The same where perhaps only one byte has come yet."""
    return first[:1] in (b"\x15", b"\x16") and first[1:2] in (b"", b"\x03")


def plain_peer(first: bytes, side: Side) -> TlsFailed:
    """The peer's first bytes are no TLS."""
    if first[:1] and first[0] in _DICOM_FIRST:
        what = "speaks plain DICOM"
    elif first[:3].isalpha():
        what = "speaks another protocol (HTTP?)"
    else:
        what = "speaks something else"
    where = "on this TLS port" if side.is_server else "on that port, not TLS"
    return TlsFailed(f"the peer {what} {where}", reason=TlsReason.PLAIN_PEER)


def closed(side: Side, *, has_spoken: bool) -> TlsFailed:
    """The connection ended in the middle of the handshake."""
    if side.is_server or has_spoken:
        sentence = "the peer closed the connection during the TLS handshake"
    else:
        sentence = "the peer closed the connection at our TLS hello: it may not speak TLS on that port"
    return TlsFailed(sentence, reason=TlsReason.CLOSED)


def closed_at_once(side: Side) -> TlsFailed:
    """TLS 1.3: a server says what it thinks of our certificate after we are through with the handshake."""
    guess = "" if side.has_certificate else ": it may ask for a client certificate, and none is configured"
    sentence = f"the peer closed the connection right after the TLS handshake{guess}"
    return TlsFailed(sentence, reason=TlsReason.CLOSED)


def late(side: Side, timeout_s: float, *, has_spoken: bool) -> TlsFailed:
    """The handshake took too long."""
    hint = "" if side.is_server or has_spoken else ": the peer may not speak TLS on that port"
    return TlsFailed(f"no TLS handshake within {timeout_s:g} s{hint}", reason=TlsReason.TIMEOUT)


def explain(error: OSError, side: Side) -> TlsFailed | None:
    """What OpenSSL means where it was OpenSSL's error, for those who do not know it."""
    return failure(error, side) if isinstance(error, ssl.SSLError) else None


def failure(error: ssl.SSLError, side: Side) -> TlsFailed:
    """What OpenSSL means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason, sentence = _verification(error, side)
    else:
        reason, sentence = _other(error, side)
    return TlsFailed(sentence, reason=reason)


def _verification(error: ssl.SSLCertVerificationError, side: Side) -> tuple[TlsReason, str]:
    whose = "the peer's client certificate" if side.is_server else "the peer's certificate"
    if error.verify_code in _WRONG_NAME:
        return TlsReason.WRONG_NAME, f"{whose} is not for {side.expected_name!r} (see tls.server_name)"
    reason, what = _VERIFICATION.get(
        error.verify_code, (TlsReason.BAD_CERTIFICATE, f"cannot be verified: {error.verify_message}")
    )
    return reason, f"{whose} {what}"


def _other(error: ssl.SSLError, side: Side) -> tuple[TlsReason, str]:
    name = error.reason or ""
    if name in _OURS:
        if not side.is_server and not side.has_certificate:
            return TlsReason.NO_CLIENT_CERTIFICATE, _NO_CLIENT_CERTIFICATE
        return TlsReason.REFUSED_BY_PEER, _OURS[name]
    if name in ("SSLV3_ALERT_HANDSHAKE_FAILURE", "SSL/TLS_ALERT_HANDSHAKE_FAILURE"):
        if side.is_server or side.has_certificate:
            return TlsReason.NO_COMMON_CIPHER, f"the peer breaks off: {_CIPHER}, it seems"
        return (
            TlsReason.NO_CLIENT_CERTIFICATE,
            f"the peer breaks off: it asks for a client certificate, and none is configured, or {_CIPHER}",
        )
    if name in _BY_REASON:
        return _BY_REASON[name]
    said = name.replace("_", " ").lower() or error.strerror or str(error)
    return TlsReason.OTHER, f"the TLS handshake failed: {said}"
