"""Who takes from a group's queues, and where a study is at home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from router.config.settings import Group
from router.groups import (
    LOAD_SLACK,
    STUDIES_MAX,
    Balance,
    Candidate,
    choose_home,
    group_of,
    may_take,
    queues_of,
)
from router.model import Decision, Edit, EditKind, Form, Priority, Wish

SAFE = Group(first_of=("pacs", "archive", "files"))
BOTH = Group(one_of=("pacs1", "pacs2", "pacs3"))
GROUPS = {"safe": SAFE, "both": BOTH}


def up(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def takers(order: tuple[str, ...], *available: str) -> list[str]:
    return [member for member in order if may_take(order, member, up(*available))]


def test_the_first_that_is_up_takes_and_those_before_it_probe() -> None:
    order = SAFE.first_of
    assert takers(order, "pacs", "archive", "files") == ["pacs"]
    assert takers(order, "archive", "files") == ["pacs", "archive"]
    assert takers(order, "files") == ["pacs", "archive", "files"]
    assert takers(order) == ["pacs", "archive", "files"]
    assert not may_take(order, "stranger", up())


def test_the_queues_of_a_group() -> None:
    assert queues_of("safe", SAFE) == {"safe": ("pacs", "archive", "files")}
    assert queues_of("both", BOTH) == {
        "both/pacs1": ("pacs1", "pacs2", "pacs3"),
        "both/pacs2": ("pacs2", "pacs3", "pacs1"),
        "both/pacs3": ("pacs3", "pacs1", "pacs2"),
    }


@pytest.mark.parametrize(
    ("queue", "group"),
    [
        ("safe", "safe"),
        ("both/pacs1", "both"),
        ("both/gone", "both"),
        ("pacs1", None),
        ("x/y", None),
        ("", None),
    ],
)
def test_a_queue_says_whose_it_is(queue: str, group: str | None) -> None:
    assert group_of(queue, GROUPS) == group


def candidates(*outstanding: int, down: tuple[int, ...] = ()) -> list[Candidate]:
    return [
        Candidate(name=f"pacs{n}", is_up=n not in down, outstanding=load)
        for n, load in enumerate(outstanding, 1)
    ]


def homes(loads: list[Candidate], count: int = 300) -> Counter[str]:
    return Counter(choose_home(f"1.2.{n}", loads) for n in range(count))


def test_even_loads_spread_studies_evenly_and_always_in_the_same_way() -> None:
    spread = homes(candidates(0, 0, 0))
    assert min(spread.values()) > 70
    assert homes(candidates(0, 0, 0)) == spread
    assert [choose_home(f"1.2.{n}", candidates(5, 9, 0)) for n in range(50)] == [
        choose_home(f"1.2.{n}", candidates(0, 0, 0)) for n in range(50)
    ]


def test_who_has_much_more_than_the_average_gets_no_new_studies() -> None:
    spread = homes(candidates(3 * LOAD_SLACK, 0, 0))
    assert set(spread) == {"pacs2", "pacs3"}


def test_the_others_keep_their_studies_when_one_leaves() -> None:
    for n in range(100):
        before = choose_home(f"1.2.{n}", candidates(0, 0, 0))
        after = choose_home(f"1.2.{n}", candidates(0, 0, 0, down=(2,)))
        assert after == before or before == "pacs2"


def test_a_home_is_found_although_all_are_down() -> None:
    assert set(homes(candidates(0, 0, 0, down=(1, 2, 3)))) == {"pacs1", "pacs2", "pacs3"}


def decision(*destinations: str) -> Decision:
    return Decision(destinations=destinations, priority=Priority.HIGH, hold=False, trace=())


def test_a_decision_names_queues_and_says_why() -> None:
    balance = Balance(GROUPS)
    resolved = balance.resolve(decision("x", "both", "safe"), "1.2.1")
    home = choose_home("1.2.1", candidates(0, 0, 0))
    assert resolved.destinations == ("x", f"both/{home}", "safe")
    assert resolved.priority is Priority.HIGH
    assert [(line.rule, line.because) for line in resolved.trace] == [
        ("group both", f"one of pacs1, pacs2, pacs3: {home}, chosen for this study"),
        ("group safe", "the first of pacs, archive, files that is up"),
    ]
    again = balance.resolve(decision("both"), "1.2.1")
    assert again.trace[0].because.endswith(f"{home}, where this study goes")
    assert balance.wrote("group safe")
    assert not balance.wrote("safe")
    plain = decision("x")
    assert balance.resolve(plain, "1.2.1") is plain


def test_the_form_that_a_rule_asks_for_goes_along_to_the_queue() -> None:
    form = Form(transfer_syntax_uid="1.2.840.10008.1.2.5")
    edits = (Edit(kind=EditKind.REMOVE_PRIVATE),)
    asked = replace(decision("both", "x"), forms=(("both", form),), edits=(("both", edits),))
    resolved = Balance(GROUPS).resolve(asked, "1.2.1")
    assert resolved.forms == ((resolved.destinations[0], form),)
    assert resolved.wish_for(resolved.destinations[0]) == Wish(form=form, edits=edits)
    assert resolved.wish_for("x") is None
    assert resolved.wish_for("x") is None


def test_a_study_keeps_its_home_whatever_becomes_of_loads_and_health() -> None:
    available = {"pacs1", "pacs2", "pacs3"}
    balance = Balance(GROUPS, is_up=lambda name: name in available)
    first = balance.resolve(decision("both"), "1.2.1").destinations
    available.clear()
    balance.loaded({first[0]: 10_000})
    assert balance.resolve(decision("both"), "1.2.1").destinations == first
    assert Balance(GROUPS).resolve(decision("both"), "1.2.1").destinations == first  # after a restart


def test_new_studies_go_where_less_is_outstanding() -> None:
    balance = Balance(GROUPS)
    balance.loaded({"both/pacs1": 5000, "pacs2": 5000})
    found = {balance.resolve(decision("both"), f"1.2.{n}").destinations for n in range(40)}
    assert found == {("both/pacs3",)}


def test_what_was_routed_since_the_last_count_counts() -> None:
    balance = Balance(GROUPS)
    for _ in range(1000):
        balance.resolve(decision("both"), "1.2.1")
    home = balance.resolve(decision("both"), "1.2.1").destinations[0]
    assert all(balance.resolve(decision("both"), f"1.3.{n}").destinations[0] != home for n in range(40))


def test_memory_is_bounded() -> None:
    balance = Balance({"both": BOTH})
    for n in range(STUDIES_MAX + 100):
        balance.resolve(decision("both"), f"1.2.{n}")
    assert balance.needs_study
    assert len(balance._homes) == STUDIES_MAX
    assert not Balance({"safe": SAFE}).needs_study
