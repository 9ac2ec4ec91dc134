"""A modality over a raw socket: it sends exactly the bytes it is given, and says how they were answered."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from types import TracebackType

from bench import wire
from tests.corpus import Part10


class Association:
    """An association for some pairs of SOP class and transfer syntax, one context each."""

    def __init__(
        self,
        port: int,
        pairs: Sequence[tuple[str, str]],
        *,
        calling: str = "MODALITY",
        timeout_s: float = 30.0,
    ) -> None:
        self._numbers = {pair: 2 * n + 1 for n, pair in enumerate(dict.fromkeys(pairs))}
        contexts = [(number, pair[0], (pair[1],)) for pair, number in self._numbers.items()]
        self.sock, self._accepted = wire.associate(port, contexts, calling=calling, timeout_s=timeout_s)
        self._message_id = 0

    def accepts(self, sop_class_uid: str, transfer_syntax_uid: str) -> bool:
        """Whether this pair was accepted."""
        return self._numbers[sop_class_uid, transfer_syntax_uid] in self._accepted.contexts

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data_set: bytes,
        on_sent: Callable[[], None] = lambda: None,
    ) -> int:
        """C-STORE one data set: the status; ``PeerError`` or ``OSError`` when the association is over."""
        number = self._numbers[sop_class_uid, transfer_syntax_uid]
        self._message_id = self._message_id % 0xFFFF + 1
        command = wire.store_rq(self._message_id, sop_class_uid, sop_instance_uid)
        self.sock.sendall(
            wire.pdata(number, wire.COMMAND_LAST, command)
            + frame(number, data_set, self._accepted.max_pdu_bytes)
        )
        on_sent()
        return self.answer()

    def echo(self) -> int:
        """C-ECHO over the first context, which must be Verification's. Returns the status."""
        self._message_id = self._message_id % 0xFFFF + 1
        number = self._numbers[wire.VERIFICATION, wire.IMPLICIT_LE]
        self.sock.sendall(wire.pdata(number, wire.COMMAND_LAST, wire.echo_rq(self._message_id)))
        return self.answer()

    def answer(self) -> int:
        """The status of the response to the message that was sent last."""
        kind, body = wire.receive_pdu(self.sock)
        if kind != wire.P_DATA:
            raise wire.PeerError(f"a PDU of type {kind} in place of a response: {body.hex()}")
        elements = wire.read_command(body[6:])
        if elements.get(0x0120) != struct.pack("<H", self._message_id):
            raise wire.PeerError("a response to another message")
        return int.from_bytes(elements[0x0900], "little")

    def close(self) -> None:
        """Release politely."""
        wire.release(self.sock)

    def __enter__(self) -> Association:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close() if error else self.close()


def frame(context_id: int, data_set: bytes, max_pdu_bytes: int) -> bytes:
    """A data set as P-DATA PDUs (PS3.8 §9.3.5)."""
    step = min(max_pdu_bytes or 131072, 131072) - 6
    pieces = [data_set[at : at + step] for at in range(0, len(data_set), step)] or [b""]
    return b"".join(
        wire.pdata(context_id, wire.DATA_LAST if n == len(pieces) - 1 else wire.DATA_MORE, piece)
        for n, piece in enumerate(pieces)
    )


def accepted_pairs(port: int, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which pairs of SOP class and transfer syntax a peer accepts, asked of the peer itself."""
    distinct = list(dict.fromkeys(pairs))
    accepted: set[tuple[str, str]] = set()
    for at in range(0, len(distinct), 128):
        batch = distinct[at : at + 128]
        with Association(port, batch) as association:
            accepted |= {pair for pair in batch if association.accepts(*pair)}
    return accepted


def store_files(port: int, files: Sequence[Part10]) -> list[int | None]:
    """Send files' data sets as they lie; the status of each, ``None`` where its context was not accepted."""
    statuses: list[int | None] = []
    pairs = list(dict.fromkeys((f.sop_class_uid, f.transfer_syntax_uid) for f in files))
    for at in range(0, len(pairs), 128):
        batch = set(pairs[at : at + 128])
        with Association(port, list(batch)) as association:
            for f in files:
                if (f.sop_class_uid, f.transfer_syntax_uid) in batch:
                    is_accepted = association.accepts(f.sop_class_uid, f.transfer_syntax_uid)
                    statuses.append(
                        association.store(
                            f.sop_class_uid, f.sop_instance_uid, f.transfer_syntax_uid, f.data_set
                        )
                        if is_accepted
                        else None
                    )
    return statuses


def closes_or_aborts(sock: socket.socket, timeout_s: float = 10.0) -> bytes:
    """Read until the peer closes; what it sent before that. ``TimeoutError`` where it does neither."""
    sock.settimeout(timeout_s)
    received = b""
    try:
        while chunk := sock.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received
