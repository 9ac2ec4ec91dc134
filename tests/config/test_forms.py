"""Transfer syntaxes as they are written in the configuration."""

from __future__ import annotations

import pytest

from router.config.forms import AS_RECEIVED, parse_form, parse_preferences
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from router.dicom.syntaxes import JPEG_2000, JPEG_2000_LOSSLESS, JPEG_BASELINE, JPEG_LS_NEAR_LOSSLESS
from router.model import Form


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("jpeg-2000-lossless", Form(transfer_syntax_uid=JPEG_2000_LOSSLESS)),
        ("1.2.840.10008.1.2.1", Form(transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)),
        ({"to": "explicit-vr-little-endian"}, Form(transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)),
        ({"to": "jpeg-2000", "ratio": 12.5}, Form(transfer_syntax_uid=JPEG_2000, ratio=12.5)),
        ({"to": "jpeg-baseline", "quality": 90}, Form(transfer_syntax_uid=JPEG_BASELINE, quality=90)),
        (
            {"to": "jpeg-ls-near-lossless", "max_error": 2},
            Form(transfer_syntax_uid=JPEG_LS_NEAR_LOSSLESS, max_error=2),
        ),
    ],
)
def test_a_form_is_a_name_or_a_name_with_its_loss(written: object, form: Form) -> None:
    assert parse_form(written) == form


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("jpeg-200-lossless", "did you mean 'jpeg-2000-lossless'"),
        ("as-received", "is no transfer syntax to transcode to"),
        ("hevc-main", "can be passed through but not made"),
        ("jpeg-baseline", "say how lossy"),
        ({"to": "jpeg-baseline", "ratio": 10}, "it takes quality"),
        ({"to": "jpeg-baseline", "quality": 10.5}, "from 1 to 100"),
        ({"to": "jpeg-baseline", "quality": True}, "from 1 to 100"),
        ({"to": "jpeg-2000", "ratio": "10"}, "from 1 to 1000"),
        ({"to": "rle-lossless", "quality": 10}, "nothing is lost in it"),
        ({"quality": 10}, "expected a transfer syntax's name"),
        (90, "expected a transfer syntax's name"),
    ],
)
def test_what_is_wrong_is_said(written: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_form(written)


def test_preferences_may_name_what_is_only_passed_through() -> None:
    assert parse_preferences(["jpeg-baseline", "as-received", {"to": "jpeg-2000", "ratio": 5}]) == (
        Form(transfer_syntax_uid=JPEG_BASELINE),
        AS_RECEIVED,
        Form(transfer_syntax_uid=JPEG_2000, ratio=5.0),
    )
    with pytest.raises(ValueError, match="a second time"):
        parse_preferences(["jpeg-2000", {"to": "jpeg-2000", "ratio": 5}])
    with pytest.raises(ValueError, match="expected a list"):
        parse_preferences("jpeg-2000")
