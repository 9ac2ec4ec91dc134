"""Reads the configuration file and the rules that it names, and tells everything that is wrong with them.

The steps, each of which only adds to one list of problems: parse, bring Orthanc's keys into ours, validate
against ``router.config.settings`` (each of pydantic's complaints is told at the line where it arose), check
what refers to what, and load the rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from router.config import Check, schema
from router.config.access import check_access
from router.config.audit import check_audit, resolve_audit
from router.config.checks import as_written, check_groups, check_homes, check_hours, split_destinations
from router.config.http import check_http
from router.config.orthanc_keys import in_our_keys
from router.config.settings import Destination, Operation, Settings
from router.config.tls import check_tls, resolve_tls
from router.config.web import check_web
from router.config.yaml_nodes import (
    Block,
    Listing,
    Mark,
    Node,
    Problems,
    Scalar,
    parse,
    suggestion,
    to_plain,
    undecodable,
    walk,
)
from router.dicom import tagpath
from router.rules import RuleSet
from router.rules.loading import load_rules

_SETTINGS = TypeAdapter(Settings)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FIELD = re.compile(r"\{([^{}]*)\}")
_RESERVED = frozenset({"hold", "drop"})  # what ``unmatched`` may also say


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """See :func:`router.config.load`."""
    problems = Problems()
    settings = _settings(path, environ, problems)
    problems.raise_any()
    return settings


def load_all(
    path: Path | None, environ: Mapping[str, str], checks: Sequence[Check]
) -> tuple[Settings, RuleSet]:
    """See :func:`router.config.load_all`."""
    problems = Problems()
    settings = _settings(path, environ, problems, checks)
    rule_set = load_rules(
        settings.rules,
        base=_base(path),
        destination_names=settings.destination_names,
        unmatched=settings.unmatched,
        environ=environ,
        problems=problems,
        closed=[
            name for name, modality in settings.modalities.items() if Operation.STORE not in modality.send
        ],
    )
    problems.raise_any()
    return settings, rule_set


def _base(path: Path | None) -> Path:
    # Not resolved: a Kubernetes ConfigMap's file is a symbolic link into a directory of another name.
    return (path.absolute() if path else Path.cwd() / "x").parent


def _settings(
    path: Path | None, environ: Mapping[str, str], problems: Problems, checks: Sequence[Check] = ()
) -> Settings:
    """The settings; where there are problems, as much of them as the rules need to be checked too."""
    if path is None:
        return Settings()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        undecodable(error, str(path), problems)
        return Settings()
    root = parse(text, str(path), environ, problems)
    if root is None:
        return Settings()
    if not isinstance(root, Block):
        problems.add(root.mark, "the configuration must be a mapping of keys to values")
        return Settings()
    tree = _in_our_keys(root, problems)
    try:
        settings = _SETTINGS.validate_python(_plain(tree))
    except ValidationError as error:
        _tell(error, tree, problems)
        return _what_rules_need(tree)
    _check(settings, tree, problems)
    if problems:
        return settings
    settings = _from_base(settings, _base(path))
    for location, message in (found for check in checks for found in check(settings)):
        where = as_written(".".join(map(str, location)))
        problems.add(_place(tree, location), f"{where}: {message}")
    return settings


def _place(tree: Block, location: tuple[object, ...]) -> Mark:
    """Where a value stands; what ``tls`` at the top gives to a block stands there."""
    block, key = walk(tree, location[:-1]), location[-1]
    top = tree.get("tls")
    is_there = isinstance(block, Block) and block.get(str(key)) is not None
    if not is_there and "tls" in location and isinstance(top, Block) and top.get(str(key)) is not None:
        return walk(top, (key,)).mark
    return walk(tree, location).mark


def _in_our_keys(root: Block, problems: Problems) -> Block:
    entries: list[tuple[Scalar, Node]] = []
    for key, value in root.entries:
        if key.text == "modalities" and isinstance(value, Block):
            modalities = tuple((name, in_our_keys(entry, problems)) for name, entry in value.entries)
            entries.append((key, Block(mark=value.mark, entries=modalities)))
        else:
            entries.append((key, value))
    return Block(mark=root.mark, entries=tuple(split_destinations(entries, problems)))


def _plain(tree: Block) -> dict[str, object]:
    """What pydantic sees; the rules stay nodes, so that they too are told by line."""
    plain = {key.text: to_plain(value) for key, value in tree.entries if key.text != "rules"}
    rules = tree.get("rules")
    if rules is not None:
        plain["rules"] = list(rules.items) if isinstance(rules, Listing) else to_plain(rules)
    return plain


def _what_rules_need(tree: Block) -> Settings:
    """Names and rules out of a configuration with problems: its rules' problems are told in the same go."""
    names = [
        inner.keys
        for key in ("modalities", "destinations", "groups")
        if isinstance(inner := tree.get(key), Block)
    ]
    rules = tree.get("rules")
    unmatched = tree.get("unmatched")
    return Settings(
        destinations={name: Destination(folder=".") for group in names for name in group},
        rules=rules.items if isinstance(rules, Listing) else (),
        unmatched=unmatched.text if isinstance(unmatched, Scalar) else "hold",
    )


