"""How many instances may be sent and not answered yet, over all associations of a destination. Pure.

The limit is shared out: no more associations than that, and a window on each that leaves the others one.
Since an association may send one instance whatever the others do, a new one is opened only when that one
would still be within the limit; and a window that has shrunk meanwhile is waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


class InFlight:
    """The limit of one destination; ``None``: there is none."""

    __slots__ = ("_limit",)

    def __init__(self, limit: int | None) -> None:
        self._limit = limit

    def associations(self, wanted: int) -> int:
        """How many associations are of use."""
        return wanted if self._limit is None else min(wanted, self._limit)

    def may_open(self, sent: Collection[int], in_hand: Iterable[Iterable[int]]) -> bool:
        """Whether one association more could send. ``sent``: unanswered ones; ``in_hand``: what each has."""
        if self._limit is None:
            return True
        return sum(max(1, sum(one in sent for one in hand)) for hand in in_hand) < self._limit

    def window(self, wanted: int, sent: int, associations: int) -> int:
        """How many may be outstanding on one association that has some outstanding already."""
        if self._limit is None:
            return wanted
        if sent >= self._limit:
            return 0
        return min(wanted, max(1, self._limit // max(1, associations)))
