"""The predicates: what a rule may ask of one subject, compiled to a test of one value and its words.

``Modality: CT`` · ``Modality: [CT, PT]`` · ``StudyDescription: {contains: trauma, ignore_case: true}``.
Several predicates in one mapping must hold for the same value; a subject with several values matches when
any does.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from router.config.yaml_nodes import Listing, Mark, Node, Problems, Scalar, suggestion
from router.dicom.values import Value
from router.rules import kinds
from router.rules.regex import from_glob, searcher
from router.rules.subjects import Subject, uid_keywords, uid_name, uid_of

Test = Callable[[Value], bool]

_TEXT = ("equals", "in", "contains", "starts_with", "ends_with", "matches", "glob")
_ORDER = ("lt", "le", "gt", "ge", "between")
_MODIFIERS = ("ignore_case",)
NAMES = (*_TEXT, *_ORDER, "exists", "cidr", *_MODIFIERS)
_SYMBOLS = {"lt": "less than", "le": "at most", "gt": "more than", "ge": "at least"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A compiled test with its words: ``Modality CT`` + ``says``, ``Modality US`` + ``denies``."""

    test: Test | None  # None: whether the element exists is the question
    wants_existence: bool = True
    says: str
    denies: str


def compile_predicate(subject: Subject, node: Node, problems: Problems) -> Predicate | None:
    """Compile what stands beside a subject; None where it is wrong, which ``problems`` then says."""
    if isinstance(node, Scalar | Listing):
        name = "equals" if isinstance(node, Scalar) else "in"
        return _joined([_one(subject, name, node, False, node.mark, problems)])
    if not node.entries:
        problems.add(node.mark, f"{subject.name}: no predicate stands here")
        return None
    ignore_case = False
    for key, value in node.entries:
        if key.text not in NAMES:
            problems.add(
                key.mark, f"{subject.name}: unknown predicate {key.text!r}{suggestion(key.text, NAMES)}"
            )
        elif key.text == "ignore_case":
            ignore_case = _flag(subject, key.text, value, problems)
    asked = [(key, value) for key, value in node.entries if key.text in NAMES and key.text not in _MODIFIERS]
    if len(asked) > 1 and any(key.text == "exists" for key, _ in asked):
        problems.add(node.mark, f"{subject.name}: 'exists' stands alone; every other predicate implies it")
        return None
    if len(asked) < len(node.entries) and any(key.text not in NAMES for key, _ in node.entries):
        return None
    if not asked:
        problems.add(node.mark, f"{subject.name}: 'ignore_case' needs a predicate beside it")
        return None
    return _joined([_one(subject, key.text, value, ignore_case, key.mark, problems) for key, value in asked])


def _joined(parts: list[Predicate | None]) -> Predicate | None:
    """All of them for the same value."""
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    if len(whole) == 1:
        return whole[0]
    tests = [part.test for part in whole if part.test is not None]
    return Predicate(
        test=lambda value: all(test(value) for test in tests),
        says=" and ".join(part.says for part in whole),
        denies="is not one that " + " and ".join(part.says for part in whole),
    )


def _one(
    subject: Subject, name: str, node: Node, ignore_case: bool, mark: Mark, problems: Problems
) -> Predicate | None:
    refusal = _refusal(subject, name)
    if refusal:
        problems.add(mark, f"{subject.name}: {refusal}")
        return None
    try:
        if name == "exists":
            wanted = _flag(subject, name, node, problems)
            return Predicate(test=None, wants_existence=wanted, says="is present", denies="is present")
        if name in ("equals", "in"):
            return _equals(subject, _operands(node, is_list=name == "in"), ignore_case)
        if name == "cidr":
            return _cidr(_operands(node, is_list=isinstance(node, Listing)))
        if name in _ORDER:
            return _ordered(subject, name, _operands(node, is_list=name == "between"))
        return _textual(name, _operands(node, is_list=isinstance(node, Listing)), ignore_case)
    except ValueError as error:
        problems.add(node.mark, f"{subject.name}: {error}")
        return None


