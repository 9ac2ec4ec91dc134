"""What a codestream says of itself, held against the data set before any codec sees it.

A codec believes its stream: a changed byte in a header has made decoders allocate gigabytes, compute for
minutes or read past their memory. So dimensions, components and precision must be those of the data set, and
the parts must reach to the end of the stream: a truncated JPEG-LS stream alone costs CharLS seconds, and
decoders of JPEG and JPEG 2000 fill up with grey what is missing, without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from struct import Struct

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Buffer
from router.transform import j2k_header, jpeg_header, jxl_header
from router.transform.image import RGB, Image


class Family(Enum):
    """Transfer syntaxes whose streams are of one kind."""

    JPEG_DCT = "JPEG"
    JPEG_LOSSLESS = "lossless JPEG"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    HTJ2K = "HTJ2K"
    JPEG_XL = "JPEG XL"
    RLE = "RLE"
    DEFLATED = "deflated"
    UNCOMPRESSED = "uncompressed"


FAMILIES: dict[str, Family] = {
    syntaxes.JPEG_BASELINE: Family.JPEG_DCT,
    syntaxes.JPEG_EXTENDED: Family.JPEG_DCT,
    syntaxes.JPEG_SPECTRAL_SELECTION: Family.JPEG_DCT,
    syntaxes.JPEG_PROGRESSIVE: Family.JPEG_DCT,
    syntaxes.JPEG_LOSSLESS: Family.JPEG_LOSSLESS,
    syntaxes.JPEG_LOSSLESS_SV1: Family.JPEG_LOSSLESS,
    syntaxes.JPEG_LS_LOSSLESS: Family.JPEG_LS,
    syntaxes.JPEG_LS_NEAR_LOSSLESS: Family.JPEG_LS,
    syntaxes.JPEG_2000_LOSSLESS: Family.JPEG_2000,
    syntaxes.JPEG_2000: Family.JPEG_2000,
    syntaxes.HTJ2K_LOSSLESS: Family.HTJ2K,
    syntaxes.HTJ2K_LOSSLESS_RPCL: Family.HTJ2K,
    syntaxes.HTJ2K: Family.HTJ2K,
    syntaxes.JPEG_XL_LOSSLESS: Family.JPEG_XL,
    syntaxes.JPEG_XL_RECOMPRESSION: Family.JPEG_XL,
    syntaxes.JPEG_XL: Family.JPEG_XL,
    syntaxes.RLE_LOSSLESS: Family.RLE,
    syntaxes.DEFLATED_IMAGE_FRAME: Family.DEFLATED,
    syntaxes.ENCAPSULATED_UNCOMPRESSED: Family.UNCOMPRESSED,
}
WITHOUT_MARKERS = frozenset({Family.RLE, Family.DEFLATED, Family.UNCOMPRESSED})

_SOF = {  # the frame headers of ISO/IEC 10918-1 Table B.1 and of ISO/IEC 14495-1
    Family.JPEG_DCT: frozenset({0xC0, 0xC1, 0xC2}),
    Family.JPEG_LOSSLESS: frozenset({0xC3}),
    Family.JPEG_LS: frozenset({0xF7}),
}
_DCT_PRECISIONS = (8, 12)
_RLE_HEADER = Struct("<16I")  # number of segments, then where each starts (PS3.5 §G.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A stream that agrees with its data set, and what a reader has to know of it."""

    stream: bytes  # the codestream alone: no JP2 boxes, no padding
    precision: int  # bits of a sample in the stream
    is_signed: bool = False  # JPEG 2000 alone says
    has_transform: bool = False  # JPEG 2000: the multiple component transformation
    is_ybr: bool = False  # JPEG with the discrete cosine transformation: YCbCr, to be converted


def inspect(family: Family, stream: Buffer, image: Image) -> Header:
    """Read the headers of one frame's stream; :class:`CannotTranscode` where it is not of this image."""
    header = _INSPECTORS[family](family, stream, image)
    if header.precision < 1:
        raise CannotTranscode("the frame header of the stream is damaged")
    if header.precision > image.bits_allocated:
        raise CannotTranscode(f"{header.precision} bits of the stream do not fit Bits Allocated")
    if header.precision < image.bits_allocated and image.high_bit != image.bits_stored - 1:
        raise CannotTranscode("High Bit is not the highest of Bits Stored, which no codec can express")
    return header


