"""Edits in a data set: they are made or refused, what is not named stays, and what is to go is gone.

The first byte chooses the transfer syntax, the second the edits; the rest is the data set. Each is
de-identified as well: by the table nothing is left that has to go, whatever the data set was.
"""

from __future__ import annotations

from router.errors import CannotTranscode
from router.model import Edit, EditKind, Origin, Retain
from router.transform.confidentiality import Action, action_of, vr_of
from router.transform.deidentify import IDENTITY_REMOVED, MARKS
from router.transform.edits import apply
from router.transform.elements import DataSet
from router.transform.reading import parse
from router.transform.writing import encode
from tests.fuzz.targets import elements

WORDS = (*elements.WORDS, b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"\x1b$B", b"ISO 2022 IR 149")

_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.70")
_ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="", listener="")
_INFLATE_CAP_BYTES = 1 << 20
_NAME, _ID, _INSTITUTION, _SEQUENCE, _SET = 0x00100010, 0x00100020, 0x00080080, 0x00400275, 0x00080005


def _edit(kind: EditKind, path: str = "", value: str = "", pattern: str = "") -> Edit:
    return Edit(kind=kind, path=path, value=value, pattern=pattern)


_EDITS = (
    (_edit(EditKind.SET, "InstitutionName", "K\u00f6ln {calling_ae}"), {_INSTITUTION, _SET}),
    (_edit(EditKind.SET, "PatientID", "A-{PatientID}{PatientName}"), {_ID, _SET}),
    (_edit(EditKind.SET, "RequestAttributesSequence.ScheduledProcedureStepID", "{StudyDate}"), {_SEQUENCE}),
    (_edit(EditKind.BLANK, "PatientName"), {_NAME}),
    (_edit(EditKind.REPLACE, "PatientName", r"\2-\1\u5c71", r"(\w)(\w*)"), {_NAME, _SET}),
    (_edit(EditKind.REMOVE, '(0019,"SIEMENS CT VA0",0C)'), set[int]()),
    (_edit(EditKind.REMOVE, "PatientID"), {_ID}),
    (_edit(EditKind.REMOVE_PRIVATE), set[int]()),
)
_RETAIN = ((), (Retain.DATES_SHIFTED, Retain.UIDS), tuple(Retain))
_KEY = "0123456789abcdef" * 2


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < 2:
        return
    uid = _SYNTAXES[data[0] % len(_SYNTAXES)]
    chosen = [pair for place, pair in enumerate(_EDITS) if data[1] >> place & 1]
    try:
        before = parse(data[2:], uid, inflate_cap_bytes=_INFLATE_CAP_BYTES)
        data_set = parse(data[2:], uid, inflate_cap_bytes=_INFLATE_CAP_BYTES)
        apply(data_set, [edit for edit, _ in chosen], _ORIGIN)
        written = b"".join(map(bytes, encode(data_set, uid)))
        after = parse(written, uid, inflate_cap_bytes=_INFLATE_CAP_BYTES)
    except CannotTranscode:
        return
    _look_for_identities(data[2:], uid, _RETAIN[data[1] % len(_RETAIN)])
    touched = {tag for _, tags in chosen for tag in tags}
    kinds = {edit.kind for edit, _ in chosen}
    assert _standard(before, touched) == _standard(after, touched), "what was not named has changed"
    if EditKind.REMOVE_PRIVATE in kinds:
        assert not any(e.tag & 0x10000 for one in (after, *after.items()) for e in one.elements)
    if _EDITS[6] in chosen:
        assert after.get(_ID) is None
    if _EDITS[3] in chosen and _EDITS[4] not in chosen:
        assert not after.buffer(_NAME)


def _look_for_identities(content: bytes, uid: str, retain: tuple[Retain, ...]) -> None:
    edit = Edit(kind=EditKind.DEIDENTIFY, retain=retain, keeps_burned_in=True)
    data_set = parse(content, uid, inflate_cap_bytes=_INFLATE_CAP_BYTES)
    try:
        apply(data_set, (edit,), _ORIGIN, key=_KEY)
        written = b"".join(map(bytes, encode(data_set, uid)))
        after = parse(written, uid, inflate_cap_bytes=_INFLATE_CAP_BYTES)
    except CannotTranscode:
        return
    for one in (after, *after.items()):
        for element in one.elements:
            action = action_of(element.tag, frozenset(retain))
            assert action is not Action.REMOVE or element.tag in MARKS, "what has to go is there"
            assert action is not Action.EMPTY or not element.value, "what has to be empty is not"
            assert vr_of(element.tag) != "SQ" or isinstance(element.value, list), "nobody has looked into it"
    assert after.text(IDENTITY_REMOVED) == "YES"


def _standard(data_set: DataSet, touched: set[int]) -> list[tuple[int, bytes]]:
    """Tags and values that nothing was to happen to; of sequences the tag alone."""
    return [
        (element.tag, bytes(data_set_value).rstrip(b" \0") if data_set_value is not None else b"")
        for element in data_set.elements
        if not element.tag & 0x10000 and element.tag not in touched
        for data_set_value in (element.value if isinstance(element.value, bytes | memoryview) else None,)
    ]
