"""Tests of rules as people write them: what is given, and what is expected of it.

::

    - test: a trauma CT overtakes
      given: {calling_ae: CT1, Modality: CT, StudyDescription: Polytrauma}    # or given: {file: ct.dcm}
      expect: {rules: [trauma], send: [pacs, cloud], priority: high}

``NAME.test.yaml`` stands beside ``NAME.yaml`` and is about the rules of that file alone; beside the
configuration it is about all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from router.config.forms import parse_form
from router.config.yaml_nodes import (
    Block,
    Listing,
    Node,
    Problems,
    Scalar,
    parse as parse_yaml,
    suggestion,
    to_plain,
    undecodable,
)
from router.dicom.syntaxes import find
from router.dicom.tagpath import TagPath, parse
from router.model import Priority
from router.rules.subjects import uid_of

SUFFIX = ".test.yaml"
_KEYS = ("test", "given", "expect")
_NOON = "2026-01-07T12:00"  # where no time is given: a Wednesday, the same in every run

Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What comes in: a file, or elements; and where it comes from, by the names that rules have for it."""

    file: Path | None = None
    elements: tuple[tuple[TagPath, Texts], ...] = ()
    origin: Mapping[str, str] = field(default_factory=dict)  # calling_ae, called_ae, peer, listener
    transfer_syntax_uid: str = ""
    sop_class_uid: str = ""
    size_bytes: int | None = None
    received_at: float = 0.0
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the rules have to make of it; None: whatever it is."""

    rules: frozenset[str] | None = None  # those that match, and no others
    send: frozenset[str] | None = None
    priority: Priority | None = None
    hold: bool | None = None
    forms: Mapping[str, str] = field(default_factory=dict)  # transfer syntax UID by destination
    edited: tuple[tuple[str, tuple[tuple[TagPath, Texts], ...]], ...] = ()  # no value: none, or not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test."""

    name: str
    place: str  # file:line:column
    given: Given
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What may be named in a test."""

    rules: Collection[str]
    destinations: Collection[str]


def load_cases(path: Path, names: Names, environ: Mapping[str, str], problems: Problems) -> list[Case]:
    """The tests of a file; what is wrong is added to ``problems``. ``OSError`` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        undecodable(error, str(path), problems)
        return []
    root = parse_yaml(text, str(path), environ, problems)
    if not isinstance(root, Listing):
        if root is not None:
            problems.add(root.mark, "a file of tests is a list: each begins with '- test: NAME'")
        return []
    reader = _Reader(path.parent, names, problems)
    return [case for node in root.items if (case := reader.case(node)) is not None]


