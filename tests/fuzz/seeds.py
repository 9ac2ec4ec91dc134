"""Seeds: inputs kept as text, in one file for each target, to be read and reviewed like code.

``TARGET.hex`` has bytes: a line ``# name`` begins a seed, then come lines of hex, ``"..."`` for ASCII, and
``( ... ) * n`` for what is repeated. ``TARGET.txt`` has text as it is: a line ``=== name`` begins a seed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "seeds"

_TEXT_HEAD = "=== "
_REPEATED = re.compile(r"\(([^()]*)\)\s*\*\s*(\d+)")
_PRINTABLE = re.compile(rb"[ !#-\x27*-~]{4,}")  # neither quotes nor parentheses
_LINE = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """One input, and what it is."""

    name: str
    data: bytes


def load(target: str) -> list[Seed]:
    """The seeds of a target, in the order of its files."""
    seeds: list[Seed] = []
    for suffix, read in ((".hex", _read_hex), (".txt", _read_text)):
        path = DIRECTORY / (target + suffix)
        if path.exists():
            seeds += read(path.read_text(encoding="utf-8"))
    return seeds


def _read_hex(text: str) -> Iterator[Seed]:
    for part in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        yield Seed(name=name.strip(), data=unhex(body))


def _read_text(text: str) -> Iterator[Seed]:
    for part in re.split(f"^{_TEXT_HEAD}", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        yield Seed(name=name.strip(), data=body.encode())


def unhex(text: str) -> bytes:
    """Bytes as a ``.hex`` file writes them."""
    repeated = _REPEATED.search(text)
    if repeated is not None:
        middle = unhex(repeated[1]) * int(repeated[2])
        return unhex(text[: repeated.start()]) + middle + unhex(text[repeated.end() :])
    out = bytearray()
    for index, part in enumerate(text.split('"')):
        out += part.encode("ascii") if index % 2 else bytes.fromhex(part)
    return bytes(out)


def shown(data: bytes) -> str:
    """The reverse of ``unhex``, without repetitions: what a finding is written down as."""
    words: list[str] = []
    at = 0
    for match in _PRINTABLE.finditer(data):
        words += [f"{byte:02X}" for byte in data[at : match.start()]]
        words.append(f'"{match[0].decode()}"')
        at = match.end()
    words += [f"{byte:02X}" for byte in data[at:]]
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) >= _LINE:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)