def _agree(image: Image, rows: int, columns: int, components: int) -> None:
    if (rows, columns) != (image.rows, image.columns):
        raise CannotTranscode("Rows and Columns are not those of the stream")
    if components != image.samples:
        raise CannotTranscode("Samples per Pixel are not those of the stream")


def _inspect_jpeg(family: Family, stream: Buffer, image: Image) -> Header:
    header = jpeg_header.parse(stream)
    if header.sof not in _SOF[family]:
        raise CannotTranscode(f"the stream is not of the kind that its transfer syntax says ({family.value})")
    _agree(image, header.rows, header.columns, len(header.components))
    if family is Family.JPEG_DCT and header.precision not in _DCT_PRECISIONS:
        raise CannotTranscode(f"JPEG of {header.precision} bits does not exist")
    if family is not Family.JPEG_DCT and header.is_subsampled:
        raise CannotTranscode("its components are not of the same size")
    if family is Family.JPEG_LS and not header.is_ended:
        raise CannotTranscode("the stream does not come to its end")
    return Header(stream=header.stream, precision=header.precision, is_ybr=_is_ybr(header, image))


def _is_ybr(header: jpeg_header.JpegHeader, image: Image) -> bool:
    """Whether three components are YCbCr: what the stream says, else the data set, else how they are sampled.

    The stream comes first because it is what every decoder goes by; the data set's Photometric Interpretation
    often is that of the image before compression. Nobody stores green and blue at half the resolution.
    """
    if header.colour is not jpeg_header.Colour.UNSAID or len(header.components) != 3:
        return header.colour is jpeg_header.Colour.YBR
    return image.photometric != RGB or header.is_subsampled


def _inspect_j2k(family: Family, stream: Buffer, image: Image) -> Header:
    header = j2k_header.parse(stream)
    _agree(image, header.rows, header.columns, header.components)
    if header.is_high_throughput and family is not Family.HTJ2K:
        raise CannotTranscode("the stream is HTJ2K, and its transfer syntax is not")
    return Header(
        stream=header.stream,
        precision=header.precision,
        is_signed=header.is_signed,
        has_transform=header.has_transform,
    )


def _inspect_jxl(family: Family, stream: Buffer, image: Image) -> Header:
    header = jxl_header.parse(stream)
    _agree(image, header.rows, header.columns, image.samples)  # how many components the reader sees
    return Header(stream=bytes(stream), precision=header.precision)


def _inspect_rle(family: Family, stream: Buffer, image: Image) -> Header:
    if len(stream) < _RLE_HEADER.size:
        raise CannotTranscode("the stream is too short for an RLE header")
    segments, *offsets = _RLE_HEADER.unpack_from(stream)
    if segments != image.samples * image.cell_bytes:
        raise CannotTranscode("the number of RLE segments is not that of the image")
    used = [*offsets[:segments], len(stream)]
    if used[0] != _RLE_HEADER.size or any(a > b for a, b in pairwise(used)):
        raise CannotTranscode("the RLE segments do not lie one behind the other")
    return Header(stream=bytes(stream), precision=image.bits_allocated)


def _inspect_cells(family: Family, stream: Buffer, image: Image) -> Header:
    """The bytes of the frame themselves, once inflated: a reader checks their number."""
    return Header(stream=bytes(stream), precision=image.bits_allocated)


_INSPECTORS: dict[Family, Callable[[Family, Buffer, Image], Header]] = {
    Family.JPEG_DCT: _inspect_jpeg,
    Family.JPEG_LOSSLESS: _inspect_jpeg,
    Family.JPEG_LS: _inspect_jpeg,
    Family.JPEG_2000: _inspect_j2k,
    Family.HTJ2K: _inspect_j2k,
    Family.JPEG_XL: _inspect_jxl,
    Family.RLE: _inspect_rle,
    Family.DEFLATED: _inspect_cells,
    Family.UNCOMPRESSED: _inspect_cells,
}
