"""UIDs and patient IDs in the place of others."""

from __future__ import annotations

import uuid

import pytest

from router.transform.pseudonyms import Pseudonyms, is_well_known

KEY = "0123456789abcdef" * 2
OURS = Pseudonyms(KEY)


def test_the_same_for_the_same_and_others_for_others() -> None:
    again = Pseudonyms(f"{KEY}\n")
    assert OURS.uid("1.2.3") == again.uid("1.2.3") == "2.25.242519741957384552886518508456172302620"
    assert len({OURS.uid(uid) for uid in ("1.2.3", "1.2.4", "1.2.3.4", "2.25.7")}) == 4
    assert OURS.patient_id("12") == again.patient_id("12") != OURS.patient_id("13")
    other = Pseudonyms(KEY[::-1])
    assert other.uid("1.2.3") != OURS.uid("1.2.3")
    assert other.patient_id("12") != OURS.patient_id("12")


def test_they_are_what_their_vr_can_have() -> None:
    for number in range(200):
        uid = OURS.uid(f"1.2.{number}")
        assert len(uid) <= 64
        made = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (made.version, made.variant) == (8, uuid.RFC_4122)
        assert len(OURS.patient_id(str(number))) == 16


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.4.1.1",
        "1.2.840.10008.6.1.1400",
        "1.2.840.10008.1.5.1",
    ],
)
def test_uids_of_the_standard_are_everybodys(uid: str) -> None:
    assert is_well_known(uid)
    assert OURS.uid(uid) == uid


@pytest.mark.parametrize("uid", ["1.2.840.10008.9999.1", "1.2.840.10008", "1.2.840.10008.6.1.1.2.3", "", "x"])
def test_what_only_begins_like_one_is_not(uid: str) -> None:
    assert not is_well_known(uid)
    assert OURS.uid(uid) != uid
