"""``edit``: what a rule changes in what it sends. Compiled and checked here, made by ``router.transform``.

::

    edit:
      - set: {InstitutionName: SITE A, PatientID: "A-{PatientID}"}
      - replace: {AccessionNumber: {pattern: "^0+", with: ""}}
      - blank: [PatientComments]
      - remove: [PatientAddress, RequestAttributesSequence]
      - remove_private: true
    - deidentify: basic

In order, each on what the one before it left. What makes an image decodable, and what it is known by to both
peers, cannot be edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydicom import config
from pydicom.valuerep import validate_value

from router.config.yaml_nodes import Block, Listing, Mark, Node, Problems, Scalar, suggestion
from router.dicom.tagpath import TagPath, parse
from router.model import Edit, EditKind, Retain
from router.rules import regex
from router.rules.templates import parse_value

TEXT_VRS = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
ONE_VALUE_VRS = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is a character like any other

_KINDS = tuple(kind.value for kind in EditKind)
_PROFILE = "basic"
_RETAINS = tuple(option.value for option in Retain)
# Refused by name: PS3.15 has them, and they cannot be done by a table alone.
_LATER_OPTIONS = frozenset({"safe-private"})
_DEIDENTIFY = "'deidentify' is basic, or {profile: basic, retain: [...], burned_in: keep}"
_PROTECTED = {
    0x00080005: "says how all text is to be read",
    0x00080016: "is what both peers know it by",
    0x00080018: "is what both peers know it by",
}


def compile_edits(node: Node, problems: Problems) -> tuple[Edit, ...]:
    """The edits of a rule; what is wrong is added to ``problems``."""
    items = node.items if isinstance(node, Listing) else (node,)
    edits: list[Edit] = []
    for item in items:
        if isinstance(item, Block) and item.entries:
            for key, value in item.entries:
                edits += _edits(key, value, problems)
        else:
            problems.add(item.mark, "'edit' is a list of edits, such as - set: {InstitutionName: SITE A}")
    if not items:
        problems.add(node.mark, "'edit' has no edits; leave it out")
    return tuple(edits)


def why_not_settable(path: TagPath) -> str:
    """Why an element cannot be given a text; empty where it can."""
    if path.steps[-1].creator or not path.vr:
        return "is private or unknown, so nobody knows what may stand in it; it can be removed or blanked"
    return "" if path.vr in TEXT_VRS else f"has the VR {path.vr}; only elements of text can be given a value"


def check_value(vr: str, text: str) -> str:
    """What is wrong with a text as the value of an element of this VR; empty where nothing is."""
    parts = (text,) if vr in ONE_VALUE_VRS else tuple(text.split("\\"))
    try:
        for part in parts:
            validate_value(vr, part, config.RAISE)
    except ValueError:
        return f"is no value of VR {vr} (PS3.5 §6.2)"
    return ""


def _edits(key: Scalar, value: Node, problems: Problems) -> Iterator[Edit]:
    try:
        kind = EditKind(key.text)
    except ValueError:
        problems.add(key.mark, f"unknown edit {key.text!r}{suggestion(key.text, _KINDS)}")
        return
    if kind is EditKind.REMOVE_PRIVATE:
        if isinstance(value, Scalar) and value.value is True:
            yield Edit(kind=kind)
        else:
            problems.add(value.mark, f"{kind.value!r} is true, or left out")
    elif kind is EditKind.DEIDENTIFY:
        yield from _deidentify(value, problems)
    elif kind in (EditKind.SET, EditKind.REPLACE):
        yield from _mapped(kind, value, problems)
    else:
        yield from _listed(kind, value, problems)


def _deidentify(node: Node, problems: Problems) -> Iterator[Edit]:
    """The profile alone, or with what it is to leave."""
    entries = node.entries if isinstance(node, Block) else ()
    profile = node.get("profile") if isinstance(node, Block) else node
    if not isinstance(profile, Scalar) or profile.text != _PROFILE:
        problems.add((profile or node).mark, f"{_DEIDENTIFY}: there is no other profile")
        return
    retain: list[Retain] = []
    keeps_burned_in = False
    for key, value in entries:
        if key.text == "retain":
            retain += _retained(value, problems)
        elif key.text == "burned_in":
            keeps_burned_in = isinstance(value, Scalar) and value.text == "keep"
            if not keeps_burned_in and not (isinstance(value, Scalar) and value.text == "refuse"):
                problems.add(value.mark, "'burned_in' is refuse (also where it is left out) or keep")
        elif key.text == "clean":
            problems.add(key.mark, "'clean' is not supported yet by this version: nothing is cleaned")
        elif key.text != "profile":
            known = ("profile", "retain", "burned_in")
            problems.add(key.mark, f"unknown key {key.text!r}{suggestion(key.text, known)}; {_DEIDENTIFY}")
    if Retain.DATES in retain and Retain.DATES_SHIFTED in retain:
        problems.add(node.mark, "'retain' has dates as they are, or dates-shifted, not both")
    yield Edit(kind=EditKind.DEIDENTIFY, retain=tuple(dict.fromkeys(retain)), keeps_burned_in=keeps_burned_in)


def _retained(node: Node, problems: Problems) -> Iterator[Retain]:
    for item in node.items if isinstance(node, Listing) else (node,):
        if not isinstance(item, Scalar) or not item.text:
            problems.add(item.mark, f"'retain' takes some of {', '.join(_RETAINS)}")
        elif item.text in _LATER_OPTIONS:
            problems.add(item.mark, f"{item.text!r} is not supported yet by this version")
        elif item.text in _RETAINS:
            yield Retain(item.text)
        else:
            hint = suggestion(item.text, _RETAINS) or f"; there are {', '.join(_RETAINS)}"
            problems.add(item.mark, f"nothing called {item.text!r} can be retained{hint}")


def _listed(kind: EditKind, node: Node, problems: Problems) -> Iterator[Edit]:
    for item in node.items if isinstance(node, Listing) else (node,):
        if not isinstance(item, Scalar) or not item.text:
            problems.add(item.mark, f"{kind.value!r} takes an element, or a list of them")
        elif (path := _path(item.text, item.mark, problems)) is not None:
            yield Edit(kind=kind, path=str(path))


def _mapped(kind: EditKind, node: Node, problems: Problems) -> Iterator[Edit]:
    if not isinstance(node, Block):
        problems.add(node.mark, f"{kind.value!r} takes elements and their values: {{PatientID: ...}}")
        return
    make = _MAKERS[kind]
    for key, value in node.entries:
        path = _path(key.text, key.mark, problems)
        if path is None:
            continue
        if because := why_not_settable(path):
            problems.add(key.mark, f"{path} {because}")
            continue
        try:
            yield make(path, value)
        except ValueError as error:
            problems.add(value.mark, f"{path}: {error}")


def _path(text: str, mark: Mark, problems: Problems) -> TagPath | None:
    try:
        path = parse(text)
    except ValueError as error:
        problems.add(mark, str(error))
        return None
    if because := _why_protected(path.tag, is_private=bool(path.steps[-1].creator)):
        problems.add(mark, f"{path} cannot be edited: it {because}")
        return None
    return path


def _why_protected(tag: int, *, is_private: bool) -> str:
    if is_private:
        return ""
    group, number = tag >> 16, tag & 0xFFFF
    if group == 0x7FE0 or (group == 0x0028 and (number < 0x0200 or 0x1100 <= number < 0x1300)):
        return "belongs to the pixels, or says how they are to be read"
    return _PROTECTED.get(tag, "")


def _set(path: TagPath, node: Node) -> Edit:
    if isinstance(node, Block):
        raise ValueError(
            'expected a value; one that begins with a brace has to stand in quotes: "{PatientID}"'
        )
    if isinstance(node, Listing):
        if not all(isinstance(item, Scalar) for item in node.items):
            raise ValueError("expected a value, or a list of values")
        if path.vr in ONE_VALUE_VRS:
            raise ValueError(f"an element of VR {path.vr} has one value")
        value = "\\".join(_text(item) for item in node.items if isinstance(item, Scalar))
    else:
        value = _text(node)
    parts = parse_value(value)
    if all(isinstance(part, str) for part in parts):
        literal = "".join(map(str, parts))
        if problem := check_value(path.vr, literal):
            raise ValueError(f"{literal!r} {problem}")
    return Edit(kind=EditKind.SET, path=str(path), value=value)


def _replace(path: TagPath, node: Node) -> Edit:
    if not isinstance(node, Block) or set(node.keys) != {"pattern", "with"}:
        raise ValueError('expected {pattern: "REGULAR EXPRESSION", with: "TEXT"}')
    pattern, replacement = node.get("pattern"), node.get("with")
    if not isinstance(pattern, Scalar) or not isinstance(replacement, Scalar) or not pattern.text:
        raise ValueError("'pattern' and 'with' are texts")
    regex.replacer(_text(pattern), _text(replacement))
    return Edit(kind=EditKind.REPLACE, path=str(path), value=_text(replacement), pattern=_text(pattern))


_MAKERS: Mapping[EditKind, Callable[[TagPath, Node], Edit]] = {
    EditKind.SET: _set,
    EditKind.REPLACE: _replace,
}


def _text(node: Scalar) -> str:
    """As it was written; nothing at all for null."""
    return "" if node.value is None else node.text
