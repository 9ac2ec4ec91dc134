"""De-identification by the Basic Application Level Confidentiality Profile (PS3.15 Annex E).

The table says what is done to which element (``confidentiality``), at every level; what nothing here can
clean is refused (``burned_in``). What stays, stays as it lies. What nobody can look into goes: elements that
no dictionary knows, and sequences that are written as bytes and cannot be read as items.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from struct import pack

from router import __version__
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from router.errors import CannotEdit, CannotTranscode
from router.model import Edit, Retain
from router.transform import burned_in, vrs
from router.transform.confidentiality import Action, action_of, vr_of
from router.transform.elements import PIXEL_DATA, DataSet, Element, Fragments
from router.transform.pseudonyms import Pseudonyms
from router.transform.reading import parse

SOP_INSTANCE_UID, PATIENT_ID = 0x00080018, 0x00100020
IDENTITY_REMOVED, METHOD, METHOD_CODES = 0x00120062, 0x00120063, 0x00120064
TEMPORAL_INFORMATION = 0x00280303
MARKS = (IDENTITY_REMOVED, METHOD, METHOD_CODES, TEMPORAL_INFORMATION)  # what says that it was done
EDITION = "2026c"  # of PS3.15, whose table it is

_BASIC_PROFILE = ("113100", "Basic Application Confidentiality Profile")
_OPTIONS = {  # PS3.16 CID 7050
    Retain.UIDS: ("113110", "Retain UIDs Option"),
    Retain.DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Retain.DATES_SHIFTED: (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    Retain.DEVICE: ("113109", "Retain Device Identity Option"),
    Retain.INSTITUTION: ("113112", "Retain Institution Identity Option"),
    Retain.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
}
_DUMMIES = {
    "AS": b"000Y",
    "DA": b"19000101",
    "DS": b"0",
    "DT": b"19000101000000",
    "IS": b"0",
    "TM": b"000000",
    "UR": b"http://anonymized.invalid",  # RFC 2606 §2
}
# PS3.5 §6.2: DA, or DT to the day or finer; the dots are of ACR-NEMA.
_DAY = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})([0-9]{0,6}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?)\Z")
DUMMY_TEXT = b"ANONYMIZED"
_NUMBER_BYTES = vrs.WORD_BYTES | {"AT": 4, "OB": 2, "UN": 2}
_UNREAD_CAP_BYTES = 1 << 30


def deidentify(data_set: DataSet, edit: Edit, key: str) -> None:
    """De-identify ``data_set`` in place. Raises :class:`CannotEdit` where that cannot be done."""
    if not key:
        raise CannotEdit("there is no key here, without which nothing is de-identified")
    if not data_set.text(SOP_INSTANCE_UID):
        raise CannotEdit("it has no SOP Instance UID, in whose place another one could stand")
    burned_in.check(data_set, keeps_burned_in=edit.keeps_burned_in)
    retain = frozenset(edit.retain)
    pseudonyms, patient_id = Pseudonyms(key), data_set.text(PATIENT_ID)
    if Retain.DATES_SHIFTED in retain and not patient_id:
        raise CannotEdit("it has no Patient ID, by which all dates of a patient could be shifted alike")
    _Deidentifier(pseudonyms, retain, timedelta(days=pseudonyms.days(patient_id))).data_set(data_set)
    _declare(data_set, edit, retain)


def merged(edits: tuple[Edit, ...]) -> Edit:
    """What several de-identifications come to that meet in one delivery: what all of them retain."""
    retain = [option for option in edits[0].retain if all(option in edit.retain for edit in edits)]
    return Edit(
        kind=edits[0].kind,
        retain=tuple(retain),
        keeps_burned_in=all(edit.keeps_burned_in for edit in edits),
    )


class _Deidentifier:
    """One key and one choice of options."""

    __slots__ = ("_back", "_pseudonyms", "_retain")

    def __init__(self, pseudonyms: Pseudonyms, retain: frozenset[Retain], back: timedelta) -> None:
        self._back = back
        self._pseudonyms = pseudonyms
        self._retain = retain

    def data_set(self, data_set: DataSet) -> None:
        made = (self._made(element) for element in data_set.elements)
        data_set.have(element for element in made if element is not None)

    def _item(self, item: DataSet) -> None:
        """As a data set; but nobody has asked whether something is burned in an image inside of an image."""
        item.have(element for element in item.elements if element.tag >> 16 != PIXEL_DATA >> 16)
        self.data_set(item)

    def _made(self, element: Element) -> Element | None:
        """What stands in an element's place; None for nothing."""
        if (
            element.tag in burned_in.REFUSED
            and not isinstance(element.value, Fragments)
            and len(element.value)
        ):
            raise CannotEdit(burned_in.REFUSED[element.tag])
        match action_of(element.tag, self._retain):
            case Action.REMOVE:
                return None
            case Action.KEEP:
                return self._kept(element)
            case Action.EMPTY:
                vr = _vr(element)
                return Element(element.tag, vr, [] if vr == "SQ" else b"")
            case Action.DUMMY:
                return _dummy(element)
            case Action.UID:
                return self._replaced(element, self._pseudonyms.uid)
            case Action.SHIFT:
                return self._replaced(element, self._shifted)
            case Action.PSEUDONYM:
                return self._replaced(element, self._pseudonyms.patient_id)

    def _kept(self, element: Element) -> Element | None:
        value = element.value
        if isinstance(value, Fragments):
            return element if element.tag == PIXEL_DATA else None
        if not isinstance(value, list) and vr_of(element.tag) == "SQ":
            items = _items(element.tag, bytes(value))
            if items is None:
                return None
            element = Element(element.tag, "SQ", items)
        if isinstance(element.value, list):
            for item in element.value:
                self._item(item)
        return element

    def _replaced(self, element: Element, replace: Callable[[str], str]) -> Element | None:
        if isinstance(element.value, list | Fragments):
            return None
        values = [one.strip(" \0") for one in bytes(element.value).decode("latin-1").split("\\")]
        made = "\\".join(replace(value) if value else "" for value in values)
        return Element(element.tag, _vr(element), made.encode("latin-1"))

    def _shifted(self, value: str) -> str:
        """A date or a date with a time, as many days earlier; a dummy where it is none, or not to the day."""
        match = _DAY.match(value)
        try:
            if match is None:
                raise ValueError
            day = date(int(match[1]), int(match[2]), int(match[3])) - self._back
        except (ValueError, OverflowError):
            return _DUMMIES["DA"].decode()
        return f"{day.year:04}{day.month:02}{day.day:02}{match[4]}"


