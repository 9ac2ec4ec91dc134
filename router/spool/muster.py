"""When to wait a moment for more appends before the disk is made to sync.

Senders that wait for their answers come in step with the syncs: while one half of them is being synced the
other half gathers, and each sync carries half of what it could. If those that were just answered come back
much sooner than a sync takes, as they do where the disk is slow, it pays to wait for them: fewer syncs, each
for all. Where it is fast, halves that take turns are better: one is received while the other is synced.

Pure: instants are monotonic seconds, handed in.
"""

from __future__ import annotations

LONGEST_WAIT_S = 0.002  # beyond it a sender is not coming back at once: another network, another pace
_WEIGHT = 0.2  # of the newest observation
_RETRY = (
    0.98  # by so much the gap is forgotten with each batch that did not wait, so that waiting is tried again
)
_WORTH = 4  # a sync has to take so many times the gap
_MARGIN = 1.5  # the wait ends after so many times the usual gap


class Muster:
    """Watches batches of appends, and says for how many the next should wait, and until when."""

    __slots__ = ("_answered_at", "_gap_s", "_senders", "_sync_s")

    def __init__(self) -> None:
        self._senders = 0  # who had an append in the last batch, or waited behind it
        self._answered_at = 0.0
        self._gap_s = 0.0005  # from the answer of a sender to its next append, as it usually is
        self._sync_s = 0.0  # what a batch takes, as it usually does

    def missing(self, waiting: int, now: float) -> tuple[int, float]:
        """How many more appends to wait for besides the ``waiting`` ones, and until when; 0: none."""
        missing = self._senders - waiting
        until = self._answered_at + self._gap_s * _MARGIN
        if missing > 0 and self._gap_s * _WORTH < self._sync_s and now < until:
            return missing, until
        self._gap_s *= _RETRY
        return 0, now

    def gathered(self, *, is_complete: bool, now: float) -> None:
        """A wait is over: all came, or the time did."""
        if is_complete:
            self._gap_s += _WEIGHT * (min(now - self._answered_at, LONGEST_WAIT_S) - self._gap_s)
        else:
            self._gap_s = LONGEST_WAIT_S

    def answered(self, count: int, waiting: int, *, took_s: float, now: float) -> None:
        """A batch with ``count`` appends took ``took_s``, and its senders are told now; others wait."""
        self._senders, self._answered_at = count + waiting, now
        self._sync_s += _WEIGHT * (took_s - self._sync_s)
