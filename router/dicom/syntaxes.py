"""The transfer syntaxes of PS3.5 and PS3.6 Annex A: their short names, and what kind of encoding each is.

The short names are those of the configuration, of rules and of metric labels. What can be read and written is
another question, which :mod:`router.transform.codecs` answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from router.dicom.codes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

OTHER = "other"  # the label of what is private or unknown


class Encoding(Enum):
    """What a transfer syntax does to pixel data."""

    NATIVE = "native"
    LOSSLESS = "lossless"  # encapsulated, and what comes out is what went in
    LOSSY = "lossy"  # encapsulated; a stream of it may be lossless all the same, but need not be
    VIDEO = "video"
    REFERENCED = "referenced"  # the pixels are elsewhere (JPIP)
    UNKNOWN = "unknown"  # private


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """One transfer syntax."""

    uid: str
    name: str
    encoding: Encoding

    @property
    def is_native(self) -> bool:
        return self.encoding is Encoding.NATIVE

    @property
    def is_encapsulated(self) -> bool:
        """Pixel data lies in fragments (PS3.5 §A.4)."""
        return self.encoding in (Encoding.LOSSLESS, Encoding.LOSSY, Encoding.VIDEO)

    @property
    def is_implicit(self) -> bool:
        """No element says its VR."""
        return self.uid == IMPLICIT_VR_LITTLE_ENDIAN

    @property
    def is_big_endian(self) -> bool:
        return self.uid == EXPLICIT_VR_BIG_ENDIAN

    @property
    def is_deflated(self) -> bool:
        """The whole data set is deflated, not single frames of it."""
        return self.uid in _DEFLATED


JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_SPECTRAL_SELECTION = "1.2.840.10008.1.2.4.53"  # retired: processes 6 and 8
JPEG_PROGRESSIVE = "1.2.840.10008.1.2.4.55"  # retired: processes 10 and 12
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
_JPIP_DEFLATED = "1.2.840.10008.1.2.4.95"
_JPIP_HTJ2K_DEFLATED = "1.2.840.10008.1.2.4.205"
_DEFLATED = frozenset({DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, _JPIP_DEFLATED, _JPIP_HTJ2K_DEFLATED})

_NATIVE = {
    IMPLICIT_VR_LITTLE_ENDIAN: "implicit-vr-little-endian",
    EXPLICIT_VR_LITTLE_ENDIAN: "explicit-vr-little-endian",
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: "deflated-explicit-vr-little-endian",
    EXPLICIT_VR_BIG_ENDIAN: "explicit-vr-big-endian",
}
_LOSSLESS = {
    JPEG_LOSSLESS: "jpeg-lossless",
    JPEG_LOSSLESS_SV1: "jpeg-lossless-sv1",
    JPEG_LS_LOSSLESS: "jpeg-ls-lossless",
    JPEG_2000_LOSSLESS: "jpeg-2000-lossless",
    "1.2.840.10008.1.2.4.92": "jpeg-2000-part-2-lossless",
    JPEG_XL_LOSSLESS: "jpeg-xl-lossless",
    HTJ2K_LOSSLESS: "htj2k-lossless",
    HTJ2K_LOSSLESS_RPCL: "htj2k-lossless-rpcl",
    RLE_LOSSLESS: "rle-lossless",
    DEFLATED_IMAGE_FRAME: "deflated-image-frame",
    ENCAPSULATED_UNCOMPRESSED: "encapsulated-uncompressed",
}
_LOSSY = {
    JPEG_BASELINE: "jpeg-baseline",
    JPEG_EXTENDED: "jpeg-extended",
    JPEG_SPECTRAL_SELECTION: "jpeg-spectral-selection",
    JPEG_PROGRESSIVE: "jpeg-progressive",
    JPEG_LS_NEAR_LOSSLESS: "jpeg-ls-near-lossless",
    JPEG_2000: "jpeg-2000",
    "1.2.840.10008.1.2.4.93": "jpeg-2000-part-2",
    JPEG_XL_RECOMPRESSION: "jpeg-xl-recompression",
    JPEG_XL: "jpeg-xl",
    HTJ2K: "htj2k",
}
_VIDEO = {
    "1.2.840.10008.1.2.4.100": "mpeg-2-main",
    "1.2.840.10008.1.2.4.100.1": "mpeg-2-main-fragmentable",
    "1.2.840.10008.1.2.4.101": "mpeg-2-high",
    "1.2.840.10008.1.2.4.101.1": "mpeg-2-high-fragmentable",
    "1.2.840.10008.1.2.4.102": "mpeg-4-high",
    "1.2.840.10008.1.2.4.102.1": "mpeg-4-high-fragmentable",
    "1.2.840.10008.1.2.4.103": "mpeg-4-bd",
    "1.2.840.10008.1.2.4.103.1": "mpeg-4-bd-fragmentable",
    "1.2.840.10008.1.2.4.104": "mpeg-4-2d",
    "1.2.840.10008.1.2.4.104.1": "mpeg-4-2d-fragmentable",
    "1.2.840.10008.1.2.4.105": "mpeg-4-3d",
    "1.2.840.10008.1.2.4.105.1": "mpeg-4-3d-fragmentable",
    "1.2.840.10008.1.2.4.106": "mpeg-4-stereo",
    "1.2.840.10008.1.2.4.106.1": "mpeg-4-stereo-fragmentable",
    "1.2.840.10008.1.2.4.107": "hevc-main",
    "1.2.840.10008.1.2.4.108": "hevc-main-10",
}
_REFERENCED = {
    "1.2.840.10008.1.2.4.94": "jpip-referenced",
    _JPIP_DEFLATED: "jpip-referenced-deflated",
    "1.2.840.10008.1.2.4.204": "jpip-htj2k-referenced",
    _JPIP_HTJ2K_DEFLATED: "jpip-htj2k-referenced-deflated",
}
# What transcoding may make, the best compression first; what is installed may be less.
LOSSLESS_TARGETS = (
    JPEG_2000_LOSSLESS,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_LS_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LOSSLESS,
    RLE_LOSSLESS,
    DEFLATED_IMAGE_FRAME,
)
NATIVE_TARGETS = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
)
# What may be made where somebody says how much may be lost, and in which terms (fields of ``Form``).
LOSSY_TARGETS = {
    JPEG_BASELINE: "quality",
    JPEG_EXTENDED: "quality",
    JPEG_LS_NEAR_LOSSLESS: "max_error",
    JPEG_2000: "ratio",
}
SYNTAXES: dict[str, Syntax] = {
    uid: Syntax(uid=uid, name=name, encoding=encoding)
    for encoding, names in (
        (Encoding.NATIVE, _NATIVE),
        (Encoding.LOSSLESS, _LOSSLESS),
        (Encoding.LOSSY, _LOSSY),
        (Encoding.VIDEO, _VIDEO),
        (Encoding.REFERENCED, _REFERENCED),
    )
    for uid, name in names.items()
}
_BY_NAME = {syntax.name: syntax for syntax in SYNTAXES.values()}
NAMES = tuple(_BY_NAME)


def syntax_of(uid: str) -> Syntax:
    """What is known of a transfer syntax; a private or unknown one is of encoding ``UNKNOWN``."""
    return SYNTAXES.get(uid) or Syntax(uid=uid, name=OTHER, encoding=Encoding.UNKNOWN)


def find(name_or_uid: str) -> Syntax | None:
    """The transfer syntax of a short name or a UID; None where there is none."""
    return _BY_NAME.get(name_or_uid) or SYNTAXES.get(name_or_uid)


def label(uid: str) -> str:
    """The short name, or :data:`OTHER`: from a closed set, fit for a metric."""
    return syntax_of(uid).name


def shown(uid: str) -> str:
    """The short name, or the UID itself where there is none: for people."""
    syntax = SYNTAXES.get(uid)
    return syntax.name if syntax is not None else uid
