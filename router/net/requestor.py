"""Opening an association as requestor, and the few requests that every SCU makes.

Every wait has a deadline: connecting, the answer to the request, each response. After a timeout the
association is aborted and never used again (PS3.7 §7.5.2 leaves no other way to know what the peer did).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from router.config.access import Identity
from router.dicom.association import Association
from router.dicom.codes import UserIdentityKind
from router.dicom.dimse import Command, echo_rq
from router.dicom.events import (
    AssociationAccepted,
    AssociationRejected as Rejected,
    CommandReceived,
    Event,
    ReleaseCompleted,
    ReleaseRequested,
)
from router.dicom.negotiation import AcceptedContext, AssociateRequest, UserIdentity
from router.errors import (
    AssociationAborted,
    AssociationLost,
    AssociationRejected,
    AssociationTimeout,
    ConnectFailed,
    RemoteProtocolError,
    TlsFailed,
)
from router.model import Buffer
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.tls_client import remember, secure

PDU_CAP_BYTES = 4 * 1024 * 1024  # an answer larger than this is no DICOM
COMMAND_CAP_BYTES = 65536
RELEASE_S = 5.0  # how long a polite end may take


def user_identity(identity: Identity | None) -> UserIdentity | None:
    """As whom we come in (PS3.7 D.3.3.7), for an ``AssociateRequest``.

    A positive answer is not asked for: a peer that does not know the user rejects the association, and one
    that does not look at users would have to be given up though it takes what we send.
    """
    if identity is None:
        return None
    if identity.passcode is None:
        return UserIdentity(kind=UserIdentityKind.USERNAME, primary=identity.username.encode())
    return UserIdentity(
        kind=UserIdentityKind.USERNAME_AND_PASSCODE,
        primary=identity.username.encode(),
        secondary=identity.passcode.encode(),
    )


async def associate(
    *,
    host: str,
    port: int,
    request: AssociateRequest,
    connect_s: float = 10.0,
    reply_s: float = 30.0,
    idle_s: float = 3600.0,
    message_s: float = 60.0,
    tls: Credentials | None = None,
) -> Connection:
    """Open an association; it is established when this returns.

    Raises ``ConnectFailed`` (with TLS ``TlsFailed``), ``AssociationRejected``, ``AssociationLost``,
    ``AssociationTimeout`` or ``RemoteProtocolError``.
    """
    loop = asyncio.get_running_loop()

    def made() -> Connection:
        association = Association.requestor(
            request,
            pdu_cap_bytes=PDU_CAP_BYTES,
            command_cap_bytes=COMMAND_CAP_BYTES,
            reply_s=reply_s,
            idle_s=idle_s,
            message_s=message_s,
            now=loop.time(),
        )
        return Connection(association)

    try:
        if tls is not None:
            connection = await secure(made, host, port, tls, connect_s=connect_s)
        else:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(made, host, port)
    except TimeoutError:
        raise ConnectFailed(f"no connection to {host}:{port} within {connect_s:g} s") from None
    except OSError as error:
        raise ConnectFailed(f"no connection to {host}:{port}: {error.strerror or error}") from error
    try:
        event = await _answer(connection, is_plain=tls is None)
        if tls is not None:
            remember(connection, host, port, tls)
        if isinstance(event, Rejected):
            raise AssociationRejected(
                result=event.result, source=event.source, reason=event.reason, text=event.text
            )
        if not isinstance(event, AssociationAccepted):
            raise RemoteProtocolError("the answer to A-ASSOCIATE-RQ is neither accept nor reject")
    except TlsFailed as error:  # a server's word on our certificate comes behind the handshake
        connection.abort()
        if tls is not None and tls.observer is not None:
            tls.observer.tls_failed("requestor", error.reason)
        raise TlsFailed(f"no TLS with {host}:{port}: {error}", reason=error.reason) from None
    except BaseException:
        connection.abort()
        raise
    return connection


async def _answer(connection: Connection, *, is_plain: bool) -> Event:
    """What the peer says to the request; where it says nothing, that it may want TLS."""
    try:
        await connection.flush()
        return await connection.next_event()
    except AssociationAborted:
        raise
    except AssociationLost as error:
        hint = ": it may ask for TLS on that port" if is_plain else ""
        raise AssociationLost(f"{error}, and A-ASSOCIATE-RQ is unanswered{hint}") from None


async def receive_response(connection: Connection, *, message_id: int, timeout_s: float) -> Command:
    """The response to one message: matched by its message id, without a data set.

    Raises ``AssociationTimeout`` (it is aborted), ``AssociationLost`` or ``RemoteProtocolError``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            event: Event = await connection.next_event()
    except TimeoutError:
        connection.abort()
        raise AssociationTimeout(f"no response within {timeout_s:g} s") from None
    if isinstance(event, CommandReceived) and not event.command.has_data_set:
        if event.command.responded_to == message_id and event.command.status is not None:
            return event.command
        connection.abort()
        raise RemoteProtocolError("a response that answers no message of ours")
    connection.abort()
    if isinstance(event, ReleaseRequested):
        raise AssociationLost("the peer released the association before it answered")
    raise RemoteProtocolError("something else than the awaited response arrived")


async def echo(connection: Connection, context: AcceptedContext, *, message_id: int, timeout_s: float) -> int:
    """C-ECHO (PS3.7 §9.1.5): the status of the answer."""
    connection.association.send_message(context.id, echo_rq(message_id))
    await connection.flush()
    response = await receive_response(connection, message_id=message_id, timeout_s=timeout_s)
    assert response.status is not None  # noqa: S101 - receive_response has checked it
    return response.status


async def send_store(
    connection: Connection, context_id: int, command: bytes, framed: Sequence[Buffer]
) -> None:
    """Write a C-STORE-RQ and (the first of) its framed data set; small ones leave in one write."""
    connection.association.send_message(context_id, command)
    for piece in framed:
        connection.association.send_data(piece)
    await connection.flush()


async def release(connection: Connection) -> None:
    """End an association politely; abort where the peer does not answer. Raises nothing of the peer's."""
    if connection.is_closed:
        connection.abort()
        return
    try:
        async with asyncio.timeout(RELEASE_S):
            connection.association.request_release()
            await connection.flush()
            while not isinstance(await connection.next_event(), ReleaseCompleted):
                pass
            await connection.close(RELEASE_S)
    except (TimeoutError, AssociationLost, AssociationTimeout, RemoteProtocolError):
        return
    finally:
        connection.abort()
