"""pydicom's values in the shape of the scanner's, for what is compared with it."""

from __future__ import annotations

from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from router.dicom.values import Value

BULK = {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW", "US or OW", "US or SS or OW"}


def comparable(value: object) -> tuple[Value, ...]:
    if isinstance(value, list | tuple | MultiValue):
        return tuple(one for item in value for one in (comparable(item) or ("",)))
    if value is None:
        return ()
    if isinstance(value, BaseTag):
        return (f"({value.group:04X},{value.element:04X})",)
    if isinstance(value, int | float):
        return (value,)
    assert not isinstance(value, bytes)
    text = str(value).strip(" \0")
    return (text,) if text else ()
