"""Reads rules from files, globs and the configuration itself, and compiles them.

Everything that is wrong in all of them is collected before anything is raised. Keys that design.md gives to
later versions are refused by name: an edit that is silently not made would be worse than a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path

from router.config.forms import parse_form
from router.config.scalars import no_home
from router.config.yaml_nodes import (
    Block,
    Listing,
    Mark,
    Node,
    Problems,
    Scalar,
    from_plain,
    parse,
    suggestion,
    to_plain,
    undecodable,
)
from router.dicom.tagpath import TagPath
from router.model import Edit, Form, Priority
from router.rules.conditions import Check, compile_block
from router.rules.editing import compile_edits
from router.rules.ruleset import UNMATCHED, Rule, RuleSet

_KEYS = ("rule", "when", "unless", "send", "edit", "transcode", "priority", "stop")
_LATER = frozenset({"after"})
_TESTS = ".test.yaml"  # stand beside rules and are none


def load(
    entries: Sequence[object],
    base: Path,
    destination_names: Collection[str],
    environ: Mapping[str, str],
    *,
    unmatched: str,
) -> RuleSet:
    """Load and compile. ``entries`` is :attr:`Settings.rules`; relative paths are meant from ``base``.

    Raises ``ConfigurationError`` with every problem as ``file:line:column: message``.
    """
    problems = Problems()
    rule_set = load_rules(
        entries,
        base=base,
        destination_names=destination_names,
        unmatched=unmatched,
        environ=environ,
        problems=problems,
    )
    problems.raise_any()
    return rule_set


def load_rules(
    entries: Sequence[object],
    *,
    base: Path,
    destination_names: Collection[str],
    unmatched: str,
    environ: Mapping[str, str],
    problems: Problems,
    closed: Collection[str] = (),
) -> RuleSet:
    """As :func:`load`, with the problems added to a list that others add to as well.

    ``closed`` are destinations that exist and must not be sent to: their ``send`` lacks store.
    """
    loader = _Loader(base, destination_names, closed, environ, problems)
    for entry in entries:
        loader.entry(from_plain(entry, Mark(file="configuration")))
    return RuleSet(rules=tuple(loader.rules), asked=frozenset(loader.paths), unmatched=unmatched)


class _Loader:
    """One loading of everything."""

    def __init__(
        self,
        base: Path,
        destination_names: Collection[str],
        closed: Collection[str],
        environ: Mapping[str, str],
        problems: Problems,
    ) -> None:
        self._base = base
        self._names = destination_names
        self._closed = closed
        self._environ = environ
        self._problems = problems
        self._files: set[Path] = set()
        self._places: dict[str, Mark] = {}
        self.rules: list[Rule] = []
        self.paths: set[TagPath] = set()

    def entry(self, node: Node) -> None:
        """One entry of the configuration's ``rules``: a path, a glob or a rule."""
        if isinstance(node, Block):
            self._rule(node)
        elif isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            try:
                pattern = self._base / Path(node.text).expanduser()
            except RuntimeError:
                self._problems.add(node.mark, f"rules: {no_home(node.text)}")
                return
            for path in self._matching(node, pattern):
                self._file(path, node.mark)
        else:
            self._problems.add(node.mark, "rules: expected a path, a glob or a rule")

    def _matching(self, node: Scalar, pattern: Path) -> list[Path]:
        if not has_magic(node.text):
            return [pattern]
        found = sorted(glob(str(pattern), recursive=True))
        rules = [Path(name) for name in found if not name.endswith(_TESTS)]
        if not rules:
            self._problems.add(node.mark, f"rules: no file is like {node.text}")
        return rules

    def _file(self, path: Path, mark: Mark) -> None:
        if path in self._files:
            return  # named, and met by a glob as well: read where it stood first
        self._files.add(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            undecodable(error, _shown(path), self._problems)
            return
        except OSError as error:
            self._problems.add(mark, f"rules: {_shown(path)}: {error.strerror or error}")
            return
        root = parse(text, _shown(path), self._environ, self._problems)
        if root is None:
            return
        if not isinstance(root, Listing):
            self._problems.add(root.mark, "a file of rules is a list: each begins with '- rule: NAME'")
            return
        for node in root.items:
            if isinstance(node, Block):
                self._rule(node)
            else:
                self._problems.add(node.mark, "expected a rule: '- rule: NAME' and what belongs to it")

    def _rule(self, block: Block) -> None:
        for key, _ in block.entries:
            if key.text in _LATER:
                self._problems.add(key.mark, f"{key.text!r} is not supported yet by this version")
            elif key.text not in _KEYS:
                self._problems.add(key.mark, f"unknown key {key.text!r}{suggestion(key.text, _KEYS)}")
        name = self._name(block)
        when, unless = self._check(block, "when"), self._check(block, "unless")
        send, stop = self._send(block), self._stop(block)
        if block.get("send") is None and not stop:
            self._problems.add(
                block.mark, f"rule {name!r} does nothing: it has neither 'send' nor 'stop: true'"
            )
        rule = Rule(
            name=name,
            when=when,
            unless=unless,
            send=send,
            priority=self._priority(block),
            stop=stop,
            transcode=self._transcode(block),
            place=str(block.mark),
            edits=self._edits(block),
        )
        self.rules.append(rule)

    def _name(self, block: Block) -> str:
        node = block.get("rule")
        if node is None:
            self._problems.add(
                block.mark, f"a rule needs a name: 'rule: NAME'{suggestion('rule', block.keys)}"
            )
            return ""
        name = node.text.strip() if isinstance(node, Scalar) else ""
        if not name or len(name) > 64 or not name.isprintable():
            self._problems.add(node.mark, "a rule's name is a text of 1 to 64 characters")
        elif name == UNMATCHED:
            self._problems.add(node.mark, f"{UNMATCHED!r} is what the trace calls it when no rule matches")
        elif name in self._places:
            self._problems.add(node.mark, f"another rule is called {name!r} already: {self._places[name]}")
        else:
            self._places[name] = node.mark
        return name

    def _check(self, block: Block, key: str) -> Check | None:
        node = block.get(key)
        return None if node is None else compile_block(node, self.paths, self._problems)

    def _send(self, block: Block) -> tuple[str, ...]:
        node = block.get("send")
        if node is None:
            return ()
        nodes = node.items if isinstance(node, Listing) else (node,)
        if not nodes:
            self._problems.add(node.mark, "'send' names no destination; for a rule that drops, leave it out")
        names: dict[str, None] = {}
        for item in nodes:
            if not isinstance(item, Scalar) or not item.text:
                self._problems.add(item.mark, "'send' takes a destination's name, or a list of them")
            elif item.text not in self._names:
                hint = suggestion(item.text, self._names)
                self._problems.add(item.mark, f"unknown destination {item.text!r}{hint}")
            elif item.text in self._closed:
                self._problems.add(item.mark, f"{item.text!r} may not be sent to: its 'send' lacks store")
            else:
                names[item.text] = None
        return tuple(names)

    def _priority(self, block: Block) -> Priority | None:
        node = block.get("priority")
        if node is None:
            return None
        text = node.text if isinstance(node, Scalar) else ""
        try:
            return Priority(text)
        except ValueError:
            hint = suggestion(text, [priority.value for priority in Priority])
            self._problems.add(node.mark, f"'priority' is high, normal or low{hint}")
            return None

    def _transcode(self, block: Block) -> Form | None:
        node = block.get("transcode")
        if node is None:
            return None
        try:
            return parse_form(to_plain(node))
        except ValueError as error:
            self._problems.add(node.mark, f"'transcode': {error}")
            return None

    def _edits(self, block: Block) -> tuple[Edit, ...]:
        node = block.get("edit")
        if node is None:
            return ()
        if block.get("send") is None:
            self._problems.add(node.mark, "'edit' changes what a rule sends, and this one has no 'send'")
        return compile_edits(node, self._problems)

    def _stop(self, block: Block) -> bool:
        node = block.get("stop")
        if node is None or (isinstance(node, Scalar) and isinstance(node.value, bool)):
            return node is not None and node.text in ("true", "True", "TRUE")
        self._problems.add(node.mark, "'stop' is true or false")
        return False


def _shown(path: Path) -> str:
    """A path as an editor understands it, from here where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
