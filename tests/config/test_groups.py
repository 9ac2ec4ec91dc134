"""Groups, hours, limits, quotas and duplicates as the configuration writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config.hours import EVERY_DAY
from router.config.settings import Deliver, Duplicates, Group, RateWindow, Settings, Window
from tests.config.test_files import load, problems

A_B = "modalities: {a: {ae_title: A, host: h, port: 1}, b: {ae_title: B, host: h, port: 1}}\n"
ONE_DAY = (0, 0)


def deliver(tmp_path: Path, block: str) -> Deliver:
    settings = load(tmp_path, f"destinations: {{f: {{folder: x, deliver: {block}}}}}")
    return settings.destinations["f"].deliver


def test_groups_stand_among_the_destinations(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        A_B
        + "destinations: {f: {folder: x}, safe: {first_of: [a, f]}, both: {one_of: [a, b]}}\nunmatched: both",
    )
    assert settings.groups == {"safe": Group(first_of=("a", "f")), "both": Group(one_of=("a", "b"))}
    assert settings.groups["safe"].members == ("a", "f")
    assert settings.destination_names == ("a", "b", "f", "safe", "both")


def test_schedule(tmp_path: Path) -> None:
    read = deliver(
        tmp_path,
        "{time_zone: Europe/Berlin, schedule: "
        "[{days: mon-fri, between: [19:00, '06:30']}, {days: [sat, Sun]}]}",
    )
    assert read.schedule == (
        Window(days=(0, 1, 2, 3, 4), between=(19 * 3600, 6 * 3600 + 1800)),
        Window(days=(5, 6), between=ONE_DAY),
    )
    assert read.time_zone == "Europe/Berlin"
    around = deliver(tmp_path, "{time_zone: UTC, schedule: [{days: 'fri-mon, wed', between: [0:00, 24:00]}]}")
    assert around.schedule[0] == Window(days=(0, 2, 4, 5, 6), between=(0, 86400))


def test_limits(tmp_path: Path) -> None:
    assert deliver(tmp_path, "{bytes_per_second: 10MB}").bytes_per_second == (
        RateWindow(bytes_per_second=10 << 20, days=EVERY_DAY, between=ONE_DAY),
    )
    by_day = deliver(
        tmp_path,
        "{time_zone: UTC, bytes_per_second: [{between: [07:00, 18:00], bytes_per_second: 1MB},"
        " {bytes_per_second: 8MB}]}",
    )
    assert [limit.bytes_per_second >> 20 for limit in by_day.bytes_per_second] == [1, 8]
    assert [limit.is_always for limit in by_day.bytes_per_second] == [False, True]


def test_quotas_and_duplicates(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "modalities: {a: {ae_title: A, host: h, port: 1, quota: 10GB}}\n"
        "quota_unknown: 1GB\nduplicates: skip-identical\n",
    )
    assert (settings.modalities["a"].quota, settings.quota_unknown) == (10 << 30, 1 << 30)
    assert settings.duplicates is Duplicates.SKIP_IDENTICAL
    assert Settings().duplicates is Duplicates.FORWARD


F = "destinations: {f: {folder: x, deliver: "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("destinations: {g: {first_of: x}}", "1:30: destinations.g.first_of: expected a list"),
        ("destinations: {g: {first_of: [x]}}", "1:31: destinations.g.first_of.0: unknown destination 'x'"),
        ("destinations: {g: {first_of: []}}", "1:19: destinations.g: give it either first_of or one_of"),
        (
            A_B + "destinations: {g: {first_of: [a], one_of: [b]}}",
            "2:19: destinations.g: give it either first_of or one_of",
        ),
        (
            A_B + "destinations: {g: {one_of: [a, c]}}",
            "2:32: destinations.g.one_of.1: unknown destination 'c'",
        ),
        (
            A_B + "destinations: {g: {one_of: [a, a]}}",
            "destinations.g.one_of.1: 'a' stands here a second time",
        ),
        (
            A_B + "destinations: {g: {one_of: [a]}, h: {first_of: [g]}}",
            "2:49: destinations.h.first_of.0: 'g' is a group itself; name its destinations instead",
        ),
        (A_B + "destinations: {a: {one_of: [b]}}", "2:16: destinations.a: a modality has this name already"),
        (A_B + "destinations: {drop: {one_of: [b]}}", "2:16: destinations.drop: this name has a meaning"),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1, send: []}}\ndestinations: {g: {one_of: [a]}}",
            "2:29: destinations.g.one_of.0: 'a' may not be sent to: its 'send' lacks store",
        ),
        (A_B + "destinations: {g: {one_of: [a], folder: x}}", "2:33: destinations.g.folder: unknown key"),
        ("groups: {}", "1:1: groups: unknown key; first_of and one_of stand among the destinations"),
        ("duplicates: sometimes", "1:13: duplicates: expected 'forward', 'skip-identical' or 'skip'"),
        (F + "{schedule: [{days: mon}]}}}", "deliver.schedule: say in which time_zone, e.g. Europe/Berlin"),
        (
            F + "{bytes_per_second: [{days: mon, bytes_per_second: 1}]}}}",
            "deliver.bytes_per_second: say in which time_zone",
        ),
        (F + "{time_zone: Berlin}}}", "deliver.time_zone: expected a time zone of the IANA database"),
        (F + "{time_zone: ../x}}}", "deliver.time_zone: expected a time zone of the IANA database"),
        (
            F + "{schedule: [{days: mo-fri}]}}}",
            "schedule.0.days: expected days such as mon-fri or sat, sun, not",
        ),
        (F + "{schedule: [{days: 1}]}}}", "schedule.0.days: expected days such as mon-fri or sat, sun"),
        (F + "{schedule: [{between: 9:00}]}}}", "schedule.0.between: expected two times of day"),
        (F + "{schedule: [{between: ['9:00', '25:00']}]}}}", "schedule.0.between: expected a time of day"),
        (F + "{bytes_per_second: 0}}}", "deliver.bytes_per_second: a rate must be more than nothing"),
        (F + "{bytes_per_second: fast}}}", "deliver.bytes_per_second: expected a size"),
        (F + "{in_flight: 0}}}", "deliver.in_flight: input should be greater than or equal to 1"),
        (
            "modalities: {a: {ae_title: A, host: h, port: 1, quota: x}}",
            "1:56: modalities.a.quota: expected a size",
        ),
    ],
)
def test_each_problem_is_told_at_its_place(tmp_path: Path, text: str, problem: str) -> None:
    lines = problems(tmp_path, text)
    assert len(lines) == 1, lines
    assert lines[0].startswith("router.yaml:") and problem in lines[0], lines[0]
