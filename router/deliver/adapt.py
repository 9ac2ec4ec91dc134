"""How many associations, and how many outstanding on each: found by trying what raises the throughput. Pure.

Only what is measured under a full load counts: while more waits than is under way. From a modest setting both
are doubled as long as that pays; then each alone; then each is halved as long as that costs nothing, since
every association and every unanswered instance is a burden to the peer. Then the search rests, for longer
each time, and begins anew when the rate has changed by itself.

The rate comes from Little's law (outstanding ÷ response time): answers come in bursts of a window, and to
count them over a few round trips would be off by a whole burst. Instants are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from enum import Enum

START_ASSOCIATIONS = 4
START_WINDOW = 4
GAIN = 1.1  # a larger setting must be faster by so much
WORTH = 1.5  # what made it faster by so much, for each doubling, is not tried without
LOSS = 0.97  # a smaller one may be slower by so much
CHANGE = 0.7  # a rate that has changed by itself by so much, up or down
MEASURE_S = 0.25  # at least, and so many response times
MEASURE_RESPONSES = 4
SETTLE_S = 0.1
SETTLE_RESPONSES = 3  # a new association takes two round trips before its first instance
LONGEST_S = 30.0  # of either
ANSWERS_MIN = 8
SPOILED_SHARE = 0.2  # of the answers that came while nothing waited: then the setting was not the limit
REST_S = 10.0
REST_MAX_S = 600.0
REST_MEASURE_S = 2.0
CONCESSION_S = 60.0  # how long a lane does with the associations that its destination allows
INSTANCE_BYTES = 32 * 1024  # what an instance costs besides its bytes, in bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is allowed at once."""

    associations: int
    window: int


class Knob(Enum):
    """What can be turned, in the order in which it is tried."""

    BOTH = "both"
    WINDOW = "window"
    ASSOCIATIONS = "associations"


