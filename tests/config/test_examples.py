"""What stands in deploy/ and rules/ loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from router import config
from router.dicom.tagpath import parse

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = [path for path in sorted((CHECKOUT / "deploy").glob("router*.yaml")) if ".test." not in path.name]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_configurations_load(path: Path) -> None:
    settings, rule_set = config.load_all(path, {})
    assert rule_set.rules
    assert settings.destination_names


def test_the_demonstration_is_what_its_command_expects() -> None:
    settings, rule_set = config.load_all(CHECKOUT / "deploy" / "router.yaml", {})
    assert settings.data_dir == CHECKOUT / "run" / "data"
    assert (settings.listeners[0].host, settings.listeners[0].port) == ("127.0.0.1", 11112)
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    archive = settings.modalities["archive"]
    assert (archive.ae_title, archive.host, archive.port) == ("ARCHIVE", "127.0.0.1", 11113)
    assert set(settings.accept_unknown) == {"echo", "store"}
    assert parse("Modality") in rule_set.asked


def test_every_example_of_rules_is_read_by_the_sample() -> None:
    _, rule_set = config.load_all(CHECKOUT / "deploy" / "router.sample.yaml", {})
    read = {Path(rule.place.split(":")[0]).name for rule in rule_set.rules}
    there = {path.name for path in (CHECKOUT / "rules").glob("*.yaml")}
    assert {name for name in there if not name.endswith(".test.yaml")} <= read
    assert {name.replace(".yaml", ".test.yaml") for name in read if name in there} <= there
