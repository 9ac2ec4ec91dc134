"""``check``, ``explain``, ``spool`` and the help: what needs no gateway."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from router import __version__, config, samples, scu
from router.app import Gateway
from tests.cli.conftest import Run

COMMANDS = [
    ["serve"],
    ["check"],
    ["explain"],
    ["echo"],
    ["send"],
    ["sink"],
    ["transcode"],
    ["codecs"],
    ["import"],
    ["test"],
    ["trace"],
    ["demo"],
    ["queue", "ls"],
    ["queue", "show"],
    ["queue", "retry"],
    ["queue", "hold"],
    ["queue", "resume"],
    ["queue", "discard"],
    ["queue", "redirect"],
    ["queue", "replay"],
    ["queue", "export"],
    ["destination", "ls"],
    ["destination", "pause"],
    ["destination", "resume"],
    ["corrupt", "ls"],
    ["corrupt", "discard"],
    ["drain"],
    ["undrain"],
    ["audit"],
    ["spool", "ls"],
    ["spool", "cat"],
    ["spool", "verify"],
    ["spool", "rebuild"],
]


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = samples.generate(tmp_path_factory.mktemp("study"), ct_slices=1, mr_slices=0, bundled=False)
    return made[0].path


def test_the_version(run: Run) -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"dicom-router {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_teaches_with_an_example(run: Run, command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"dicom-router {' '.join(command)}" in " ".join(result.stdout.split())
    assert "Example" in result.stdout


def test_help_needs_no_dicom() -> None:
    program = "import sys; from router.cli import build; build(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert not {"pydicom", "pynetdicom", "fastapi", "uvicorn", "pydantic", "apsw"} & set(loaded.split())


def test_check_passes(run: Run, configuration: Path) -> None:
    result = run("check", "-c", configuration)
    assert result.exit_code == 0, result.output
    assert "no problems" in result.stdout


def test_check_names_every_problem_with_its_place(run: Run, configuration: Path) -> None:
    text = configuration.read_text().replace("ae_title: ROUTER", "ae_titel: ROUTER")
    configuration.write_text(text.replace("send: pacs", "send: pacz"))
    result = run("check", "-c", configuration)
    assert result.exit_code == 2
    assert f"{configuration}:2:1: " in result.stderr
    assert "ae_title" in result.stderr
    assert "pacz" in result.stderr


@pytest.mark.parametrize("command", ["check", "serve", "demo"])
def test_no_configuration(run: Run, tmp_path: Path, command: str) -> None:
    result = run(command, "-c", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "-c FILE" in result.stderr


def test_explain_says_which_rule_and_why(run: Run, configuration: Path, ct: Path) -> None:
    result = run("explain", "-c", configuration, ct, "--calling-ae", "CT1")
    assert result.exit_code == 0, result.output
    assert "✓ scanner" in result.stdout
    assert "→ pacs (priority high)" in result.stdout
    result = run("explain", "-c", configuration, ct, "--calling-ae", "CT2")
    assert "· scanner" in result.stdout
    assert "→ held" in result.stdout


def test_explain_as_json(run: Run, configuration: Path, ct: Path) -> None:
    (explanation,) = json.loads(
        run("explain", "-c", configuration, ct, "--calling-ae", "CT1", "--json").stdout
    )
    assert explanation["destinations"] == ["pacs"]
    assert explanation["rules"][0]["matched"] is True


def test_explain_of_what_is_no_dicom(run: Run, configuration: Path, ct: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    result = run("explain", "-c", configuration, tmp_path / "a.txt", ct)
    assert result.exit_code == 1
    assert "a.txt: not a DICOM file" in result.stderr
    assert "scanner" in result.stdout


@pytest.fixture
def filled(configuration: Path, ct: Path) -> Path:
    """A configuration whose spool holds one instance and whose gateway has stopped."""

    async def fill() -> None:
        settings, rule_set = config.load_all(configuration, {})
        gateway = Gateway(settings, rule_set)
        file = scu.examine(ct)
        assert isinstance(file, scu.SendFile)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.run)
            await gateway.wait_ready()
            target = scu.Target(
                host="127.0.0.1", port=gateway.ports.dicom[0], called_ae="ROUTER", calling_ae="CT2"
            )
            await scu.send(target, [file], on_result=lambda sent: None)
            gateway.stop()

    anyio.run(fill)
    return configuration


def stored_key(run: Run, configuration: Path) -> str:
    (item,) = json.loads(run("spool", "ls", "-c", configuration, "--json").stdout)
    return str(item["key"])


def test_the_spool_can_be_listed_and_verified(run: Run, filled: Path) -> None:
    key = stored_key(run, filled)
    assert key in run("spool", "ls", "--directory", filled.parent / "data").stdout
    result = run("spool", "verify", "-c", filled)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 instances")


def test_an_instance_can_be_taken_out(run: Run, filled: Path, ct: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.dcm"
    result = run("spool", "cat", stored_key(run, filled), "-c", filled, "-o", output)
    assert result.exit_code == 0, result.output
    sent, taken = (scu.examine(path) for path in (ct, output))
    assert isinstance(sent, scu.SendFile)
    assert isinstance(taken, scu.SendFile)
    digests = [hashlib.sha256(f.path.read_bytes()[f.data_set_offset :]).digest() for f in (sent, taken)]
    assert digests[0] == digests[1]


def test_an_instance_that_is_not_there(run: Run, filled: Path, tmp_path: Path) -> None:
    result = run("spool", "cat", 5, "-c", filled, "-o", tmp_path / "out.dcm")
    assert result.exit_code == 1
    assert "no instance 5" in result.stderr
    assert not list(tmp_path.glob("*out.dcm*"))


def test_a_flipped_byte_is_found(run: Run, filled: Path) -> None:
    (segment,) = (
        path for path in (filled.parent / "data" / "segments").iterdir() if b"DICM" in path.read_bytes()
    )
    content = bytearray(segment.read_bytes())
    content[content.index(b"DICM") + 100_000] ^= 1
    segment.write_bytes(content)
    result = run("spool", "verify", "-c", filled)
    assert result.exit_code == 1
    assert "hash" in result.stderr


def test_a_lost_ledger_is_made_anew(run: Run, filled: Path) -> None:
    key = stored_key(run, filled)
    refused = run("spool", "rebuild", "-c", filled)
    assert refused.exit_code == 2
    assert "--replace" in refused.stderr
    result = run("spool", "rebuild", "-c", filled, "--replace")
    assert result.exit_code == 0, result.output
    assert "1 instances restored" in result.stdout
    assert stored_key(run, filled) == key


def test_the_queue_of_a_stopped_gateway_can_be_read_and_exported(
    run: Run, filled: Path, ct: Path, tmp_path: Path
) -> None:
    where = ("--data-dir", filled.parent / "data")
    (held,) = json.loads(run("queue", "ls", *where, "--json").stdout)["deliveries"]
    assert (held["state"], held["destination"], held["calling_ae"]) == ("held", "", "CT2")
    for chosen in (("-s", "held"), ("-i", held["sop_instance_uid"]), ("--calling-ae", "CT2")):
        assert held["sop_instance_uid"] in run("queue", "ls", *where, *chosen).stdout
    assert run("queue", "ls", *where, "--calling-ae", "CT9", "--json").stdout.count("delivery_id") == 0
    assert "held" in run("queue", "show", held["delivery_id"], *where).stdout
    assert "held: no rule sends it" in run("trace", held["sop_instance_uid"], *where).stdout
    assert run("trace", "1.2.9", *where).exit_code == 1
    assert run("audit", *where, "--json").stdout.count("who") == 0
    result = run("queue", "export", tmp_path / "out", "-d", "", *where)
    assert result.exit_code == 0, result.output
    (file,) = (tmp_path / "out").glob("*.dcm")
    received, sent = scu.examine(file), scu.examine(ct)
    assert isinstance(received, scu.SendFile)
    assert isinstance(sent, scu.SendFile)
    assert received.sop_instance_uid == sent.sop_instance_uid
    assert file.read_bytes()[-10_000:] == ct.read_bytes()[-10_000:]


def test_a_directory_without_a_queue(run: Run, tmp_path: Path) -> None:
    for command in (("queue", "ls"), ("queue", "export", tmp_path / "out", "--all"), ("audit",)):
        result = run(*command, "--data-dir", tmp_path)
        assert result.exit_code == 1
        assert "there is no ledger here" in result.stderr


def test_no_spool(run: Run, tmp_path: Path) -> None:
    result = run("spool", "ls", "--directory", tmp_path)
    assert result.exit_code == 1
    assert "no ledger" in result.stderr
