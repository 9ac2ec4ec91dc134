"""A data set taken apart and put together: what one encoding holds, the others hold as well.

The first byte chooses the transfer syntax, the second the one to write (and whether it is deflated here); the
rest is the data set.
"""

from __future__ import annotations

import zlib

from router.errors import CannotTranscode  # type: ignore[attr-defined,unused-ignore]
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
    again = parse(written, other, inflate_cap_bytes=1 << 24)
    assert _shape(again) == _shape(first), "it is not read as it was written"
    assert b"".join(map(bytes, encode(again, other))) == written, "written twice, it differs"


def _shape(data_set: DataSet) -> list[object]:
    """Tags and values at every level; padding aside, which writing adds."""
    return [
        (
            element.tag,
            [_shape(item) for item in element.value]
            if isinstance(element.value, list)
            else [_padded(item) for item in element.value.items]
            if isinstance(element.value, Fragments)
            else _padded(element.value),
        )
        for element in data_set.elements
    ]


def _padded(value: bytes | bytearray | memoryview) -> bytes:
    content = bytes(value)
    return content if len(content) % 2 == 0 else content + b"\0"
