"""Changes a data set as a rule's ``edit`` says, before it leaves. What is not named stays as it lies.

Text is written in the character set that the data set declares. Where it declares none and has nothing but
ASCII in it, text that is not ASCII makes it Unicode (ISO_IR 192); what cannot be written is refused, and then
the instance does not leave: nothing is sent half edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from router.dicom.charsets import CHARACTER_SET, OF_CHARACTER_SET, UNICODE, encode_text, encodings_of
from router.dicom.scanner import Raw
from router.dicom.tagpath import Step, TagPath, parse
from router.dicom.values import decode
from router.errors import CannotEdit
from router.model import Edit, EditKind, Origin
from router.rules.editing import ONE_VALUE_VRS, check_value
from router.rules.regex import replacer
from router.rules.templates import FromOrigin, parse_value
from router.transform import vrs
from router.transform.deidentify import deidentify, merged
from router.transform.elements import DataSet, Element, Fragments

# A data set, and those around it, the nearest first.
Nest = tuple[DataSet, ...]


def apply(data_set: DataSet, edits: Sequence[Edit], origin: Origin, *, key: str = "") -> tuple[str, ...]:
    """Change ``data_set`` in place; what was changed, in words, without values.

    ``key`` is what a de-identification needs. Raises :class:`CannotEdit` where one of the edits cannot be
    made; the data set is of no more use then.
    """
    told: list[str] = []
    for edit in _once(edits):
        if edit.kind is EditKind.DEIDENTIFY:
            deidentify(data_set, edit, key)
            told.append(_deidentified(edit))
            continue
        if _MAKERS[edit.kind](data_set, edit, origin):
            words = _WORDS[edit.kind]
            told.append(f"{words} {edit.path}" if edit.path else words)
    return tuple(told)


def is_deidentified(edits: Iterable[Edit]) -> bool:
    """Whether what these make has to leave without its identity."""
    return any(edit.kind is EditKind.DEIDENTIFY for edit in edits)


def _once(edits: Sequence[Edit]) -> Iterator[Edit]:
    """De-identified is once, where the first says so: the UIDs of a second time would be others again."""
    all_of_them = tuple(edit for edit in edits if edit.kind is EditKind.DEIDENTIFY)
    is_done = False
    for edit in edits:
        if edit.kind is not EditKind.DEIDENTIFY:
            yield edit
        elif not is_done:
            is_done = True
            yield merged(all_of_them)


def _deidentified(edit: Edit) -> str:
    return "de-identified" + (f", but for {', '.join(edit.retain)}" if edit.retain else "")


# -- one kind each: whether there was something to change ------------------------------------------------


def _set(data_set: DataSet, edit: Edit, origin: Origin) -> bool:
    path = parse(edit.path)
    text = _filled(data_set, edit.value, origin)
    targets = list(_places(data_set, path))
    for nest in targets:
        _put(nest, path, text)
    return bool(targets)


def _blank(data_set: DataSet, edit: Edit, _origin: Origin) -> bool:
    found = False
    for nest, element in _found(data_set, parse(edit.path)):
        empty: list[DataSet] | bytes = [] if isinstance(element.value, list) and element.vr == "SQ" else b""
        nest[0].put(Element(element.tag, element.vr, empty))
        found = True
    return found


def _remove(data_set: DataSet, edit: Edit, _origin: Origin) -> bool:
    found = list(_found(data_set, parse(edit.path)))
    for nest, element in found:
        nest[0].remove(element.tag)
    return bool(found)


def _replace(data_set: DataSet, edit: Edit, _origin: Origin) -> bool:
    path, replace = parse(edit.path), _replacer(edit.pattern, edit.value)
    changed = False
    for nest, element in list(_found(data_set, path)):
        old = _text(nest, element)
        parts = [old] if path.vr in ONE_VALUE_VRS else old.split("\\")
        new = "\\".join(map(replace, parts))
        if new != old:
            _put(nest, path, new)
            changed = True
    return changed


def _remove_private(data_set: DataSet, _edit: Edit, _origin: Origin) -> bool:
    found = False
    for one in (data_set, *data_set.items()):
        tags = {element.tag for element in one.elements if element.tag & 0x10000}
        for tag in tags:
            one.remove(tag)
        found = found or bool(tags)
    return found


_MAKERS: dict[EditKind, Callable[[DataSet, Edit, Origin], bool]] = {
    EditKind.SET: _set,
    EditKind.BLANK: _blank,
    EditKind.REMOVE: _remove,
    EditKind.REPLACE: _replace,
    EditKind.REMOVE_PRIVATE: _remove_private,
}
_WORDS = {
    EditKind.SET: "set",
    EditKind.BLANK: "blanked",
    EditKind.REMOVE: "removed",
    EditKind.REPLACE: "replaced in",
    EditKind.REMOVE_PRIVATE: "removed private elements",
}
_replacer = lru_cache(maxsize=256)(replacer)


# -- finding elements ------------------------------------------------------------------------------------


def _places(data_set: DataSet, path: TagPath) -> Iterator[Nest]:
    """The data sets in which a path's last element belongs: every item of its sequences that there is."""
    yield from _inside((data_set,), path.steps[:-1])


