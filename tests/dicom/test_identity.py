"""The look at a data set's identity: right where it can be read, silent where it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from router.dicom.identity import identify

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
CLASS, INSTANCE = "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"

EXPLICIT_BYTES = (
    b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"  # SpecificCharacterSet
    b"\x08\x00\x06\x00SQ\x00\x00\x00\x00\x00\x00"  # LanguageCodeSequence, empty
    b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00"
    b"\x08\x00\x18\x00UI\x08\x001.2.3.4\x00"
    b"\x08\x00\x20\x00DA\x00\x00"
)
IMPLICIT_UID = b"\x08\x00\x16\x00\x1a\x00\x00\x001.2.840.10008.5.1.4.1.1.2\x00"
IMPLICIT_BYTES = IMPLICIT_UID + b"\x08\x00\x18\x00\x08\x00\x00\x001.2.3.4\x00"
BIG_BYTES = b"\x00\x08\x00\x16UI\x00\x1a1.2.840.10008.5.1.4.1.1.2\x00\x00\x08\x00\x18UI\x00\x081.2.3.4\x00"


@pytest.mark.parametrize(
    ("data", "syntax"), [(EXPLICIT_BYTES, EXPLICIT), (IMPLICIT_BYTES, IMPLICIT), (BIG_BYTES, BIG)]
)
def test_both_uids_are_read(data: bytes, syntax: str) -> None:
    assert identify(data, syntax) == (CLASS, INSTANCE)


def test_a_data_set_without_them_says_so() -> None:
    assert identify(b"\x08\x00\x20\x00DA\x00\x00", EXPLICIT) == ("", "")


def test_a_prefix_that_ends_before_them_says_nothing() -> None:
    assert identify(EXPLICIT_BYTES[:70], EXPLICIT) is None
    assert identify(b"", EXPLICIT) is None


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_garbage_never_raises(data: bytes, syntax: str) -> None:
    found = identify(data, syntax)
    assert found is None or len(found) == 2
