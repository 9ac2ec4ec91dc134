"""Who gets a place and who makes room, how often, and which lines are said: with the time as an argument."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import pytest

from router.config.settings import Limits
from router.net import rate
from router.net.memory import CALM, FLOOD, Ebb, give_back, settle
from router.net.places import IDLE_S, LOOK_S, MOST_SILENT, SILENT_S, Places
from router.net.rate import BURST_S, Bucket, Buckets, peer_key
from router.net.repeats import EVERY_S, MOST_KINDS, Repeats


@dataclass(frozen=True)
class Guest:
    name: str
    spare: float
    has_asked: bool = True

    def spare_s(self) -> float:
        return self.spare


def places(**limits: int) -> Places:
    return Places(Limits(**limits), now=0.0)


def limit_of(refused: object) -> str:
    return getattr(refused, "limit", "")


def test_a_peer_may_come_in_bursts_and_then_at_its_rate() -> None:
    there = places(new_per_second_per_peer=2)
    assert [there.comes("10.0.0.1", 0.0) for _ in range(int(2 * BURST_S))] == [None] * 20
    assert limit_of(there.comes("10.0.0.1", 0.0)) == "new_per_second_per_peer"
    assert there.comes("10.0.0.2", 0.0) is None
    assert there.comes("10.0.0.1", 0.5) is None
    assert limit_of(there.comes("10.0.0.1", 0.5)) == "new_per_second_per_peer"


def test_all_peers_together_have_a_rate() -> None:
    there = places(new_per_second=1)
    assert all(there.comes(f"10.0.0.{n}", 0.0) is None for n in range(10))
    refused = there.comes("10.0.0.99", 0.0)
    assert refused is not None
    assert refused.limit == "new_per_second"
    assert refused.answer[6:] == bytes((0, 2, 3, 1))  # transient, presentation related, temporary congestion


def test_each_peer_has_so_many_places() -> None:
    there = places(associations_per_peer=2)
    there.take("::ffff:10.0.0.1")
    there.take("10.0.0.1")
    refused = there.has_many("10.0.0.1")
    assert refused is not None
    assert refused.answer[6:] == bytes((0, 2, 3, 2))  # transient, presentation related, local limit exceeded
    assert there.has_many("10.0.0.2") is None
    there.leave("10.0.0.1")
    assert there.has_many("10.0.0.1") is None


def test_it_is_full_when_every_place_is_taken() -> None:
    there = places(associations=2)
    there.take("a")
    assert not there.is_full()
    there.take("b")
    assert there.is_full()
    assert there.no_place().limit == "associations"
    there.leave("a")
    assert not there.is_full()


def test_who_never_asked_makes_room_first_and_the_longest_there_before_others() -> None:
    idle = Guest("idle", IDLE_S * 9)
    silent = [Guest(f"silent {n}", SILENT_S + n, has_asked=False) for n in range(MOST_SILENT + 5)]
    just_come = Guest("just come", SILENT_S / 2, has_asked=False)
    sent_away = places().who_makes_room([idle, *silent, just_come], now=1.0)
    assert sent_away == silent[: -MOST_SILENT - 1 : -1]


def test_one_idle_association_makes_room_and_none_that_works() -> None:
    guests = [
        Guest("works", 0.0),
        Guest("pauses", IDLE_S - 1),
        Guest("idle", IDLE_S),
        Guest("idler", IDLE_S + 1),
    ]
    assert [guest.name for guest in places().who_makes_room(guests, now=1.0)] == ["idler"]
    assert places().who_makes_room(guests[:2], now=1.0) == []


def test_it_is_not_looked_at_all_of_them_for_each_who_comes() -> None:
    there, guests = places(), [Guest("idle", IDLE_S)]
    assert there.who_makes_room(guests, now=1.0)
    assert not there.who_makes_room(guests, now=1.0 + LOOK_S / 2)
    assert there.who_makes_room(guests, now=1.0 + LOOK_S)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_peer_is_an_address_or_a_site(address: str, key: str) -> None:
    assert peer_key(address) == key


def test_a_bucket_fills_up_to_its_burst() -> None:
    bucket = Bucket(1.0, 0.0, burst_s=3.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    bucket.give_back()
    assert bucket.take(100.0)


def test_buckets_are_bounded_and_who_came_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "MOST_PEERS", 3)
    buckets = Buckets(1.0, burst_s=1.0)
    assert all(buckets.take(peer, 0.0) for peer in ("a", "b", "c"))
    assert not buckets.take("a", 0.0)
    assert buckets.take("d", 0.0)  # b is forgotten
    assert len(buckets) == 3
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    buckets.give_back("nobody")


def test_a_line_is_said_once_a_minute_with_what_was_left_out() -> None:
    repeats = Repeats()
    assert repeats.left_out(0.0, "rejected", "10.0.0.1") == 0
    assert repeats.left_out(1.0, "rejected", "10.0.0.1") is None
    assert repeats.left_out(2.0, "rejected", "10.0.0.1") is None
    assert repeats.left_out(2.0, "rejected", "10.0.0.2") == 0
    assert repeats.left_out(EVERY_S, "rejected", "10.0.0.1") == 2
    assert repeats.left_out(EVERY_S + 1, "rejected", "10.0.0.1") is None


def test_from_too_many_peers_there_is_one_line_for_all() -> None:
    repeats = Repeats()
    said = [repeats.left_out(0.0, "rejected", f"peer {n}") for n in range(MOST_KINDS + 10)]
    assert said[MOST_KINDS:] == [0, *[None] * 9]
    assert repeats.left_out(EVERY_S + 1, "rejected", "another") == 0  # those of before are forgotten


def test_memory_is_given_back_while_a_flood_ends_and_when_it_has_been_calm() -> None:
    ebb = Ebb()
    assert not any(ebb.is_over(count) for count in (0, 10, FLOOD - 1, 0) * CALM)
    counts = (FLOOD * 4, FLOOD * 3, FLOOD * 2, FLOOD * 2, FLOOD, 0, 0)
    assert [ebb.is_over(count) for count in counts] == [False, False, True, False, True, True, False]
    assert [ebb.is_over(0) for _ in range(3 * CALM)].count(True) == 1
    give_back()


class Round:
    """Leads to itself, as a transport of asyncio does."""

    def __init__(self) -> None:
        self.itself = self


def test_what_leads_to_itself_is_given_back_too() -> None:
    gc.collect()
    gc.disable()
    try:
        early = Round()
        settle()
        late = Round()
        seen = weakref.ref(early), weakref.ref(late)
        del early, late
        give_back()
        assert seen[0]() is not None  # what had been there by then is looked at no more
        assert seen[1]() is None
    finally:
        gc.unfreeze()
        gc.enable()
