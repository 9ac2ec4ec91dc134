"""YAML 1.2 core scalars, places, duplicate keys and the environment."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from router.config.yaml_nodes import (
    Block,
    Listing,
    Mark,
    Node,
    Problems,
    Scalar,
    parse,
    plain_value,
    to_plain,
    walk,
)


def read(text: str, **environ: str) -> tuple[Node | None, list[str]]:
    problems = Problems()
    return parse(text, "f.yaml", environ, problems), problems.lines


def plain(text: str, **environ: str) -> object:
    node, problems = read(text, **environ)
    assert not problems
    assert node is not None
    return to_plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0104", "0104"),  # PyYAML's own schema: 68
        ("-007", "-007"),
        ("104", 104),
        ("+5", 5),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),  # PyYAML's own schema: 90
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.2.840", "1.2.840"),
        ("2026-01-31", "2026-01-31"),
        ("9" * 30, "9" * 30),
        ("-.inf", -math.inf),
        ("CT", "CT"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


def test_quoted_is_text_and_the_written_form_is_kept() -> None:
    node, _ = read("a: '104'\nb: 1.10")
    assert isinstance(node, Block)
    quoted, number = node.get("a"), node.get("b")
    assert isinstance(quoted, Scalar) and isinstance(number, Scalar)
    assert quoted.value == "104"
    assert (number.value, number.text) == (1.1, "1.10")


def test_places_count_from_one() -> None:
    node, _ = read("a:\n  - x\n  - {b: 1}\n")
    assert node is not None
    assert str(walk(node, ("a", 1, "b")).mark) == "f.yaml:3:9"
    assert isinstance(walk(node, ("a",)), Listing)
    assert str(walk(node, ("a", 7, "b")).mark) == "f.yaml:2:3", "the deepest that is there"


def test_a_key_twice_is_an_error() -> None:
    _, problems = read("a: 1\nb: 2\na: 3")
    assert problems == ["f.yaml:3:1: key 'a' stands here a second time (first in line 1)"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1", "this is not YAML"),
        ("a: b: c", "this is not YAML"),
        ("a: \x00", "this is not YAML"),
        ("a: 1\n---\nb: 2", "this is not YAML"),
        ("a: *nowhere", "this is not YAML"),
        ("? [a]\n: 1", "a key must be a plain name"),
        ("a: !!python/object:os.system x", "mean nothing here"),
        ("a: !!int 3", "!!int mean nothing here"),
        ("- &a [*a]", "leads back to itself"),
        ("[" * 5000, "this is n"),
        ("a: " + "[" * 400 + "]" * 400, "this is nested too deeply"),  # was a RecursionError
        ('a: "x\\0y"', "this has a NUL character in it"),
    ],
)
def test_what_cannot_be_meant(text: str, sentence: str) -> None:
    _, problems = read(text)
    assert len(problems) == 1 and sentence in problems[0]
    assert problems[0].startswith("f.yaml")


@pytest.mark.parametrize(("text", "place"), [("a: \x00", "1:4"), ("a: b\nä: \x07", "2:4"), ("\x00", "1:1")])
def test_character_that_no_yaml_has_is_told_at_its_place(text: str, place: str) -> None:
    _, problems = read(text)
    assert len(problems) == 1 and problems[0].startswith(f"f.yaml:{place}: this is not YAML: ")


def test_aliases_of_aliases_end() -> None:
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(ord(c) + 1)}: &{chr(ord(c) + 1)} [{','.join(['*' + c] * 10)}]\n" for c in "abcdefgh"
    )
    _, problems = read(laughs)
    assert any("too many values" in line for line in problems)


def test_environment() -> None:
    assert plain("a: ${X}", X="5") == {"a": 5}
    assert plain("a: '${X}'", X="5") == {"a": "5"}
    assert plain("a: ${X:-7}") == {"a": 7}
    assert plain("a: ${X:-7}", X="") == {"a": 7}
    assert plain("a: ${X}", X="") == {"a": None}
    assert plain("a: http://${H:-localhost}:${P}/", P="80") == {"a": "http://localhost:80/"}
    assert plain("a: $${X}") == {"a": "${X}"}
    assert plain("a: ^x$") == {"a": "^x$"}
    assert plain("${X}: 1") == {"${X}": 1}, "not in keys"


def test_environment_values_are_values_not_yaml() -> None:
    assert plain("a: ${X}", X="[1, 2]\nb: 3") == {"a": "[1, 2]\nb: 3"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: ${X}", "environment variable X is not set, and there is no default"),
        ("a: ${1X}", "'${1X}' is no variable"),
        ("a: ${}", "'${}' is no variable"),
        ("a: ${X", "'${X' is no variable"),
        ("a: ${X-5}", "'${X-5}' is no variable"),
    ],
)
def test_environment_problems_have_a_place(text: str, sentence: str) -> None:
    _, problems = read("\n" + text)
    assert len(problems) == 1
    assert problems[0].startswith("f.yaml:2:4: ") and sentence in problems[0]


def test_nothing_in_a_file() -> None:
    assert read("")[0] is None
    assert read("# only words")[0] is None


def read_at(directory: Path, text: str, **environ: str) -> tuple[object, Problems]:
    problems = Problems()
    node = parse(text, str(directory / "f.yaml"), environ, problems)
    return None if node is None else to_plain(node), problems


def test_a_value_from_a_file_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("0123456\n")
    (tmp_path / "crlf").write_bytes(b"\xef\xbb\xbfx y \r\n")
    text = "a: ${file:secret}\nb: 'p-${file:crlf}'\nc: ${file:" + str(tmp_path / "secret") + "}"
    found, problems = read_at(tmp_path, text)
    assert problems.lines == []
    assert found == {"a": "0123456", "b": "p-x y ", "c": "0123456"}
    assert plain("a: ${file:-7}") == {"a": 7}, "a variable that is called file"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff", "not UTF-8"),
        (b"x" * 70000, "too long"),
    ],
)
def test_a_file_that_gives_nothing_has_a_place(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    _, problems = read_at(tmp_path, "\na: ${file:secret}")
    (line,) = problems.lines
    assert line.startswith(f"{tmp_path}/f.yaml:2:4: {tmp_path}/secret: ") and sentence in line


def test_no_message_shows_what_was_filled_in(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a \\ swordfish\n")
    _, problems = read_at(tmp_path, "a: ${file:s}\nb: ${SHORT}\nc: ${SHORT:-fallback}", SHORT="cod")
    here, there, elsewhere = (Mark(file=f"{tmp_path}/f.yaml", line=n, column=4) for n in (1, 2, 3))
    problems.add(here, f"{'a ' + chr(92) + ' swordfish'!r} is wrong")
    problems.add(here, "this too: a \\ swordfish")
    problems.add(there, "unknown 'cod'")
    problems.add(elsewhere, "b is a \\ swordfish, c is a cod")
    assert not any("swordfish" in line for line in problems.lines)
    assert problems.lines[2:] == [
        f"{there}: unknown '${{SHORT}}'",
        f"{elsewhere}: b is ${{file:s}}, c is a ${{SHORT}}",
    ]
