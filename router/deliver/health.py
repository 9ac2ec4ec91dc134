"""Whether a destination may be tried: exponential backoff for the whole of it, one probe at a time. Pure.

Up: anyone may try. A failure takes it down for a pause; after the pause exactly one attempt is let through,
the probe. Its success brings the destination up, its failure doubles the pause. Instants are monotonic
seconds.

Associations that break together are one failure: what fails while the destination is down, and is not the
probe, belongs to the outage that is being waited out already.
"""

from __future__ import annotations

from random import Random

FIRST_PAUSE_S = 1.0
SLOW_PAUSE_S = 60.0  # rejected-permanent: somebody has to change a configuration, seconds do not matter
STRAIN = 16  # so many answers in a row that all say "not now" are the destination's state, not the instances'
TOLERANCE = 3  # so many associations in a row may break over suspect instances before it is the destination
BREATH_S = 0.1  # between a probe that told nothing and the next
_DOUBLINGS = 30
_JITTER = 0.2  # share of a pause


class Health:
    """The breaker of one destination."""

    __slots__ = ("_breaks", "_is_probing", "_maximum_s", "_next_try_at", "_refusals", "failures")

    def __init__(self, maximum_s: float) -> None:
        self._maximum_s = maximum_s
        self.failures = 0  # pauses in a row
        self._next_try_at: float | None = None
        self._is_probing = False
        self._refusals = 0
        self._breaks = 0

    @property
    def is_up(self) -> bool:
        return self._next_try_at is None

    @property
    def is_probing(self) -> bool:
        return self._is_probing

    @property
    def next_try_at(self) -> float | None:
        """When the next probe is due; ``None`` while up."""
        return self._next_try_at

    def begin_probe(self, now: float) -> bool:
        """Claim the one attempt after a pause. False: up, not yet, or somebody else has it."""
        if self._next_try_at is None or self._is_probing or now < self._next_try_at:
            return False
        self._is_probing = True
        return True

    def end_probe(self, now: float) -> None:
        """The probe ended without telling anything: the next one may begin soon."""
        if self._is_probing:
            self._is_probing = False
            self._next_try_at = now + BREATH_S

    def answered(self) -> bool:
        """An instance was answered, whatever the status. True: this brought the destination up again."""
        self._refusals = 0
        return self._up()

    def refused(self, *, now: float, rng: Random) -> bool:
        """It answered "out of resources". True: this took the destination down or brought it up."""
        self._refusals += 1
        if self._refusals >= STRAIN:
            return self.failed(now=now, rng=rng)
        return self._up()

    def broke(self, *, now: float, rng: Random, is_suspect: bool) -> bool:
        """An association broke over an instance; a suspect one has done so before. True: now it is down."""
        self._breaks += 1
        if is_suspect and self._breaks <= TOLERANCE:
            self.end_probe(now)
            return False
        return self.failed(now=now, rng=rng)

    def failed(self, *, now: float, rng: Random, slow: bool = False) -> bool:
        """An attempt failed through no fault of an instance. True: this took the destination down."""
        was_up = self.is_up
        if not was_up and not self._is_probing:
            return False
        self.failures += 1
        self._is_probing = False
        pause = min(self._maximum_s, FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, _DOUBLINGS))
        if slow:
            pause = min(self._maximum_s, max(pause, SLOW_PAUSE_S))
        self._next_try_at = now + pause * rng.uniform(1.0 - _JITTER, 1.0)
        return was_up

    def _up(self) -> bool:
        was_down = not self.is_up
        self.failures = 0
        self._breaks = 0
        self._next_try_at = None
        self._is_probing = False
        return was_down
