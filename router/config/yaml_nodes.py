"""YAML as a tree that knows where each value stands, so that every complaint can say ``file:line:column``.

PyYAML only parses; what a scalar means is decided here, by YAML 1.2's core schema and nothing else: ``NO``
and ``on`` are strings, ``1:30`` is a string, and so is ``0104``, which PyYAML's own schema makes 68. A key
twice in one mapping is an error. ``${NAME}`` and ``${NAME:-default}`` are filled from the environment in
values, never in keys (``$${`` stands for ``${``), and ``${file:PATH}`` from a file, which is always text.

What was filled in may be a secret, and no message of a problem shows it: it shows the reference instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml
from yaml.reader import ReaderError

from router.config.scalars import no_home
from router.errors import ConfigurationError

NODE_CAP = 100_000  # a thousand modalities have some 20,000; aliases of aliases can mean billions
NESTING_CAP = 64  # rules nest a dozen deep at most, and all that reads them calls itself for each level
FILE_CAP_BYTES = 64 * 1024  # a secret is short; a path that names something else is a mistake
HIDDEN_FROM = 6  # characters from which a value is hidden at every place; a shorter one is a word like others

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")  # the core schema also has 0104 = 104; a string loses nothing
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FILE = re.compile(r"\$\{file:(?!-)([^}]*)\}")  # ``${file:-x}`` is a variable that is called file
_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"})
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml where it was built in: ten times faster

Plain = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place in a file; line and column from 1. Line 0: the value was not written in a file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value. ``text`` is how it was written: for DICOM ``1.10`` is not 1.1."""

    mark: Mark
    text: str
    value: Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A sequence."""

    mark: Mark
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A mapping. Keys are as written, always strings."""

    mark: Mark
    entries: tuple[tuple[Scalar, Node], ...]

    def get(self, key: str) -> Node | None:
        return next((value for name, value in self.entries if name.text == key), None)

    def key(self, key: str) -> Scalar | None:
        return next((name for name, _ in self.entries if name.text == key), None)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(name.text for name, _ in self.entries)


Node = Scalar | Listing | Block


@dataclass(slots=True)
class Problems:
    """Everything that is wrong, collected, to be told at once."""

    _found: dict[tuple[Mark, str], None] = field(default_factory=dict)
    _filled: dict[tuple[Mark, str], str] = field(default_factory=dict)  # what stood there → its reference

    def add(self, mark: Mark, message: str) -> None:
        self._found[mark, message] = None

    def filled(self, mark: Mark, value: str, reference: str) -> None:
        """What a reference became at a place; no message shows it from now on, nor did one before."""
        if value:
            self._filled[mark, value] = reference

    @property
    def lines(self) -> list[str]:
        """``file:line:column: message``: file by file as they were met, each from its top."""
        files = list(dict.fromkeys(mark.file for mark, _ in self._found))
        found = sorted(self._found, key=lambda one: (files.index(one[0].file), one[0].line, one[0].column))
        return [f"{mark}: {self._bland(mark, message)}" for mark, message in found]

    def _bland(self, at: Mark, message: str) -> str:
        longest_first = sorted(self._filled.items(), key=lambda one: -len(one[0][1]))
        for (mark, value), reference in longest_first:
            if mark == at or len(value) >= HIDDEN_FROM:
                for shown in (value, value.strip(), repr(value)[1:-1]):
                    message = message.replace(shown, reference) if shown else message
        return message

    def __bool__(self) -> bool:
        return bool(self._found)

    def stands_at(self, mark: Mark) -> bool:
        """Whether something is wrong at this place already; what follows from it need not be told."""
        return any(mark == known for known, _ in self._found)

    def raise_any(self) -> None:
        """Raise ``ConfigurationError`` if there is a problem."""
        if self._found:
            raise ConfigurationError(self.lines)


def parse(text: str, file: str, environ: Mapping[str, str], problems: Problems) -> Node | None:
    """The tree of one document; None where there is nothing in it or nothing to be made of it."""
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = _mark(file, error.problem_mark or error.context_mark)
        problems.add(mark, f"this is not YAML: {error.problem or error.context}")
        return None
    except ReaderError as error:  # a character that YAML does not allow
        mark = _behind(file, text.encode()[: error.position])
        problems.add(mark, f"this is not YAML: {str(error).splitlines()[0]}")
        return None
    except RecursionError:
        problems.add(Mark(file=file), "this is nested too deeply")
        return None
    if root is None:
        return None
    return _Converter(file, environ, problems).node(root)


def undecodable(error: UnicodeDecodeError, file: str, problems: Problems) -> None:
    """Tell of a file that is no UTF-8, at the first byte that is not."""
    problems.add(_behind(file, error.object[: error.start]), "this is not YAML: it is not UTF-8 text")


def _behind(file: str, before: bytes) -> Mark:
    """The place behind these bytes of a file."""
    last_line = before[before.rfind(b"\n") + 1 :]
    return Mark(file=file, line=before.count(b"\n") + 1, column=len(last_line.decode(errors="replace")) + 1)