def _tell(error: ValidationError, tree: Block, problems: Problems) -> None:
    """pydantic's complaints, each at its line and in our words."""
    details = error.errors(include_url=False)
    locations = [detail["loc"] for detail in details]
    told = [
        _problem(detail, tree)
        for detail in details
        if not (detail["type"] == "too_short" and any(_is_inside(loc, detail["loc"]) for loc in locations))
        and not (detail["type"] == "missing" and _has_later_key(detail["loc"][:-1], tree))
    ]
    for mark, message in [(mark, message) for mark, message in told if not problems.stands_at(mark)]:
        problems.add(mark, message)


def _problem(detail: ErrorDetails, tree: Block) -> tuple[Mark, str]:
    location = detail["loc"]
    where = as_written(".".join(str(part) for part in location))
    parent = walk(tree, location[:-1])
    key = parent.key(str(location[-1])) if isinstance(parent, Block) and location else None
    match detail["type"]:
        case "unexpected_keyword_argument":
            name = str(location[-1])
            mark = key.mark if key else parent.mark
            if schema.is_later(location[:-1], name):
                return mark, f"{where}: not supported yet by this version"
            return mark, f"{where}: unknown key{suggestion(name, schema.keys_at(location[:-1]))}"
        case "missing":
            return parent.mark, f"{where}: this key is missing"
        case "dataclass_type" | "dict_type":
            message = "expected a mapping of keys to values"
        case "tuple_type" | "list_type":
            message = "expected a list"
        case "int_type" | "int_parsing" | "int_from_float":
            message = "expected a whole number"
        case "string_type":
            message = "expected text (put it in quotes if it looks like a number)"
        case "enum":
            message = f"expected {detail.get('ctx', {}).get('expected', 'another value')}"
            given = detail.get("input")
            if isinstance(given, str):
                message += suggestion(given, re.findall(r"'(\w+)'", message))
        case "string_pattern_mismatch" if location[-1] == "log_level":
            message = "expected debug, info, warning or error"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
            message = message[:1].lower() + message[1:]
    return walk(tree, location).mark, f"{where}: {message}"


def _is_inside(location: Sequence[object], outer: Sequence[object]) -> bool:
    return len(location) > len(outer) and tuple(location[: len(outer)]) == tuple(outer)


def _has_later_key(location: Sequence[object], tree: Block) -> bool:
    node = walk(tree, location)
    return isinstance(node, Block) and any(schema.is_later(location, key) for key in node.keys)


def _check(settings: Settings, tree: Block, problems: Problems) -> None:
    """What pydantic cannot see: names, and what refers to them."""
    for part in ("modalities", "destinations", "groups"):
        section = "modalities" if part == "modalities" else "destinations"
        block = tree.get(part)
        for key, _ in block.entries if isinstance(block, Block) else ():
            if not _NAME.fullmatch(key.text):
                problems.add(
                    key.mark, f"{section}.{key.text}: a name is of letters, digits, - _ . (64 at most)"
                )
            elif key.text in _RESERVED:
                problems.add(
                    key.mark, f"{section}.{key.text}: this name has a meaning of its own in 'unmatched'"
                )
            elif section == "destinations" and key.text in settings.modalities:
                problems.add(key.mark, f"{section}.{key.text}: a modality has this name already")
    check_groups(settings, tree, problems)
    check_hours(settings, tree, problems)
    check_homes(settings, tree, problems)
    check_tls(settings, tree, problems)
    check_http(settings, tree, problems)
    check_audit(settings, tree, problems)
    check_access(settings, tree, problems)
    check_web(settings, tree, problems)
    for name, destination in settings.destinations.items():
        mark = walk(tree, ("destinations", name, "folder")).mark
        for keyword in _FIELD.findall(destination.folder or ""):
            try:
                tagpath.parse(keyword)
            except ValueError as error:
                problems.add(mark, f"destinations.{name}.folder: {error}")
    names = settings.destination_names
    if settings.unmatched not in (*_RESERVED, *names):
        hint = suggestion(settings.unmatched, (*_RESERVED, *names))
        mark = walk(tree, ("unmatched",)).mark
        problems.add(
            mark, f"unmatched: {settings.unmatched!r} is neither hold nor drop nor a destination{hint}"
        )
    named = settings.modalities.get(settings.unmatched)
    if named is not None and Operation.STORE not in named.send:
        mark = walk(tree, ("unmatched",)).mark
        problems.add(mark, f"unmatched: {settings.unmatched!r} may not be sent to: its 'send' lacks store")
    labels: set[str] = set()
    for place, listener in enumerate(settings.listeners):
        if listener.label in labels and listener.label != "0":
            mark = walk(tree, ("listeners", place)).mark
            problems.add(mark, f"listeners.{place}: another listener is called {listener.label!r} already")
        labels.add(listener.label)


def _from_base(settings: Settings, base: Path) -> Settings:
    """Relative paths are meant from the file's own directory."""
    settings = resolve_tls(settings, base)
    destinations = {
        name: replace(destination, folder=_absolute(destination.folder, base))
        if destination.folder is not None
        else destination
        for name, destination in settings.destinations.items()
    }
    return replace(
        settings,
        data_dir=Path(_absolute(str(settings.data_dir), base)),
        destinations=destinations,
        audit=resolve_audit(settings.audit, settings.tls, base),
    )


def _absolute(path: str, base: Path) -> str:
    return os.path.normpath(base / Path(path).expanduser())
