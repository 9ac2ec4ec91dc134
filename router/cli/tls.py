"""``tls``: what a peer negotiates, or why nothing comes of it; and the options for TLS of other commands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import (
    DEFAULT_CONFIG,
    FAILED,
    WRONG_USE,
    ConfigOption,
    JsonOption,
    err,
    fail,
    out,
    print_json,
    resolve_target,
    table,
    when,
)
from router.cli.tls_options import (
    AnyNameOption,
    CaOption,
    CertificateOption,
    KeyOption,
    client_tls,
)

if TYPE_CHECKING:
    from router.net.certificates import Certificate
    from router.net.tls_probe import Finding

TargetArgument = Annotated[
    str, typer.Argument(help="A modality of the configuration, or AE@host:port.", metavar="TARGET")
]


def build() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(help="Look into TLS.", no_args_is_help=True)
    group.callback()(_about)
    group.command("check")(check)
    return group


def _about() -> None:
    """Look into TLS."""


def check(
    target: TargetArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    ca: CaOption = None,
    certificate: CertificateOption = None,
    key: KeyOption = None,
    any_name: AnyNameOption = False,
    as_json: JsonOption = False,
) -> None:
    """Negotiate TLS with a peer and say what came of it, or why nothing did. Exit code 1 then.

    Examples: [bold]dicom-router tls check pacs -c router.yaml[/bold],
    [bold]dicom-router tls check PACS@10.1.0.5:2762 --tls-ca hospital-ca.pem[/bold]
    """
    import anyio

    from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION
    from router.dicom.negotiation import AssociateRequest, propose_store
    from router.errors import RouterError
    from router.net.requestor import user_identity
    from router.net.tls_probe import probe

    options = client_tls(True, ca, certificate, key, any_name)
    whom = resolve_target(target, config, None, options)
    if whom.tls is None:
        fail(f"{target!r} is configured without TLS: give it a tls block.", WRONG_USE)
    keys = whom.tls
    request = AssociateRequest(
        calling_ae=whom.calling_ae,
        called_ae=whom.called_ae,
        contexts=propose_store(((VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN),)),
        user_identity=user_identity(whom.identity),
    )

    async def run() -> Finding:
        return await probe(whom.host, whom.port, keys, request, connect_s=whom.connect_s)

    try:
        found = anyio.run(run)
    except RouterError as error:
        fail(f"{error}.")
    if as_json:
        print_json(found)
    else:
        _show(found)
    if found.problem:
        if found.reason == "plain_peer":
            err.print("Leave its tls block away, or find the port on which it speaks TLS (often 2762).")
        fail(f"{found.problem}.")
    if found.association != "accepted":
        err.print(f"TLS is well, but the association is not: {found.association}.", markup=False)
        raise typer.Exit(FAILED)


def _show(found: Finding) -> None:
    rows = table("", "")
    if found.version:
        rows.add_row("version", found.version)
        rows.add_row("cipher suite", found.cipher)
    if found.peer is not None:
        rows.add_row("certificate", found.peer.subject)
        rows.add_row("for", ", ".join(found.peer.names) or "(no name)")
        rows.add_row("issuer", "itself" if found.peer.is_self_signed else found.peer.issuer)
        rows.add_row("valid", _validity(found.peer))
        rows.add_row("fingerprint", f"sha256:{found.peer.fingerprint}")
    if found.version or found.peer is not None:
        asks = {True: "is asked for", False: "is not asked for", None: "cannot be told (TLS 1.3 only)"}
        rows.add_row("client certificate", asks[found.asks_for_certificate])
    if found.version:
        rows.add_row("resumption", "yes" if found.is_resumed else "no")
        rows.add_row("association", found.association)
    if rows.row_count:
        out.print(rows)


def _validity(certificate: Certificate) -> str:
    left_s = certificate.not_after - datetime.now(UTC).timestamp()
    told = f"{left_s / 86400:.0f} days left" if left_s > 0 else f"ended {-left_s / 86400:.0f} days ago"
    return f"{when(certificate.not_before)} to {when(certificate.not_after)} ({told})"
