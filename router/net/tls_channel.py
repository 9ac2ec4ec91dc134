"""TLS between a TCP transport and a connection: records in, records out, over OpenSSL's memory buffers.

asyncio's own TLS layer is not used, because it says nothing of a handshake that failed at a server, resumes
no session at a client, and holds 256 kB for each connection. This one

- is the protocol of the TCP transport and the transport of the ``Connection``, which is made only once the
  handshake is through: nobody who fails or stays silent costs an association;
- reads into one buffer for all channels of a thread, which is empty again before the loop does anything else,
  and decrypts from there into that of the connections;
- encrypts what is written at once, in slices, so that there is one buffer and one backpressure: TCP's;
- takes the end of the connection as TCP does, with or without close_notify: that nothing is missing at the
  end is for DICOM's own release to say (RFC 8446 §6.1 leaves that to the application).

A failure before the connection is made goes to ``on_failed``; with a later one the connection is lost.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

from router.dicom.codes import RejectReason, RejectResult, RejectSource
from router.dicom.pdu import encode_associate_rj
from router.errors import AssociationLost, RouterError, TlsFailed
from router.model import Buffer
from router.net import tls_words
from router.net.scratch import RECEIVE_BYTES, Scratch
from router.net.tls_words import FIRST_BYTES, Side

SEAL_BYTES = 128 * 1024  # encrypted at once, so in memory twice; from 16 kB to 512 kB none is faster

_ASSOCIATE_RQ = 0x01
_REJECT = encode_associate_rj(
    RejectResult.PERMANENT, RejectSource.SERVICE_PROVIDER_ACSE, RejectReason.ACSE_NO_REASON
)


_scratch = Scratch()


class TlsChannel(asyncio.BufferedProtocol, asyncio.Transport):
    """One TLS connection. ``make`` gives the protocol inside, once the handshake is through."""

    def __init__(
        self,
        context: ssl.SSLContext,
        side: Side,
        *,
        make: Callable[[TlsChannel], asyncio.BufferedProtocol],
        on_failed: Callable[[TlsChannel, TlsFailed], None],
        handshake_s: float,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
        watch: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__()
        self.side = side
        self.context = context
        self.failure: RouterError | None = None
        self._make: Callable[[TlsChannel], asyncio.BufferedProtocol] | None = make
        self._on_failed = on_failed
        self._handshake_s = handshake_s
        self._watch = watch  # sees what the peer sends, encrypted as it is: for ``tls check``
        self._loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=side.is_server,
            server_hostname=None if side.is_server else server_name,
            session=session,
        )
        self._tcp: asyncio.Transport | None = None
        self._inner: asyncio.BufferedProtocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._first = b""
        self._is_read_paused = False
        self._is_over = False  # nothing more goes in or out
        self._has_decrypted = False

    # ---- what is to be known of it

    @property
    def tls(self) -> ssl.SSLObject:
        """OpenSSL's side: version, cipher, certificate and session of the peer."""
        return self._tls

    @property
    def peer(self) -> str:
        """The address of the other end."""
        address = self.get_extra_info("peername")
        return str(address[0]) if isinstance(address, tuple) else ""

    @property
    def has_spoken(self) -> bool:
        """The peer has sent something."""
        return bool(self._first)

    # ---- what the TCP transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast("asyncio.Transport", transport)
        if self._is_over:  # given up between accept and here
            self._tcp.abort()
            return
        self._timer = self._loop.call_later(self._handshake_s, self._on_timer)
        if not self.side.is_server:
            self._shake_hands()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _scratch.whole

    def buffer_updated(self, nbytes: int) -> None:
        received = _scratch.whole[:nbytes]
        if self._inner is None and not self._is_over and not self._begins_well(received):
            return
        if self._watch is not None:
            self._watch(bytes(received))
        self._incoming.write(received)
        if self._inner is not None or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        if self._inner is None:
            self._fail(tls_words.closed(self.side, has_spoken=self.has_spoken))
        elif not self._is_over:
            self._inner.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._stop_timer()
        if self._inner is None:
            closed = tls_words.closed(self.side, has_spoken=self.has_spoken)
            self._fail(self._last_words(exc) or closed)
            return
        if self.failure is None and not self._has_decrypted and not self.side.is_server:
            self.failure = self._last_words(exc) or tls_words.closed_at_once(self.side)
        inner, self._inner = self._inner, None
        inner.connection_lost(self.failure or exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    # ---- what the connection calls

    def write(self, data: Buffer) -> None:
        if self._is_over or self._tcp is None:
            return
        view = memoryview(data)
        try:
            for at in range(0, len(view), SEAL_BYTES):
                self._tls.write(view[at : at + SEAL_BYTES])
                self._tcp.write(self._outgoing.read())
        except ssl.SSLError as error:
            self._break(error)

    def pause_reading(self) -> None:
        self._is_read_paused = True
        if self._tcp is not None:
            self._tcp.pause_reading()

    def resume_reading(self) -> None:
        if self._is_read_paused:
            self._is_read_paused = False
            self._loop.call_soon(self._go_on_reading)

    def is_closing(self) -> bool:
        return self._is_over or self._tcp is None or self._tcp.is_closing()

    def close(self) -> None:
        """Say so (close_notify) behind all that was written, and close; the peer's word is not waited for."""
        if self._is_over or self._tcp is None:
            return
        self._is_over = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # WantRead: the peer has not said so itself yet
            pass
        self._flush()
        self._tcp.close()

    def abort(self) -> None:
        self._is_over = True
        if self._tcp is not None:
            self._tcp.abort()

    def give_up(self, failure: TlsFailed) -> None:
        """End a handshake that has lasted long enough, or is in the way of others."""
        self._fail(failure)
        self.abort()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._tcp is not None:
            self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size() if self._tcp is not None else 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "ssl_object":
            return self._tls
        return self._tcp.get_extra_info(name, default) if self._tcp is not None else default

    # ---- inside

    def _begins_well(self, received: memoryview) -> bool:
        """Whether the peer speaks TLS at all; if not, it has failed, and is told so in what it speaks."""
        if len(self._first) < FIRST_BYTES:
            self._first += bytes(received[: FIRST_BYTES - len(self._first)])
        if tls_words.may_be_tls(self._first):
            return True
        if self._first[0] == _ASSOCIATE_RQ and self.side.is_server and self._tcp is not None:
            self._tcp.write(_REJECT)
        self._fail(tls_words.plain_peer(self._first, self.side))
        return False

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is through."""
        if self._is_over or self._make is None:
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._fail(tls_words.failure(error, self.side))
            return False
        self._flush()
        self._stop_timer()
        self._inner = self._make(self)
        self._make, self._on_failed = None, _nobody  # they may lead to the connection, and so back to here
        self._inner.connection_made(self)
        return True

    def _read(self) -> None:
        """Decrypt what is here into the buffer of the connections, until it is empty or reading is paused."""
        while not self._is_read_paused and not self._is_over and self._inner is not None:
            buffer = cast("memoryview", self._inner.get_buffer(-1))
            filled, is_empty, is_closed = 0, False, False
            failure: ssl.SSLError | None = None
            try:
                while filled < len(buffer):
                    count = self._tls.read(len(buffer) - filled, buffer[filled:])
                    if not count:
                        is_closed = True
                        break
                    filled += cast("int", count)
            except ssl.SSLWantReadError:
                is_empty = True
            except ssl.SSLZeroReturnError:
                is_closed = True
            except ssl.SSLError as error:
                failure = error
            if filled:
                self._has_decrypted = True
                self._inner.buffer_updated(filled)
            if failure is not None:
                self._break(failure)
            elif is_closed:
                self._end()
            elif is_empty:
                break
        if self._outgoing.pending:  # an answer of TLS itself, e.g. to a change of keys
            self._flush()

    def _go_on_reading(self) -> None:
        self._read()
        if not self._is_read_paused and not self._is_over and self._tcp is not None:
            self._tcp.resume_reading()

    def _end(self) -> None:
        """The peer has said that it sends no more (close_notify)."""
        if not self._is_over and self._inner is not None:
            self._inner.eof_received()
            self.close()

    def _break(self, error: ssl.SSLError) -> None:
        """TLS failed after its handshake: a server's word on our certificate, or damage on the way."""
        if self._is_over:
            return
        failed = tls_words.failure(error, self.side)
        is_early = not self._has_decrypted and not self.side.is_server
        self.failure = failed if is_early else AssociationLost(f"TLS broke: {failed}")
        self._is_over = True
        self._flush()
        if self._tcp is not None:
            self._tcp.close()

    def _fail(self, failure: TlsFailed) -> None:
        """There will be no connection."""
        if self.failure is not None:
            return
        self.failure = failure
        self._is_over = True
        self._stop_timer()
        if self._tcp is not None:
            self._tcp.close()
        self._on_failed(self, failure)

    def _last_words(self, exc: Exception | None) -> TlsFailed | None:
        """The alert of a peer that has sent one and gone: a write failed before it was read."""
        sock = self.get_extra_info("socket")
        if not isinstance(exc, ConnectionError) or self.side.is_server or sock is None:
            return None
        try:
            self._incoming.write(os.read(cast("socket.socket", sock).fileno(), RECEIVE_BYTES))
            if self._inner is None:
                self._tls.do_handshake()
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            return tls_words.failure(error, self.side)
        except OSError:
            return None
        return None

    def _on_timer(self) -> None:
        self._timer = None
        self.give_up(tls_words.late(self.side, self._handshake_s, has_spoken=self.has_spoken))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        if self._tcp is not None and self._outgoing.pending:
            self._tcp.write(self._outgoing.read())


def _nobody(channel: TlsChannel, failure: TlsFailed) -> None:
    """Who is told of a handshake that fails once it is through."""
