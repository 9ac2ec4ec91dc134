"""``when`` and ``unless``: predicates joined by ``all``, ``any`` and ``not``, compiled to one function.

A check returns what it found and which leaves decided it; their sentences are made of those same leaves, so
that what is explained is what was decided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router.config.yaml_nodes import Block, Listing, Node, Problems, Scalar, suggestion
from router.dicom import tagpath
from router.dicom.header import Header
from router.dicom.tagpath import TagPath
from router.dicom.values import Value
from router.rules.predicates import Predicate, compile_predicate
from router.rules.subjects import ORIGIN, Facts, Subject, element, uid_name

SHOWN_VALUES = 3  # of a multi-valued element, in a sentence
SHOWN_CHARACTERS = 64  # of one value
_BLOCKS = ("all", "any", "not")
_EMPTY: tuple[Value, ...] = ("",)  # an element without value is compared as an empty text


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One subject and its predicate."""

    subject: Subject
    predicate: Predicate

    def sentence(self, holds: bool, facts: Facts, header: Header) -> str:
        """Why it holds, or why it does not: ``Modality CT is one of CT, PT``."""
        subject, predicate = self.subject, self.predicate
        values = subject.read(facts, header)
        if values is None:
            return f"{subject.name} is absent"
        if predicate.test is None:
            return f"{subject.name} is present"
        test = predicate.test
        if subject.uid_type:
            shown = uid_name(str(values[0]))
        elif holds and len(values) > 1:
            shown = _shown(tuple(value for value in values if test(value))[:1])
        else:
            shown = _shown(values)
        return f"{subject.name} {shown} {predicate.says if holds else predicate.denies}"


Told = tuple[Leaf, bool]
Finding = tuple[bool, tuple[Told, ...]]
Check = Callable[[Facts, Header], Finding]


def compile_block(node: Node, paths: set[TagPath], problems: Problems) -> Check | None:
    """Compile a ``when`` or ``unless``: all of what stands in it. What it reads is added to ``paths``."""
    if not isinstance(node, Block):
        problems.add(node.mark, "expected a mapping of conditions, e.g. {Modality: CT}")
        return None
    if not node.entries:
        problems.add(node.mark, "there is no condition here; without the key the rule applies to everything")
        return None
    checks = [_condition(key, value, paths, problems) for key, value in node.entries]
    whole = [check for check in checks if check is not None]
    return _all(whole) if len(whole) == len(checks) else None


def _condition(key: Scalar, node: Node, paths: set[TagPath], problems: Problems) -> Check | None:
    if key.text in _BLOCKS:
        return _joined(key, node, paths, problems)
    subject = ORIGIN.get(key.text)
    if subject is None:
        try:
            path = tagpath.parse(key.text)
        except ValueError as error:
            known = "" if "did you mean" in str(error) else suggestion(key.text, (*ORIGIN, *_BLOCKS))
            problems.add(key.mark, f"unknown condition {key.text!r}{known}" if known else str(error))
            return None
        subject = element(path)
        paths.add(path)
    predicate = compile_predicate(subject, node, problems)
    return _leaf(Leaf(subject, predicate)) if predicate else None


def _joined(key: Scalar, node: Node, paths: set[TagPath], problems: Problems) -> Check | None:
    """``any`` and ``all`` take a list of mappings, or one mapping whose entries are meant; ``not`` as well:
    a mapping that must not hold as a whole, or a list of which none may.
    """
    if isinstance(node, Listing):
        checks = [compile_block(item, paths, problems) for item in node.items]
    elif isinstance(node, Block) and key.text != "not":
        checks = [_condition(name, value, paths, problems) for name, value in node.entries]
    else:
        checks = [compile_block(node, paths, problems)]
    if not checks:
        problems.add(node.mark, f"{key.text!r} has nothing in it")
    whole = [check for check in checks if check is not None]
    if not whole or len(whole) < len(checks):
        return None
    if key.text == "all":
        return _all(whole)
    return _any(whole) if key.text == "any" else _not(_any(whole))


def _leaf(leaf: Leaf) -> Check:
    read, test, wanted = leaf.subject.read, leaf.predicate.test, leaf.predicate.wants_existence
    yes: Finding = (True, ((leaf, True),))
    no: Finding = (False, ((leaf, False),))
    if test is None:
        return lambda facts, header: yes if (read(facts, header) is not None) is wanted else no

    def check(facts: Facts, header: Header) -> Finding:
        values = read(facts, header)
        if values is None:
            return no
        for value in values or _EMPTY:
            if test(value):
                return yes
        return no

    return check


def _all(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def check(facts: Facts, header: Header) -> Finding:
        told: tuple[Told, ...] = ()
        for one in checks:
            holds, because = one(facts, header)
            if not holds:
                return False, because
            told += because
        return True, told

    return check


def _any(checks: list[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]

    def check(facts: Facts, header: Header) -> Finding:
        told: tuple[Told, ...] = ()
        for one in checks:
            holds, because = one(facts, header)
            if holds:
                return True, because
            told += because
        return False, told

    return check


def _not(inner: Check) -> Check:
    def check(facts: Facts, header: Header) -> Finding:
        holds, because = inner(facts, header)
        return not holds, because

    return check


def sentences(told: tuple[Told, ...], facts: Facts, header: Header) -> str:
    """What the deciding leaves say."""
    return "; ".join([leaf.sentence(holds, facts, header) for leaf, holds in told])


def _shown(values: tuple[Value, ...]) -> str:
    if not values:
        return "(empty)"
    texts = [
        text if len(text := str(value)) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
        for value in values[:SHOWN_VALUES]
    ]
    more = f" and {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
    return "\\".join(texts) + more
