"""router.logs: one JSON line for each event, levels kept, libraries brought into the same form."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from router import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capfdbinary: pytest.CaptureFixture[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]


def test_a_line_is_a_json_object(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("info", console=False)
    logs.get_logger("app").info("ready", dicom=(11112,), data_dir=Path("/data"))
    (line,) = lines(capfdbinary)
    assert line["event"] == "ready"
    assert line["part"] == "app"
    assert line["level"] == "info"
    assert line["dicom"] == [11112]
    assert line["data_dir"] == "/data"
    assert "timestamp" in line


def test_what_is_below_the_level_is_not_said(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("warning", console=False)
    logs.get_logger("app").info("chatter")
    logs.get_logger("app").warning("trouble")
    assert [line["event"] for line in lines(capfdbinary)] == ["trouble"]


def test_bound_values_are_on_every_line_inside(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("info", console=False)
    with logs.bound(association=7):
        logs.get_logger("receive").info("inside")
    logs.get_logger("receive").info("outside")
    inside, outside = lines(capfdbinary)
    assert inside["association"] == 7
    assert "association" not in outside


def test_libraries_speak_in_the_same_form(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("info", console=False)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request %s", "received")
    logging.getLogger("uvicorn.error").info("chatter")
    (line,) = lines(capfdbinary)
    assert (line["part"], line["event"]) == ("uvicorn.error", "Invalid HTTP request received")


def test_pynetdicom_is_silent(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.configure("debug", console=False)
    logging.getLogger("pynetdicom.acse").error("the peer did something odd")
    assert lines(capfdbinary) == []


def test_a_terminal_gets_lines_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", console=True)
    logs.get_logger("app").info("ready", http=8080)
    said = capfd.readouterr().err
    assert "ready" in said
    assert not said.startswith("{")
