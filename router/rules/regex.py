"""Users' regular expressions, in linear time: the one place that knows google-re2.

Its quirks: no look-around and no back-references (said at load); errors are bytes; it logs to stderr unless
told not to; text with lone surrogates, which no encoding has, is refused by it and here simply never matches.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

MEMORY_CAP_BYTES = 1 << 20  # for one compiled expression


def searcher(pattern: str, *, ignore_case: bool) -> Callable[[str], bool]:
    """Whether a text has the pattern anywhere. Raises ``ValueError`` with a sentence for the user."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    options.max_mem = MEMORY_CAP_BYTES
    options.dot_nl = True  # an address or a comment of several lines is one value
    try:
        search: Callable[[str], object] = re2.compile(pattern, options).search
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern!r} is no regular expression: {text}") from None

    def has(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            return False

    return has


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
