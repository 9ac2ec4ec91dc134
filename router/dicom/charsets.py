"""Text in the character sets that data sets declare (PS3.5 §6.1), written so that nothing of it is lost.

pydicom puts a question mark for what a character set has no sign for, and knows encodings that DICOM has not;
neither may get into a data set.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

CHARACTER_SET = 0x00080005
UNICODE = "ISO_IR 192"
OF_CHARACTER_SET = frozenset("LO LT PN SH ST UC UT".split())  # VRs whose text it is (PS3.5 §6.1.2.2)

_SLIP = re.compile(r"ISO[ _-](2022[ _-])?IR[ _-](\d{1,3})")


def is_defined(term: str) -> bool:
    """Whether this is one of DICOM's terms, as ``ISO_IR 100`` (PS3.3 C.12.1.1.2)."""
    return term in python_encoding


def encodings_of(character_set: str) -> list[str]:
    """The encodings that Specific Character Set names, common slips understood; none where it is no such."""
    terms = [_corrected(term.strip(" ")) for term in character_set.split("\\")]
    if not all(map(is_defined, terms)):  # pydicom takes Latin-1 then, or whatever Python knows of that name
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(convert_encodings(terms if len(terms) > 1 else terms[0]))


def _corrected(term: str) -> str:
    """``ISO-IR 100``, ``ISO 2022-IR 87`` and the like are met."""
    match = _SLIP.fullmatch(term)
    if match is None:
        return term
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def encode_text(vr: str, text: str, encodings: Sequence[str]) -> bytes | None:
    """The text in these encodings; None where they have no signs for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if vr == "PN":
                names = [bytes(PersonName(one).encode(encodings)) for one in text.split("\\")]
                encoded = b"\\".join(names)
                again = "\\".join(str(PersonName(name, list(encodings))) for name in names)
            else:
                encoded = bytes(encode_string(text, encodings))
                again = decode_bytes(encoded, encodings, TEXT_VR_DELIMS)
        except (ValueError, LookupError):
            return None
    return encoded if again.rstrip("=") == text.rstrip("=") else None
