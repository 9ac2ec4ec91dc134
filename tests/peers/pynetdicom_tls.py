"""pynetdicom over ssl as a process of its own: ``python -m tests.peers.pynetdicom_tls scp|scu ...``."""

from __future__ import annotations

import argparse
import ssl
import sys
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]


def _context(arguments: argparse.Namespace, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.load_verify_locations(arguments.ca)
    if arguments.certificate:
        context.load_cert_chain(arguments.certificate, arguments.key)
    if side == ssl.PROTOCOL_TLS_SERVER and arguments.mutual:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def scp(arguments: argparse.Namespace) -> int:
    """Store into a directory until killed."""
    server = AE()
    server.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        server.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)

    def store(event: evt.Event) -> int:
        path = arguments.directory / str(event.file_meta.MediaStorageSOPInstanceUID)
        path.write_bytes(event.encoded_dataset())
        return 0x0000

    tls = _context(arguments, ssl.PROTOCOL_TLS_SERVER)
    handlers: list[object] = [(evt.EVT_C_STORE, store)]
    server.start_server(
        ("127.0.0.1", arguments.port),
        block=True,
        evt_handlers=handlers,  # type: ignore[arg-type]
        ssl_context=tls,
    )
    return 0


def scu(arguments: argparse.Namespace) -> int:
    """Send files; 1 where not all were stored."""
    client = AE()
    datasets = [dcmread(path) for path in arguments.files]
    for ds in datasets:
        client.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    tls = _context(arguments, ssl.PROTOCOL_TLS_CLIENT)
    association = client.associate("127.0.0.1", arguments.port, tls_args=(tls, "127.0.0.1"))
    if not association.is_established:
        return 1
    stored = [association.send_c_store(ds).get("Status") == 0 for ds in datasets]
    association.release()
    return 0 if all(stored) else 1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["scp", "scu"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--certificate", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--mutual", action="store_true")
    parser.add_argument("--directory", type=Path, default=Path())
    parser.add_argument("--files", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    return scp(arguments) if arguments.role == "scp" else scu(arguments)


if __name__ == "__main__":
    sys.exit(main())
