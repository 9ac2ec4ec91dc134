"""What encodes a frame, and what the standard or a codec does not let it encode (PS3.5 §8.2).

Nothing is changed to make an image fit: Bits Stored, Bits Allocated and signs stay as they are, or it is
refused. What is written here is decoded again before it is used, by ``transcode``. Each library is
imported where it is used, because any of them may be missing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Form
from router.transform.frames import Cells, Frame, numbers, uses_other_bits
from router.transform.image import MONOCHROME, PALETTE_COLOR, RGB, YBR_FULL, Image

Coded = NDArray[np.integer]

_GREY = MONOCHROME
_INDEXED = MONOCHROME | {PALETTE_COLOR}
_ALL = _INDEXED | {RGB, YBR_FULL}
_IN_COLOUR = MONOCHROME | {RGB, YBR_FULL}

_J2K_GREY, _J2K_RGB, _J2K_YBR = 2, 1, 3  # as openjpeg counts them
_J2K_PRECISION_CAP = 16  # whole cells of 32 bits are beyond OpenJPEG
_J2K_SIDE = 32  # OpenJPEG halves it five times
_THUMBNAIL = 64  # HTJ2K RPCL: the lowest resolution is no larger (PS3.5 §10.18)
_DECOMPOSITIONS = 5
_SSIZ = 42  # where the precision of the first component stands in a codestream (ISO/IEC 15444-1 §A.5.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """How to write a transfer syntax, and what it takes."""

    write: Callable[[Frame, Image, Form], bytes]
    photometrics: Container[str]
    allocated: tuple[int, ...]
    takes_signed: bool = True


def write(frame: Frame, image: Image, form: Form) -> bytes:
    """Encode one frame, or raise :class:`CannotTranscode` where the image is not of what the form takes."""
    writer = _WRITERS[form.transfer_syntax_uid]
    name = syntaxes.shown(form.transfer_syntax_uid)
    if frame.photometric not in writer.photometrics:
        raise CannotTranscode(f"{name} does not take {frame.photometric}")
    if image.bits_allocated not in writer.allocated:
        raise CannotTranscode(f"{name} does not take Bits Allocated of {image.bits_allocated}")
    if image.is_signed and (not writer.takes_signed or frame.photometric not in MONOCHROME):
        raise CannotTranscode(f"{name} does not take signed samples of this image")
    return writer.write(frame, image, form)


def _write_rle(frame: Frame, image: Image, form: Form) -> bytes:
    """The cells as they are (PS3.5 Annex G): what stands outside of Bits Stored goes with them.

    Not of single bits: DCMTK does not read them, GDCM dies of them, and pylibjpeg unpacks them before.
    """
    from rle.utils import encode_pixel_data as encode_rle

    _check_ybr(frame, image)
    encoded: bytes = encode_rle(
        frame.pixels.tobytes(),
        rows=image.rows,
        columns=image.columns,
        samples_per_pixel=image.samples,
        bits_allocated=image.bits_allocated,
        byteorder="<",
    )
    return encoded


def _write_deflated(frame: Frame, image: Image, form: Form) -> bytes:
    content = frame.content
    if image.bits_allocated == 1:
        content = np.packbits(frame.pixels.reshape(-1), bitorder="little").data
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(content) + deflater.flush()


def _write_jpeg_ls(frame: Frame, image: Image, form: Form) -> bytes:
    from jpeg_ls import encode_buffer as encode_jpeg_ls

    _only(form, "max_error")
    near = form.max_error or 0
    _check_ybr(frame, image)
    coded = _unsigned(frame, image)
    precision = _precision(image)
    if near:
        _check_near(frame, image, near)
    try:
        return bytes(
            encode_jpeg_ls(
                coded.tobytes(),
                image.rows,
                image.columns,
                image.samples,
                precision,
                near,
                2 if image.is_colour else None,  # interleaved by sample
            )
        )
    except RuntimeError:  # its buffer is too small for what is tiny, or nothing but noise
        if precision != 8 * image.cell_bytes:
            raise
    import imagecodecs

    return bytes(imagecodecs.jpegls_encode(_flat(coded), level=near))


def _check_near(frame: Frame, image: Image, near: int) -> None:
    """JPEG-LS knows no sign: an error at the ends of the range makes the largest number the smallest."""
    if _precision(image) != image.bits_stored:
        raise CannotTranscode(f"lossy JPEG-LS of Bits Stored {image.bits_stored} would use more bits")
    if not 0 < near <= min(255, ((1 << image.bits_stored) - 1) // 2):
        raise CannotTranscode("max_error is not possible with its Bits Stored")  # ISO/IEC 14495-1 §C.2.3
    if image.is_signed:
        limit = (1 << (image.bits_stored - 1)) - near
        values = numbers(image, frame)
        if int(values.min()) < -limit or int(values.max()) >= limit:
            raise CannotTranscode("signed samples too near to the ends of their range for a lossy JPEG-LS")


def _write_lossless_jpeg(frame: Frame, image: Image, form: Form) -> bytes:
    """First-order prediction. No colour space is named in the stream, so the data set's holds."""
    import imagecodecs

    _only(form)
    space = "UNKNOWN" if image.is_colour else None
    return bytes(
        imagecodecs.jpeg8_encode(
            _flat(_unsigned(frame, image)),
            lossless=True,
            predictor=1,
            bitspersample=_precision(image),
            colorspace=space,
            outcolorspace=space,
        )
    )


