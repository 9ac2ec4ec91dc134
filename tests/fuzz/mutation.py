"""Changes to an input, as values: the same edits give the same bytes, so that a failure can be had again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from random import Random

NUMBERS_MAX = 1 << 32
_SIZES = (1, 2, 4)
_EDGES = (0, 1, 2, 4, 8, 0x7F, 0x80, 0xFE, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 1 << 31, (1 << 32) - 1)
_GROWTH_BYTES = 4096
_MOST_EDITS = 4


class Kind(IntEnum):
    """What an edit does."""

    FLIP = 0  # one bit
    SET = 1  # a number, in either byte order, often one at the edge of its range
    INSERT = 2
    REMOVE = 3
    REPEAT = 4
    CUT = 5  # the end
    WORD = 6  # a word of the target's over what is there
    INSERT_WORD = 7


@dataclass(frozen=True, slots=True)
class Edit:
    """One change. Its numbers are brought into range where it is applied."""

    kind: Kind
    at: int
    size: int
    number: int


def apply(data: bytes, edits: Sequence[Edit], words: Sequence[bytes], *, max_bytes: int) -> bytes:
    """``data`` with the edits made one after the other."""
    for edit in edits:
        data = _apply(data, edit, words)[:max_bytes]
    return data


def _apply(data: bytes, edit: Edit, words: Sequence[bytes]) -> bytes:
    at = edit.at % (len(data) + 1)
    stop = min(len(data), at + edit.size % 64 + 1)
    match edit.kind:
        case Kind.FLIP:
            flipped = bytes([data[at] ^ 1 << edit.number % 8]) if at < len(data) else b""
            return data[:at] + flipped + data[at + 1 :]
        case Kind.SET:
            number = _number(edit)
            return data[:at] + number + data[at + len(number) :]
        case Kind.INSERT:
            return data[:at] + edit.number.to_bytes(4, "big")[: edit.size % 4 + 1] + data[at:]
        case Kind.REMOVE:
            return data[:at] + data[stop:]
        case Kind.REPEAT:
            piece = data[at:stop]
            times = min(edit.number % 1000, _GROWTH_BYTES // max(1, len(piece)))
            return data[:at] + piece * times + data[at:]
        case Kind.CUT:
            return data[:at]
        case _:
            word = words[edit.number % len(words)] if words else b"\0"
            return data[:at] + word + data[at + (len(word) if edit.kind is Kind.WORD else 0) :]


def _number(edit: Edit) -> bytes:
    size = _SIZES[edit.size % len(_SIZES)]
    value = _EDGES[edit.number % len(_EDGES)] if edit.number & 0x100 else edit.number
    return (value % (1 << 8 * size)).to_bytes(size, "little" if edit.number & 0x200 else "big")


def random_edits(rng: Random) -> Iterator[list[Edit]]:
    """Lists of a few edits, without end."""
    while True:
        yield [
            Edit(
                Kind(rng.randrange(len(Kind))),
                rng.randrange(1 << 16),
                rng.randrange(1 << 10),
                rng.randrange(NUMBERS_MAX),
            )
            for _ in range(rng.randint(1, _MOST_EDITS))
        ]
