"""What a peer sends before there is TLS: to a listener, to a modality's connection, and to ``tls check``.

The first byte chooses the side, the second how the bytes are cut. No handshake can come to its end here, so
each input ends in a failure of a known kind, told once, or in waiting.
"""

from __future__ import annotations

import asyncio
import atexit
import ssl
import tempfile
from functools import cache

import trustme

from router.dicom.pdu import encode_associate_rq
from router.errors import TlsFailed
from router.net.tls_channel import TlsChannel
from router.net.tls_flight import asks_for_certificate
from router.net.tls_words import FIRST_BYTES, Side, TlsReason, is_tls, may_be_tls, plain_peer
from tests.dicom.wire import a_request

WORDS = (
    b"\x16\x03\x01",
    b"\x16\x03\x03",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x17\x03\x03",
    b"\x0d\x00\x00\x04\x01\x01\x00\x00",
    b"\x0e\x00\x00\x00",
    b"GET / HTTP/1.1\r\n\r\n",
    encode_associate_rq(a_request())[:80],
)


class _Transport(asyncio.Transport):
    """Takes what is written, and knows that it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("192.0.2.1", 1234) if name == "peername" else default


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < 2:
        return
    side = Side(is_server=not data[0] & 1, expected_name="pacs.example", has_certificate=bool(data[0] & 2))
    stream = data[2:]
    assert asks_for_certificate(stream) in (True, False, None)
    first = stream[:FIRST_BYTES]
    assert not is_tls(first) or may_be_tls(first)
    assert plain_peer(first, side).reason == TlsReason.PLAIN_PEER
    _loop().run_until_complete(_meet(side, stream, data[1] or len(stream) or 1))


async def _meet(side: Side, stream: bytes, step: int) -> None:
    failures: list[TlsFailed] = []
    transport = _Transport()
    channel = TlsChannel(
        _context(side.is_server),
        side,
        make=_must_not,
        on_failed=lambda _, failure: failures.append(failure),
        handshake_s=15.0,
        server_name=side.expected_name,
    )
    channel.connection_made(transport)
    for at in range(0, len(stream), step):
        if transport.closed:
            break
        piece = stream[at : at + step]
        channel.get_buffer(-1)[: len(piece)] = piece
        channel.buffer_updated(len(piece))
    if stream and not may_be_tls(stream[:FIRST_BYTES]):
        assert [failure.reason for failure in failures] == [TlsReason.PLAIN_PEER]
    channel.eof_received()
    channel.connection_lost(None)
    assert len(failures) == 1
    assert failures[0].reason in set(TlsReason)
    assert str(failures[0]).isprintable()
    assert transport.closed


def _must_not(channel: TlsChannel) -> asyncio.BufferedProtocol:
    raise AssertionError("a handshake of nobody came to its end")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


@cache
def _context(is_server: bool) -> ssl.SSLContext:
    if not is_server:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = trustme.CA().issue_cert("localhost")
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(issued.private_key_and_cert_chain_pem.bytes())
        pem.flush()
        context.load_cert_chain(pem.name)
    return context
