"""System calls that fail under the running gateway, on demand: what it answers, and that it gets over it."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow]

SHIM = Path(__file__).with_name("faults.c")
REFUSED = {0xA700, 0x0110}
SIZES = (40_000, 700_000)  # a record in a segment, and a file of its own


class Faults:
    """Tells the gateway's preloaded library what shall fail."""

    def __init__(self, plan: Path) -> None:
        self._plan = plan

    def begin(self, code: int, share: int) -> None:
        new = self._plan.with_suffix(".new")
        new.write_text(f"{code} {share}")
        new.rename(self._plan)

    def end(self) -> None:
        self._plan.unlink()


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = tmp_path / "faults.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAULT_PLAN", str(tmp_path / "plan"))
    monkeypatch.setenv("FAULT_UNDER", str(tmp_path / "gateway" / "data"))
    yield Faults(tmp_path / "plan")


class Senders:
    """One association, which must not end; numbered instances."""

    def __init__(self, port: int) -> None:
        self.association = Association(port, [CT])
        self.sent: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self._makers = [Maker(size) for size in SIZES]

    def store(self) -> int:
        number = len(self.sent)
        made: Made = self._makers[number % len(SIZES)].make(number)
        self.sent[made.uid] = made.sha256
        status = self.association.store(CT[0], made.uid, CT[1], made.data_set)
        if status == 0:
            self.acknowledged.add(made.uid)
        return status


def reasons(gateway: Gateway) -> list[str]:
    """Why the gateway is not ready."""
    try:
        answer = gateway.get("/readyz")
    except urllib.error.HTTPError as error:
        assert error.code == 503
        answer = error.read().decode()
    found: list[str] = json.loads(answer)["reasons"]
    return found


def test_failing_calls_are_answered_and_got_over(tmp_path: Path, faults: Faults) -> None:
    with Sink(tmp_path / "sink") as sink:
        configuration = {
            "modalities": {"sink": modality(sink.port, retry={"initial": "100ms", "maximum": "300ms"})},
            "rules": send_all_to("sink"),
            "spool": {"large_object_bytes": "512kB", "segment_bytes": "4MB", "min_free_bytes": 0},
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            senders = Senders(gateway.port)
            assert [senders.store() for _ in range(10)] == [0] * 10
            for code, reason in ((errno.EIO, "disk_failing"), (errno.ENOSPC, "disk_low")):
                faults.begin(code, 30)
                some = {senders.store() for _ in range(30)}
                assert some & REFUSED
                assert some <= {0, *REFUSED}
                faults.begin(code, 100)
                assert {senders.store() for _ in range(10)} <= REFUSED
                assert reasons(gateway) == [reason] or set(reasons(gateway)) == {"disk_failing", "disk_low"}
                faults.end()
                wait_until(lambda: not reasons(gateway), "the gateway is ready again", 15)
                again = [senders.store() for _ in range(10)]
                assert again[-8:] == [0] * 8, again  # the kernel may tell a failure late, once
            sink.wait_for(senders.acknowledged)
            gateway.wait_quiet()
            senders.association.close()
            gateway.kill()
            gateway.start()
            gateway.wait_quiet()
            taken = sink.data_sets()
            assert {uid for uid, _ in taken} >= senders.acknowledged
            assert all(senders.sent[uid] == digest for uid, digest in taken)
