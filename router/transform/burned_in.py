"""What cannot be de-identified here, as nothing cleans it: pixels, documents, reports and sound.

Whether an identity may be written in the pixels, an instance says in Burned In Annotation. Where it does not,
only those kinds of images are taken that are made of measurements; of every other kind, known or private, it
is assumed that it may have been burned in.
"""

from __future__ import annotations

from router.errors import CannotEdit
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.jpeg_header import has_camera_data

_SOP_CLASS_UID, _MODALITY, _IMAGE_TYPE, _CONVERSION_TYPE = 0x00080016, 0x00080060, 0x00080008, 0x00080064
_BURNED_IN, _RECOGNIZABLE = 0x00280301, 0x00280302
_PIXELS = (PIXEL_DATA, 0x7FE00008, 0x7FE00009)
_STORAGE = "1.2.840.10008.5.1.4.1.1."

# SOP classes whose pixels come from a detector or a computation, not from a screen, a film or a camera.
_MEASURED = frozenset(
    _STORAGE + end
    for end in (
        "1",  # computed radiography
        "1.1", "1.1.1", "1.2", "1.2.1",  # digital X-ray, mammography
        "2", "2.1", "2.2",  # CT
        "4", "4.1", "4.4",  # MR
        "13.1.3", "13.1.4", "13.1.5",  # breast tomosynthesis and projections
        "20", "128", "128.1", "130",  # nuclear medicine, PET
        "30", "66.4", "66.7", "481.2",  # parametric map, segmentation, label map, dose
    )
)  # fmt: skip
# Modalities that burn in, whatever the SOP class is called.
_BURNING = frozenset("US IVUS XA RF ES OT SC XC GM SM DOC HC PX BMD OP OPT KO SR DG EPS ECG HD".split())
_SCREENS = ("SECONDARY", "SCREEN SAVE", "SCREENSAVE", "DOSE_INFO", "VXTL STATE")  # in Image Type

_SOUND = tuple(_STORAGE + end for end in ("9.4.1", "9.4.2"))  # basic voice and general audio waveforms

# What a data set that is to be de-identified cannot have, but in what is taken away.
REFUSED = {
    0x00287FE0: "its pixel data is somewhere else (Pixel Data Provider URL)",
    0x0040A730: "it has structured content (Content Sequence), which cannot be de-identified",
    0x00420011: "it has an Encapsulated Document, which cannot be de-identified",
}

_OVERLAY_BIT_POSITION = 0x60000102

LET_PASS = "a rule that knows better says burned_in: keep"  # noqa: S105 - no password


def check(data_set: DataSet, *, keeps_burned_in: bool) -> None:
    """Raise :class:`CannotEdit` for what would leave, or might, with an identity in its pixels or sound."""
    if data_set.text(_SOP_CLASS_UID) in _SOUND:
        raise CannotEdit("it is recorded sound, which cannot be de-identified")
    pixels = data_set.get(PIXEL_DATA)
    if pixels is not None and isinstance(pixels.value, Fragments):
        if any(map(has_camera_data, pixels.value.items)):
            raise CannotEdit("a JPEG stream of its pixel data has what cameras add (Exif, XMP or IPTC)")
    if keeps_burned_in or not any(data_set.get(tag) is not None for tag in _PIXELS):
        return
    if data_set.text(_BURNED_IN) == "YES":
        raise CannotEdit(f"Burned In Annotation says that something is written in it; {LET_PASS}")
    if data_set.text(_RECOGNIZABLE) == "YES":
        raise CannotEdit(f"Recognizable Visual Features says that it shows who it is; {LET_PASS}")
    if any(_is_in_the_pixels(element, data_set) for element in data_set.elements):
        raise CannotEdit(f"it has an overlay in bits of its pixel data; {LET_PASS}")
    if data_set.text(_BURNED_IN) != "NO" and (because := _why_in_doubt(data_set)):
        raise CannotEdit(f"{because}, and Burned In Annotation does not say NO; {LET_PASS}")


def _is_in_the_pixels(element: Element, data_set: DataSet) -> bool:
    """Whether it says that an overlay lies in bits that the pixels do not use (PS3.5 §8.1.2, retired)."""
    is_position = element.tag & 0xFF00FFFF == _OVERLAY_BIT_POSITION
    return is_position and data_set.ints(element.tag) not in ((), (0,))


def _why_in_doubt(data_set: DataSet) -> str:
    if data_set.text(_SOP_CLASS_UID) not in _MEASURED:
        return "images of its SOP class often have something written in them"
    if data_set.text(_MODALITY) in _BURNING:
        return "images of its modality often have something written in them"
    if data_set.get(_CONVERSION_TYPE) is not None:
        return "it was made of something else (Conversion Type)"
    kinds = data_set.text(_IMAGE_TYPE).upper().split("\\")
    if any(screen in kind for kind in kinds for screen in _SCREENS):
        return "its Image Type is that of images of a screen"
    return ""
