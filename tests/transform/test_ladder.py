"""In which order forms are tried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.config.forms import parse_form, parse_preferences
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.syntaxes import (
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    LOSSLESS_TARGETS,
    LOSSY_TARGETS,
    NATIVE_TARGETS,
    RLE_LOSSLESS,
    label,
)
from router.model import Edit, EditKind, Form, Wish
from router.transform.ladder import rungs

ALL = frozenset((*LOSSLESS_TARGETS, *NATIVE_TARGETS, *LOSSY_TARGETS))
VIDEO = "1.2.840.10008.1.2.4.102"


def ladder(
    received: str,
    *,
    wish: Wish | None = None,
    preferred: object = (),
    may_transcode: bool = True,
    makeable: frozenset[str] = ALL,
) -> list[str]:
    made = rungs(
        received,
        wish=wish,
        preferred=parse_preferences(preferred),
        may_transcode=may_transcode,
        makeable=makeable,
    )
    return [label(form.transfer_syntax_uid) for form in made]


def test_as_received_then_lossless_then_uncompressed() -> None:
    assert ladder(JPEG_LS_LOSSLESS) == [
        "jpeg-ls-lossless",
        "jpeg-2000-lossless",
        "htj2k-lossless",
        "htj2k-lossless-rpcl",
        "jpeg-lossless-sv1",
        "jpeg-lossless",
        "rle-lossless",
        "deflated-image-frame",
        "explicit-vr-little-endian",
        "implicit-vr-little-endian",
        "deflated-explicit-vr-little-endian",
        "explicit-vr-big-endian",
    ]


def test_what_came_uncompressed_is_rather_re_encoded_than_compressed() -> None:
    assert ladder(IMPLICIT_VR_LITTLE_ENDIAN)[:5] == [
        "implicit-vr-little-endian",
        "explicit-vr-little-endian",
        "deflated-explicit-vr-little-endian",
        "explicit-vr-big-endian",
        "jpeg-2000-lossless",
    ]


def test_what_a_destination_prefers_comes_before_as_received() -> None:
    preferred = ["jpeg-2000-lossless", "rle-lossless"]
    wanted = ["jpeg-2000-lossless", "rle-lossless", "explicit-vr-little-endian"]
    assert ladder(EXPLICIT_VR_LITTLE_ENDIAN, preferred=preferred)[:3] == wanted
    assert ladder(RLE_LOSSLESS, preferred=preferred)[:2] == ["rle-lossless", "jpeg-2000-lossless"]


def test_as_received_may_stand_anywhere_among_the_preferences() -> None:
    preferred = ["jpeg-2000-lossless", "as-received", "rle-lossless"]
    wanted = ["jpeg-2000-lossless", "explicit-vr-little-endian", "rle-lossless"]
    assert ladder(EXPLICIT_VR_LITTLE_ENDIAN, preferred=preferred)[:3] == wanted


def test_a_rule_comes_first_of_all() -> None:
    wish = Wish(form=parse_form("rle-lossless"))
    wanted = ["rle-lossless", "jpeg-2000-lossless", "explicit-vr-little-endian"]
    made = ladder(EXPLICIT_VR_LITTLE_ENDIAN, wish=wish, preferred=["jpeg-2000-lossless"])
    assert made[:3] == wanted


def test_nothing_lossy_is_made_unless_somebody_says_how_lossy() -> None:
    lossy = {label(uid) for uid in LOSSY_TARGETS}
    assert not lossy & set(ladder(EXPLICIT_VR_LITTLE_ENDIAN))
    assert not lossy & set(ladder(EXPLICIT_VR_LITTLE_ENDIAN, preferred=["jpeg-2000", "jpeg-baseline"]))
    preferred = [{"to": "jpeg-2000", "ratio": 10}]
    made = rungs(
        EXPLICIT_VR_LITTLE_ENDIAN,
        wish=None,
        preferred=parse_preferences(preferred),
        makeable=ALL,
    )
    assert made[0] == Form(transfer_syntax_uid=JPEG_2000, ratio=10.0)


def test_what_came_lossy_is_not_lost_more_of() -> None:
    preferred = parse_preferences([{"to": "jpeg-baseline", "quality": 50}])
    wish = Wish(form=parse_form({"to": "jpeg-baseline", "quality": 50}))
    for asked in (None, wish):
        made = rungs(JPEG_BASELINE, wish=asked, preferred=preferred, makeable=ALL)
        assert made[0] == Form(transfer_syntax_uid=JPEG_BASELINE)


def test_what_failed_at_the_destination_is_avoided() -> None:
    wish = Wish(avoid=(JPEG_2000_LOSSLESS,))
    assert "jpeg-2000-lossless" not in ladder(JPEG_2000_LOSSLESS, wish=wish)
    assert ladder(JPEG_2000_LOSSLESS, wish=wish, may_transcode=False) == []


def test_without_transcoding_only_as_received_is_left() -> None:
    wish = Wish(form=parse_form("rle-lossless"))
    preferred = ["jpeg-2000-lossless"]
    made = ladder(EXPLICIT_VR_LITTLE_ENDIAN, wish=wish, preferred=preferred, may_transcode=False)
    assert made == ["explicit-vr-little-endian"]


def test_what_cannot_be_read_is_passed_through_or_not_sent() -> None:
    assert ladder(VIDEO, preferred=["explicit-vr-little-endian"]) == ["mpeg-4-high"]
    assert ladder("1.2.3.4") == ["other"]


def test_without_codecs_what_needs_none_is_left() -> None:
    native = frozenset(NATIVE_TARGETS)
    assert ladder(JPEG_2000_LOSSLESS, makeable=native) == [
        "jpeg-2000-lossless",
        "explicit-vr-little-endian",
        "implicit-vr-little-endian",
        "deflated-explicit-vr-little-endian",
        "explicit-vr-big-endian",
    ]


@pytest.mark.parametrize("may_transcode", [True, False])
def test_edits_stand_on_every_rung(may_transcode: bool) -> None:
    edits = (Edit(kind=EditKind.REMOVE_PRIVATE),)
    rule = Form(transfer_syntax_uid=JPEG_2000_LOSSLESS)
    made = rungs(
        EXPLICIT_VR_LITTLE_ENDIAN, wish=Wish(form=rule, edits=edits), may_transcode=may_transcode,
        makeable=ALL,
    )  # fmt: skip
    plain = rungs(EXPLICIT_VR_LITTLE_ENDIAN, wish=Wish(form=rule), may_transcode=may_transcode, makeable=ALL)
    assert made == tuple(replace(form, edits=edits) for form in plain)
    assert all(form.edits for form in made)
