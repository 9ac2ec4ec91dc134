"""The options by which commands are told of TLS towards an address that no configuration knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from router.config.tls import ListenerTls, ModalityTls

_PANEL = "TLS, for an address that is not in the configuration"

TlsOption = Annotated[bool, typer.Option("--tls", help="Use TLS.", rich_help_panel=_PANEL)]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        help="Trust these authorities (PEM); otherwise those that this machine trusts.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-certificate", help="Our own certificate (PEM).", metavar="FILE", rich_help_panel=_PANEL
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        help="Its key, where it is not in the same file.",
        metavar="FILE",
        rich_help_panel=_PANEL,
    ),
]
AnyNameOption = Annotated[
    bool,
    typer.Option("--tls-any-name", help="Do not ask for whom its certificate is.", rich_help_panel=_PANEL),
]


def client_tls(
    is_wanted: bool, ca: Path | None, certificate: Path | None, key: Path | None, any_name: bool
) -> ModalityTls | None:
    """What the options say; None where they say nothing."""
    from router.config.tls import ModalityTls

    if not (is_wanted or ca or certificate or key or any_name):
        return None
    return ModalityTls(
        ca=str(ca) if ca else None,
        certificate=str(certificate) if certificate else None,
        key=str(key) if key else None,
        check_hostname=not any_name,
    )


def server_tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ListenerTls | None:
    """What ``sink``'s options say. Raises ``ValueError`` where a certificate is missing."""
    from router.config.tls import ListenerTls

    if certificate is None:
        if key is not None or client_ca is not None:
            raise ValueError("for TLS, give --tls-certificate too")
        return None
    return ListenerTls(
        certificate=str(certificate),
        key=str(key) if key else None,
        client_ca=str(client_ca) if client_ca else None,
    )
