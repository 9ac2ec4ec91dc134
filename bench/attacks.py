"""Hostile clients: ``python -m bench.attacks --port N --connections M --seconds S``, so many over the time.

Each connection is one attack of one kind, from one of many loopback addresses. It lasts until the server ends
it or the attacker has had enough; what became of each kind is printed as one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from bench import wire

PATIENCE_S = 40.0  # an attacker gives up then
_ECHO: wire.Context = (1, wire.VERIFICATION, (wire.IMPLICIT_LE,))
_CT: wire.Context = (3, wire.CT_IMAGE, (wire.EXPLICIT_LE,))
_REQUEST = wire.associate_rq("HOSTILE", "ANY-SCP", (_ECHO, _CT))
_STORE = wire.pdata(3, wire.COMMAND_LAST, wire.store_rq(1, wire.CT_IMAGE, "1.2.3.4"))
_EVERY_SYNTAX = tuple(f"1.2.840.10008.1.2.4.{n}" for n in range(50, 90))
_TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)
_ENOUGH_BYTES = 3_000_000


class _Ended(Exception):
    """The server has ended it."""


@dataclass(slots=True)
class Connection:
    """One socket, in the hands of an attacker."""

    sock: socket.socket
    random: random.Random

    async def send(self, what: bytes) -> None:
        """Send all of it; ``OSError`` where the server has closed."""
        await asyncio.get_running_loop().sock_sendall(self.sock, what)

    async def read(self, most: int = 65536) -> bytes:
        """What comes next; raises ``_Ended`` at the end."""
        got = await asyncio.get_running_loop().sock_recv(self.sock, most)
        if not got:
            raise _Ended
        return got

    async def read_to_end(self) -> None:
        """Wait for the server to close."""
        while True:
            await self.read()

    async def associate(self, request: bytes = _REQUEST) -> None:
        """Open an association; raises ``_Ended`` where it is refused."""
        await self.send(request)
        answer = b""
        while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
            answer += await self.read()
        if answer[0] != wire.ASSOCIATE_AC:
            raise _Ended

    async def drip(self, what: bytes) -> None:
        """A byte a second, and look whether the server has had enough."""
        for at in range(len(what)):
            await self.send(what[at : at + 1])
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.read_to_end()


async def garbage(c: Connection) -> None:
    await c.send(c.random.randbytes(c.random.randrange(1, 20_000)))
    await c.read_to_end()


async def http(c: Connection) -> None:
    await c.send(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n")
    await c.read_to_end()


async def tls_on_plain(c: Connection) -> None:
    await c.send(_TLS_HELLO)
    await c.read_to_end()


async def half_request(c: Connection) -> None:
    await c.send(_REQUEST[: c.random.randrange(1, len(_REQUEST))])
    await c.read_to_end()


async def half_open(c: Connection) -> None:
    await c.read_to_end()


async def slow_request(c: Connection) -> None:
    await c.drip(_REQUEST)


async def never_released(c: Connection) -> None:
    await c.associate()
    await c.read_to_end()


async def half_command(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE[: c.random.randrange(1, len(_STORE))])
    await c.read_to_end()


async def slow_data(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE + struct.pack(">BBIIBB", wire.P_DATA, 0, 50_006, 50_002, 3, wire.DATA_LAST))
    await c.drip(bytes(50_000))


async def unfinished_data(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE)
    for _ in range(30):
        await c.send(wire.pdata(3, wire.DATA_MORE, bytes(100_000)))
    await c.read_to_end()


async def giant_request(c: Connection) -> None:
    await c.send(struct.pack(">BBI", wire.ASSOCIATE_RQ, 0, 0x7FFFFFFF) + bytes(1000))
    await c.read_to_end()


async def giant_pdu(c: Connection) -> None:
    await c.associate()
    await c.send(struct.pack(">BBIIBB", wire.P_DATA, 0, 0xFFFFFFFF, 0xFFFFFFF0, 3, wire.COMMAND_LAST))
    await c.read_to_end()


async def giant_command(c: Connection) -> None:
    await c.associate()
    for _ in range(40):
        await c.send(wire.pdata(3, 1, bytes(10_000)))
    await c.read_to_end()


async def many_contexts(c: Connection) -> None:
    contexts = [(2 * n + 1, f"1.2.3.{c.random.randrange(10**9)}", _EVERY_SYNTAX) for n in range(128)]
    await c.associate(wire.associate_rq("HOSTILE", "ANY-SCP", contexts))
    await c.send(wire.ABORT_PDU)
    await c.read_to_end()


async def too_many_items(c: Connection) -> None:
    items = struct.pack(">BBH", 0x40, 0, 0) * 120_000
    head = struct.pack(">HH", 1, 0) + b"ANY-SCP".ljust(16) + b"HOSTILE".ljust(16) + bytes(32)
    await c.send(struct.pack(">BBI", wire.ASSOCIATE_RQ, 0, len(head) + len(items)) + head + items)
    await c.read_to_end()


async def never_reading(c: Connection) -> None:
    await c.associate()
    echo = wire.pdata(1, wire.COMMAND_LAST, wire.echo_rq(1)) * 100
    sent = 0
    while sent < 10 * _ENOUGH_BYTES:
        await c.send(echo)
        sent += len(echo)
    await asyncio.sleep(PATIENCE_S)


async def tiny_fragments(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE)
    piece = wire.pdata(3, wire.DATA_MORE, b"ab") * 5000
    for _ in range(20):
        await c.send(piece)
    await c.read_to_end()


async def hollow_fragments(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE)
    piece = wire.pdata(3, wire.DATA_MORE, b"") * 20_000 + wire.pdata(3, wire.DATA_MORE, bytes(1000))
    for _ in range(10):
        await c.send(piece)
    await c.read_to_end()


async def reset_in_the_middle(c: Connection) -> None:
    await c.associate()
    await c.send(_STORE + wire.pdata(3, wire.DATA_MORE, bytes(50_000))[:-10])
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise _Ended


async def come_and_go(c: Connection) -> None:
    await c.send(_REQUEST)


async def odd_answers(c: Connection) -> None:
    """Requests that nobody answers, to be never idle."""
    await c.associate()
    cancel = wire.command_set(((0x0100, b"\xff\x0f"), (0x0120, b"\1\0"), (0x0800, b"\1\1")))
    await c.send(wire.pdata(1, wire.COMMAND_LAST, cancel))
    await c.read_to_end()


Attack = Callable[[Connection], Awaitable[None]]
WEIGHTS: dict[Attack, int] = {
    garbage: 10,
    http: 4,
    tls_on_plain: 6,
    half_request: 8,
    half_open: 8,
    slow_request: 6,
    never_released: 8,
    half_command: 6,
    slow_data: 6,
    unfinished_data: 1,
    giant_request: 6,
    giant_pdu: 6,
    giant_command: 3,
    many_contexts: 4,
    too_many_items: 2,
    never_reading: 1,
    tiny_fragments: 1,
    hollow_fragments: 1,
    reset_in_the_middle: 6,
    come_and_go: 8,
    odd_answers: 4,
}


@dataclass(slots=True)
class Army:
    """All attackers. ``by_kind`` counts how each kind ended."""

    port: int
    seed: int = 0
    addresses: int = 60
    kinds: frozenset[str] = frozenset()  # none: all
    by_kind: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    async def march(self, connections: int, seconds: float, flood: int) -> None:
        """Attack: evenly over the time, and in the middle ``flood`` more at once from one address."""
        rng = random.Random(self.seed)
        weights = {kind: n for kind, n in WEIGHTS.items() if not self.kinds or kind.__name__ in self.kinds}
        kinds = rng.choices(list(weights), list(weights.values()), k=max(0, connections - flood))
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number, kind in enumerate(kinds):
                await asyncio.sleep(max(0.0, began + seconds * number / len(kinds) - loop.time()))
                address = f"127.0.1.{1 + rng.randrange(self.addresses)}"
                tasks.create_task(self._attack(kind, address, random.Random(rng.random())))
                if number == len(kinds) // 2:
                    for _ in range(flood):
                        tasks.create_task(self._attack(come_and_go, "127.0.2.1", rng, name="flood"))

    async def _attack(self, kind: Attack, address: str, rng: random.Random, name: str = "") -> None:
        counts = self.by_kind[name or kind.__name__]
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                sock.bind((address, 0))
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
                    await kind(Connection(sock, rng))
                counts["done"] += 1
            except _Ended:
                counts["ended by the server"] += 1
            except TimeoutError:
                counts["not ended"] += 1
            except OSError as error:
                counts[error.strerror or type(error).__name__] += 1


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="bench.attacks")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--flood", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="only these, as in garbage,half_open")
    chosen = parser.parse_args()
    army = Army(port=chosen.port, seed=chosen.seed, kinds=frozenset(filter(None, chosen.kinds.split(","))))
    asyncio.run(army.march(chosen.connections, chosen.seconds, chosen.flood))
    json.dump(army.by_kind, sys.stdout)
    print()


if __name__ == "__main__":
    main()