class Adapt:
    """The setting of one destination, within ``maximum``."""

    def __init__(self, maximum: Setting) -> None:
        self._maximum = maximum
        self._agreed_window = maximum.window
        self._conceded = maximum.associations
        self._conceded_until = 0.0
        self._outstanding = 0
        self._span_s = MEASURE_S
        self._now = 0.0
        self._begin(0.0, 0.0)
        self._search = self._seek()
        self.setting = next(self._search)

    # ---- what the lane asks and says

    def associations(self, now: float) -> int:
        """How many associations may be open now."""
        return min(self.setting.associations, self._associations_max(now))

    def agreed(self, window: int) -> None:
        """The peer allows so many outstanding on one association."""
        self._agreed_window = min(window, self._maximum.window)

    @property
    def most(self) -> int:
        """How many may be outstanding at all, over all associations that there may ever be."""
        return self._maximum.associations * self._agreed_window

    def conceded(self, associations: int, now: float) -> None:
        """The peer has refused another association than these."""
        self._conceded = associations
        self._conceded_until = now + CONCESSION_S

    def sent(self, now: float) -> None:
        """One more is outstanding."""
        self._integrate(now)
        self._outstanding += 1

    def lost(self, now: float) -> None:
        """One is outstanding no more, and was not answered: what was measured is worth nothing."""
        self._outstanding -= 1
        self._begin(now, self._response_s)

    def answered(self, *, took_s: float, size_bytes: int, is_busy: bool, now: float) -> bool:
        """One was answered; ``is_busy``: more waits. True: ``setting`` has changed."""
        self._integrate(now)
        self._outstanding -= 1
        if now < self._starts_at:
            return False
        self._answers += 1
        self._spoiled += not is_busy
        self._took_s += took_s
        self._work += size_bytes + INSTANCE_BYTES
        if now < self._ends_at or self._answers < ANSWERS_MIN:
            return False
        return self._conclude(now)

    # ---- measuring

    def _begin(self, now: float, response_s: float) -> None:
        """Measure anew, once what was begun under the last setting has gone through."""
        self._response_s = response_s
        self._starts_at = now + min(max(SETTLE_S, SETTLE_RESPONSES * response_s), LONGEST_S)
        self._ends_at = self._starts_at + min(max(self._span_s, MEASURE_RESPONSES * response_s), LONGEST_S)
        self._last_at = now
        self._answers = self._spoiled = self._work = 0
        self._integral = self._took_s = 0.0

    def _integrate(self, now: float) -> None:
        since = max(self._last_at, self._starts_at)
        if now > since:
            self._integral += self._outstanding * (now - since)
        self._last_at = now

    def _conclude(self, now: float) -> bool:
        response_s = max(self._took_s / self._answers, 1e-6)
        outstanding = self._integral / max(now - self._starts_at, 1e-6)
        rate = outstanding / response_s * (self._work / self._answers)
        before = self.setting
        if self._spoiled <= SPOILED_SHARE * self._answers:
            self._now = now
            self.setting = self._search.send(rate)
        self._begin(now, response_s)
        return self.setting != before

    # ---- searching: each ``yield`` is a setting to measure, and is answered with its rate

    def _seek(self) -> Generator[Setting, float, None]:
        held = Setting(associations=START_ASSOCIATIONS, window=START_WINDOW)
        worth: set[Knob] = set()  # what is not tried without
        rest_s = REST_S
        while True:
            held = self._clip(held)
            best = yield held
            held, best = yield from self._raise(held, best, worth)
            held = yield from self._lower(held, best, worth)
            until = self._now + rest_s
            self._span_s = REST_MEASURE_S
            rest_s = min(2 * rest_s, REST_MAX_S)
            while self._now < until:
                rate = yield self._clip(held)
                if not CHANGE * best <= rate <= best / CHANGE:
                    worth.clear()
                    rest_s = REST_S
                    break
            self._span_s = MEASURE_S

    def _raise(
        self, held: Setting, best: float, worth: set[Knob]
    ) -> Generator[Setting, float, tuple[Setting, float]]:
        tried = {held}
        for knob in Knob:
            while (larger := self._clip(_turned(held, knob, up=True))) not in tried:
                tried.add(larger)
                rate = yield larger
                if rate < GAIN * best:
                    break
                turned = {one for one in _PARTS[knob] if _turned(larger, one, up=False) != larger}
                if rate >= WORTH ** len(turned) * best:
                    worth |= turned
                held, best = larger, rate
        return held, best

    def _lower(self, held: Setting, best: float, worth: set[Knob]) -> Generator[Setting, float, Setting]:
        self._span_s = 2 * MEASURE_S
        for knob in (Knob.ASSOCIATIONS, Knob.WINDOW):
            while knob not in worth and (smaller := _turned(held, knob, up=False)) != held:
                rate = yield smaller
                if rate < LOSS * best:
                    break
                held = smaller
        return held

    def _clip(self, setting: Setting) -> Setting:
        return Setting(
            associations=min(setting.associations, self._associations_max(self._now)),
            window=min(setting.window, self._agreed_window),
        )

    def _associations_max(self, now: float) -> int:
        return self._conceded if now < self._conceded_until else self._maximum.associations


_PARTS = {
    Knob.BOTH: (Knob.WINDOW, Knob.ASSOCIATIONS),
    Knob.WINDOW: (Knob.WINDOW,),
    Knob.ASSOCIATIONS: (Knob.ASSOCIATIONS,),
}


def _turned(setting: Setting, knob: Knob, *, up: bool) -> Setting:
    """Twice as much of it, or half."""
    for one in _PARTS[knob]:
        before = setting.window if one is Knob.WINDOW else setting.associations
        after = 2 * before if up else max(before // 2, 1)
        if one is Knob.WINDOW:
            setting = replace(setting, window=after)
        else:
            setting = replace(setting, associations=after)
    return setting