def _write_dct(frame: Frame, image: Image, form: Form) -> bytes:
    """Lossy JPEG: RGB as YBR_FULL_422, which is what readers of DICOM know best (PS3.5 §8.2.1).

    Not YBR_FULL: it would come back as RGB, and could not be compared.
    """
    import imagecodecs

    _only(form, "quality")
    if form.quality is None:
        raise CannotTranscode("JPEG needs a quality: it is always lossy")
    precision = {8: 8, 16: 12}[image.bits_allocated]
    if image.bits_stored != precision:
        raise CannotTranscode(f"lossy JPEG takes Bits Stored of {precision} only (PS3.5 §8.2.1)")
    return bytes(
        imagecodecs.jpeg8_encode(
            _flat(_unsigned(frame, image)),
            form.quality,
            bitspersample=precision,
            colorspace="RGB" if image.is_colour else None,
            outcolorspace="YCBCR" if image.is_colour else None,
            subsampling="422" if image.is_colour else None,
        )
    )


def _write_j2k(frame: Frame, image: Image, form: Form) -> bytes:
    """Reversible; with the reversible component transformation for RGB (PS3.5 §8.2.4)."""
    import imagecodecs

    _only(form, "ratio")
    if form.ratio is not None:
        return _write_lossy_j2k(frame, image, form.ratio)
    return bytes(
        imagecodecs.jpeg2k_encode(
            _flat(_narrow(frame, image)),
            codecformat="J2K",
            reversible=True,
            bitspersample=image.bits_stored,
            mct=frame.photometric == RGB,
            planar=False,
            numthreads=1,
        )
    )


def _write_lossy_j2k(frame: Frame, image: Image, ratio: float) -> bytes:
    """The ratio is that of whole cells; OpenJPEG counts the bits that are stored."""
    from openjpeg.utils import encode_array as encode_j2k

    if frame.photometric == PALETTE_COLOR or image.bits_allocated == 1:
        raise CannotTranscode("indices and single bits cannot be lossy")
    if ratio <= 1:
        raise CannotTranscode("a ratio has to be more than 1")
    if min(image.rows, image.columns) < _J2K_SIDE:
        raise CannotTranscode("the image is too small for lossy JPEG 2000")
    interpretation = {RGB: _J2K_RGB, YBR_FULL: _J2K_YBR}.get(frame.photometric, _J2K_GREY)
    return bytes(
        encode_j2k(
            _flat(_narrow(frame, image)),
            bits_stored=image.bits_stored,
            photometric_interpretation=interpretation,
            use_mct=frame.photometric == RGB,
            compression_ratios=[max(1.0, ratio * image.bits_stored / image.bits_allocated)],
        )
    )


