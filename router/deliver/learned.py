"""Which presentation contexts a destination takes, as its answers have shown. Pure; in memory only.

What was refused is not proposed again until the memory of it expires, so that an association's 128 contexts
serve what can be sent, and a delivery that needs a refused one is not kept waiting. Instants are monotonic.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from router.plan import MAX_CONTEXTS, Pair, choose_pairs

REFUSED_S = 900.0  # somebody may have configured the destination meanwhile
REMEMBERED = 1024  # pairs, a dozen for each SOP class; the oldest go first


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedContext:
    """What is known of one pair. ``expires_in_s`` is None where it does not expire: it was accepted."""

    sop_class_uid: str
    transfer_syntax_uid: str
    accepted: bool
    expires_in_s: float | None


class Learned:
    """The memory of one destination."""

    def __init__(self) -> None:
        self._accepted: dict[Pair, None] = {}  # the latest last
        self._refused: dict[Pair, float] = {}  # until when; the latest last

    def choose(self, waiting: Iterable[Sequence[Pair]], now: float) -> tuple[Pair, ...]:
        """What a new association should propose: what waits, then what was accepted lately.

        ``waiting``: for each instance its pairs, the most wanted first. As long as it is not known that the
        first is accepted, the others are asked for as well, so that one association finds it all out.
        """
        return choose_pairs(
            (self._to_ask(ladder, now) for ladder in dict.fromkeys(map(tuple, waiting))),
            reversed(self._accepted),
        )

    def _to_ask(self, ladder: Sequence[Pair], now: float) -> Sequence[Pair]:
        if ladder and ladder[0] in self._accepted:
            return ladder[:1]
        return [pair for pair in ladder if not self.is_refused(pair, now)]

    def learn(self, proposed: Iterable[Pair], accepted: Collection[Pair], now: float) -> None:
        """Remember an association's answers."""
        for pair in reversed(tuple(proposed)):  # the first of them was the most wanted
            self._accepted.pop(pair, None)
            self._refused.pop(pair, None)
            if pair in accepted:
                self._accepted[pair] = None
            else:
                self._refused[pair] = now + REFUSED_S
        while len(self._accepted) > MAX_CONTEXTS:
            del self._accepted[next(iter(self._accepted))]
        while len(self._refused) > REMEMBERED:
            del self._refused[next(iter(self._refused))]

    def is_refused(self, pair: Pair, now: float) -> bool:
        """Whether it was refused lately. What has expired is forgotten."""
        until = self._refused.get(pair)
        if until is None:
            return False
        if now < until:
            return True
        del self._refused[pair]
        return False

    def view(self, now: float) -> tuple[LearnedContext, ...]:
        """All of it, for operators: the latest first."""
        accepted = [
            LearnedContext(
                sop_class_uid=pair[0], transfer_syntax_uid=pair[1], accepted=True, expires_in_s=None
            )
            for pair in reversed(self._accepted)
        ]
        refused = [
            LearnedContext(
                sop_class_uid=pair[0], transfer_syntax_uid=pair[1], accepted=False, expires_in_s=until - now
            )
            for pair, until in reversed(self._refused.items())
            if now < until
        ]
        return (*accepted, *refused)