def _refusal(subject: Subject, name: str) -> str:
    """Why a predicate makes no sense of this subject, or an empty string."""
    if subject.is_sequence and name != "exists":
        return (
            "this is a sequence; only 'exists' can be asked of it, or what is in its items: Sequence.Element"
        )
    if name == "exists" and not subject.is_element:
        return "'exists' is asked of elements of the data set; this is always known"
    if name == "cidr" and not subject.is_address:
        return "'cidr' is asked of 'peer' only"
    if name in _ORDER and subject.order is None:
        return f"{name!r} compares numbers, dates and times, which this is not"
    if (
        name in _TEXT
        and not subject.is_text
        and (name not in ("equals", "in") or subject.order is kinds.ARRIVAL)
    ):
        return f"{name!r} compares text, which this is not; use lt, le, gt, ge or between"
    return ""


def _operands(node: Node, *, is_list: bool) -> list[Scalar]:
    nodes = node.items if isinstance(node, Listing) else (node,)
    if is_list != isinstance(node, Listing):
        raise ValueError("expected a list of values" if is_list else "expected one value")
    if not nodes:
        raise ValueError("this list is empty, so nothing could match")
    scalars = [item for item in nodes if isinstance(item, Scalar)]
    if len(scalars) < len(nodes):
        raise ValueError("expected plain values")
    if any(scalar.value is None for scalar in scalars):
        raise ValueError(
            'expected a value; write "" for an empty element and {exists: false} for an absent one'
        )
    return scalars


def _flag(subject: Subject, name: str, node: Node, problems: Problems) -> bool:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    problems.add(node.mark, f"{subject.name}: {name!r} must be true or false")
    return False


def _equals(subject: Subject, operands: list[Scalar], ignore_case: bool) -> Predicate:
    texts = [operand.text for operand in operands]
    if subject.uid_type:
        texts = [_uid(text, subject.uid_type) for text in texts]
    if subject.is_address and any("/" in text for text in texts):
        raise ValueError("a network is asked for with {cidr: 10.0.0.0/8}")
    shown = [uid_name(text) for text in texts] if subject.uid_type else texts
    listed = ", ".join(text or '""' for text in shown)
    says = f"is {listed}" if len(texts) == 1 else f"is one of {listed}"
    denies = f"is not {listed}" if len(texts) == 1 else f"is none of {listed}"
    return Predicate(test=_equality(subject, texts, ignore_case), says=says, denies=denies)


def _uid(text: str, uid_type: str) -> str:
    try:
        return uid_of(text, uid_type)
    except ValueError as error:
        raise ValueError(f"{error}{suggestion(text, uid_keywords(uid_type))}") from None


def _equality(subject: Subject, texts: list[str], ignore_case: bool) -> Test:
    """Equal as text, as numbers, or as what the VR makes of both: 2026-01-31 is 20260131."""
    wanted = frozenset(text.casefold() for text in texts) if ignore_case else frozenset(texts)
    order = subject.order if kinds.is_exact(subject.vr) or not subject.is_text else None
    numbers = frozenset(n for n in (_measure(text, order) for text in texts) if n is not None)

    def equals(value: Value) -> bool:
        text = value if isinstance(value, str) else str(value)
        if (text.casefold() if ignore_case else text) in wanted:
            return True
        if not numbers or (order is None and isinstance(value, str)):
            return False
        return _measure(value, order) in numbers

    return equals


def _measure(value: Value, order: kinds.Kind | None) -> float | None:
    if order is None or not isinstance(value, str):
        return kinds.number(value)
    read = order.read(value)
    return read[0] if read else None


