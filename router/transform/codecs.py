"""Which library reads and writes which transfer syntax, and the door to them.

Nothing is imported before it is needed, so that this module can say what is missing where the optional
``codecs`` are not installed. What a library raises is converted here.
"""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from router.dicom import syntaxes
from router.errors import CannotTranscode
from router.model import Buffer, Form
from router.transform import guard
from router.transform.guard import FAMILIES, Family
from router.transform.image import RGB, YBR_FULL_422, YBR_ICT, YBR_RCT, Image

if TYPE_CHECKING:
    from router.transform.frames import Frame

EXTRA = "dicom-router[codecs]"
_MESSAGE_CAP = 120  # characters of a library's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A distribution, and the licences of it and of what does the work inside."""

    name: str  # of the distribution
    module: str
    licence: str

    @property
    def version(self) -> str:
        """As installed; empty where it is not."""
        return _version(self)


@cache  # asked for each frame, and a search through all that is installed
def _version(library: Library) -> str:
    if library is _ZLIB:
        return zlib.ZLIB_RUNTIME_VERSION
    if library is _PYTHON:
        return platform.python_version()
    try:
        return version(library.name)  # not by its module: the gateway keeps numpy out of its own process
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """What reads or writes one transfer syntax: a row of the listing."""

    transfer_syntax_uid: str
    library: Library
    engine: str  # the codec inside the library
    engine_licence: str

    @property
    def version(self) -> str:
        """Of the library; empty where it is not installed."""
        return self.library.version

    @property
    def missing(self) -> str:
        """Why it cannot be used; empty where it can."""
        absent = [library.name for library in (_NUMPY, self.library) if not library.version]
        return f"{' and '.join(absent)} not installed: pip install '{EXTRA}'" if absent else ""

    @property
    def shown(self) -> str:
        """Library and version, for the record of a transcoding."""
        return f"{self.library.name} {self.version}".strip()


_NUMPY = Library(name="numpy", module="numpy", licence="BSD-3-Clause")
_IMAGECODECS = Library(name="imagecodecs", module="imagecodecs", licence="BSD-3-Clause")
_PYJPEGLS = Library(name="pyjpegls", module="jpeg_ls", licence="MIT")
_OPENJPEG = Library(name="pylibjpeg-openjpeg", module="openjpeg", licence="MIT")
_RLE = Library(name="pylibjpeg-rle", module="rle", licence="MIT")
_ZLIB = Library(name="zlib", module="zlib", licence="Zlib")
_PYTHON = Library(name="Python", module="sys", licence="PSF-2.0")

_LIBJPEG_TURBO = (_IMAGECODECS, "libjpeg-turbo", "IJG AND BSD-3-Clause AND Zlib")
_CHARLS_READS = (_IMAGECODECS, "CharLS", "BSD-3-Clause")
_CHARLS_WRITES = (_PYJPEGLS, "CharLS", "BSD-3-Clause")  # imagecodecs cannot be told the precision
_OPENJPEG_READS = (_OPENJPEG, "OpenJPEG", "BSD-2-Clause")
_OPENJPEG_WRITES = (_IMAGECODECS, "OpenJPEG", "BSD-2-Clause")
_OPENJPH_WRITES = (_IMAGECODECS, "OpenJPH", "BSD-2-Clause")
_LIBJXL = (_IMAGECODECS, "libjxl", "BSD-3-Clause")
_RLE_BOTH = (_RLE, "pylibjpeg-rle", "MIT")
_ZLIB_BOTH = (_ZLIB, "zlib", "Zlib")

_READ_BY: dict[Family, tuple[Library, str, str]] = {
    Family.JPEG_DCT: _LIBJPEG_TURBO,
    Family.JPEG_LOSSLESS: _LIBJPEG_TURBO,
    Family.JPEG_LS: _CHARLS_READS,
    Family.JPEG_2000: _OPENJPEG_READS,
    Family.HTJ2K: _OPENJPEG_READS,
    Family.JPEG_XL: _LIBJXL,
    Family.RLE: _RLE_BOTH,
    Family.DEFLATED: _ZLIB_BOTH,
    Family.UNCOMPRESSED: (_PYTHON, "Python", "PSF-2.0"),
}
_WRITTEN_BY: dict[str, tuple[Library, str, str]] = {
    syntaxes.JPEG_BASELINE: _LIBJPEG_TURBO,
    syntaxes.JPEG_EXTENDED: _LIBJPEG_TURBO,
    syntaxes.JPEG_LOSSLESS: _LIBJPEG_TURBO,
    syntaxes.JPEG_LOSSLESS_SV1: _LIBJPEG_TURBO,
    syntaxes.JPEG_LS_LOSSLESS: _CHARLS_WRITES,
    syntaxes.JPEG_LS_NEAR_LOSSLESS: _CHARLS_WRITES,
    syntaxes.JPEG_2000_LOSSLESS: _OPENJPEG_WRITES,
    syntaxes.JPEG_2000: _OPENJPEG_READS,  # imagecodecs cannot be told a ratio
    syntaxes.HTJ2K_LOSSLESS: _OPENJPH_WRITES,
    syntaxes.HTJ2K_LOSSLESS_RPCL: _OPENJPH_WRITES,
    syntaxes.RLE_LOSSLESS: _RLE_BOTH,
    syntaxes.DEFLATED_IMAGE_FRAME: _ZLIB_BOTH,
}