class _Reader:
    def __init__(self, base: Path, names: Names, problems: Problems) -> None:
        self._base = base
        self._names = names
        self._problems = problems
        self._given: dict[str, Callable[[Given, str], Given]] = {
            "file": lambda given, text: replace(given, file=self._base / Path(text).expanduser()),
            "transfer_syntax": lambda given, text: replace(given, transfer_syntax_uid=_syntax(text)),
            "sop_class": lambda given, text: replace(given, sop_class_uid=uid_of(text, "SOP Class")),
            "size_bytes": lambda given, text: replace(given, size_bytes=int(text)),
            "received_at": lambda given, text: replace(given, received_at=_instant(text)),
            "priority": lambda given, text: replace(given, priority=_priority(text)),
            **{name: _from(name) for name in ("calling_ae", "called_ae", "peer", "listener")},
        }

    def case(self, node: Node) -> Case | None:
        """One test; None where it is none."""
        if not isinstance(node, Block) or not isinstance(name := node.get("test"), Scalar) or not name.text:
            self._problems.add(node.mark, "expected a test: '- test: NAME', with 'given' and 'expect'")
            return None
        for key, _ in node.entries:
            if key.text not in _KEYS:
                self._problems.add(key.mark, f"unknown key {key.text!r}{suggestion(key.text, _KEYS)}")
        given, expect = node.get("given"), node.get("expect")
        if not isinstance(given, Block) or not isinstance(expect, Block) or not expect.entries:
            self._problems.add(node.mark, f"test {name.text!r} needs 'given: {{...}}' and 'expect: {{...}}'")
            return None
        return Case(
            name=name.text,
            place=str(node.mark),
            given=self._read_given(given),
            expected=self._expected(expect),
        )

    # -- given -----------------------------------------------------------------------------------------

    def _read_given(self, block: Block) -> Given:
        given = Given(received_at=_instant(_NOON))
        elements: list[tuple[TagPath, Texts]] = []
        for key, value in block.entries:
            try:
                if (take := self._given.get(key.text)) is not None:
                    given = take(given, _one(value))
                else:
                    elements.append(self._element(key.text, value))
            except ValueError as error:
                self._problems.add(value.mark, f"given: {error}")
        if given.file is not None and elements:
            self._problems.add(block.mark, "given: a file, or elements, but not both")
        return replace(given, elements=tuple(elements))

    def _element(self, name: str, value: Node) -> tuple[TagPath, Texts]:
        try:
            path = parse(name)
        except ValueError as error:
            raise ValueError(f"{error}{suggestion(name, self._given)}") from None
        if path.vr == "SQ":
            raise ValueError(f"{name} is a sequence: give an element inside of it, as {name}.Keyword")
        return path, _texts(value)

    # -- expected --------------------------------------------------------------------------------------

    def _expected(self, block: Block) -> Expected:
        takers: Mapping[str, Callable[[Expected, Node], Expected]] = {
            "rules": lambda had, node: replace(
                had, rules=frozenset(self._known(node, "rule", self._names.rules))
            ),
            "send": lambda had, node: replace(
                had, send=frozenset(self._known(node, "destination", self._names.destinations))
            ),
            "priority": lambda had, node: replace(had, priority=_priority(_one(node))),
            "hold": lambda had, node: replace(had, hold=_truth(node)),
            "transcoded": lambda had, node: replace(had, forms=self._forms(node)),
            "edited": lambda had, node: replace(had, edited=self._edited(node)),
        }
        expected = Expected()
        for key, value in block.entries:
            take = takers.get(key.text)
            if take is None:
                self._problems.add(
                    key.mark, f"unknown key {key.text!r} of 'expect'{suggestion(key.text, takers)}"
                )
                continue
            try:
                expected = take(expected, value)
            except ValueError as error:
                self._problems.add(value.mark, f"expect: {key.text}: {error}")
        return expected

    def _known(self, node: Node, what: str, known: Collection[str]) -> Texts:
        names = _texts(node)
        for name in names:
            if name not in known:
                raise ValueError(f"unknown {what} {name!r}{suggestion(name, known)}")
        return names

    def _by_destination(self, node: Node) -> tuple[tuple[str, Node], ...]:
        if not isinstance(node, Block):
            raise ValueError("expected destinations, and what is expected there")
        for key, _ in node.entries:
            if key.text not in self._names.destinations:
                hint = suggestion(key.text, self._names.destinations)
                raise ValueError(f"unknown destination {key.text!r}{hint}")
        return tuple((key.text, value) for key, value in node.entries)

    def _forms(self, node: Node) -> Mapping[str, str]:
        found = self._by_destination(node)
        return {name: parse_form(to_plain(value)).transfer_syntax_uid for name, value in found}

    def _edited(self, node: Node) -> tuple[tuple[str, tuple[tuple[TagPath, Texts], ...]], ...]:
        found: list[tuple[str, tuple[tuple[TagPath, Texts], ...]]] = []
        for name, block in self._by_destination(node):
            if not isinstance(block, Block):
                raise ValueError(f"{name}: expected elements and the values that they have to have")
            elements = tuple((parse(key.text), _texts(value)) for key, value in block.entries)
            found.append((name, elements))
        return tuple(found)


def _from(name: str) -> Callable[[Given, str], Given]:
    return lambda given, text: replace(given, origin={**given.origin, name: text})


def _one(node: Node) -> str:
    if not isinstance(node, Scalar):
        raise ValueError("expected one value")
    return node.text


def _texts(node: Node) -> Texts:
    """One value, several, or none (null)."""
    items = node.items if isinstance(node, Listing) else (node,)
    if not all(isinstance(item, Scalar) for item in items):
        raise ValueError("expected a value, or a list of values")
    return tuple(item.text for item in items if isinstance(item, Scalar) and item.value is not None)


def _truth(node: Node) -> bool:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    raise ValueError("is true or false")


def _priority(text: str) -> Priority:
    try:
        return Priority(text)
    except ValueError:
        known = [priority.value for priority in Priority]
        raise ValueError(f"{text!r} is not high, normal or low{suggestion(text, known)}") from None


def _instant(text: str) -> float:
    """Local time, as rules have it."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no date and time, such as 2026-01-31T22:30") from None


def _syntax(text: str) -> str:
    known = find(text)
    return known.uid if known is not None else uid_of(text, "Transfer Syntax")
