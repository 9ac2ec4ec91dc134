"""Certificates, keys and trust as OpenSSL contexts, one for each ``tls`` block, replaced when files change.

A context is never changed: a new one is built whole and takes the place of the old one, so associations that
are open go on, new ones use the new files, and a file that cannot be used leaves everything as it was. What
was trusted before and is not any more is gone with the old context, and so are sessions to resume.
"""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from router.config.settings import Settings
from router.config.tls import ClientCertificate, ListenerTls, ModalityTls, TlsProfile
from router.errors import TlsUnusable
from router.net.certificates import check_pair, next_update, read_certificates

SESSIONS_KEPT = 64  # peers behind one block whose session can be resumed; the oldest goes first

# TLS 1.2 cipher suites of each profile; those of TLS 1.3 are OpenSSL's, all of which the profiles allow.
# Security level 2 refuses keys below 112 bits (RSA 2048) and SHA-1, as RFC 9325 §4 and §7.1 want it.
_CIPHERS = {
    TlsProfile.RFC8996: "ECDHE+AESGCM:@SECLEVEL=2",  # PS3.15 B.12, RFC 9325 §4.2
    TlsProfile.RFC8996_MODIFIED: (
        "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AESCCM:DHE+AESGCM:DHE+CHACHA20:DHE+AESCCM:@SECLEVEL=2"
    ),
    TlsProfile.NON_DOWNGRADING: "ECDHE+AESGCM:DHE+AESGCM:@SECLEVEL=2",
    TlsProfile.LEGACY: "ECDHE+AESGCM:DHE+AESGCM:HIGH:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0",
}


class TlsObserver(Protocol):
    """Who counts handshakes. ``role`` is ours: ``acceptor`` or ``requestor``."""

    def tls_secured(self, role: str, version: str, *, is_resumed: bool) -> None: ...
    def tls_failed(self, role: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """Something that ends: a certificate of ours, an authority that we trust, a revocation list."""

    kind: str  # certificate | ca | crl
    path: str
    not_after: float


class Credentials:
    """One ``tls`` block: the context of now, and the files that it is made of. Raises ``TlsUnusable``."""

    def __init__(
        self, settings: ListenerTls | ModalityTls, used_by: str, observer: TlsObserver | None = None
    ) -> None:
        self.settings = settings
        self.used_by = used_by
        self.observer = observer
        self._sessions: dict[tuple[str, int], ssl.SSLSession] = {}
        self._stamp = _stamp(self.files)
        self.context = self._build()

    @property
    def is_server(self) -> bool:
        return isinstance(self.settings, ListenerTls)

    @property
    def ca(self) -> str | None:
        """Whose certificates are taken from a peer."""
        tls = self.settings
        return tls.client_ca if isinstance(tls, ListenerTls) else tls.ca

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that the context is made of."""
        tls = self.settings
        return tuple(path for path in (tls.certificate, tls.key, self.ca, *tls.crl) if path)

    def has_changed(self) -> bool:
        """A file is another one than when the context was built, or was last tried."""
        return _stamp(self.files) != self._stamp

    def reload(self) -> None:
        """Build the context anew and use it from now on. Raises ``TlsUnusable``: the old one stays."""
        self._stamp = _stamp(self.files)
        self.context = self._build()
        self._sessions = {}

    def session(self, peer: tuple[str, int]) -> ssl.SSLSession | None:
        """What may be resumed with a peer."""
        return self._sessions.get(peer)

    def remember(
        self, peer: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        """Keep a session to be resumed; one of a context that is gone is not."""
        if session is None or context is not self.context:
            return
        self._sessions.pop(peer, None)
        self._sessions[peer] = session
        if len(self._sessions) > SESSIONS_KEPT:
            del self._sessions[next(iter(self._sessions))]

    def dated(self, now: float) -> Iterator[Dated]:
        """When what the files hold ends: of a chain the first end counts, of authorities the next one.

        An authority that has ended stays in its file for long, and is of no interest beside one that has not.
        Raises ``TlsUnusable``.
        """
        tls = self.settings
        if tls.certificate:
            ends = [one.not_after for one in read_certificates(tls.certificate, "certificate")]
            yield Dated(kind="certificate", path=tls.certificate, not_after=min(ends))
        if self.ca:
            ends = [one.not_after for one in read_certificates(self.ca, "ca")]
            yield Dated(
                kind="ca", path=self.ca, not_after=min((e for e in ends if e > now), default=max(ends))
            )
        for path in tls.crl:
            if (update := next_update(path)) is not None:
                yield Dated(kind="crl", path=path, not_after=update)

    def _build(self) -> ssl.SSLContext:
        tls = self.settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if self.is_server else ssl.PROTOCOL_TLS_CLIENT)
        _apply_profile(context, tls.profile or TlsProfile.RFC8996)
        if tls.certificate:
            check_pair(tls.certificate, tls.key, tls.key_password)
            _load_pair(context, tls.certificate, tls.key, tls.key_password)
        elif self.is_server:
            raise TlsUnusable("a listener with TLS needs a certificate", key="certificate")
        self._trust(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        """Whom the peer's certificate may be of, and what is asked of it."""
        tls = self.settings
        if isinstance(tls, ListenerTls):
            is_required = tls.client_certificate is ClientCertificate.REQUIRED
            asked = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
            context.verify_mode = asked if tls.client_ca else ssl.CERT_NONE
        else:
            context.check_hostname = tls.check_hostname
            if tls.ca is None:
                context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        # Trust in an intermediate authority, or in the peer's own certificate, is enough.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        if self.ca is not None:
            key = "client_ca" if self.is_server else "ca"
            read_certificates(self.ca, key)
            _load_locations(context, self.ca, key)
        for path in tls.crl:
            next_update(path)
            _load_locations(context, path, "crl")
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF


def _apply_profile(context: ssl.SSLContext, profile: TlsProfile) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TLS 1.0 is meant where it is asked for
        is_legacy = profile is TlsProfile.LEGACY
        context.minimum_version = ssl.TLSVersion.TLSv1 if is_legacy else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS[profile])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def _load_pair(context: ssl.SSLContext, certificate: str, key: str | None, password: str | None) -> None:
    try:
        # A password of its own, or OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=password or "")
    except (
        OSError
    ) as error:  # an SSLError too: the files changed in between, or OpenSSL takes it for too weak
        said = (getattr(error, "reason", None) or error.strerror or str(error)).replace("_", " ").lower()
        raise TlsUnusable(f"{certificate} cannot be used: {said}", key="certificate") from None


