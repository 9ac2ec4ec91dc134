"""Which VR an element has: its dictionaries, and what the standard says where they leave it open."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from router.dicom.encoding import LONG_VRS, SHORT_VRS

WORD_BYTES = (  # PS3.5 §7.3: what a byte order is the order of
    dict.fromkeys(("AT", "OW", "SS", "US"), 2)
    | dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4)
    | dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
)
TEXT = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())  # padded with a space, not NUL
INTEGERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}

_KNOWN = SHORT_VRS | LONG_VRS
CREATOR_LENGTH = 64  # LO; a longer one is in no dictionary
_CACHED = 16384  # tags; hostile data sets have as many as they like


def vr_of(tag: int, creator: str | None) -> str:
    """The VR of the dictionary: empty where it leaves a choice, ``UN`` where it does not know the tag.

    ``creator`` is that of a private element's block (PS3.5 §7.8.1), None where nobody has reserved it.
    """
    if not tag & 0x10000:
        return _standard(tag)
    if 0x0010 <= tag & 0xFFFF <= 0x00FF:
        return "LO"
    if creator is None or len(creator) > CREATOR_LENGTH:
        return "UN"
    return _private(tag, creator)


def resolved(tag: int, *, is_signed: bool, lut_entries: int) -> str:
    """The VR of an element of implicit VR whose dictionary leaves a choice.

    ``is_signed`` is Pixel Representation, ``lut_entries`` the first number of the LUT Descriptor beside it.
    """
    choice = _choice(tag)
    if choice == "US or SS":
        return "SS" if is_signed else "US"
    if choice == "US or OW":
        return "US" if lut_entries == 1 else "OW"  # PS3.3 C.11.1.1.1, as pydicom has it
    if choice.endswith("OW"):
        return "OW"  # words in implicit VR, always (PS3.5 §A.1)
    return "UN"


def integer_vr(tag: int) -> str:
    """How the number of an element lies that does not say its VR."""
    return vr_of(tag, None) or "US"


@lru_cache(maxsize=_CACHED)
def _standard(tag: int) -> str:
    choice = _choice(tag)
    if choice in _KNOWN:
        return choice
    return "" if " or " in choice else "UN"


def _choice(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


@lru_cache(maxsize=_CACHED)
def _private(tag: int, creator: str) -> str:
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"
    return vr if vr in _KNOWN else "UN"
