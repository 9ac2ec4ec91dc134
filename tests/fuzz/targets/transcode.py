"""Pixel data from form to form, by the codecs themselves, as a worker process does it within its limits.

The first byte chooses the transfer syntax, the second the form to make; then come rows, columns, and a byte
for colour, bits and sign; the rest is the frame's stream, or native pixel data, repeated to its length. What
cannot be had may be refused, and what a codec breaks must be found out; what comes out must be read as well.
"""

from __future__ import annotations

from struct import pack

from router.dicom.part10 import UID_CAP_BYTES
from router.errors import CannotTranscode
from router.model import Form
from router.transform.elements import (
    PIXEL_DATA,
    DataSet,
    Element,
    Fragments,
)
from router.transform.transcode import Limits, transcode
from router.transform.writing import encode
from tests.fuzz.targets import frames

WORDS = frames.WORDS

_JPEG = "1.2.840.10008.1.2.4."
SOURCES = (
    "1.2.840.10008.1.2.1",
    _JPEG + "50",
    _JPEG + "51",
    _JPEG + "57",
    _JPEG + "70",
    _JPEG + "80",
    _JPEG + "81",
    _JPEG + "90",
    _JPEG + "91",
    _JPEG + "201",
    _JPEG + "203",
    _JPEG + "110",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.8.1",
)
_FORMS = (
    Form(transfer_syntax_uid="1.2.840.10008.1.2.1"),
    Form(transfer_syntax_uid="1.2.840.10008.1.2.5"),
    Form(transfer_syntax_uid=_JPEG + "70"),
    Form(transfer_syntax_uid=_JPEG + "80"),
    Form(transfer_syntax_uid=_JPEG + "90"),
    Form(transfer_syntax_uid=_JPEG + "201"),
    Form(transfer_syntax_uid=_JPEG + "50", quality=90),
    Form(transfer_syntax_uid=_JPEG + "81", max_error=2),
    Form(transfer_syntax_uid=_JPEG + "91", ratio=8.0),
    Form(transfer_syntax_uid="1.2.840.10008.1.2"),
)
_LIMITS = Limits(pixels_max=1 << 20, inflate_bytes_max=1 << 20)
_HEAD = 5


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < _HEAD:
        return
    source, form = SOURCES[data[0] % len(SOURCES)], _FORMS[data[1] % len(_FORMS)]
    content = b"".join(map(bytes, encode(_data_set(data[2:_HEAD], data[_HEAD:], source), source)))
    try:
        buffers, transcoding = transcode(content, source, form, limits=_LIMITS)
    except (CannotTranscode, MemoryError):
        return
    assert transcoding.frames == 1
    assert len(transcoding.sop_instance_uid) < UID_CAP_BYTES
    again = b"".join(map(bytes, buffers))
    native = Form(transfer_syntax_uid="1.2.840.10008.1.2")
    if form != native:  # the proof said that it can be read
        _, once_more = transcode(again, form.transfer_syntax_uid, native, limits=_LIMITS)
        assert form.is_lossy or once_more.frames_hash == transcoding.frames_hash


def _data_set(head: bytes, stream: bytes, source: str) -> DataSet:
    rows, columns, choice = head
    rows, columns = rows % 64 + 1, columns % 64 + 1
    samples = 3 if choice & 1 else 1
    allocated = 16 if choice & 2 else 8
    stored = 12 if choice & 6 == 6 else allocated
    if source == SOURCES[0]:
        size = rows * columns * samples * allocated // 8
        native = (stream * (size // max(1, len(stream)) + 1))[:size].ljust(size, b"\0")
        pixels = Element(PIXEL_DATA, "OW", native)
    else:
        pixels = Element(PIXEL_DATA, "OB", Fragments((b"", stream)), is_undefined=True)
    return DataSet(
        [
            Element(0x00080008, "CS", b"ORIGINAL\\PRIMARY"),
            Element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
            Element(0x00080018, "UI", b"1.2.3.4\0"),
            _number(0x00280002, samples),
            Element(0x00280004, "CS", _photometric(samples, choice)),
            _number(0x00280006, 0),
            _number(0x00280010, rows),
            _number(0x00280011, columns),
            _number(0x00280100, allocated),
            _number(0x00280101, stored),
            _number(0x00280102, stored - 1),
            _number(0x00280103, 1 if choice & 8 else 0),
            pixels,
        ]
    )


def _photometric(samples: int, choice: int) -> bytes:
    if samples == 1:
        return b"MONOCHROME2" if not choice & 0x10 else b"PALETTE COLOR"
    return (b"RGB", b"YBR_FULL_422", b"YBR_RCT", b"YBR_ICT")[choice >> 4 & 3]


def _number(tag: int, number: int) -> Element:
    return Element(tag, "US", pack("<H", number))
