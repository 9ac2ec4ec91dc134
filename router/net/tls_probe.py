"""What a peer negotiates, for ``tls check``: one real handshake, and what can be found out beside it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, replace

from router.config.tls import ModalityTls
from router.dicom.negotiation import AssociateRequest
from router.errors import AssociationError, ConnectFailed, RemoteProtocolError, TlsFailed
from router.net.certificates import Certificate, describe
from router.net.credentials import Credentials
from router.net.requestor import associate, release
from router.net.tls_channel import TlsChannel
from router.net.tls_client import secure
from router.net.tls_flight import asks_for_certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out; an empty ``problem`` means that instances could be sent."""

    problem: str = ""
    reason: str = ""  # the word for it, where TLS failed
    version: str = ""
    cipher: str = ""
    peer: Certificate | None = None  # what the peer showed, also where it was not taken
    asks_for_certificate: bool | None = None  # None: it cannot be told
    is_resumed: bool = False  # a second association needed no full handshake
    association: str = ""  # what the peer said to an association, where TLS came about


@dataclass(slots=True)
class _Silent(asyncio.BufferedProtocol):
    """What is inside where only the handshake matters."""

    transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return bytearray(65536)


async def probe(
    host: str, port: int, credentials: Credentials, request: AssociateRequest, *, connect_s: float
) -> Finding:
    """Find out. Raises ``ConnectFailed`` where not even TCP comes about."""
    found = Finding()
    try:
        found = await _associated(found, host, port, credentials, request, connect_s)
    except TlsFailed as error:
        found = replace(found, problem=str(error), reason=error.reason)
    if found.peer is None:
        found = replace(found, peer=await _unverified(host, port, credentials, connect_s))
    asks = await _asks(host, port, credentials, connect_s) if found.peer is not None else None
    return replace(found, asks_for_certificate=asks)


async def _associated(
    found: Finding,
    host: str,
    port: int,
    credentials: Credentials,
    request: AssociateRequest,
    connect_s: float,
) -> Finding:
    """Two associations: what the first negotiates, and whether the second resumes it."""
    for _ in range(2):
        try:
            connection = await associate(
                host=host, port=port, request=request, connect_s=connect_s, reply_s=connect_s, tls=credentials
            )
        except ConnectFailed:
            raise
        except (AssociationError, RemoteProtocolError) as error:
            found = replace(found, association=str(error))
            return found if found.version else await _shaken(found, host, port, credentials, connect_s)
        found = _seen(found, connection.transport)
        found = replace(found, association="accepted")
        await release(connection)
    return found


async def _shaken(
    found: Finding, host: str, port: int, credentials: Credentials, connect_s: float
) -> Finding:
    """A handshake without an association, where the peer does not want one."""
    silent = await secure(_Silent, host, port, credentials, connect_s=connect_s)
    found = _seen(found, silent.transport)
    if silent.transport is not None:
        silent.transport.close()
    return found


def _seen(found: Finding, channel: asyncio.BaseTransport | None) -> Finding:
    if not isinstance(channel, TlsChannel):
        return found
    tls = channel.tls
    der = tls.getpeercert(binary_form=True)
    cipher = tls.cipher()
    return replace(
        found,
        version=tls.version() or "",
        cipher=cipher[0] if cipher else "",
        peer=describe(der) if der else None,
        is_resumed=bool(tls.session_reused),
    )


async def _unverified(host: str, port: int, credentials: Credentials, connect_s: float) -> Certificate | None:
    """The certificate that the peer shows, whatever it is worth; nothing is sent over this connection."""
    lax = _lax(credentials, ssl.TLSVersion.MAXIMUM_SUPPORTED)
    try:
        silent = await secure(_Silent, host, port, lax, connect_s=connect_s)
    except (TlsFailed, OSError):
        return None
    seen = _seen(Finding(), silent.transport).peer
    if silent.transport is not None:
        silent.transport.close()
    return seen


async def _asks(host: str, port: int, credentials: Credentials, connect_s: float) -> bool | None:
    """Whether the peer asks for a certificate, seen in TLS 1.2; None where it does not speak that."""
    flight: list[bytes] = []
    lax = _lax(credentials, ssl.TLSVersion.TLSv1_2)
    try:
        silent = await secure(_Silent, host, port, lax, connect_s=connect_s, watch=flight.append)
        if silent.transport is not None:
            silent.transport.close()
    except (TlsFailed, OSError):
        pass  # a peer that insists on a certificate: it has asked for one before that
    return asks_for_certificate(b"".join(flight))


def _lax(credentials: Credentials, maximum: ssl.TLSVersion) -> Credentials:
    """The same profile, without a certificate of ours and without a look at the peer's."""
    tls = credentials.settings
    name = tls.server_name if isinstance(tls, ModalityTls) else None
    lax = Credentials(ModalityTls(profile=tls.profile, check_hostname=False, server_name=name), "probe")
    lax.context.verify_mode = ssl.CERT_NONE
    lax.context.maximum_version = maximum
    return lax
