"""Looks for a CertificateRequest in what a TLS 1.2 server sends first, which is not encrypted yet.

No TLS library says whether a certificate was asked for. In TLS 1.3 that message is encrypted, so a server is
asked with TLS 1.2 at most (RFC 5246 §7.4.4).
"""

from __future__ import annotations

_RECORD_HEADER_BYTES = 5  # type, version, length (RFC 5246 §6.2.1)
_MESSAGE_HEADER_BYTES = 4  # type, length (RFC 5246 §7.4)
_HANDSHAKE_RECORD = 22
_CERTIFICATE_REQUEST = 13
_SERVER_HELLO_DONE = 14


def asks_for_certificate(flight: bytes) -> bool | None:
    """Whether there is a CertificateRequest; None where the flight does not get that far."""
    messages = _messages(flight)
    at = 0
    while at + _MESSAGE_HEADER_BYTES <= len(messages):
        kind = messages[at]
        if kind == _CERTIFICATE_REQUEST:
            return True
        if kind == _SERVER_HELLO_DONE:
            return False
        at += _MESSAGE_HEADER_BYTES + int.from_bytes(messages[at + 1 : at + 4], "big")
    return None


def _messages(flight: bytes) -> bytes:
    """The handshake messages out of their records, up to the first record of another kind."""
    found = bytearray()
    at = 0
    while at + _RECORD_HEADER_BYTES <= len(flight) and flight[at] == _HANDSHAKE_RECORD:
        length = int.from_bytes(flight[at + 3 : at + 5], "big")
        at += _RECORD_HEADER_BYTES
        found += flight[at : at + length]
        at += length
    return bytes(found)
