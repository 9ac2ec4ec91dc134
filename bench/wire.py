"""The bytes of the DICOM upper layer and of C-STORE and C-ECHO, as few as a load generator and a sink need.

Written for the harness alone (PS3.8 §9.3, PS3.7 §9.3): it shares no code with the gateway, so that a mistake
in the gateway's codec cannot hide behind the same mistake here.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND_LAST, DATA_MORE, DATA_LAST = 3, 0, 2  # message control header (PS3.8 §E.2)

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = b"1.2.826.0.1.3680043.10.1338.1"

C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
STATUS_SUCCESS = b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00"  # (0000,0900) = 0000H, as it lies in a response
RELEASE_RQ_PDU = struct.pack(">BBII", RELEASE_RQ, 0, 4, 0)
RELEASE_RP_PDU = struct.pack(">BBII", RELEASE_RP, 0, 4, 0)
ABORT_PDU = struct.pack(">BBII", ABORT, 0, 4, 0)

Context = tuple[int, str, Sequence[str]]  # id, abstract syntax, transfer syntaxes


class PeerError(Exception):
    """The peer did not do what the measurement or test needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What an A-ASSOCIATE-AC says: the transfer syntax of each accepted context, and the longest PDU."""

    contexts: dict[int, str]
    max_pdu_bytes: int


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _user_information(max_pdu_bytes: int) -> bytes:
    return _item(
        0x50,
        _item(0x51, struct.pack(">I", max_pdu_bytes))
        + _item(0x52, _IMPLEMENTATION)
        + _item(0x55, b"DR_BENCH_1"),
    )


def _associate(kind: int, titles: bytes, items: bytes) -> bytes:
    body = struct.pack(">HH", 1, 0) + titles + bytes(32) + items
    return struct.pack(">BBI", kind, 0, len(body)) + body


def associate_rq(
    calling: str, called: str, contexts: Sequence[Context], max_pdu_bytes: int = 131072
) -> bytes:
    """An A-ASSOCIATE-RQ PDU."""
    proposed = b"".join(
        _item(
            0x20,
            bytes((number, 0, 0, 0))
            + _item(0x30, abstract.encode())
            + b"".join(_item(0x40, uid.encode()) for uid in transfer),
        )
        for number, abstract, transfer in contexts
    )
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    items = _item(0x10, _APPLICATION_CONTEXT) + proposed + _user_information(max_pdu_bytes)
    return _associate(ASSOCIATE_RQ, titles, items)


def associate_ac(request: bytes, max_pdu_bytes: int = 131072) -> bytes:
    """The A-ASSOCIATE-AC PDU that takes every context of a request's body with its first transfer syntax."""
    accepted = b"".join(
        _item(0x21, bytes((body[0], 0, 0, 0)) + next(_item(0x40, v) for k, v in items(body[4:]) if k == 0x40))
        for kind, body in items(request[68:])
        if kind == 0x20
    )
    return _associate(
        ASSOCIATE_AC,
        request[4:36],
        _item(0x10, _APPLICATION_CONTEXT) + accepted + _user_information(max_pdu_bytes),
    )


def items(buffer: bytes) -> Iterator[tuple[int, bytes]]:
    """The items of a variable field: type and value of each."""
    at = 0
    while at + 4 <= len(buffer):
        kind, _, length = struct.unpack_from(">BBH", buffer, at)
        yield kind, buffer[at + 4 : at + 4 + length]
        at += 4 + length


def acceptance(body: bytes) -> Acceptance:
    """Read the body of an A-ASSOCIATE-AC."""
    contexts: dict[int, str] = {}
    longest = 0
    for kind, value in items(body[68:]):
        if kind == 0x21 and value[2] == 0:
            contexts[value[0]] = next((v.decode() for k, v in items(value[4:]) if k == 0x40), "")
        elif kind == 0x50:
            longest = next((int.from_bytes(v, "big") for k, v in items(value) if k == 0x51), 0)
    return Acceptance(contexts=contexts, max_pdu_bytes=longest)


