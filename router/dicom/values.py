"""Values of elements as rules compare them: text and numbers, by pydicom's own decoding.

What is plain ASCII, nearly everything, is decoded here: the same result (tests hold it to pydicom's) for a
tenth of the time. Spaces around a value carry no meaning (PS3.5 §6.2) and are taken off.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import cast

from pydicom import config
from pydicom.charset import convert_encodings
from pydicom.datadict import private_dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.values import convert_value

from router.dicom.scanner import Raw
from router.dicom.tagpath import vr_of

Value = str | int | float

# Reading is for looking, not for judging: odd values are compared as they are. A warning for each would cost
# time and carry patients' data to the log.
config.settings.reading_validation_mode = config.IGNORE

_PADDING = " \0"
_NO_GROUPS = "="  # component groups of a name that are empty may be left out, with their signs (PS3.5 §6.2.1)
_ONE_TEXT = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character like any other
_PLAIN = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UC", "UI"}) | _ONE_TEXT
# ASCII bytes are the same in these; in the ISO 2022 ones an escape sequence may come, in GB 18030 too.
_ASCII_SETS = frozenset(
    {b"", b"ISO_IR 6", b"ISO_IR 192"}
    | {b"ISO_IR %d" % n for n in (100, 101, 109, 110, 126, 127, 138, 144, 148, 203)}
)
AMBIGUOUS_VRS = frozenset({"US or SS", "US or OW", "US or SS or OW"})


def decode(raw: Raw, *, is_signed: bool) -> tuple[Value, ...]:
    """The values of an element; none where it is empty, a sequence or bulk. Never fails: what cannot be
    decoded by its VR is compared as the text that it is.

    ``is_signed`` is Pixel Representation (0028,0103), which decides between US and SS in implicit VR.
    """
    value = raw.value
    if not value:
        return ()
    vr = raw.vr if raw.vr not in ("", "UN") else _known_vr(raw.tag, raw.creator)
    if vr == "SQ":
        return ()
    if vr in _PLAIN and raw.character_set in _ASCII_SETS and value.isascii():
        return _split(value.decode("ascii"), vr)
    if vr in AMBIGUOUS_VRS:
        vr = "SS" if is_signed else "US"
    if vr in ("", "UN"):
        return _readable(value)
    try:
        return normal(_by_pydicom(vr, raw))
    except Exception:  # any garbage: pydicom's decoders raise what comes to hand
        return _split(value.decode("latin-1"), vr)


def _split(text: str, vr: str) -> tuple[Value, ...]:
    end = _NO_GROUPS if vr == "PN" else _PADDING
    if vr in _ONE_TEXT or "\\" not in text:
        text = text.strip(_PADDING).rstrip(end).rstrip(_PADDING)
        return (text,) if text else ()
    return tuple(part.strip(_PADDING).rstrip(end).rstrip(_PADDING) for part in text.split("\\"))


def _readable(value: bytes) -> tuple[Value, ...]:
    """An element of unknown VR: its text where it is one, which most private elements are."""
    text = value.decode("latin-1").strip(" \0")
    return _split(text, "") if text.isprintable() else ()


@lru_cache(maxsize=1024)
def _known_vr(tag: int, creator: str) -> str:
    if tag >> 16 & 1:
        if 0x0010 <= tag & 0xFFFF <= 0x00FF:  # a private creator itself (PS3.5 §7.8.1)
            return "LO"
        if creator:
            try:
                return str(private_dictionary_VR(BaseTag(tag), creator))
            except KeyError:
                return ""
        return ""
    return "UL" if tag & 0xFFFF == 0 else vr_of(tag)


@lru_cache(maxsize=128)
def _encodings(character_set: bytes) -> list[str]:
    names: list[str] = [name.strip(" ") for name in character_set.decode("latin-1").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(convert_encodings(names if len(names) > 1 else names[0]))


def _by_pydicom(vr: str, raw: Raw) -> object:
    value = cast("bytes", raw.value)
    element = RawDataElement(BaseTag(raw.tag), vr, len(value), value, 0, raw.vr == "", raw.is_little)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cast("object", convert_value(vr, element, _encodings(raw.character_set)))


def normal(value: object) -> tuple[Value, ...]:
    """pydicom's value as a tuple; DS and IS stay what they are, numbers that remember their text."""
    if isinstance(value, list | tuple | MultiValue):
        return tuple(one for item in value for one in (normal(item) or ("",)))
    if value is None or isinstance(value, bytes):
        return ()
    if isinstance(value, BaseTag):
        return (f"({value.group:04X},{value.element:04X})",)
    if isinstance(value, int | float):
        return (value,)
    text = str(value).strip(" \0")
    return (text,) if text else ()
