"""What a data set says of what was lost: an instance of its own, derived from the one that was received.

PS3.3 §C.7.6.1.1.5 (Lossy Image Compression), §C.7.6.1.1.2 (Image Type), §C.12.4 (Derivation and Source
Image), §C.12.1.1.2: a new SOP Instance UID.
"""

from __future__ import annotations

import uuid

from router.dicom.syntaxes import (
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_NEAR_LOSSLESS,
    JPEG_PROGRESSIVE,
    JPEG_SPECTRAL_SELECTION,
    JPEG_XL,
    JPEG_XL_RECOMPRESSION,
    shown,
)
from router.errors import CannotTranscode
from router.model import Form
from router.transform.elements import DataSet, Element

SOP_CLASS_UID, SOP_INSTANCE_UID = 0x00080016, 0x00080018
IMAGE_TYPE, FRAME_TYPE = 0x00080008, 0x00089007
REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID = 0x00081150, 0x00081155
DERIVATION_DESCRIPTION, DERIVATION_CODE_SEQUENCE = 0x00082111, 0x00089215
SOURCE_IMAGE_SEQUENCE, PURPOSE_OF_REFERENCE = 0x00082112, 0x0040A170
LOSSY, LOSSY_RATIO, LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
CODE_VALUE, CODING_SCHEME, CODE_MEANING = 0x00080100, 0x00080102, 0x00080104

# Whose pixels are labels, quantities or doses: near is wrong there.
NEVER_LOSSY = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose",
}
_SCHEME = "DCM"
_LOSSY_COMPRESSION = ("113040", "Lossy Compression")  # PS3.16 CID 7203
_PREDECESSOR = ("121320", "Uncompressed predecessor")  # PS3.16 CID 7202
_DESCRIPTION_LENGTH = 1024  # ST

_JPEG = "ISO_10918_1"
METHODS = {  # PS3.3 §C.7.6.1.1.5.1
    JPEG_BASELINE: _JPEG,
    JPEG_EXTENDED: _JPEG,
    JPEG_SPECTRAL_SELECTION: _JPEG,
    JPEG_PROGRESSIVE: _JPEG,
    JPEG_LS_NEAR_LOSSLESS: "ISO_14495_1",
    JPEG_2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
    JPEG_XL: "ISO_18181_1",
    JPEG_XL_RECOMPRESSION: "ISO_18181_1",
}


def new_uid(sop_instance_uid: str, form: Form) -> str:
    """The UID of the lossy form of an instance, the same each time: from a UUID of that name (PS3.5 §B.2)."""
    name = f"{sop_instance_uid} {form.transfer_syntax_uid} {form.quality} {form.ratio} {form.max_error}"
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"


def mark_decoded(data_set: DataSet, source_uid: str, ratio: float) -> None:
    """Say that a lossy stream was decoded, where the data set does not: what is lost stays lost.

    JPEG of the discrete cosine transformation always loses. The others may be reversible all the same, so
    what the data set says of them is believed; that they are is not, where it says nothing.
    """
    method = METHODS.get(source_uid)
    if method is None:
        return
    said = data_set.text(LOSSY)
    if said == "01" or (said and method != _JPEG):
        return
    data_set.put(_text(LOSSY, "CS", "01"))
    if not data_set.text(LOSSY_METHOD):
        data_set.put(_text(LOSSY_METHOD, "CS", method))
        data_set.put(_text(LOSSY_RATIO, "DS", f"{ratio:.6g}"))


def check(data_set: DataSet) -> None:
    """Refuse what must not be lossy, and what a lossy form could not refer to."""
    sop_class_uid = data_set.text(SOP_CLASS_UID)
    if sop_class_uid in NEVER_LOSSY:
        raise CannotTranscode(f"{NEVER_LOSSY[sop_class_uid]} must not lose anything")
    if not sop_class_uid or not data_set.text(SOP_INSTANCE_UID):
        raise CannotTranscode("it has no SOP Class or Instance UID, to which a lossy form could refer")


def mark_encoded(data_set: DataSet, form: Form, ratio: float) -> str:
    """Make a data set, checked before, the description of a lossy form of itself: returns its new UID."""
    old_uid, sop_class_uid = data_set.text(SOP_INSTANCE_UID), data_set.text(SOP_CLASS_UID)
    uid = new_uid(old_uid, form)
    data_set.put(_text(SOP_INSTANCE_UID, "UI", uid))
    _derive(data_set, IMAGE_TYPE)
    for item in data_set.items():
        if item.get(FRAME_TYPE) is not None:  # in functional groups: PS3.3 §C.8.16.1
            _derive(item, FRAME_TYPE)
    data_set.put(_text(LOSSY, "CS", "01"))
    _append_text(data_set, LOSSY_RATIO, "DS", f"{ratio:.6g}")
    _append_text(data_set, LOSSY_METHOD, "CS", METHODS[form.transfer_syntax_uid])
    _describe(data_set, f"Lossy compression: {shown(form.transfer_syntax_uid)}, ratio {ratio:.3g}")
    _append_item(data_set, DERIVATION_CODE_SEQUENCE, _code(*_LOSSY_COMPRESSION))
    reference = DataSet(
        [
            _text(REFERENCED_SOP_CLASS_UID, "UI", sop_class_uid),
            _text(REFERENCED_SOP_INSTANCE_UID, "UI", old_uid),
            Element(PURPOSE_OF_REFERENCE, "SQ", [_code(*_PREDECESSOR)]),
        ]
    )
    _append_item(data_set, SOURCE_IMAGE_SEQUENCE, reference)
    return uid


def _derive(data_set: DataSet, tag: int) -> None:
    _, *rest = data_set.text(tag).split("\\")
    data_set.put(_text(tag, "CS", "\\".join(["DERIVED", *(rest or ["SECONDARY"])])))


def _describe(data_set: DataSet, text: str) -> None:
    """Ours first: what stood there may be in any character set, and must not be cut."""
    before = data_set.text(DERIVATION_DESCRIPTION)
    both = f"{text}; {before}"
    fits = before and len(both) <= _DESCRIPTION_LENGTH
    data_set.put(_text(DERIVATION_DESCRIPTION, "ST", both if fits else text))


def _append_text(data_set: DataSet, tag: int, vr: str, text: str) -> None:
    before = data_set.text(tag)
    data_set.put(_text(tag, vr, f"{before}\\{text}" if before else text))


def _append_item(data_set: DataSet, tag: int, item: DataSet) -> None:
    element = data_set.get(tag)
    before = element.value if element is not None and isinstance(element.value, list) else []
    is_undefined = element is not None and element.is_undefined
    data_set.put(Element(tag, "SQ", [*before, item], is_undefined))


def _code(value: str, meaning: str) -> DataSet:
    return DataSet(
        [
            _text(CODE_VALUE, "SH", value),
            _text(CODING_SCHEME, "SH", _SCHEME),
            _text(CODE_MEANING, "LO", meaning),
        ]
    )


def _text(tag: int, vr: str, text: str) -> Element:
    return Element(tag, vr, text.encode("latin-1"))