def pad_uid(uid: str) -> bytes:
    """A UID as it lies in an element: even length, padded by NUL (PS3.5 §9.1)."""
    raw = uid.encode()
    return raw + b"\0" * (len(raw) % 2)


def command_set(elements: Sequence[tuple[int, bytes]]) -> bytes:
    """A command set: implicit VR little endian, group 0000, its length first (PS3.7 §6.3.1)."""
    body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def store_rq(message_id: int, sop_class: str, sop_instance: str, *, data_set_type: int = 0) -> bytes:
    """The command set of a C-STORE-RQ."""
    return command_set(
        (
            (0x0002, pad_uid(sop_class)),
            (0x0100, _us(C_STORE_RQ)),
            (0x0110, _us(message_id)),
            (0x0700, _us(0)),
            (0x0800, _us(data_set_type)),
            (0x1000, pad_uid(sop_instance)),
        )
    )


def echo_rq(message_id: int) -> bytes:
    """The command set of a C-ECHO-RQ."""
    return command_set(
        (
            (0x0002, pad_uid(VERIFICATION)),
            (0x0100, _us(C_ECHO_RQ)),
            (0x0110, _us(message_id)),
            (0x0800, _us(0x0101)),
        )
    )


def response(field: int, message_id: int, status: int = 0) -> bytes:
    """The command set of a response without the optional UIDs (PS3.7 Table 9.3-2)."""
    return command_set(
        ((0x0100, _us(field)), (0x0120, _us(message_id)), (0x0800, _us(0x0101)), (0x0900, _us(status)))
    )


def read_command(body: bytes) -> dict[int, bytes]:
    """The elements of a command set by element number."""
    elements: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(body):
        _, number, length = struct.unpack_from("<HHI", body, at)
        elements[number] = body[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


def pdata(context_id: int, control: int, fragment: bytes) -> bytes:
    """One P-DATA-TF PDU with one PDV."""
    return (
        struct.pack(">BBIIBB", P_DATA, 0, len(fragment) + 6, len(fragment) + 2, context_id, control)
        + fragment
    )


def receive_exactly(sock: socket.socket, length: int) -> bytes:
    """``length`` bytes from a blocking socket; ``PeerError`` where the peer closes before that."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        taken = sock.recv_into(view)
        if not taken:
            raise PeerError("the peer closed the connection")
        view = view[taken:]
    return bytes(buffer)


def receive_pdu(sock: socket.socket) -> tuple[int, bytes]:
    """One whole PDU: its type and its body."""
    kind, _, length = struct.unpack(">BBI", receive_exactly(sock, 6))
    return kind, receive_exactly(sock, length)


def quick(sock: socket.socket) -> None:
    """Acknowledge at once (not sticky: the kernel forgets it after some segments)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def associate(
    port: int,
    contexts: Sequence[Context],
    *,
    calling: str = "LOAD",
    called: str = "ANY-SCP",
    host: str = "127.0.0.1",
    timeout_s: float = 60.0,
    tls: ssl.SSLContext | None = None,
) -> tuple[socket.socket, Acceptance]:
    """Open an association on a blocking socket of its own; ``PeerError`` where it is not accepted."""
    sock = socket.create_connection((host, port), timeout=timeout_s)
    try:
        sock.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout_s), 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=host)
        quick(sock)
        sock.sendall(associate_rq(calling, called, contexts))
        kind, body = receive_pdu(sock)
        if kind != ASSOCIATE_AC:
            raise PeerError(f"no A-ASSOCIATE-AC but a PDU of type {kind}: {body.hex()}")
        return sock, acceptance(body)
    except BaseException:
        sock.close()
        raise


def release(sock: socket.socket) -> None:
    """Release politely and close; a peer that goes away first is no error."""
    try:
        sock.sendall(RELEASE_RQ_PDU)
        while receive_pdu(sock)[0] != RELEASE_RP:
            pass
    except (OSError, PeerError):
        pass
    finally:
        sock.close()