def _codec(uid: str, by: tuple[Library, str, str]) -> Codec:
    library, engine, licence = by
    return Codec(transfer_syntax_uid=uid, library=library, engine=engine, engine_licence=licence)


READERS: Mapping[str, Codec] = {uid: _codec(uid, _READ_BY[family]) for uid, family in FAMILIES.items()}
WRITERS: Mapping[str, Codec] = {uid: _codec(uid, by) for uid, by in _WRITTEN_BY.items()}


def missing(uid: str) -> str:
    """Why a transfer syntax cannot be read; empty where it can."""
    return _missing(READERS, uid)


def missing_writer(uid: str) -> str:
    """Why a transfer syntax cannot be written; empty where it can."""
    return _missing(WRITERS, uid)


def _missing(table: Mapping[str, Codec], uid: str) -> str:
    codec = table.get(uid)
    if codec is None:
        return f"there is no codec for {syntaxes.shown(uid)}"
    return codec.missing and f"{syntaxes.shown(uid)}: {codec.missing}"


def can_read(uid: str) -> bool:
    """Whether encapsulated pixel data of this transfer syntax can be decoded here."""
    return not missing(uid)


def can_write(uid: str) -> bool:
    """Whether frames can be encoded in this transfer syntax here, and what was written be read again."""
    return not missing_writer(uid) and can_read(uid)


def has_markers(uid: str) -> bool:
    """Whether a codestream shows where it begins and ends: what :func:`fragments.split` can go by."""
    return FAMILIES.get(uid) not in guard.WITHOUT_MARKERS


def decode(uid: str, stream: Buffer, image: Image) -> Frame:
    """Decode one frame's stream. Raises :class:`CannotTranscode` or :class:`BrokenCodec`, nothing else."""
    if reason := missing(uid):
        raise CannotTranscode(reason)
    header = guard.inspect(FAMILIES[uid], stream, image)
    with _converted(READERS[uid], "read"):
        from router.transform import readers

        return readers.read(FAMILIES[uid], header, image)


def encode(frame: Frame, image: Image, form: Form) -> bytes:
    """Encode one frame. ``image`` describes its cells; how it then has to be described say
    :func:`photometric_of` and :func:`planar_of`.

    Raises :class:`CannotTranscode` where the image cannot have that form. What comes out is not yet proven.
    """
    uid = form.transfer_syntax_uid
    if reason := missing_writer(uid):
        raise CannotTranscode(reason)
    with _converted(WRITERS[uid], "write"):
        from router.transform import writers

        return writers.write(frame, image, form)


def photometric_of(form: Form, photometric: str) -> str:
    """The Photometric Interpretation of a frame of ``photometric`` once encoded (PS3.5 §8.2)."""
    uid = form.transfer_syntax_uid
    if uid == syntaxes.JPEG_BASELINE and photometric == RGB:
        return YBR_FULL_422
    if photometric == RGB and uid in _TRANSFORMING:
        return YBR_ICT if form.is_lossy else YBR_RCT
    return photometric


def planar_of(form: Form) -> int:
    """The Planar Configuration of a frame in colour once encoded: RLE alone goes by plane."""
    return 1 if form.transfer_syntax_uid == syntaxes.RLE_LOSSLESS else 0


_TRANSFORMING = frozenset(
    {
        syntaxes.JPEG_2000_LOSSLESS,
        syntaxes.JPEG_2000,
        syntaxes.HTJ2K_LOSSLESS,
        syntaxes.HTJ2K_LOSSLESS_RPCL,
    }
)


@contextmanager
def _converted(codec: Codec, verb: str) -> Iterator[None]:
    """Whatever a library raises, as :class:`CannotTranscode`; its words are about streams, not patients."""
    try:
        yield
    except CannotTranscode:
        raise
    except MemoryError:
        raise CannotTranscode(f"the memory of a worker is too small to {verb} this image") from None
    except Exception as problem:
        raise CannotTranscode(f"{codec.engine} cannot {verb} it: {_words(problem)}") from problem
    except BaseException as problem:
        # A panic of Rust code (pylibjpeg-rle) is a BaseException that no module offers by name.
        if type(problem).__module__ != "pyo3_runtime":
            raise
        raise CannotTranscode(f"{codec.engine} cannot {verb} it: {_words(problem)}") from None


def _words(problem: BaseException) -> str:
    first_line = (str(problem).splitlines() or [""])[0]
    return first_line[:_MESSAGE_CAP] or type(problem).__name__
