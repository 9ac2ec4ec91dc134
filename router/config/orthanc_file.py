"""Orthanc's configuration files as they lie: JSON with comments, in one file or in a folder of them.

References to the environment stay what they are, as ours are written the same way; outside of strings, where
Orthanc allows them too, they become strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from router.errors import ConfigurationError

Json = bool | int | float | str | None | list["Json"] | dict[str, "Json"]

# Strings are matched so that nothing inside of them is taken for the other two.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|/\*.*?\*/|\$\{[^}\n]*\}', re.DOTALL)
_REFERENCE = re.compile(r"\$\{[^}]*\}")


def read(path: Path) -> dict[str, Json]:
    """Every key of the file, or of the ``*.json`` files of the folder.

    Raises ``ConfigurationError`` with ``file:line:column: message``, ``OSError`` where one cannot be read.
    """
    if not path.is_dir():
        return _read_one(path)
    merged: dict[str, Json] = {}
    where: dict[str, Path] = {}
    files = sorted(path.glob("*.json"))
    if not files:
        raise ConfigurationError([f"{path}: there is no *.json file in it"])
    for file in files:
        for key, value in _read_one(file).items():
            if key in merged:
                raise ConfigurationError([f"{file}: {key} stands in {where[key]} as well"])
            merged[key], where[key] = value, file
    return merged


def is_reference(value: Json) -> bool:
    """Whether it names something of the environment."""
    return isinstance(value, str) and _REFERENCE.search(value) is not None


def _read_one(path: Path) -> dict[str, Json]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{path}: not UTF-8 from byte {error.start} on"]) from None
    try:
        found = json.loads(_TOKEN.sub(_cleaned, text), object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ConfigurationError([f"{path}:{error.lineno}:{error.colno}: {error.msg}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from None
    if not isinstance(found, dict):
        raise ConfigurationError([f"{path}: not a mapping of keys to values, as Orthanc's configuration is"])
    return found


def _cleaned(match: re.Match[str]) -> str:
    token = match[0]
    if token.startswith('"'):
        return token
    if token.startswith("$"):
        return json.dumps(token)
    return re.sub(r"[^\n]", " ", token)  # lines and columns stay what they are


def _once(pairs: list[tuple[str, Json]]) -> Mapping[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} stands there twice")
    return found
