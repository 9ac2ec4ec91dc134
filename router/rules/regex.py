"""Users' regular expressions, in linear time: the one place that knows google-re2.

Its quirks: no look-around and no back-references (said at load); errors are bytes; it logs to stderr unless
told not to; text with lone surrogates, which no encoding has, is refused by it and here simply never matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import re2

MEMORY_CAP_BYTES = 1 << 20  # for one compiled expression


class _Match(Protocol):
    def group(self, number: int) -> str | None: ...


class _Compiled(Protocol):
    @property
    def groups(self) -> int: ...

    def search(self, text: str) -> object: ...

    def sub(self, replacement: Callable[[_Match], str], text: str) -> str: ...


_GROUP = re.compile(r"\\([1-9\\])")


def searcher(pattern: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a text has the pattern anywhere. Raises ``ValueError`` with a sentence for the user."""
    search = _compiled(pattern, ignore_case=ignore_case).search

    def has(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            return False

    return has


def _compiled(pattern: str, *, ignore_case: bool) -> _Compiled:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = MEMORY_CAP_BYTES
    options.dot_nl = True  # an address or a comment of several lines is one value
    try:
        compiled: _Compiled = re2.compile(pattern, options)
        return compiled
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern!r} is no regular expression: {text}") from None


def from_glob(glob: str) -> str:
    """``CT*`` as a regular expression for the whole text: ``*``, ``?``, ``[abc]``, ``[!a-z]``."""
    parts: list[str] = []
    at = 0
    while at < len(glob):
        sign = glob[at]
        at += 1
        close = glob.find("]", at + 2 if glob[at : at + 1] == "!" else at + 1) if sign == "[" else -1
        if sign == "*":
            parts.append(".*")
        elif sign == "?":
            parts.append(".")
        elif close > 0:
            inner = (
                glob[at:close]
                .replace("\\", "\\\\")
                .replace("[", "\\[")
                .replace("]", "\\]")
                .replace("^", "\\^")
            )
            parts.append(f"[^{inner[1:]}]" if inner[0] == "!" else f"[{inner}]")
            at = close + 1
        else:
            parts.append(re2.escape(sign))
    return rf"\A{''.join(parts)}\z"


def replacer(pattern: str, replacement: str) -> Callable[[str], str]:
    """Puts ``replacement`` in the place of all that ``pattern`` finds; ``\\1`` to ``\\9`` are its groups.

    Raises ``ValueError`` with a sentence for the user.
    """
    compiled = _compiled(pattern, ignore_case=False)
    parts = _GROUP.split(replacement)
    missing = [part for part in parts[1::2] if part != "\\" and int(part) > compiled.groups]
    if missing:
        raise ValueError(f"{pattern!r} has no group {missing[0]}, which {replacement!r} names")

    def expanded(match: _Match) -> str:
        return "".join(
            part if not place % 2 else "\\" if part == "\\" else match.group(int(part)) or ""
            for place, part in enumerate(parts)
        )

    def replace(text: str) -> str:
        try:
            return compiled.sub(expanded, text)
        except UnicodeEncodeError:
            return text

    return replace
