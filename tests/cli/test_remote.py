"""``queue`` and ``trace``: what they ask of a gateway, and how they show it."""

from __future__ import annotations

import json

import pytest

from router.model import DeliveryState, QueueDepth
from tests.cli.conftest import Remote, Run
from tests.fake_store import DECISION, KEY, record, trace


def test_the_queue_is_listed_with_totals(run: Run, remote: Remote) -> None:
    remote.store.records = [record(1), record(2, state=DeliveryState.DEAD)]
    remote.store.totals = [QueueDepth(destination="", state=DeliveryState.HELD, count=4, oldest_at=10.0)]
    result = run("queue", "ls", "--url", remote.url)
    assert result.exit_code == 0, result.output
    assert "(unmatched)" in result.stdout
    assert "dead" in result.stdout
    assert "1.2.3" in result.stdout


def test_filters_and_pages(run: Run, remote: Remote) -> None:
    remote.store.records = [record(1), record(2, state=DeliveryState.DEAD), record(3), record(4)]
    result = run(
        "queue", "ls", "--url", remote.url, "-d", "pacs", "-s", "pending", "--limit", 1, "--after", 1
    )
    assert "There are more: --state pending --after 3" in result.stdout
    listed = json.loads(run("queue", "ls", "--url", remote.url, "--state", "dead", "--json").stdout)
    assert [item["delivery_id"] for item in listed["deliveries"]] == ["2"]


def test_what_needs_somebody_comes_first_and_what_is_over_not_at_all(run: Run, remote: Remote) -> None:
    remote.store.records = [
        record(1, state=DeliveryState.DELIVERED),
        record(2),
        record(3, state=DeliveryState.DEAD),
        record(4, state=DeliveryState.HELD),
    ]
    remote.store.totals = [
        QueueDepth(destination="pacs", state=DeliveryState.PENDING, count=9, oldest_at=1.0)
    ]
    listed = json.loads(run("queue", "ls", "--url", remote.url, "--json").stdout)
    assert [item["delivery_id"] for item in listed["deliveries"]] == ["3", "4", "2"]
    assert "choose with --state" in run("queue", "ls", "--url", remote.url, "--limit", 2).stdout


def test_one_delivery_with_its_attempts(run: Run, remote: Remote) -> None:
    remote.store.records = [record(17)]
    result = run("queue", "show", 17, "--url", remote.url)
    assert "pacs (no. 17): pending" in result.stdout
    assert "out_of_resources A700 in 500 ms (full)" in result.stdout
    assert json.loads(run("queue", "show", 17, "--url", remote.url, "--json").stdout)["key"] == str(KEY)


def test_what_is_not_there_is_said_in_one_sentence(run: Run, remote: Remote) -> None:
    for arguments in (("queue", "show", 9), ("trace", "1.2.9")):
        result = run(*arguments, "--url", remote.url)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_trace_tells_who_why_and_what_became_of_it(run: Run, remote: Remote) -> None:
    remote.store.traces = [trace(record(1), decision=DECISION)]
    result = run("trace", "1.2.3", "--url", remote.url)
    assert result.exit_code == 0, result.output
    for part in ("CT1 at 10.1.0.21", "✓ ct: Modality is CT", "attempt 1", "CT Image Storage"):
        assert part in result.stdout
    (view,) = json.loads(run("trace", "1.2.3", "--url", remote.url, "--json").stdout)
    assert view["destinations"] == ["pacs"]


def test_a_trace_before_routing(run: Run, remote: Remote) -> None:
    remote.store.traces = [trace()]
    assert "not routed yet" in run("trace", "1.2.3", "--url", remote.url).stdout


@pytest.mark.parametrize("command", [("queue", "ls"), ("queue", "show", "1"), ("trace", "1.2.3")])
def test_no_gateway(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no gateway answers at http://127.0.0.1:1" in result.stderr
    assert "--url" in result.stderr


def test_an_address_that_is_none(run: Run) -> None:
    result = run("queue", "ls", "--url", "ftp://x")
    assert result.exit_code == 1
    assert "is no HTTP address" in result.stderr


def test_the_address_may_come_from_the_environment(
    run: Run, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOM_ROUTER_URL", remote.url.removeprefix("http://"))
    remote.store.records = [record(1)]
    assert "1.2.3" in run("queue", "ls").stdout