def from_plain(value: object, mark: Mark) -> Node:
    """A tree from plain Python values, for what was not written in a file."""
    if isinstance(value, Scalar | Listing | Block):
        return value
    if isinstance(value, Mapping):
        return Block(
            mark=mark,
            entries=tuple(
                (Scalar(mark=mark, text=str(key), value=str(key)), from_plain(inner, mark))
                for key, inner in value.items()
            ),
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Listing(mark=mark, items=tuple(from_plain(item, mark) for item in value))
    if value is None or isinstance(value, str | int | float):
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return Scalar(mark=mark, text=text, value=value)
    raise TypeError(f"no configuration value: {type(value).__name__}")


def to_plain(node: Node) -> object:
    """Plain Python values, as pydantic wants them."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [to_plain(item) for item in node.items]
    return {name.text: to_plain(value) for name, value in node.entries}


def walk(node: Node, location: Iterable[object]) -> Node:
    """The deepest node along a path of keys and positions."""
    for part in location:
        inner: Node | None = None
        if isinstance(node, Block) and isinstance(part, str):
            inner = node.get(part)
        elif isinstance(node, Listing) and isinstance(part, int) and part < len(node.items):
            inner = node.items[part]
        if inner is None:
            return node
        node = inner
    return node


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'port'?`` or nothing."""
    names = list(known)
    folded = [name for name in names if name.casefold() == word.casefold()]
    near = folded or get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _mark(file: str, mark: yaml.error.Mark | None) -> Mark:
    return Mark(file=file, line=mark.line + 1, column=mark.column + 1) if mark else Mark(file=file)


class _Converter:
    """Makes our tree of PyYAML's, once for each document."""

    def __init__(self, file: str, environ: Mapping[str, str], problems: Problems) -> None:
        self._file = file
        self._environ = environ
        self._problems = problems
        self._open: set[int] = set()
        self._left = NODE_CAP

    def node(self, node: yaml.Node) -> Node:
        mark = _mark(self._file, node.start_mark)
        self._left -= 1
        if id(node) in self._open or self._left < 0:
            self._problems.add(
                mark, "an alias leads back to itself" if self._left >= 0 else "too many values"
            )
            return Scalar(mark=mark, text="", value=None)
        if len(self._open) >= NESTING_CAP:
            self._problems.add(mark, "this is nested too deeply")
            return Scalar(mark=mark, text="", value=None)
        if node.tag not in _PLAIN_TAGS:
            self._problems.add(
                mark, f"YAML tags such as {node.tag.replace('tag:yaml.org,2002:', '!!')} mean nothing here"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, mark)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Listing(mark=mark, items=tuple(self.node(item) for item in node.value))
            return Block(mark=mark, entries=tuple(self._entries(node.value)))
        finally:
            self._open.discard(id(node))

    def _entries(self, pairs: list[tuple[yaml.Node, yaml.Node]]) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, int] = {}
        for key, value in pairs:
            mark = _mark(self._file, key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add(mark, "a key must be a plain name")
            elif key.value in seen:
                self._problems.add(
                    mark, f"key {key.value!r} stands here a second time (first in line {seen[key.value]})"
                )
            else:
                seen[key.value] = mark.line
                yield Scalar(mark=mark, text=key.value, value=key.value), self.node(value)

    def _scalar(self, node: yaml.ScalarNode, mark: Mark) -> Scalar:
        text: str = node.value
        is_text = bool(node.style) or _FILE.search(text) is not None
        if "${" in text and "\0" not in text:
            text = _VARIABLE.sub(lambda match: self._variable(match, mark), text)
        if "\0" in text:  # no path, name or expression can have one
            self._problems.add(mark, "this has a NUL character in it")
            return Scalar(mark=mark, text="", value=None)
        return Scalar(mark=mark, text=text, value=text if is_text else plain_value(text))

    def _variable(self, match: re.Match[str], mark: Mark) -> str:
        if match[0] == "$${":
            return "${"
        if named := _FILE.fullmatch(match[0]):
            value = self._content(named[1], mark)
            self._problems.filled(mark, value, match[0])
            return value
        body = _VARIABLE_BODY.fullmatch(match[1]) if match[0].endswith("}") else None
        if body is None:
            self._problems.add(
                mark, f"{match[0]!r} is no variable: write ${{NAME}}, ${{NAME:-default}} or ${{file:PATH}}"
            )
            return ""
        value = self._environ.get(body[1], "")
        self._problems.filled(mark, value, f"${{{body[1]}}}")
        if body[2] is not None:
            return value or body[2]
        if body[1] not in self._environ:
            self._problems.add(mark, f"environment variable {body[1]} is not set, and there is no default")
        return value

    def _content(self, name: str, mark: Mark) -> str:
        """What a file holds, without the end of its last line; relative to the file that names it."""
        path = Path(self._file).parent / name
        try:
            path = Path(self._file).parent / Path(name).expanduser()
            with path.open("rb") as file:
                content = file.read(FILE_CAP_BYTES + 1)
            text = content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self._problems.add(mark, f"{path}: {error.strerror or error}")
            return ""
        except RuntimeError:
            self._problems.add(mark, no_home(name))
            return ""
        except UnicodeDecodeError:
            self._problems.add(mark, f"{path}: it is not UTF-8 text")
            return ""
        if not text or len(content) > FILE_CAP_BYTES:
            self._problems.add(mark, f"{path}: it is {'too long' if text else 'empty'}")
            return ""
        return text


def plain_value(text: str) -> Plain:
    """What an unquoted scalar means in YAML 1.2's core schema."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text) if len(text) < 20 else text
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float("nan" if special[3] else special[1] + "inf")
    return text
