"""Whether a destination may be tried: exponential backoff for the whole of it, one probe at a time. Pure.

Up: anyone may try. A failure takes it down for a pause; after the pause exactly one attempt is let through,
the probe. Its success brings the destination up, its failure doubles the pause. After an outage the start is
slow: a few instances in the first moment, twice as many in the next, and so on. Instants are monotonic
seconds, so that a wall clock that jumps neither ends a pause nor makes it longer.

Associations that break together are one failure: what fails while the destination is down, and is not the
probe, belongs to the outage that is being waited out already.
"""

from __future__ import annotations

from random import Random

FIRST_PAUSE_S = 1.0
SLOW_PAUSE_S = 60.0  # rejected-permanent: somebody has to change a configuration, seconds do not matter
STRAIN = 16  # so many answers in a row that all say "not now" are the destination's state, not the instances'
WORTH_REOPENING = 8  # answers since the last break: then another association is opened at once
TOLERANCE = 3  # so many associations in a row may break over suspect instances before it is the destination
BREATH_S = 0.1  # between a probe that told nothing and the next
RISE_STEP_S = 0.25
RISE_STARTS = 4  # instances that may be started in the first step after an outage; each step doubles it
RISE_STEPS = 8  # after 2 s and 1,020 instances there is no bound any more
_DOUBLINGS = 30
_JITTER = 0.2  # share of a pause


class Health:
    """The breaker of one destination."""

    __slots__ = (
        "_answers",
        "_breaks",
        "_is_probing",
        "_maximum_s",
        "_next_try_at",
        "_refusals",
        "_rises_from",
        "_started",
        "failures",
    )

    def __init__(self, maximum_s: float) -> None:
        self._maximum_s = maximum_s
        self.failures = 0  # pauses in a row
        self._next_try_at: float | None = None
        self._is_probing = False
        self._refusals = 0
        self._breaks = 0
        self._answers = 0  # since an association broke the last time
        self._rises_from: float | None = None  # since when it is up again, while the start is slow
        self._started = 0  # since then

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

    def may_start(self, now: float) -> bool:
        """Whether the slow start after an outage allows another instance now."""
        if self._rises_from is None:
            return True
        step = int((now - self._rises_from) / RISE_STEP_S)
        if step >= RISE_STEPS:
            self._rises_from = None
            return True
        return self._started < RISE_STARTS * ((2 << step) - 1)

    @property
    def is_rising(self) -> bool:
        """The start after an outage is still slow."""
        return self._rises_from is not None

    def started(self) -> None:
        """An instance was started, as ``may_start`` allowed."""
        self._started += 1

    def reached(self, now: float) -> bool:
        """A probe without an instance got through. True: this brought the destination up again.

        The next failure goes on with the pauses where they were: only an instance proves that it is well.
        """
        was_down = not self.is_up
        self._next_try_at = None
        self._is_probing = False
        if was_down:
            self._rises_from, self._started = now, 0
        return was_down

    def answered(self, now: float) -> bool:
        """An instance was answered, whatever the status. True: this brought the destination up again."""
        self._refusals = 0
        self._answers += 1
        return self._up(now)

    def refused(self, *, now: float, rng: Random) -> bool:
        """It answered "out of resources". True: this took the destination down or brought it up."""
        self._refusals += 1
        if self._refusals >= STRAIN:
            return self.failed(now=now, rng=rng)
        return self._up(now)

    def broke(self, *, now: float, rng: Random, is_suspect: bool) -> bool:
        """An association broke over an instance; a suspect one has done so before. True: now it is down.

        Peers end associations after so many instances, or over one that they do not like. Where some were
        answered until then that is no outage: another association is opened at once, and if it breaks soon,
        then it is one.
        """
        if not self.is_up and not self._is_probing:
            return False
        self._breaks += 1
        is_well, self._answers = self._answers >= WORTH_REOPENING, 0
        if is_well or (is_suspect and self._breaks <= TOLERANCE):
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

    def _up(self, now: float) -> bool:
        self.failures = 0
        self._breaks = 0
        return self.reached(now)
