"""Each thing that operators do, by command line and by HTTP, against a real gateway, with its audit line."""

from __future__ import annotations

import csv
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.wire import PeerError
from router.cli import build
from tests.corpus import read_part10
from tests.peers import free_port, wait_until
from tests.peers.gateway import Gateway, modality, router
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow]

RETRY = {"initial": "50ms", "maximum": "100ms", "max_attempts": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Somebody at a command line, or at an HTTP client, before a gateway."""

    gateway: Gateway
    by_http: bool

    @property
    def who(self) -> str:
        return "Zoë" if self.by_http else "anna@ward"

    def _run(self, *arguments: str) -> tuple[bool, str]:
        address = f"http://127.0.0.1:{self.gateway.http}"  # in this process: Python need not start each time
        done = CliRunner().invoke(build(), [*arguments, "--url", address, "--by", self.who])
        assert done.exit_code in (0, 1), done.output
        return done.exit_code == 0, done.stdout + done.stderr

    def _post(self, path: str, body: object = None) -> tuple[bool, str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gateway.http}/api/v1/{path}",
            data=json.dumps(body).encode() if body is not None else b"",
            headers={"Content-Type": "application/json", "X-Dicom-Router-User": "Zo%C3%AB"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own gateway
                return True, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                assert error.code in (404, 409)
                return False, error.read().decode()

    def order(self, action: str, *, to: str | None = None, **chosen: object) -> tuple[bool, str]:
        """An order about deliveries; whether it was carried out, and what was said."""
        if self.by_http:
            return self._post(f"queue/{action}", {**chosen, **({"to": to} if to else {})})
        words: list[str] = []
        for name, value in chosen.items():
            if name == "ids":
                assert isinstance(value, list)
                words += map(str, value)
            elif name == "everything":
                words.append("--all")
            else:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return self._run("queue", action, *words, *(("--to", to) if to else ()))

    def destination(self, action: str, name: str) -> tuple[bool, str]:
        if self.by_http:
            return self._post(f"destinations/{name}/{action}")
        return self._run("destination", action, name)

    def drain(self, *, undo: bool = False) -> tuple[bool, str]:
        word = "undrain" if undo else "drain"
        return self._post(word) if self.by_http else self._run(word)

    def discard_corrupt(self, key: str) -> tuple[bool, str]:
        if self.by_http:
            return self._post("instances/corrupt/discard", {"keys": [key]})
        return self._run("corrupt", "discard", key)

    def last(self) -> dict[str, object]:
        """The latest line of the audit."""
        page = json.loads(self.gateway.get("/api/v1/audit?limit=1"))
        line: dict[str, object] = page["operations"][0]
        assert line["who"] == self.who
        assert line["address"] == "127.0.0.1"
        assert line["ended_at"] is not None
        return {name: line[name] for name in ("action", "target", "count", "detail")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """A gateway with two destinations, one of which is down at first."""

    operator: Operator
    gateway: Gateway
    pacs_port: int
    archive: Sink
    directory: Path

    def send(self, *numbers: int) -> list[Made]:
        maker = Maker(40_000)
        made = [maker.make(number) for number in numbers]
        with Association(self.gateway.port, [CT]) as association:
            for one in made:
                assert association.store(CT[0], one.uid, CT[1], one.data_set) == 0
        return made

    def refused(self, path: str) -> tuple[int, str]:
        """What is said instead of an answer."""
        with pytest.raises(urllib.error.HTTPError) as error:
            self.gateway.get(path)
        with error.value:
            return error.value.code, error.value.read().decode()

    def states(self, destination: str = "pacs") -> dict[str, int]:
        return {state: count for (name, state), count in self.gateway.depths().items() if name == destination}

    def ids(self, state: str) -> list[int]:
        return [int(str(row["delivery_id"])) for row in self.gateway.deliveries(state)]

    def wait_for(self, state: str, count: int, destination: str = "pacs") -> None:
        wait_until(lambda: self.states(destination).get(state, 0) == count, f"{count} are {state}")

    def wait_for_metric(self, outcome: str, count: int) -> None:
        """As many deliveries to pacs came to that end; what is scraped may be a second old."""
        sample = f'dicom_router_deliveries_total{{destination="pacs",outcome="{outcome}"}}'
        wait_until(lambda: self.gateway.metrics().get(sample) == count, f"{count} counted as {outcome}")


@pytest.fixture(params=["command line", "HTTP"])
def ward(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ward]:
    pacs_port = free_port()
    with (
        Sink(tmp_path / "archive") as archive,
        Gateway(
            tmp_path / "gateway",
            {
                "modalities": {
                    "pacs": modality(pacs_port, "PACS", retry=RETRY),
                    "archive": modality(archive.port, "ARCHIVE", retry=RETRY),
                },
                "rules": [{"rule": "cts", "when": {"Modality": "CT"}, "send": "pacs"}],
                "retention": "1h",
            },
        ) as gateway,
    ):
        yield Ward(
            operator=Operator(gateway=gateway, by_http=request.param == "HTTP"),
            gateway=gateway,
            pacs_port=pacs_port,
            archive=archive,
            directory=tmp_path,
        )


def test_a_backlog_is_paused_held_resumed_redirected_discarded_and_replayed(ward: Ward) -> None:
    operator = ward.operator
    assert operator.destination("pause", "pacs")[0]
    assert operator.last() == {"action": "pause-destination", "target": "pacs", "count": 0, "detail": ""}
    is_done, said = operator.destination("pause", "pacs")
    assert (is_done, f"pacs is paused already, by {operator.who}" in said) == (False, True)
    assert ward.gateway.metrics()['dicom_router_destination_paused{destination="pacs"}'] == 1
    made = ward.send(*range(6))
    ward.wait_for("pending", 6)

    numbers = ward.ids("pending")
    assert operator.order("hold", ids=numbers[:2])[0]
    assert operator.last()["count"] == 2
    assert operator.order("hold", destination="pacs")[0]
    assert operator.last() == {"action": "hold", "target": "destination=pacs", "count": 4, "detail": ""}
    is_done, said = operator.order("hold", ids=numbers[:1])
    assert not is_done
    assert "hold is for pending deliveries" in said
    assert "what is held can be resumed, discarded or redirected" in said
    assert not operator.order("retry", destination="pacs")[0]

    assert operator.order("resume", ids=numbers[:3])[0]
    assert operator.last()["action"] == "resume"
    assert ward.states() == {"held": 3, "pending": 3}
    assert operator.order("redirect", to="archive", ids=numbers[:1])[0]
    assert operator.last()["detail"] == "to archive"
    assert not operator.order("redirect", to="nowhere", everything=True)[0]
    assert operator.order("redirect", to="archive", sop_instance_uid=made[5].uid)[0]
    ward.archive.wait_for({made[0].uid, made[5].uid})
    assert operator.order("discard", destination="pacs", state="held")[0]
    assert operator.last() == {
        "action": "discard", "target": "destination=pacs state=held", "count": 2, "detail": "",
    }  # fmt: skip

    ward.wait_for_metric("discarded", 4)  # two of them by redirection
    assert ward.states() == {"pending": 2}  # paused: it was not even tried
    with Sink(ward.directory / "pacs", port=ward.pacs_port) as pacs:
        assert operator.destination("resume", "pacs")[0]
        assert operator.last()["action"] == "resume-destination"
        assert not operator.destination("resume", "pacs")[0]
        pacs.wait_for({made[1].uid, made[2].uid})
        ward.gateway.wait_quiet()
        assert operator.order("replay", sop_instance_uid=made[1].uid)[0]
        assert operator.last()["action"] == "replay"
        wait_until(lambda: len(pacs.lines()) == 3, "it is sent again")
        assert operator.order("replay", to="archive", sop_instance_uid=made[2].uid)[0]
        ward.archive.wait_for({made[2].uid})
        ward.gateway.wait_quiet()
    assert sum(pacs.data_sets().values()) == 3
    assert (made[1].uid, made[1].sha256) in pacs.data_sets()


def test_dead_ones_are_kept_listed_exported_and_tried_again(ward: Ward) -> None:
    operator = ward.operator
    with Sink(ward.directory / "strict", "--fail", "C000:100%", port=ward.pacs_port):
        made = ward.send(1, 2, 3)
        ward.wait_for("dead", 3)
    numbers = ward.ids("dead")
    assert not operator.order("resume", ids=numbers)[0]
    out = ward.directory / "out"
    exported = router(
        "queue", "export", str(out), "-s", "dead", "--all" if not numbers else "-d", "pacs",
        "--url", f"http://127.0.0.1:{ward.gateway.http}",
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    assert_exported(out, made)
    with Sink(ward.directory / "pacs", port=ward.pacs_port) as pacs:
        assert operator.order("retry", destination="pacs", state="dead")[0]
        assert operator.last() == {
            "action": "retry", "target": "destination=pacs state=dead", "count": 3, "detail": "",
        }  # fmt: skip
        pacs.wait_for({one.uid for one in made})
        ward.gateway.wait_quiet()
    is_done, said = operator.order("retry", ids=numbers[:1])
    assert not is_done
    assert "what is delivered can be replayed" in said


def assert_exported(directory: Path, made: list[Made]) -> None:
    with (directory / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_uid = {row["sop_instance_uid"]: directory / row["file"] for row in rows}
    assert {uid: read_part10(path).sha256 for uid, path in by_uid.items()} == {m.uid: m.sha256 for m in made}


def test_a_pause_outlives_the_process_and_a_stopped_queue_can_be_read(ward: Ward) -> None:
    assert ward.operator.destination("pause", "pacs")[0]
    (made,) = ward.send(7)
    ward.wait_for("pending", 1)
    assert ward.gateway.stop() == 0
    where = ("--data-dir", str(ward.gateway.data_dir))
    page = json.loads(router("queue", "ls", "--json", *where).stdout)
    (row,) = page["deliveries"]
    assert (row["state"], row["sop_instance_uid"]) == ("pending", made.uid)
    assert router("queue", "show", row["delivery_id"], *where).returncode == 0
    assert made.uid in router("trace", made.uid, *where).stdout
    assert "pause-destination" in router("audit", *where).stdout
    assert router("queue", "export", str(ward.directory / "out"), "--all", *where).returncode == 0
    assert_exported(ward.directory / "out", [made])
    with Sink(ward.directory / "pacs", port=ward.pacs_port) as pacs:
        ward.gateway.start()
        listed = json.loads(ward.gateway.get("/api/v1/destinations"))
        assert [item["paused_by"] for item in listed] == [ward.operator.who, None]
        assert ward.states() == {"pending": 1}
        assert pacs.lines() == []
        assert ward.operator.destination("resume", "pacs")[0]
        pacs.wait_for({made.uid})


def test_a_drained_gateway_takes_nobody_new_and_empties(ward: Ward) -> None:
    operator = ward.operator
    with Sink(ward.directory / "pacs", "--stall", "0.2", port=ward.pacs_port) as pacs:
        made = ward.send(*range(5))
        assert operator.drain()[0]
        assert operator.last() == {"action": "drain", "target": "", "count": 0, "detail": ""}
        status, body = ward.refused("/readyz")
        assert (status, json.loads(body)["reasons"]) == (503, ["draining"])
        with pytest.raises(PeerError):
            ward.send(9)
        assert not operator.drain()[0]
        url = f"http://127.0.0.1:{ward.gateway.http}"
        waited = router("drain", "--wait", "--url", url)
        assert (waited.returncode, "Everything has gone out" in waited.stdout) == (0, True)
        assert {uid for uid, _ in pacs.data_sets()} == {one.uid for one in made}
        assert operator.drain(undo=True)[0]
        assert operator.last()["action"] == "undrain"
        assert not operator.drain(undo=True)[0]
        pacs.wait_for({one.uid for one in ward.send(9)})


def test_damaged_instances_are_listed_and_discarded(ward: Ward) -> None:
    operator = ward.operator
    assert operator.destination("pause", "pacs")[0]
    (made,) = ward.send(3)
    ward.wait_for("pending", 1)
    (trace,) = ward.gateway.trace(made.uid)
    key = str(trace["key"])
    assert not operator.discard_corrupt(key)[0]
    damage(ward.gateway.data_dir, made)
    assert ward.refused(f"/api/v1/instances/{key}/file")[0] == 409
    assert [item["key"] for item in json.loads(ward.gateway.get("/api/v1/instances/corrupt"))] == [key]
    is_done, said = operator.order("retry", sop_instance_uid=made.uid)
    assert not is_done
    assert "damaged" in said
    assert operator.discard_corrupt(key)[0]
    assert operator.last()["action"] == "discard-corrupt"
    assert ward.states() == {}
    ward.wait_for_metric("discarded", 1)
    assert json.loads(ward.gateway.get("/api/v1/instances/corrupt")) == []


def damage(data_dir: Path, made: Made) -> None:
    """Flip a byte of an instance's pixels, wherever they lie."""
    piece = made.data_set[-64:]
    for path in (data_dir / "segments").glob("*.seg"):
        content = path.read_bytes()
        at = content.find(piece)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([piece[0] ^ 1]))
            return
    raise AssertionError("its bytes are in no segment")
