"""What decodes a stream that the guard has let through, and makes a frame of what comes out.

The quirks of the libraries are kept here. They give what the stream holds, in whatever type and order; the
data set's attributes decide what that means: a stream has no sign, or the wrong one, or more bits than are
stored. Each library is imported where it is used, because any of them may be missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from router.errors import BrokenCodec, CannotTranscode
from router.model import Buffer
from router.transform.frames import Cells, Frame, arranged, cell_type, from_native, number_type, shape
from router.transform.guard import Family, Header
from router.transform.image import (
    MONOCHROME,
    PALETTE_COLOR,
    RGB,
    XYB,
    YBR_FULL,
    YBR_FULL_422,
    YBR_ICT,
    YBR_RCT,
    Image,
)

Decoded = NDArray[np.generic]

_EOI, _FILL = b"\xff\xd9", b"\xff"  # a marker may have fill bytes before it (ISO/IEC 10918-1 §B.1.1.2)
# Bits that no decoder would make up: libjpeg fills a scan that ends too early with zeros.
_FILLER = b"\xa5\x5a" * 32


def read(family: Family, header: Header, image: Image) -> Frame:
    """Decode one frame's stream; whatever a library raises goes through, for ``codecs`` to convert."""
    return _READERS[family](header, image)


def _frame(decoded: Decoded, header: Header, image: Image, photometric: str) -> Frame:
    """A frame of what a codec gave, once it is what the header promised."""
    if decoded.dtype.kind not in "iu" or decoded.size != image.frame_samples:
        raise BrokenCodec("the decoder gave an image of another kind or size")
    if decoded.shape not in (shape(image), shape(image)[: 3 if image.is_colour else 2]):
        raise BrokenCodec("the decoder gave an image of another shape")
    cells = np.ascontiguousarray(decoded.reshape(shape(image)))
    return Frame(_cells(cells, header.precision, image), photometric)


def _cells(decoded: Decoded, precision: int, image: Image) -> Cells:
    """Samples of ``precision`` bits in cells, with the sign that the data set says, whatever the stream's."""
    cells = decoded.astype(cell_type(image), copy=False)  # negative ones wrap around, which keeps their bits
    unused = 8 * image.cell_bytes - precision
    if not unused:
        return cells
    numbers = (cells << unused).view(number_type(image))
    return (numbers >> unused).view(cell_type(image))


def _read_dct(header: Header, image: Image) -> Frame:
    """JPEG of the discrete cosine transformation; YCbCr becomes RGB here, as in every decoder of it."""
    if not image.is_colour:
        return _frame(_complete_jpeg(header.stream, None, None), header, image, image.photometric)
    decoded = _complete_jpeg(header.stream, "YCBCR" if header.is_ybr else "RGB", "RGB")
    return _frame(decoded, header, image, RGB)


def _read_lossless_jpeg(header: Header, image: Image) -> Frame:
    """Lossless JPEG, whose components are what the data set says: nothing is ever converted."""
    space = "RGB" if image.is_colour else None
    decoded = _complete_jpeg(header.stream, space, space)
    return _frame(decoded, header, image, _plain_photometric(image))


def _complete_jpeg(stream: bytes, space: str | None, wanted: str | None) -> Decoded:
    """Decode twice, with other bits behind the last scan: only a scan that ended too early sees them.

    libjpeg's warnings do not reach us, and such an image would be grey from somewhere on.
    """
    import imagecodecs

    decoded = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=wanted)
    filled = stream.removesuffix(_EOI).rstrip(_FILL) + _FILLER + _EOI
    if not np.array_equal(decoded, imagecodecs.jpeg8_decode(filled, colorspace=space, outcolorspace=wanted)):
        raise CannotTranscode("the stream is truncated")
    return decoded


def _read_jpeg_ls(header: Header, image: Image) -> Frame:
    import imagecodecs

    return _frame(imagecodecs.jpegls_decode(header.stream), header, image, _plain_photometric(image))


