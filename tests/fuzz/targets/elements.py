"""A data set taken apart and put together: what one encoding holds, the others hold as well.

The first byte chooses the transfer syntax, the second the one to write (and whether it is deflated here); the
rest is the data set.
"""

from __future__ import annotations

import zlib

from router.errors import CannotTranscode
from router.transform.elements import DataSet, Fragments
from router.transform.reading import parse
from router.transform.writing import encode
from tests.fuzz.targets import part10

WORDS = part10.WORDS

_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.70",
)
_INFLATE_CAP_BYTES = 1 << 20


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < 2:
        return
    syntax, other, content = _SYNTAXES[data[0] % 5], _SYNTAXES[data[1] % 4], data[2:]
    if syntax == _SYNTAXES[3] and data[1] & 0x80:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = deflate.compress(content) + deflate.flush()
    try:
        first = parse(content, syntax, inflate_cap_bytes=_INFLATE_CAP_BYTES)
    except CannotTranscode:
        return
    for element in first.elements:
        assert 0 <= element.tag <= 0xFFFFFFFF
    try:
        written = b"".join(map(bytes, encode(first, other)))
    except CannotTranscode:
        return
    try:
        again = parse(written, other, inflate_cap_bytes=1 << 24)
    except CannotTranscode:
        # Implicit VR goes by the dictionary: what had another VR may be no sequence, and be taken for one.
        assert other == _SYNTAXES[0] != syntax
        return
    assert _is_same(first, again), "it is not read as it was written"
    assert b"".join(map(bytes, encode(again, other))) == written, "written twice, it differs"


def _is_same(one: DataSet, other: DataSet) -> bool:
    """Tags and values at every level, but for padding, and sequences that only one encoding shows as such."""
    if [element.tag for element in one.elements] != [element.tag for element in other.elements]:
        return False
    return all(_is_alike(a.value, b.value) for a, b in zip(one.elements, other.elements, strict=True))


def _is_alike(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, list) or isinstance(other, list):
        return True
    if isinstance(one, Fragments) and isinstance(other, Fragments):
        return [_bare(item) for item in one.items] == [_bare(item) for item in other.items]
    assert not isinstance(one, Fragments) and not isinstance(other, Fragments)
    return _bare(one) == _bare(other)


def _bare(value: object) -> bytes:
    assert isinstance(value, bytes | bytearray | memoryview)
    return bytes(value).rstrip(b" \0")
