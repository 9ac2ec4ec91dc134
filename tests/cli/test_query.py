"""``find``, ``move`` and ``get``: what is refused before anybody is called, what is printed, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from bench.process import CHECKOUT
from router.dicom.codes import CommandField
from router.dicom.dimse import SubOperations
from router.dicom.identifier import encode_identifier
from router.dicom.query import Level, Model, Query, parse_keys
from tests.cli.conftest import Run
from tests.dicom.wire import CT, unhex
from tests.query.peers import Peer, Talk, listening

Start = Callable[[Peer], str]
FAILED = unhex('0800 5800 "UI" 0C00 "1.9.1\\1.9.2" 00')


@pytest.fixture
def start(portal: BlockingPortal) -> Iterator[Start]:
    """Start scripted peers; each call returns an address for the command line."""
    with ExitStack() as running:

        def begin(peer: Peer) -> str:
            target = running.enter_context(portal.wrap_async_context_manager(listening(peer)))
            return f"ARCHIVE@127.0.0.1:{target.port}"

        yield begin


async def two_studies(talk: Talk) -> None:
    keys = ["PatientName=Müller^Jörg", "StudyDate=20260102", "ModalitiesInStudy=CT", "StudyInstanceUID=1.1"]
    query = Query(model=Model.STUDY, level=Level.STUDY, keys=parse_keys(keys))
    await talk.respond(0xFF00, identifier=encode_identifier(query, talk.context.transfer_syntax))
    await talk.match("PatientName=DOE", "StudyDate=20260103", "ModalitiesInStudy=CT\\SR")
    await talk.respond(0x0000)


def test_find_prints_a_table(run: Run, start: Start) -> None:
    result = run("find", start(Peer(two_studies)), "-k", "StudyDate=20260101-", "-k", "InstitutionName")
    assert result.exit_code == 0, result.output
    for word in ("PatientName", "InstitutionName", "Müller^Jörg", "CT\\SR", "20260103"):
        assert word in result.stdout
    assert "2 matches." in result.stderr


def test_find_prints_json_with_the_same_keywords_in_each_line(run: Run, start: Start) -> None:
    result = run("find", start(Peer(two_studies)), "--json", "--quiet", "-k", "InstitutionName")
    assert result.exit_code == 0, result.output
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["PatientName"] == "Müller^Jörg"
    assert (first["ModalitiesInStudy"], second["ModalitiesInStudy"]) == (["CT"], ["CT", "SR"])
    assert first["InstitutionName"] is second["InstitutionName"] is second["StudyInstanceUID"] is None
    assert result.stderr == ""


def test_find_with_a_limit_says_so(run: Run, start: Start) -> None:
    async def many(talk: Talk) -> None:
        for _ in range(3):
            await talk.match("PatientName=DOE")
        await talk.wait_cancel()
        await talk.respond(0xFE00)

    result = run("find", start(Peer(many)), "--limit", 2, "--json")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    assert "2 matches and cancelled there: there may be more." in result.stderr


def test_find_that_fails_says_it_in_words(run: Run, start: Start) -> None:
    async def failing(talk: Talk) -> None:
        await talk.respond(0xA900, comment="StudyID\x1b[2J unknown")

    result = run("find", start(Peer(failing)))
    assert result.exit_code == 1
    assert "does not fit the information model" in result.stderr
    assert "StudyID" in result.stderr
    assert "\x1b[2J" not in result.output


def test_what_a_peer_answers_cannot_command_the_terminal(run: Run, start: Start) -> None:
    async def hostile(talk: Talk) -> None:
        await talk.respond(0xFF00, identifier=unhex('1000 1000 "PN" 0800 1B "[2Jevil"'))
        await talk.respond(0x0000)

    for options in ((), ("--json",)):
        result = run("find", start(Peer(hostile)), *options)
        assert "evil" in result.stdout
        assert "\x1b[2J" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find", "-k", "PatientNam=X"], "did you mean 'PatientName'"),
        (["find", "--level", "series"], "add -k StudyInstanceUID=..."),
        (["find", "-k", "PatientName=山田", "--character-set", "ISO_IR 100"], "character set lacks"),
        (["move", "-k", "PatientName=X"], "no unique key"),
        (["move", "-k", "StudyInstanceUID=1.2", "--to", "A TITLE THAT IS TOO LONG"], "no AE title"),
        (["get", "-k", "SeriesInstanceUID=1.2", "-o", "out"], "add -k StudyInstanceUID=..."),
    ],
)
def test_what_is_wrong_is_said_before_anybody_is_called(
    run: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    command, *options = arguments
    result = run(command, "NOBODY@127.0.0.1:1", "-c", tmp_path / "none.yaml", *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("echo", []),
        ("find", []),
        ("move", ["-k", "StudyInstanceUID=1.2"]),
        ("get", ["-k", "StudyInstanceUID=1.2", "-o", "out"]),
    ],
)
def test_what_the_configuration_does_not_allow(
    run: Run, configuration: Path, command: str, options: list[str]
) -> None:
    configuration.write_text(configuration.read_text().replace("port: 1}", "port: 1, send: [store]}"))
    result = run(command, "pacs", "-c", configuration, *options)
    assert result.exit_code == 2
    assert f"add {command} to its `send`" in result.stderr


def test_move_goes_to_ourselves_or_to_a_modality(run: Run, start: Start, configuration: Path) -> None:
    async def moving(talk: Talk) -> None:
        await talk.respond(0x0000, counts=SubOperations(completed=3, failed=0, warning=0))

    peer = Peer(moving)
    port = start(peer).rpartition(":")[2]
    content = configuration.read_text().replace("port: 1}", f"port: {port}}}")
    configuration.write_text(
        content.replace("modalities:", "modalities:\n  ws: {ae_title: WORKSTATION, host: h, port: 104}")
    )
    for options in ((), ("--to", "ws"), ("--to", "OTHER")):
        result = run("move", "pacs", "-c", configuration, "-k", "StudyInstanceUID=1.2", *options)
        assert result.exit_code == 0, result.output
        assert "3 done" in result.stdout
    assert [talk.command.move_destination for talk in peer.talks] == ["ROUTER", "WORKSTATION", "OTHER"]


def test_move_lists_what_failed(run: Run, start: Start) -> None:
    async def moving(talk: Talk) -> None:
        counts = SubOperations(completed=1, failed=2, warning=0)
        await talk.respond(0xB000, counts=counts, identifier=FAILED)

    result = run("move", start(Peer(moving)), "-k", "StudyInstanceUID=1.2")
    assert result.exit_code == 1
    assert "failed: 1.9.1\nfailed: 1.9.2\n" in result.stderr
    assert "1 done, 2 failed" in result.stderr


def test_nothing_to_move(run: Run, start: Start) -> None:
    async def moving(talk: Talk) -> None:
        await talk.respond(0x0000, counts=SubOperations(completed=0, failed=0, warning=0))

    result = run("move", start(Peer(moving)), "-k", "StudyInstanceUID=1.2")
    assert result.exit_code == 1
    assert "has nothing that these keys name" in result.stderr


def archive(listed: int, sent: int) -> Callable[[Talk], Awaitable[None]]:
    """It lists so many instances, and sends so many."""

    async def script(talk: Talk) -> None:
        level = next(str(one.values[0]) for one in talk.asked.attributes if one.name == "QueryRetrieveLevel")
        if talk.command.field == CommandField.C_GET_RQ:
            for number in range(sent):
                await talk.store(b"\x08\0\x18\0UI\2\0" + b"1\0", f"1.9.{number}", message_id=number + 1)
            await talk.respond(0x0000, counts=SubOperations(completed=sent, failed=0, warning=0))
            return
        for number in range(listed if level == "IMAGE" else 1):
            await talk.match(
                f"SeriesInstanceUID=1.{number}", f"SOPInstanceUID=1.{number}", f"SOPClassUID={CT}"
            )
        await talk.respond(0x0000)

    return script


def test_get_asks_what_there_is_and_fetches_it(run: Run, start: Start, tmp_path: Path) -> None:
    peer = Peer(archive(listed=2, sent=2))
    result = run("get", start(peer), "-k", "StudyInstanceUID=1.2", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 instances in" in result.stdout
    assert {context.abstract_syntax for context in peer.requests[-1].contexts[1:]} == {CT}
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_get_misses_what_was_listed(run: Run, start: Start, tmp_path: Path) -> None:
    address = start(Peer(archive(listed=3, sent=2)))
    result = run("get", address, "-k", "StudyInstanceUID=1.2", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "lists 3 instances, and 2 of them came" in result.stderr


def test_get_where_queries_are_not_allowed(
    run: Run, start: Start, configuration: Path, tmp_path: Path
) -> None:
    peer = Peer(archive(listed=0, sent=1))
    port = start(peer).rpartition(":")[2]
    content = configuration.read_text().replace("port: 1}", f"port: {port}, send: [store, get]}}")
    configuration.write_text(content)
    options = ("-k", "StudyInstanceUID=1.2", "-o", tmp_path / "out")
    result = run("get", "pacs", "-c", configuration, *options)
    assert result.exit_code == 0, result.output
    assert [talk.command.field for talk in peer.talks] == [CommandField.C_GET_RQ]
    assert len(peer.requests[0].roles) == 63


def test_get_into_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    result = run("get", "NOBODY@127.0.0.1:1", "-k", "StudyInstanceUID=1.2", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "is no directory" in result.stderr


def test_nobody_is_there(run: Run, tmp_path: Path) -> None:
    for command, options in (("find", ()), ("move", ()), ("get", ("-o", tmp_path / "out"))):
        keys = () if command == "find" else ("-k", "StudyInstanceUID=1.2")
        result = run(command, "NOBODY@127.0.0.1:1", *keys, *options)
        assert result.exit_code == 1
        assert "NOBODY@127.0.0.1:1: no connection" in result.stderr


@pytest.mark.parametrize("command", ["find", "move", "get"])
def test_ctrl_c_sends_c_cancel_and_waits_for_the_answer(
    run: Run, start: Start, tmp_path: Path, command: str
) -> None:
    async def interrupted(talk: Talk) -> None:
        if command == "get" and talk.command.field == CommandField.C_FIND_RQ:
            await talk.respond(0x0000)
            return
        os.kill(os.getpid(), signal.SIGINT)
        await talk.wait_cancel()
        await talk.respond(0xFE00, counts=SubOperations(remaining=2, completed=1, failed=0, warning=0))

    peer = Peer(interrupted)
    keys = () if command == "find" else ("-k", "StudyInstanceUID=1.2")
    options = ("-o", tmp_path / "out") if command == "get" else ()
    result = run(command, start(peer), *keys, *options)
    assert result.exit_code == 1
    assert "is asked to stop" in result.stderr
    assert "ancelled" in result.stderr.splitlines()[-1]
    assert peer.talks[-1].cancels == [1]
    assert set(peer.ended) == {"released"}


def test_a_reader_that_has_enough_is_no_failure_of_ours(start: Start) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "router", "find", start(Peer(two_studies)), "--json"]
    done = subprocess.run(
        command, cwd=CHECKOUT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
