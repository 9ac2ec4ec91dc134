"""Text in DICOM's character sets: what is written is read again, by pydicom, or it is not written."""

from __future__ import annotations

import pytest
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from router.dicom.charsets import encode_text, encodings_of, is_defined


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "M\u00fcller"),
        ("ISO_IR 192", "\u5c71\u7530"),
        ("ISO_IR 144", "\u0418\u0432\u0430\u043d"),
        ("\\ISO 2022 IR 87", "\u5c71\u7530 X"),
        ("ISO 2022 IR 6\\ISO 2022 IR 149", "\uae40\ud76c\uc911"),
        ("GB18030", "\u738b"),
    ],
)
def test_what_is_written_is_read_again(character_set: str, text: str) -> None:
    encodings = encodings_of(character_set)
    encoded = encode_text("LO", text, encodings)
    assert encoded is not None
    known = convert_encodings(character_set.split("\\"))
    assert decode_bytes(encoded, known, TEXT_VR_DELIMS) == text
    name = encode_text("PN", f"Doe^{text}={text}^X\\A^B", encodings)
    assert name is not None
    first, second = name.split(b"\\A^B")[0], b"A^B"
    assert str(PersonName(first, known)) == f"Doe^{text}={text}^X"
    assert name.endswith(second)


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 6", "\\ISO 2022 IR 58"])
def test_what_cannot_be_written_is_not(character_set: str) -> None:
    assert encode_text("PN", "\u0e01", encodings_of(character_set)) is None


@pytest.mark.parametrize("nonsense", ["utf-7", "rot_13", "ISO\0R 192", "ISO_IR 999", "\\nonsense"])
def test_encodings_that_dicom_has_not_are_none(nonsense: str) -> None:
    assert encodings_of(nonsense) == []
    assert not is_defined(nonsense)


def test_common_slips_are_understood_but_not_defined() -> None:
    assert encodings_of("ISO-IR 100") == encodings_of("ISO_IR 100")
    assert encodings_of("\\ISO_2022-IR_87") == encodings_of("\\ISO 2022 IR 87")
    assert not is_defined("ISO-IR 100")
    assert is_defined("ISO_IR 100")