def _vr(element: Element) -> str:
    """As the dictionary has it, whatever the element says of itself."""
    vr = vr_of(element.tag)
    return vr if vr and " " not in vr else element.vr


def _dummy(element: Element) -> Element | None:
    """Nothing stays nothing: that an attribute is empty says of nobody who it is."""
    vr = _vr(element)
    if vr == "SQ":
        return Element(element.tag, "SQ", [_code("ANONYMIZED", "99ANON", "ANONYMIZED")])
    if isinstance(element.value, list | Fragments):
        return None
    if not bytes(element.value).strip(b" \0"):
        return Element(element.tag, vr, b"")
    if vr in _NUMBER_BYTES:
        return Element(element.tag, vr, bytes(_NUMBER_BYTES[vr]))
    return Element(element.tag, vr, _DUMMIES.get(vr, DUMMY_TEXT))


def _items(tag: int, value: bytes) -> list[DataSet] | None:
    """The items of a sequence that was written as bytes (PS3.5 §6.2.2); None where they are none."""
    if not value:
        return []
    header = pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(value))
    try:
        found = parse(header + value, EXPLICIT_VR_LITTLE_ENDIAN, inflate_cap_bytes=_UNREAD_CAP_BYTES)
    except CannotTranscode:
        return None
    items = found.elements[0].value if found.elements else None
    return items if isinstance(items, list) else None


def _declare(data_set: DataSet, edit: Edit, retain: frozenset[Retain]) -> None:
    """Say what was done (PS3.15 §E.1.1 and §E.2)."""
    codes = [_BASIC_PROFILE, *(_OPTIONS[option] for option in edit.retain)]
    method = f"PS3.15 {EDITION} Basic Profile\\dicom-router {__version__}"
    data_set.put(Element(IDENTITY_REMOVED, "CS", b"YES"))
    data_set.put(Element(METHOD, "LO", method.encode()))
    data_set.put(Element(METHOD_CODES, "SQ", [_code(value, "DCM", meaning) for value, meaning in codes]))
    said = b"MODIFIED" if Retain.DATES_SHIFTED in retain else b"REMOVED"
    said = b"UNMODIFIED" if Retain.DATES in retain else said
    data_set.put(Element(TEMPORAL_INFORMATION, "CS", said))


def _code(value: str, scheme: str, meaning: str) -> DataSet:
    return DataSet(
        [
            Element(0x00080100, "SH", value.encode()),
            Element(0x00080102, "SH", scheme.encode()),
            Element(0x00080104, "LO", meaning.encode()),
        ]
    )
