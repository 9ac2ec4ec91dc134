"""What operators do by command line: what is asked of a gateway, what is said, and who is written down."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from router.errors import NotAllowed
from router.model import DeliveryState, QueueDepth, Reason
from router.spool.orders import Action, Selection
from tests.cli.conftest import Remote, Run
from tests.fake_store import KEY, record

ORDERS = [Action.RETRY, Action.HOLD, Action.RESUME, Action.DISCARD, Action.REDIRECT, Action.REPLAY]


def to(action: Action) -> tuple[str, ...]:
    return ("--to", "pacs") if action is Action.REDIRECT else ()


@pytest.mark.parametrize("action", ORDERS)
def test_orders_by_number_by_filter_and_for_all(run: Run, remote: Remote, action: Action) -> None:
    done = run("queue", action, 1, 2, *to(action), "--by", "Zoë <z>", "--url", remote.url)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 ")
    assert "Left alone: 1 active." in done.stdout
    filters = ("-d", "old", "-s", "dead", "--reason", "max_age", "-i", "1.2.3", "--calling-ae", "CT1")
    assert run("queue", action, *filters, *to(action), "--url", remote.url).exit_code == 0
    assert run("queue", action, "--all", *to(action), "--url", remote.url).exit_code == 0
    given = remote.store.orders.given
    assert [order.action for order in given] == [action] * 3
    assert [order.selection for order in given] == [
        Selection(ids=(1, 2)),
        Selection(
            destination="old",
            state=DeliveryState.DEAD,
            reason=Reason.MAX_AGE,
            sop_instance_uid="1.2.3",
            calling_ae="CT1",
        ),
        Selection(everything=True),
    ]
    assert given[0].by.who == "Zoë <z>"
    assert "@" in given[1].by.who  # user@host
    assert {order.by.address for order in given} == {"127.0.0.1"}
    assert {order.to for order in given} == {"pacs" if action is Action.REDIRECT else None}


@pytest.mark.parametrize("action", ORDERS)
@pytest.mark.parametrize("arguments", [(), ("1", "--all"), ("1", "-d", "pacs"), ("-d", "pacs", "--all")])
def test_an_order_that_is_not_clear_is_wrong_use(
    run: Run, remote: Remote, action: Action, arguments: tuple[str, ...]
) -> None:
    result = run("queue", action, *arguments, *to(action), "--url", remote.url)
    assert result.exit_code == 2
    assert "Say which deliveries" in result.stderr
    assert "--all" in result.stderr
    assert remote.store.orders.given == []


def test_a_refusal_is_one_sentence_and_exit_code_1(run: Run, remote: Remote) -> None:
    remote.store.orders.refuse_with = NotAllowed("hold is for pending deliveries: no. 1 is dead")
    result = run("queue", "hold", 1, "--url", remote.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.strip() == "hold is for pending deliveries: no. 1 is dead"
    result = run("queue", "redirect", 1, "--to", "nowhere", "--url", remote.url)
    assert result.exit_code == 1
    assert "there is no destination 'nowhere' (there are: pacs)" in result.stderr


def test_a_destination_is_paused_listed_and_resumed(run: Run, remote: Remote) -> None:
    assert run("destination", "pause", "pacs", "--by", "anna", "--url", remote.url).exit_code == 0
    assert remote.switches.paused == {"pacs": True}
    remote.store.totals = [
        QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=3, oldest_at=10.0)
    ]
    assert "paused by anna" in run("destination", "ls", "--url", remote.url).stdout
    assert "not tried yet" not in run("destination", "ls", "--url", remote.url).stdout
    (listed,) = json.loads(run("destination", "ls", "--json", "--url", remote.url).stdout)
    assert (listed["name"], listed["paused_by"], listed["pending"]) == ("pacs", "anna", 3)
    assert run("destination", "resume", "pacs", "--url", remote.url).exit_code == 0
    assert remote.switches.paused == {"pacs": False}
    assert run("destination", "pause", "elsewhere", "--url", remote.url).exit_code == 1


def test_a_drain_is_waited_for(run: Run, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def route_one(_seconds: float) -> None:
        remote.store.unrouted -= 1

    monkeypatch.setattr("router.cli.operators.time.sleep", route_one)
    assert "nobody new comes in" in run("drain", "--by", "anna", "--url", remote.url).stdout
    assert remote.switches.is_refusing
    assert run("drain", "--url", remote.url).exit_code == 1
    waited = run("drain", "--wait", "--url", remote.url)
    assert "Everything has gone out" in waited.stdout
    assert "1 waiting, 0 associations open" in waited.stderr
    assert run("undrain", "--url", remote.url).exit_code == 0
    assert not remote.switches.is_refusing
    assert run("undrain", "--url", remote.url).exit_code == 1


def test_the_audit_is_listed_in_pages(run: Run, remote: Remote) -> None:
    run("destination", "pause", "pacs", "--by", "anna", "--url", remote.url)
    run("destination", "resume", "pacs", "--by", "ben", "--url", remote.url)
    shown = run("audit", "--url", remote.url).stdout
    for part in ("anna", "ben", "pause-destination", "resume-destination", "127.0.0.1"):
        assert part in shown
    assert "There are more: --before 2" in run("audit", "--limit", 1, "--url", remote.url).stdout
    page = json.loads(run("audit", "--before", 2, "--json", "--url", remote.url).stdout)
    assert [line["who"] for line in page["operations"]] == ["anna"]


def test_corrupt_instances(run: Run, remote: Remote) -> None:
    remote.store.files = {KEY: b"broken"}
    remote.store.damaged = {KEY}
    assert str(KEY) in run("corrupt", "ls", "--url", remote.url).stdout
    assert json.loads(run("corrupt", "ls", "--json", "--url", remote.url).stdout)[0]["state"] == "corrupt"
    assert "1 discarded" in run("corrupt", "discard", KEY, "--url", remote.url).stdout
    assert "1 discarded" in run("corrupt", "discard", "--all", "--url", remote.url).stdout
    assert run("corrupt", "discard", "--url", remote.url).exit_code == 2
    assert remote.store.orders.discarded == [(KEY,), None]


def manifest(directory: Path) -> list[dict[str, str]]:
    with (directory / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_files_are_exported_with_a_list_of_them(run: Run, remote: Remote, tmp_path: Path) -> None:
    remote.store.files = {KEY: bytes(3_000_000)}
    remote.store.records = [
        record(1, state=DeliveryState.DEAD, sop_instance_uid="../../etc/1.2.3", calling_ae="=CT1"),
        record(2, state=DeliveryState.HELD, sop_instance_uid="../../etc/1.2.3"),
        record(3, state=DeliveryState.DELIVERED),
    ]
    result = run("queue", "export", tmp_path / "out", "--all", "--url", remote.url)
    assert result.exit_code == 0, result.output
    assert "1 files" in result.stdout
    (file,) = (tmp_path / "out").glob("*.dcm")
    assert file.read_bytes() == bytes(3_000_000)
    assert file.name == f"_.._etc_1.2.3_{KEY}.dcm"
    rows = manifest(tmp_path / "out")
    assert [(row["delivery_id"], row["state"], row["file"]) for row in rows] == [
        ("1", "dead", file.name),
        ("2", "held", file.name),
    ]
    assert rows[0]["calling_ae"] == "'=CT1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_cannot_be_exported_is_in_the_list(run: Run, remote: Remote, tmp_path: Path) -> None:
    remote.store.records = [record(1, state=DeliveryState.DELIVERED)]
    remote.store.files = {KEY: b"x"}
    remote.store.released = {KEY}
    result = run("queue", "export", tmp_path, "-s", "delivered", "--url", remote.url)
    assert result.exit_code == 1
    (row,) = manifest(tmp_path)
    assert (row["file"], "are gone" in row["problem"]) == ("", True)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]
    remote.store.released, remote.store.damaged = set(), {KEY}
    assert run("queue", "export", tmp_path, 1, "--url", remote.url).exit_code == 1
    assert "do not match their hash" in manifest(tmp_path)[0]["problem"]


def test_an_export_says_what_of(run: Run, remote: Remote, tmp_path: Path) -> None:
    assert run("queue", "export", tmp_path, "--url", remote.url).exit_code == 2
    result = run("queue", "export", tmp_path, "--all", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no gateway answers" in result.stderr


def test_what_a_destination_takes(run: Run, remote: Remote) -> None:
    shown = run("destination", "contexts", "pacs", "--url", remote.url)
    assert shown.exit_code == 0, shown.output
    assert "CT Image Storage" in shown.stdout
    assert "refused" in shown.stdout
    assert "in 840 s" in shown.stdout
    unknown = run("destination", "contexts", "nowhere", "--url", remote.url)
    assert unknown.exit_code != 0
    assert "no destination 'nowhere'" in unknown.stderr
