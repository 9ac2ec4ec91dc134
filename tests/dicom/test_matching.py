from __future__ import annotations

import re
from fnmatch import translate

import pytest
from hypothesis import given, strategies as st

from router.dicom.matching import fits, matcher


def is_match(vr: str, wanted: str, *values: str) -> bool:
    matches = matcher(vr, wanted.split("\\"))
    return matches is None or matches(values)


@pytest.mark.parametrize(
    ("vr", "wanted", "values", "expected"),
    [
        ("LO", "", ("anything",), True),
        ("LO", "", (), True),
        ("LO", "*", (), True),
        ("PN", "**", ("DOE^JOHN",), True),
        ("LO", "Chest", ("Chest",), True),
        ("LO", "chest", ("Chest",), False),
        ("LO", "Chest", (), False),
        ("LO", "Chest", ("",), False),
        ("LO", "Ch*t ap", ("Chest ap",), True),
        ("LO", "Ch?st", ("Chest",), True),
        ("LO", "Ch?st", ("Chst",), False),
        ("SH", "*", ("",), True),
        ("CS", "CT\\MR", ("MR",), True),
        ("CS", "CT", ("MR", "CT"), True),
        ("CS", "CT\\MR", ("US", "SR"), False),
        ("PN", "doe^john", ("DOE^JOHN",), True),
        ("PN", "DOE^JOHN^^", ("Doe^John",), True),
        ("PN", "müller*", ("MÜLLER^JÖRG",), True),
        ("PN", "muller*", ("Müller^Jörg",), False),
        ("PN", "Mu\u0308ller*", ("Müller^Jörg",), True),
        ("PN", "山田*", ("Yamada^Tarou=山田^太郎=やまだ^たろう",), True),
        ("PN", "Yamada*=山田*", ("Yamada^Tarou=山田^太郎=やまだ^たろう",), True),
        ("PN", "Yamada*=山本*", ("Yamada^Tarou=山田^太郎",), False),
        ("PN", "=山田*", ("Yamada^Tarou=山田^太郎",), True),
        ("PN", "Yamada*=山田*", ("Yamada^Tarou",), False),
        ("UI", "1.2.3\\1.2.4", ("1.2.4",), True),
        ("UI", "1.2.3", ("1.2.34",), False),
        ("UI", "1.2.?", ("1.2.3",), False),
        ("IS", "7", ("07",), True),
        ("DS", "1.50", ("1.5",), True),
        ("US", "512", ("512",), True),
        ("IS", "7", ("seven",), False),
        ("DA", "20260131", ("20260131",), True),
        ("DA", "20260131", ("2026.01.31",), True),
        ("DA", "20260101-20260131", ("20260131",), True),
        ("DA", "20260101-20260131", ("20260201",), False),
        ("DA", "20260101-", ("20260101",), True),
        ("DA", "-20251231", ("20260101",), False),
        ("DA", "20260101-", (), False),
        ("DA", "20260101-", ("soon",), False),
        ("DA", "-", ("20260101",), True),
        ("TM", "1000-1430", ("143059.5",), True),
        ("TM", "1000-1430", ("143100",), False),
        ("TM", "1000-", ("10",), True),
        ("TM", "101500", ("101500.000",), True),
        ("TM", "1015", ("101530",), True),
        ("TM", "10:15", ("101530",), True),
        ("TM", "-0959", ("1000",), False),
        ("LO", '""', (), True),
        ("LO", '""', ("",), True),
        ("LO", '""', ("x",), False),
    ],
)
def test_matching(vr: str, wanted: str, values: tuple[str, ...], expected: bool) -> None:
    assert is_match(vr, wanted, *values) is expected


@pytest.mark.parametrize(
    ("vr", "wanted"),
    [("DA", "2026"), ("DA", "tomorrow"), ("DA", "20260101-x"), ("TM", "1"), ("TM", "10.5"), ("IS", "1*")],
)
def test_what_is_no_value_of_its_vr(vr: str, wanted: str) -> None:
    with pytest.raises(ValueError):
        matcher(vr, [wanted])


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_wildcards_as_a_shell_has_them(pattern: str, text: str) -> None:
    assert fits(pattern, text) is (re.match(translate(pattern), text) is not None)


def test_no_pattern_takes_long() -> None:
    assert not fits("*a" * 2000 + "b", "a" * 10_000)