def _textual(name: str, operands: list[Scalar], ignore_case: bool) -> Predicate:
    if name == "matches":
        return _any_of(name, [searcher(o.text, ignore_case=ignore_case) for o in operands], operands)
    if name == "glob":
        globs = [searcher(from_glob(o.text), ignore_case=ignore_case) for o in operands]
        return _any_of(name, globs, operands)
    texts = [o.text.casefold() if ignore_case else o.text for o in operands]
    if not all(texts):
        raise ValueError(f"{name!r} with an empty text would match everything")
    return _any_of(name, [_part(name, text, ignore_case) for text in texts], operands)


def _part(name: str, part: str, ignore_case: bool) -> Callable[[str], bool]:
    match name:
        case "contains":
            plain: Callable[[str], bool] = lambda text: part in text  # noqa: E731
        case "starts_with":
            plain = lambda text: text.startswith(part)  # noqa: E731
        case _:
            plain = lambda text: text.endswith(part)  # noqa: E731
    return (lambda text: plain(text.casefold())) if ignore_case else plain


_WORDS = {
    "contains": ("contains", "does not contain"),
    "starts_with": ("starts with", "does not start with"),
    "ends_with": ("ends with", "does not end with"),
    "matches": ("matches", "does not match"),
    "glob": ("is like", "is not like"),
}


def _any_of(name: str, tests: list[Callable[[str], bool]], operands: Iterable[Scalar]) -> Predicate:
    says, denies = _WORDS[name]
    listed = " or ".join(repr(operand.text) for operand in operands)
    first = tests[0]
    if len(tests) == 1:
        return Predicate(
            test=lambda value: first(value if isinstance(value, str) else str(value)),
            says=f"{says} {listed}",
            denies=f"{denies} {listed}",
        )
    return Predicate(
        test=lambda value: any(test(str(value)) for test in tests),
        says=f"{says} {listed}",
        denies=f"{denies} {listed}",
    )


def _ordered(subject: Subject, name: str, operands: list[Scalar]) -> Predicate:
    order = subject.order
    if order is None:
        raise ValueError(f"{name!r} does not apply")
    read = [(operand.text, order.read(operand.text)) for operand in operands]
    for text, result in read:
        if result is None:
            raise ValueError(f"expected {order.expected}, not {text!r}")
    known = [result for _, result in read if result is not None]
    if name == "between":
        return _between(order, known, [text for text, _ in read])
    limit, key = known[0]
    compare: dict[str, Callable[[float], bool]] = {
        "lt": lambda measured: measured < limit,
        "le": lambda measured: measured <= limit,
        "gt": lambda measured: measured > limit,
        "ge": lambda measured: measured >= limit,
    }
    holds = compare[name]

    def test(value: Value) -> bool:
        measured = key(value)
        return measured is not None and holds(measured)

    words = f"{_SYMBOLS[name]} {read[0][0]}"
    return Predicate(test=test, says=f"is {words}", denies=f"is not {words}")


def _between(order: kinds.Kind, known: list[tuple[float, kinds.Key]], texts: list[str]) -> Predicate:
    if len(known) != 2 or known[0][1] is not known[1][1]:
        raise ValueError("'between' takes two values of one kind: [lowest, highest]")
    (low, key), (high, _) = known
    is_night = order.wraps and low > high and key in (kinds.time_of_day, kinds.arrival_time)
    if low > high and not is_night:
        raise ValueError(f"nothing is between {texts[0]} and {texts[1]}: the lower one stands first")

    def test(value: Value) -> bool:
        measured = key(value)
        if measured is None:
            return False
        return measured >= low or measured <= high if is_night else low <= measured <= high

    words = f"between {texts[0]} and {texts[1]}"
    return Predicate(test=test, says=f"is {words}", denies=f"is not {words}")


def _cidr(operands: list[Scalar]) -> Predicate:
    networks = [ipaddress.ip_network(operand.text, strict=False) for operand in operands]

    def test(value: Value) -> bool:
        try:
            address = ipaddress.ip_address(str(value).partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped  # a listener on both families shows IPv4 callers so
        return any(address in network for network in networks)

    listed = " or ".join(operand.text for operand in operands)
    return Predicate(test=test, says=f"is in {listed}", denies=f"is not in {listed}")
