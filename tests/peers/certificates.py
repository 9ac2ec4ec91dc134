"""Certificates for tests: an authority, what it issues, and what is wrong with it on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate with its key, as files."""

    certificate: str
    key: str
    der: bytes

    @property
    def pair(self) -> dict[str, str]:
        """Both, as the configuration names them."""
        return {"certificate": self.certificate, "key": self.key}


class Authority:
    """Issues certificates into a directory; its own is ``ca``."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._ca = trustme.CA(organization_name=name)
        self.ca = str(directory / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(
        self,
        name: str,
        *identities: str,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> Issued:
        """A certificate for these host names and addresses; loopback where none is given."""
        issued = self._ca.issue_cert(
            *(identities or ("localhost", "127.0.0.1")),
            common_name=common_name,
            not_before=not_before,
            not_after=not_after,
            key_type=key_type,
        )
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        parsed = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())
        return Issued(
            certificate=str(certificate),
            key=str(key),
            der=parsed.public_bytes(serialization.Encoding.DER),
        )

    def expired(self, name: str) -> Issued:
        """One that ended yesterday."""
        now = datetime.now(UTC)
        return self.issue(name, not_before=now - timedelta(days=30), not_after=now - timedelta(days=1))

    def from_tomorrow(self, name: str) -> Issued:
        """One that is not valid yet."""
        now = datetime.now(UTC)
        return self.issue(name, not_before=now + timedelta(days=1), not_after=now + timedelta(days=30))

    def revoke(self, *revoked: Issued, next_update: datetime | None = None, name: str = "crl") -> str:
        """A revocation list with these; empty where there are none."""
        now = datetime.now(UTC)
        until = next_update or now + timedelta(days=7)
        authority = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.subject)
            .last_update(min(now, until) - timedelta(days=2))
            .next_update(until)
        )
        for one in revoked:
            serial = x509.load_der_x509_certificate(one.der).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            made = made.add_revoked_certificate(entry.build())
        path = self.directory / f"{name}.pem"
        signed = made.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return str(path)
