"""Runs tests of rules: by the code that decides and edits when an instance is received and sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct, error as struct_error

from router.config.settings import Settings
from router.dicom.charsets import CHARACTER_SET, UNICODE
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from router.dicom.header import scan
from router.dicom.part10 import read_file_meta
from router.dicom.syntaxes import shown
from router.dicom.tagpath import TagPath
from router.errors import CannotTranscode
from router.model import Decision, Edit, Origin, RuleTrace
from router.rules import UNMATCHED, Facts, RuleSet
from router.rules.cases import SUFFIX, Case, Expected, Given, Texts
from router.rules.editing import TEXT_VRS
from router.transform import edits
from router.transform.elements import DataSet, Element
from router.transform.pseudonyms import TEST_KEY
from router.transform.reading import parse
from router.transform.writing import encode

INFLATE_CAP_BYTES = 256 * 1024 * 1024
CALLING_AE = "TEST"  # who sends, where a test does not say

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_TEST_UID = b"2.25.1"
_NUMBERS = {
    "US": Struct("<H"), "SS": Struct("<h"), "UL": Struct("<I"), "SL": Struct("<i"),
    "UV": Struct("<Q"), "SV": Struct("<q"), "FL": Struct("<f"), "FD": Struct("<d"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one test ended."""

    case: Case
    failures: tuple[str, ...]
    trace: tuple[RuleTrace, ...] = ()  # what each rule said

    @property
    def has_passed(self) -> bool:
        return not self.failures


def tested_by(path: Path, configuration: Path, rule_set: RuleSet) -> RuleSet | None:
    """The rules that a file of tests is about; None where it stands beside nothing that is read."""
    name = path.name.removesuffix(SUFFIX)
    if path.parent.resolve() == configuration.parent.resolve() and name == configuration.stem:
        return rule_set
    own = [rule for rule in rule_set.rules if _beside(Path(rule.place.rsplit(":", 2)[0])) == path.resolve()]
    return replace(rule_set, rules=tuple(own)) if own else None


def found_tests(configuration: Path, rule_set: RuleSet) -> list[Path]:
    """The files of tests beside the configuration and beside what it reads, in the order of the rules."""
    files = [configuration, *(Path(rule.place.rsplit(":", 2)[0]) for rule in rule_set.rules)]
    return [path for path in dict.fromkeys(map(_beside, files)) if path.exists()]


def _beside(file: Path) -> Path:
    return file.resolve().with_name(file.stem + SUFFIX)


def run(case: Case, rule_set: RuleSet, settings: Settings) -> Verdict:
    """Run one test."""
    try:
        content, given = _content(case.given)
    except (OSError, ValueError) as error:
        return Verdict(case=case, failures=(f"given: {getattr(error, 'strerror', None) or error}",))
    origin = Origin(
        calling_ae=given.origin.get("calling_ae", CALLING_AE),
        called_ae=given.origin.get("called_ae", settings.ae_title),
        peer=given.origin.get("peer", "127.0.0.1"),
        listener=given.origin.get("listener", settings.listeners[0].label),
    )
    facts = Facts(
        calling_ae=origin.calling_ae,
        called_ae=origin.called_ae,
        peer=origin.peer,
        listener=origin.listener,
        transfer_syntax=given.transfer_syntax_uid,
        sop_class=given.sop_class_uid,
        size_bytes=len(content) if given.size_bytes is None else given.size_bytes,
        received_at=given.received_at,
        priority=given.priority,
    )
    header = scan(content, given.transfer_syntax_uid, rule_set.asked)
    decision = rule_set.decide(facts, header)
    failures = [
        *_compared(case.expected, decision),
        *_edited(case.expected, decision, content, given, origin),
    ]
    return Verdict(case=case, failures=tuple(failures), trace=decision.trace)


def _content(given: Given) -> tuple[bytes, Given]:
    """The data set, and all that is known of it besides."""
    if given.file is not None:
        meta = read_file_meta(given.file)
        content = given.file.read_bytes()[meta.data_set_offset :]
        return content, replace(
            given,
            transfer_syntax_uid=given.transfer_syntax_uid or meta.transfer_syntax_uid,
            sop_class_uid=given.sop_class_uid or meta.sop_class_uid,
        )
    data_set = data_set_of(given.elements)
    if given.sop_class_uid:
        data_set.put(Element(_SOP_CLASS, "UI", given.sop_class_uid.encode()))
    content = b"".join(map(bytes, encode(data_set, EXPLICIT_VR_LITTLE_ENDIAN)))
    return content, replace(
        given,
        transfer_syntax_uid=given.transfer_syntax_uid or EXPLICIT_VR_LITTLE_ENDIAN,
        sop_class_uid=data_set.text(_SOP_CLASS),
    )


