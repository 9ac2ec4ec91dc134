"""The search for the best setting, against simulated destinations that are limited in different ways."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random

import pytest

from router.deliver.adapt import CONCESSION_S, Adapt, Setting

MAXIMUM = Setting(associations=16, window=16)
ROUND_TRIP_S = 0.05


@dataclass(kw_only=True)
class Destination:
    """Instances queue for ``servers``, each of which needs ``service_s`` for one."""

    service_s: float
    servers: int
    round_trip_s: float = ROUND_TRIP_S
    window: int = 16
    associations: int = 64
    is_serial: bool = False  # one after the other on each association
    jitter: float = 0.1
    rng: Random = field(default_factory=lambda: Random(5))

    def run(self, adapt: Adapt, seconds: float, *, size_bytes: int = 40_000, begin: float = 0.0) -> float:
        """Instances per second over the last third, with everything that ``adapt`` allows outstanding."""
        now, number, late = begin, 0, 0
        free_at = [begin] * self.servers
        association_free_at: dict[int, float] = {}
        open_: dict[int, int] = {}
        answers: list[tuple[float, int, int, float]] = []
        adapt.agreed(self.window)
        while now < begin + seconds:
            for association in range(min(adapt.associations(now), self.associations)):
                while open_.get(association, 0) < min(adapt.setting.window, self.window):
                    open_[association] = open_.get(association, 0) + 1
                    adapt.sent(now)
                    server = min(range(self.servers), key=free_at.__getitem__)
                    start = max(now + self.round_trip_s / 2, free_at[server])
                    if self.is_serial:
                        start = max(start, association_free_at.get(association, begin))
                    end = start + self.service_s * self.rng.uniform(1 - self.jitter, 1 + self.jitter)
                    free_at[server] = association_free_at[association] = end
                    number += 1
                    heapq.heappush(answers, (end + self.round_trip_s / 2, number, association, now))
            now, _, association, sent_at = heapq.heappop(answers)
            open_[association] -= 1
            late += now > begin + seconds * 2 / 3
            adapt.answered(took_s=now - sent_at, size_bytes=size_bytes, is_busy=True, now=now)
        for _ in answers:
            adapt.lost(now)
        return late / (seconds / 3)


class Fixed(Adapt):
    """A setting chosen by hand."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.setting = setting

    def answered(self, *, took_s: float, size_bytes: int, is_busy: bool, now: float) -> bool:
        return False


LIMITED_BY = {
    "round trips": {"service_s": 0.0005, "servers": 8},
    "round trips, no window": {"service_s": 0.001, "servers": 8, "window": 1},
    "bandwidth": {"service_s": 0.005, "servers": 1},
    "processor": {"service_s": 0.001, "servers": 1, "round_trip_s": 0.0005},
    "two slow processors": {"service_s": 0.02, "servers": 2, "round_trip_s": 0.0005},
    "one at a time on each association": {"service_s": 0.005, "servers": 8, "is_serial": True},
}


@pytest.mark.parametrize("limit", LIMITED_BY)
def test_what_is_found_is_nearly_the_best_that_a_hand_could_choose(limit: str) -> None:
    def destination() -> Destination:
        return Destination(**LIMITED_BY[limit])  # type: ignore[arg-type]

    found = destination().run(Adapt(MAXIMUM), 30)
    sizes = (1, 4, 16)
    by_hand = max(
        destination().run(Fixed(Setting(associations=a, window=w)), 15) for a in sizes for w in sizes
    )
    assert found >= 0.9 * by_hand


def test_no_more_is_kept_outstanding_than_pays() -> None:
    adapt = Adapt(MAXIMUM)
    Destination(service_s=0.001, servers=1, round_trip_s=0.0005).run(adapt, 8)
    assert adapt.setting.associations * adapt.setting.window <= 4


def test_a_window_is_used_before_associations() -> None:
    adapt = Adapt(MAXIMUM)
    Destination(service_s=0.005, servers=1, round_trip_s=0.2).run(adapt, 20)
    assert adapt.setting.associations <= 8
    assert adapt.setting.associations * adapt.setting.window >= 40


def test_nothing_is_learned_while_nothing_waits() -> None:
    adapt = Adapt(MAXIMUM)
    before = adapt.setting
    for number in range(1000):
        adapt.sent(number / 10)
        assert not adapt.answered(took_s=0.01, size_bytes=1, is_busy=False, now=number / 10 + 0.01)
    assert adapt.setting == before


def test_a_peers_limit_is_kept_and_forgotten_after_a_while() -> None:
    adapt = Adapt(MAXIMUM)
    adapt.conceded(2, now=10.0)
    assert adapt.associations(11.0) == 2
    assert adapt.associations(10.0 + CONCESSION_S) == 4
    adapt.conceded(2, now=0.0)
    Destination(service_s=0.0005, servers=8, associations=2).run(adapt, 20)
    assert adapt.setting.associations <= 2
    assert adapt.setting.window == 16


def test_a_change_of_the_destination_begins_the_search_anew() -> None:
    adapt = Adapt(MAXIMUM)
    Destination(service_s=0.001, servers=1, round_trip_s=0.0005).run(adapt, 9)
    small = adapt.setting.associations * adapt.setting.window

    Destination(service_s=0.0005, servers=64).run(adapt, 60, begin=9.0)
    assert adapt.setting.associations * adapt.setting.window > 8 * small


def test_the_maximum_is_never_passed() -> None:
    maximum = Setting(associations=3, window=5)
    adapt = Adapt(maximum)
    Destination(service_s=0.0001, servers=64).run(adapt, 10)
    assert adapt.setting.associations <= 3
    assert adapt.setting.window <= 5
