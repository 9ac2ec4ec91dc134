"""``echo`` and ``send``: targets, notes about what is left out, and exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router import samples
from router.sink import Failure, SinkOptions
from tests.cli.conftest import Run

Start = Callable[[SinkOptions], str]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    samples.generate(tmp_path / "study", ct_slices=1, mr_slices=1, bundled=False)
    return tmp_path / "study"


def test_echo(run: Run, start_sink: Start) -> None:
    result = run("echo", start_sink(SinkOptions()))
    assert result.exit_code == 0, result.output
    assert "answers" in result.stdout


def test_echo_where_nobody_is(run: Run) -> None:
    result = run("echo", "NOBODY@127.0.0.1:1")
    assert result.exit_code == 1
    assert "NOBODY@127.0.0.1:1: no connection" in result.stderr


def test_a_modality_by_its_name(run: Run, start_sink: Start, configuration: Path) -> None:
    port = start_sink(SinkOptions(ae_title="PACS")).rpartition(":")[2]
    configuration.write_text(configuration.read_text().replace("port: 1}", f"port: {port}}}"))
    result = run("echo", "pacs", "-c", configuration)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("target", "hint"),
    [("pacz", "did you mean 'pacs'"), ("xyz", "it has pacs")],
)
def test_a_modality_that_is_not_there(run: Run, configuration: Path, target: str, hint: str) -> None:
    result = run("echo", target, "-c", configuration)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_name_without_a_configuration(run: Run, tmp_path: Path) -> None:
    result = run("echo", "pacs", "-c", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "AE@host:port" in result.stderr


def test_a_directory_is_sent_and_the_rest_is_named(
    run: Run, start_sink: Start, study: Path, tmp_path: Path
) -> None:
    (study / "notes.txt").write_text("no image")
    address = start_sink(SinkOptions(directory=tmp_path / "in"))
    result = run("send", address, study, "-n", 2, "--calling-ae", "CT1")
    assert result.exit_code == 0, result.output
    assert "0000 success" in result.stdout
    assert "notes.txt: left out" in result.stderr
    assert len(list((tmp_path / "in").glob("*.dcm"))) == len(list(study.glob("*.dcm")))


def test_a_failure_is_counted_and_ends_in_1(run: Run, start_sink: Start, study: Path) -> None:
    result = run("send", start_sink(SinkOptions(failures=(Failure(status=0xA700, share=1),))), study)
    assert result.exit_code == 1
    assert "A700 failure" in result.stdout
    assert "not stored by SINK" in result.stderr


def test_nothing_to_send(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    result = run("send", "SINK@127.0.0.1:1", tmp_path)
    assert result.exit_code == 1
    assert "nothing to send" in result.stderr


@pytest.mark.parametrize("option", [("--fail", "often"), ("--reject", "sometimes"), ("--fail", "A700:200%")])
def test_a_sink_that_is_asked_for_nonsense(run: Run, option: tuple[str, str]) -> None:
    result = run("sink", "--port", 0, *option)
    assert result.exit_code == 2
    assert result.stderr