def _read_j2k(header: Header, image: Image) -> Frame:
    """JPEG 2000 and HTJ2K. OpenJPH is faster at HTJ2K, and hangs on damaged streams."""
    from openjpeg.utils import decode as decode_j2k

    photometric = _j2k_photometric(header, image)
    return _frame(decode_j2k(header.stream, j2k_format=0), header, image, photometric)


def _j2k_photometric(header: Header, image: Image) -> str:
    """What comes out of the inverse multiple component transformation is RGB (PS3.5 §8.2.4)."""
    if not image.is_colour:
        return image.photometric
    is_transformed = image.photometric in (YBR_RCT, YBR_ICT)
    if header.has_transform and (is_transformed or image.photometric == RGB):
        return RGB
    if header.has_transform or is_transformed:
        raise CannotTranscode("Photometric Interpretation and the stream's component transformation disagree")
    return _plain_photometric(image)


def _plain_photometric(image: Image) -> str:
    """Of three whole components that no transformation was made of."""
    if image.photometric in (YBR_RCT, YBR_ICT, XYB):
        raise CannotTranscode(f"{image.photometric} cannot be in this transfer syntax")
    return YBR_FULL if image.photometric == YBR_FULL_422 else image.photometric


def _read_jxl(header: Header, image: Image) -> Frame:
    """JPEG XL, where it is clear what the decoder gives: it does not say whether it converted YCbCr."""
    import imagecodecs

    if image.photometric not in (*MONOCHROME, PALETTE_COLOR, RGB, XYB):
        raise CannotTranscode(f"{image.photometric} in JPEG XL is not supported")
    photometric = RGB if image.is_colour else image.photometric
    decoded = imagecodecs.jpegxl_decode(header.stream, numthreads=1)
    if int(decoded.max()) >> header.precision:
        raise BrokenCodec("the decoder gave samples of more bits than the stream has")
    return _frame(decoded, header, image, photometric)


def _read_rle(header: Header, image: Image) -> Frame:
    """RLE, which is colour by plane whatever Planar Configuration says (PS3.5 §G.2)."""
    if image.bits_allocated == 1:  # as packed as native pixel data, in a single segment
        return _whole(_unpack_rle(header.stream, 1, image.frame_bytes, 8), image)
    content = _unpack_rle(header.stream, image.rows, image.columns, image.bits_allocated)
    if len(content) != image.frame_samples * image.cell_bytes:
        raise BrokenCodec("the decoder gave an image of another size")
    cells = np.frombuffer(content, cell_type(image))
    return Frame(arranged(image, cells, by_plane=True), _plain_photometric(image))


def _unpack_rle(stream: bytes, rows: int, columns: int, bits_allocated: int) -> bytearray:
    from rle.utils import decode_pixel_data

    content = decode_pixel_data(stream, version=2, rows=rows, columns=columns, bits_allocated=bits_allocated)
    if not isinstance(content, bytearray):
        raise BrokenCodec("the decoder gave no bytes")
    return content


def _read_deflated(header: Header, image: Image) -> Frame:
    """One frame of native pixel data, deflated (PS3.5 §A.4.13)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(header.stream, image.frame_bytes + 2)
    if not inflater.eof:
        raise CannotTranscode("the deflated frame is truncated, or longer than the image")
    return _whole(content, image)


def _read_uncompressed(header: Header, image: Image) -> Frame:
    return _whole(header.stream, image)


def _whole(content: Buffer, image: Image) -> Frame:
    if not image.frame_bytes <= len(content) <= image.frame_bytes + 1:
        raise CannotTranscode("a frame has not the length of the image")
    return from_native(image, content)


_READERS: dict[Family, Callable[[Header, Image], Frame]] = {
    Family.JPEG_DCT: _read_dct,
    Family.JPEG_LOSSLESS: _read_lossless_jpeg,
    Family.JPEG_LS: _read_jpeg_ls,
    Family.JPEG_2000: _read_j2k,
    Family.HTJ2K: _read_j2k,
    Family.JPEG_XL: _read_jxl,
    Family.RLE: _read_rle,
    Family.DEFLATED: _read_deflated,
    Family.UNCOMPRESSED: _read_uncompressed,
}
