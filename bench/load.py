"""The load generator: a process that stores precomputed instances as fast as the server answers.

``python -m bench.load --port N ...`` opens its associations, sends one instance after the other on each and
prints one line of JSON. A thread for each association does nothing but ``sendmsg`` and ``recv``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass, field

from bench import wire
from bench.sample import CONTEXTS, Framed, Sample


@dataclass(slots=True)
class Tally:
    """What the threads have seen."""

    acknowledged: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)  # from the first byte to the answer
    errors: list[str] = field(default_factory=list)


def send_one(sock: socket.socket, parts: list[bytes | bytearray]) -> bytes:
    """Send one instance in as few calls as the kernel needs and return the body of the answer's PDU."""
    total = sum(map(len, parts))
    if isinstance(sock, ssl.SSLSocket):  # which has no sendmsg
        sock.sendall(b"".join(parts))
        sent = total
    else:
        sent = sock.sendmsg(parts)
    while sent < total:
        views = [memoryview(part) for part in parts]
        skip = sent
        while skip >= len(views[0]):
            skip -= len(views.pop(0))
        views[0] = views[0][skip:]
        sent += sock.sendmsg(views)
    wire.quick(sock)
    answer = sock.recv(4096)
    while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
        more = sock.recv(4096)
        if not more:
            raise wire.PeerError("the server closed the association")
        answer += more
    if answer[0] != wire.P_DATA:
        raise wire.PeerError(f"a PDU of type {answer[0]} in place of a C-STORE-RSP")
    return answer[6:]


class Sender:
    """Takes serial numbers from ``tickets`` and sends until there are none, or the time is over."""

    def __init__(self, sock: socket.socket, framed: Framed, tally: Tally) -> None:
        self._sock, self._framed, self._tally = sock, framed, tally

    def run(self, tickets: itertools.count[int], end: int, deadline: float) -> None:
        """The body of an association's thread."""
        head = self._framed.own_head()
        parts: list[bytes | bytearray] = [head.buffer, *self._framed.pieces]
        acknowledged, seconds = 0, []
        try:
            while (begun := time.monotonic()) < deadline and (serial := next(tickets)) < end:
                head.patch(serial)
                answer = send_one(self._sock, parts)
                seconds.append(time.monotonic() - begun)
                if wire.STATUS_SUCCESS in answer:
                    acknowledged += 1
                else:
                    self._tally.refused += 1
        except (OSError, wire.PeerError) as error:
            self._tally.errors.append(str(error))
        self._tally.acknowledged += acknowledged
        self._tally.seconds.extend(seconds)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Send, and say what happened. Instants are on the machine's monotonic clock, common to all processes."""
    sample = Sample(arguments.size, arguments.run)
    tally = Tally()
    tls = ssl.create_default_context(cafile=arguments.ca) if arguments.ca else None
    opened = [
        wire.associate(arguments.port, CONTEXTS, calling=f"LOAD{n}", called=arguments.called, tls=tls)
        for n in range(arguments.associations)
    ]
    framed = sample.frame(opened[0][1].max_pdu_bytes)
    tickets = itertools.count(arguments.first)
    end = arguments.first + arguments.count
    senders = [Sender(sock, framed, tally) for sock, _ in opened]
    began_at, cpu = time.monotonic(), time.process_time()
    deadline = began_at + arguments.seconds
    threads = [threading.Thread(target=s.run, args=(tickets, end, deadline), daemon=True) for s in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended_at, cpu = time.monotonic(), time.process_time() - cpu
    for sock, _ in opened:
        wire.release(sock)
    ranked = sorted(tally.seconds)
    return {
        "began_at": began_at,
        "ended_at": ended_at,
        "acknowledged": tally.acknowledged,
        "refused": tally.refused,
        "errors": tally.errors,
        "bytes": sample.length_bytes,
        "cpu_s": cpu,
        "p50_ms": 1000 * ranked[len(ranked) // 2] if ranked else None,
        "p99_ms": 1000 * ranked[len(ranked) * 99 // 100] if ranked else None,
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called", default="ANY-SCP")
    parser.add_argument("--size", type=int, default=525_000)
    parser.add_argument("--associations", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0, help="the first serial number")
    parser.add_argument("--run", type=int, default=0, help="makes the UIDs of this run distinct")
    parser.add_argument("--ca", help="speak TLS and trust this authority")
    json.dump(run(parser.parse_args()), sys.stdout)
    print()


if __name__ == "__main__":
    main()