def data_set_of(elements: Sequence[tuple[TagPath, Texts]]) -> DataSet:
    """A data set with these values. Raises ``ValueError`` where one cannot be had from a text."""
    data_set = DataSet()
    if not all(text.isascii() for _, texts in elements for text in texts):
        data_set.put(Element(CHARACTER_SET, "CS", UNICODE.encode()))
    for path, texts in elements:
        here = data_set
        for step in path.steps[:-1]:
            here = _item(here, _tag(here, step.tag, step.creator))
        last = path.steps[-1]
        tag = _tag(here, last.tag, last.creator)
        vr = path.vr.split(" ")[0] or "LO"
        here.put(Element(tag, vr, _encoded(path, vr, texts)))
    return data_set


def _item(data_set: DataSet, tag: int) -> DataSet:
    """The first item of a sequence, made where there is none."""
    sequence = data_set.get(tag)
    if sequence is None or not isinstance(sequence.value, list):
        sequence = Element(tag, "SQ", [DataSet()])
        data_set.put(sequence)
    assert isinstance(sequence.value, list)  # noqa: S101 - it is one by now
    return sequence.value[0]


def _tag(data_set: DataSet, tag: int, creator: str) -> int:
    """The tag itself; of a private element the one in its creator's block, which is reserved for it."""
    if not creator:
        return tag
    group = tag & 0xFFFF0000
    for block in range(0x10, 0x100):
        reserved = data_set.text(group | block)
        if reserved in ("", creator):
            if not reserved:
                data_set.put(Element(group | block, "LO", creator.encode()))
            return group | block << 8 | tag & 0xFF
    raise ValueError("no private block is left")


def _encoded(path: TagPath, vr: str, texts: Texts) -> bytes:
    if vr in TEXT_VRS:
        return "\\".join(texts).encode()
    packing = _NUMBERS.get(vr)
    if packing is None:
        raise ValueError(f"{path} has the VR {vr}: it cannot be given as a text; give a file")
    try:
        return b"".join(packing.pack(float(text) if vr in ("FL", "FD") else int(text)) for text in texts)
    except (ValueError, struct_error):
        raise ValueError(f"{path}: {' '.join(texts)!r} is no value of VR {vr}") from None


# -- comparing -----------------------------------------------------------------------------------------------


def _compared(expected: Expected, decision: Decision) -> list[str]:
    failures: list[str] = []
    matched = {trace.rule for trace in decision.trace if trace.matched} - {UNMATCHED}
    if expected.rules is not None and matched != expected.rules:
        failures.append(_differs("rules", expected.rules, matched))
    if expected.send is not None and set(decision.destinations) != expected.send:
        failures.append(_differs("send", expected.send, set(decision.destinations)))
    if expected.priority not in (None, decision.priority):
        failures.append(f"priority: expected {expected.priority}, got {decision.priority}")
    if expected.hold not in (None, decision.hold):
        failures.append("it is held" if decision.hold else "it is not held")
    forms = {name: form.transfer_syntax_uid for name, form in decision.forms}
    for name, uid in expected.forms.items():
        if forms.get(name) != uid:
            got = shown(forms[name]) if name in forms else "as the destination takes it"
            failures.append(f"transcoded: {name}: expected {shown(uid)}, got {got}")
    return failures


def _differs(what: str, expected: frozenset[str], got: set[str]) -> str:
    def listed(names: Sequence[str]) -> str:
        return ", ".join(names) or "none"

    return f"{what}: expected {listed(sorted(expected))}; got {listed(sorted(got))}"


def _edited(
    expected: Expected, decision: Decision, content: bytes, given: Given, origin: Origin
) -> list[str]:
    failures: list[str] = []
    made = dict(decision.edits)
    for name, elements in expected.edited:
        if name not in decision.destinations:
            failures.append(f"edited: {name}: it is not sent there")
            continue
        try:
            after = _made(content, given, made.get(name, ()), origin)
        except CannotTranscode as error:
            failures.append(f"edited: {name}: {error}")
            continue
        header = scan(after, given.transfer_syntax_uid, frozenset(path for path, _ in elements))
        for path, texts in elements:
            got = tuple(map(str, header.values(path) or ()))
            if got != texts:
                wanted = "\\".join(texts) or "no value"
                failures.append(
                    f"edited: {name}: {path}: expected {wanted}; got {chr(92).join(got) or 'none'}"
                )
    return failures


def _made(content: bytes, given: Given, wanted: Sequence[Edit], origin: Origin) -> bytes:
    data_set = parse(content, given.transfer_syntax_uid, inflate_cap_bytes=INFLATE_CAP_BYTES)
    needs_uid = given.file is None and edits.is_deidentified(wanted)
    if needs_uid and not data_set.text(_SOP_INSTANCE):  # who tests a rule need not think of one
        data_set.put(Element(_SOP_INSTANCE, "UI", _TEST_UID))
    edits.apply(data_set, wanted, origin, key=TEST_KEY)
    return b"".join(map(bytes, encode(data_set, given.transfer_syntax_uid)))
