"""Dockerfile: what it copies is there, and it says of the configuration in it what that says."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from router import config

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Each instruction and what follows it, continued lines joined."""
    text = (CHECKOUT / "Dockerfile").read_text().replace("\\\n", " ")
    return [(match[1], match[2].strip()) for match in re.finditer(r"(?m)^([A-Z]+) (.*)$", text)]


def those(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in instructions if instruction == name]


def test_what_is_copied_is_there_and_sent_to_the_builder(instructions: list[tuple[str, str]]) -> None:
    ignore = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert ignore[0] == "*"
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        source
        for rest in those(instructions, "COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert copied == sent
    for source in copied:
        assert (CHECKOUT / source).exists(), source


def test_the_package_is_built_from_what_is_copied(instructions: list[tuple[str, str]]) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    before = " ".join(those(instructions, "COPY"))
    for name in (project["readme"], *project["license-files"]):
        assert name in before
    (python,) = those(instructions, "ARG")
    version = python.removeprefix("PYTHON=")
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert "[codecs]" in " ".join(those(instructions, "RUN"))


def test_it_starts_as_nobody_in_particular(instructions: list[tuple[str, str]]) -> None:
    (user,) = those(instructions, "USER")
    assert all(part.isdigit() and int(part) > 0 for part in user.split(":"))


def test_what_it_says_of_its_configuration_holds(instructions: list[tuple[str, str]]) -> None:
    settings, rule_set = config.load_all(CHECKOUT / "deploy" / "container.yaml", {})
    (exposed,) = those(instructions, "EXPOSE")
    assert set(map(int, exposed.split())) == {settings.listeners[0].port, settings.http.port}
    assert f"127.0.0.1:{settings.http.port}/healthz" in those(instructions, "HEALTHCHECK")[0]
    assert those(instructions, "VOLUME") == [str(settings.data_dir)]
    assert "/etc/dicom-router/router.yaml" in json.loads(those(instructions, "CMD")[0])
    assert set(settings.accept_unknown) == {"echo"}  # nobody sends to it before it is told from whom
    assert not rule_set.rules
