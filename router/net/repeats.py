"""Which log lines of a kind are said: the first, and then one in a while with how many were left out. Pure.

Whoever can make us log something can fill a disk with it; and a thousand lines that say the same hide the one
that does not.
"""

from __future__ import annotations

EVERY_S = 60.0
MOST_KINDS = 1024


class Repeats:
    """Asked before each line."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._said: dict[tuple[str, ...], tuple[float, int]] = {}  # when, and how many were left out since

    def left_out(self, now: float, *kind: str) -> int | None:
        """None: leave this line out. Otherwise say it, and that so many like it were left out before."""
        if kind not in self._said and len(self._said) >= MOST_KINDS:
            self._forget(now)
            if len(self._said) >= MOST_KINDS:
                kind = kind[:1]  # too many peers: by what it is about
        last = self._said.get(kind)
        if last is not None and now - last[0] < self._every_s:
            self._said[kind] = last[0], last[1] + 1
            return None
        self._said[kind] = now, 0
        return last[1] if last is not None else 0

    def _forget(self, now: float) -> None:
        self._said = {kind: last for kind, last in self._said.items() if now - last[0] < self._every_s}
