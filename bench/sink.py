"""The bare receiver: takes every instance, looks at nothing but the framing, and answers success.

``python -m bench.sink`` prints its port, then answers one line of JSON to each line on its standard input
(``reset``, ``wait COUNT SECONDS``). It discards the data set inside the kernel (``MSG_TRUNC``), so that it
costs far less than any server. With ``--write FILE`` it writes every byte into a preallocated file and syncs
before it answers, one ``fdatasync`` for all who wait: what no server that keeps its word can beat by much.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from typing import Protocol

from bench import wire

_NO_DATA_SET = b"\x00\x00\x00\x08\x02\x00\x00\x00\x01\x01"  # (0000,0800) = 0101H
_REGION_BYTES = 64 * 1024 * 1024  # of the file, for each association; written round and round
_READ_BYTES = 1024 * 1024


class Tally:
    """How many instances were answered, and when the last one was."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answered, self._last_at = 0, 0.0
        self._cpu = time.process_time()

    def add(self) -> None:
        with self._changed:
            self._answered += 1
            self._last_at = time.monotonic()
            self._changed.notify_all()

    def reset(self) -> dict[str, object]:
        with self._changed:
            self._answered, self._last_at, self._cpu = 0, 0.0, time.process_time()
            return self._seen()

    def wait(self, count: int, seconds: float) -> dict[str, object]:
        with self._changed:
            self._changed.wait_for(lambda: self._answered >= count, seconds)
            return self._seen()

    def _seen(self) -> dict[str, object]:
        cpu = time.process_time() - self._cpu
        return {"answered": self._answered, "last_at": self._last_at, "cpu_s": cpu}


class Destination(Protocol):
    """What becomes of the bytes, and when the answer goes."""

    def take(self, sock: socket.socket, length: int) -> None: ...

    def finish(self, sock: socket.socket, answer: bytes) -> None: ...


class Discard:
    """Drops the bytes without copying them."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = bytearray(_READ_BYTES)

    def take(self, sock: socket.socket, length: int) -> None:
        while length:
            n = sock.recv_into(self._buffer, min(length, _READ_BYTES), socket.MSG_TRUNC | socket.MSG_WAITALL)
            if not n:
                raise wire.PeerError("closed within an instance")
            length -= n

    def finish(self, sock: socket.socket, answer: bytes) -> None:
        sock.sendall(answer)
        self._tally.add()


class SyncedFile:
    """One file, its extents made beforehand, and one thread that syncs it for all who wait."""

    def __init__(self, path: str, regions: int, tally: Tally) -> None:
        self._tally = tally
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        zeros = bytes(1024 * 1024)
        self.regions = regions
        for _ in range(regions * _REGION_BYTES // len(zeros)):
            os.write(self.descriptor, zeros)
        os.fsync(self.descriptor)
        self._waiting: list[tuple[socket.socket, bytes]] = []
        self._filled = threading.Condition()
        threading.Thread(target=self._sync, daemon=True).start()

    def wait_for_sync(self, sock: socket.socket, answer: bytes) -> None:
        with self._filled:
            self._waiting.append((sock, answer))
            self._filled.notify()

    def _sync(self) -> None:
        while True:
            with self._filled:
                self._filled.wait_for(lambda: bool(self._waiting))
                batch, self._waiting = self._waiting, []
            os.fdatasync(self.descriptor)
            for sock, answer in batch:
                try:
                    sock.sendall(answer)
                except OSError:
                    continue
                self._tally.add()


class Write:
    """Writes one association's bytes into its region of the file."""

    def __init__(self, file: SyncedFile, number: int) -> None:
        self._file, self._base, self._at = file, (number % file.regions) * _REGION_BYTES, 0
        self._buffer = memoryview(bytearray(_READ_BYTES))

    def take(self, sock: socket.socket, length: int) -> None:
        while length:
            n = sock.recv_into(self._buffer[: min(length, _READ_BYTES)], 0, socket.MSG_WAITALL)
            if not n:
                raise wire.PeerError("closed within an instance")
            if self._at + n > _REGION_BYTES:
                self._at = 0
            os.pwrite(self._file.descriptor, self._buffer[:n], self._base + self._at)
            self._at += n
            length -= n

    def finish(self, sock: socket.socket, answer: bytes) -> None:
        self._file.wait_for_sync(sock, answer)


def _answer(command: bytes, context_id: int) -> bytes:
    """The response to a C-STORE-RQ or C-ECHO-RQ."""
    elements = wire.read_command(command)
    message_id = int.from_bytes(elements[0x0110], "little")
    field = int.from_bytes(elements[0x0100], "little") | 0x8000
    return wire.pdata(context_id, wire.COMMAND_LAST, wire.response(field, message_id))


def _messages(sock: socket.socket, destination: Destination) -> None:
    """Answer messages until the peer releases or goes away."""
    header = bytearray(6)
    command, answer = b"", b""
    while True:
        if sock.recv_into(header, 6, socket.MSG_WAITALL) < 6 or header[0] not in (
            wire.P_DATA,
            wire.RELEASE_RQ,
        ):
            return
        left = int.from_bytes(header[2:6], "big")
        if header[0] == wire.RELEASE_RQ:
            sock.sendall(wire.RELEASE_RP_PDU)
        if header[0] != wire.P_DATA:
            return
        while left:
            wire.quick(sock)
            pdv = wire.receive_exactly(sock, 6)
            length = int.from_bytes(pdv[:4], "big") - 2
            context_id, control = pdv[4], pdv[5]
            left -= 6 + length
            if not control & 1:
                destination.take(sock, length)
            else:
                command += wire.receive_exactly(sock, length)
            if control == wire.COMMAND_LAST:
                answer, has_data = (
                    _answer(command, context_id),
                    b"\x00\x08\x02\x00\x00\x00\x01\x01" not in command,
                )
                command = b""
                if not has_data:
                    sock.sendall(answer)
            elif control == wire.DATA_LAST:
                destination.finish(sock, answer)


def _serve(sock: socket.socket, destination: Destination) -> None:
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            kind, body = wire.receive_pdu(sock)
            if kind == wire.ASSOCIATE_RQ:
                sock.sendall(wire.associate_ac(body))
                _messages(sock, destination)
        except (OSError, wire.PeerError):
            return  # a peer that goes away in the middle is the server's affair; the tally shows it


def _accept(listener: socket.socket, tally: Tally, file: SyncedFile | None) -> None:
    number = 0
    while True:
        sock, _ = listener.accept()
        destination: Destination = Write(file, number) if file else Discard(tally)
        number += 1
        threading.Thread(target=_serve, args=(sock, destination), daemon=True).start()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="bench.sink")
    parser.add_argument("--write", default="", help="write and sync into this file before answering")
    parser.add_argument("--regions", type=int, default=16, help="associations that write at once")
    arguments = parser.parse_args()
    tally = Tally()
    file = SyncedFile(arguments.write, arguments.regions, tally) if arguments.write else None
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(target=_accept, args=(listener, tally, file), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        seen = tally.wait(int(words[0]), float(words[1])) if verb == "wait" else tally.reset()
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