def _inside(nest: Nest, steps: tuple[Step, ...]) -> Iterator[Nest]:
    if not steps:
        yield nest
        return
    tag = _tag(nest[0], steps[0])
    element = nest[0].get(tag) if tag is not None else None
    if element is not None and isinstance(element.value, list):
        for item in element.value:
            yield from _inside((item, *nest), steps[1:])


def _found(data_set: DataSet, path: TagPath) -> Iterator[tuple[Nest, Element]]:
    """Every element that a path leads to."""
    for nest in _places(data_set, path):
        tag = _tag(nest[0], path.steps[-1])
        element = nest[0].get(tag) if tag is not None else None
        if element is not None:
            yield nest, element


def _tag(data_set: DataSet, step: Step) -> int | None:
    """The tag that a step means here; None where nobody has reserved its private block (PS3.5 §7.8.1)."""
    if not step.creator:
        return step.tag
    group = step.group << 16
    for element in data_set.elements:
        if group | 0x10 <= element.tag <= group | 0xFF and data_set.text(element.tag) == step.creator:
            return group | (element.tag & 0xFF) << 8 | step.tag & 0xFF
    return None


# -- text ------------------------------------------------------------------------------------------------


def _filled(data_set: DataSet, value: str, origin: Origin) -> str:
    """A value with what its placeholders stand for; nothing where an element is not there."""
    parts: list[str] = []
    for part in parse_value(value):
        if isinstance(part, FromOrigin):
            parts.append(part.of(origin))
        elif isinstance(part, TagPath):
            first = next(_found(data_set, part), None)
            parts.append(_text(*first) if first is not None else "")
        else:
            parts.append(part)
    return "".join(parts)


def _text(nest: Nest, element: Element) -> str:
    """The values of an element, as they are written: decoded by the character set that holds for it."""
    if isinstance(element.value, list | Fragments):
        return ""
    raw = Raw(
        tag=element.tag,
        vr=element.vr,
        value=bytes(element.value),
        character_set=_character_set(nest),
        is_little=True,
        creator="",
    )
    return "\\".join(map(str, decode(raw, is_signed=False)))


def _put(nest: Nest, path: TagPath, text: str) -> None:
    vr = path.vr
    if problem := check_value(vr, text):
        raise CannotEdit(f"{path}: what it is to be set to {problem}")
    nest[0].put(Element(path.tag, vr, _encoded(nest, path, text)))


def _encoded(nest: Nest, path: TagPath, text: str) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    if path.vr not in OF_CHARACTER_SET:
        raise CannotEdit(f"{path}: what it is to be set to is not ASCII, as its VR {path.vr} has to be")
    character_set = _character_set(nest)
    if not character_set and _is_ascii(nest[-1]):
        nest[-1].put(Element(CHARACTER_SET, "CS", UNICODE.encode()))
        character_set = UNICODE.encode()
    encodings = encodings_of(character_set.decode("latin-1")) if character_set else []
    encoded = encode_text(path.vr, text, encodings) if encodings else None
    if encoded is None:
        named = character_set.decode("latin-1") or "ASCII: it declares no Specific Character Set"
        raise CannotEdit(f"{path}: the instance's character set cannot say what it is to be set to ({named})")
    return encoded


def _character_set(nest: Nest) -> bytes:
    """What the nearest data set around declares (PS3.5 §6.1.2.4)."""
    for data_set in nest:
        value = bytes(data_set.buffer(CHARACTER_SET) or b"").strip(b" \0")
        if value:
            return value
    return b""


def _is_ascii(data_set: DataSet) -> bool:
    """Whether no text anywhere in it has other bytes, which nobody could say the meaning of."""
    return all(
        bytes(element.value).isascii()
        for one in (data_set, *data_set.items())
        for element in one.elements
        if element.vr in vrs.TEXT and not isinstance(element.value, list | Fragments)
    )