def _write_htj2k(frame: Frame, image: Image, form: Form) -> bytes:
    """OpenJPH through imagecodecs: RPCL with tile-part lengths, so fit for both transfer syntaxes.

    It takes whole bytes for the precision. With fewer bits stored, samples go in as signed numbers, around
    zero as the level shift would have put them, and the header then says what they are (§A.5.1, §G.1).
    """
    import imagecodecs

    _only(form)
    samples = _narrow(frame, image)
    is_patched = image.bits_stored < 8 * samples.itemsize
    if is_patched and not image.is_signed:
        half = 1 << (image.bits_stored - 1)
        samples = (samples.astype(np.int32) - half).astype(f"i{samples.itemsize}")
    longest = max(image.rows, image.columns)
    decompositions = max(_DECOMPOSITIONS, (-(-longest // _THUMBNAIL) - 1).bit_length())
    encoded = bytearray(
        imagecodecs.htj2k_encode(
            _flat(samples),
            reversible=True,
            rgb=frame.photometric == RGB,
            planar=False,
            resolutions=decompositions,
            tlm=True,
        )
    )
    if is_patched:
        for component in range(image.samples):
            encoded[_SSIZ + 3 * component] = (image.bits_stored - 1) | (0x80 if image.is_signed else 0)
    return bytes(encoded)


def _check_ybr(frame: Frame, image: Image) -> None:
    if frame.photometric == YBR_FULL and image.bits_allocated != 8:
        raise CannotTranscode("it takes YBR_FULL of 8 bits only (PS3.5 §8.2.2, §8.2.3)")


def _precision(image: Image) -> int:
    """Bits of a sample in a stream that knows no sign: those stored, or the whole cell below nine.

    With 8 bits in cells of 16, DCMTK and GDCM expect streams of 16; with fewer than 8 they read none.
    """
    return image.bits_stored if image.bits_stored > 8 else image.bits_allocated


def _unsigned(frame: Frame, image: Image) -> Cells:
    """The samples of as many bits as :func:`_precision` says, which is what a codec without signs takes."""
    _check_bits(frame, image)
    return np.bitwise_and(frame.pixels, (1 << _precision(image)) - 1, dtype=frame.pixels.dtype)


def _narrow(frame: Frame, image: Image) -> Coded:
    """The numbers in the smallest type that holds them."""
    _check_bits(frame, image)
    kind = "i" if image.is_signed else "u"
    return numbers(image, frame).astype(f"{kind}{1 if image.bits_stored <= 8 else 2}")


def _check_bits(frame: Frame, image: Image) -> None:
    if image.bits_stored > _J2K_PRECISION_CAP:
        raise CannotTranscode(f"no codec here takes Bits Stored of {image.bits_stored}")
    if image.high_bit != image.bits_stored - 1:
        raise CannotTranscode("High Bit is not the highest of Bits Stored, which no codec can express")
    if uses_other_bits(image, frame):
        raise CannotTranscode("bits outside of Bits Stored are in use, and would be lost")


def _flat(samples: Coded) -> Coded:
    """Without the axis of samples where there is one of them: codecs want it so."""
    return samples[:, :, 0] if samples.shape[2] == 1 else samples


def _only(form: Form, wanted: str = "") -> None:
    """A form that is lossy has to be so in the terms of its codec."""
    given = [name for name in ("quality", "ratio", "max_error") if getattr(form, name) is not None]
    if given not in ([], [wanted]):
        name = syntaxes.shown(form.transfer_syntax_uid)
        raise CannotTranscode(f"{name} cannot be told a {given[0]}")


_BYTES = (8, 16)
_LOSSLESS_JPEG = Writer(write=_write_lossless_jpeg, photometrics=_ALL, allocated=_BYTES)
_HTJ2K = Writer(write=_write_htj2k, photometrics=_ALL, allocated=_BYTES)

_WRITERS: dict[str, Writer] = {
    syntaxes.RLE_LOSSLESS: Writer(write=_write_rle, photometrics=_ALL, allocated=_BYTES),
    syntaxes.DEFLATED_IMAGE_FRAME: Writer(write=_write_deflated, photometrics=_ALL, allocated=(1, 8, 16, 32)),
    syntaxes.JPEG_LS_LOSSLESS: Writer(write=_write_jpeg_ls, photometrics=_ALL, allocated=_BYTES),
    syntaxes.JPEG_LS_NEAR_LOSSLESS: Writer(write=_write_jpeg_ls, photometrics=_IN_COLOUR, allocated=_BYTES),
    syntaxes.JPEG_LOSSLESS: _LOSSLESS_JPEG,
    syntaxes.JPEG_LOSSLESS_SV1: _LOSSLESS_JPEG,
    syntaxes.JPEG_BASELINE: Writer(
        write=_write_dct, photometrics=_GREY | {RGB}, allocated=(8,), takes_signed=False
    ),
    syntaxes.JPEG_EXTENDED: Writer(
        write=_write_dct, photometrics=_GREY, allocated=_BYTES, takes_signed=False
    ),
    syntaxes.JPEG_2000_LOSSLESS: Writer(write=_write_j2k, photometrics=_ALL, allocated=(1, *_BYTES)),
    syntaxes.JPEG_2000: Writer(write=_write_j2k, photometrics=_IN_COLOUR, allocated=_BYTES),
    syntaxes.HTJ2K_LOSSLESS: _HTJ2K,
    syntaxes.HTJ2K_LOSSLESS_RPCL: _HTJ2K,
}