def _load_locations(context: ssl.SSLContext, path: str, key: str) -> None:
    try:
        context.load_verify_locations(path)
    except OSError as error:
        said = (getattr(error, "reason", None) or error.strerror or str(error)).replace("_", " ").lower()
        raise TlsUnusable(f"{path} cannot be used: {said}", key=key) from None


def _stamp(files: tuple[str, ...]) -> tuple[tuple[int, int, int] | None, ...]:
    """What tells a file from the one that was there before, links followed (Kubernetes swaps these)."""
    return tuple(map(_stamp_of, files))


def _stamp_of(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


Complaint = tuple[tuple[object, ...], str]  # where in the configuration, and what is wrong


def complaints(settings: Settings) -> Iterator[Complaint]:
    """What is wrong with the files of every ``tls`` block: for ``check``, and before anything is started."""
    blocks: list[tuple[tuple[object, ...], ListenerTls | ModalityTls | None]] = [
        (("listeners", place, "tls"), listener.tls) for place, listener in enumerate(settings.listeners)
    ]
    blocks += [(("modalities", name, "tls"), modality.tls) for name, modality in settings.modalities.items()]
    blocks += [(("destinations", name, "tls"), one.tls) for name, one in settings.destinations.items()]
    blocks.append((("http", "tls"), settings.http.tls))
    if settings.audit is not None and settings.audit.syslog is not None:
        blocks.append((("audit", "syslog", "tls"), settings.audit.syslog.tls))
    for where, tls in blocks:
        if tls is None:
            continue
        try:
            Credentials(tls, "")
        except TlsUnusable as error:
            yield (*where, error.key), str(error)
