"""What is on the disk is lost or damaged: a ledger that is gone, a byte that has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.peers import free_port
from tests.peers.gateway import Gateway, Json, modality, router, send_all_to
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow]

SMALL, LARGE = 40_000, 6_000_000  # a record in a segment, and a file of its own


def to_one_sink(port: int) -> Json:
    retry = {"initial": "100ms", "maximum": "200ms"}
    return {"modalities": {"sink": modality(port, retry=retry)}, "rules": send_all_to("sink")}


def make(size: int, first: int, count: int) -> list[Made]:
    maker = Maker(size)
    return [maker.make(number) for number in range(first, first + count)]


def store(port: int, made: Sequence[Made]) -> None:
    with Association(port, [CT]) as association:
        assert [association.store(CT[0], m.uid, CT[1], m.data_set) for m in made] == [0] * len(made)


def uids(made: Sequence[Made]) -> set[str]:
    return {m.uid for m in made}


def test_a_lost_ledger_is_rebuilt_and_nothing_undelivered_is_lost(tmp_path: Path) -> None:
    port = free_port()
    early, late = make(SMALL, 0, 20), [*make(SMALL, 20, 20), *make(LARGE, 40, 2)]
    with Gateway(tmp_path / "gateway", to_one_sink(port)) as gateway:
        with Sink(tmp_path / "sink", port=port) as sink:
            store(gateway.port, early)
            sink.wait_for(uids(early))
        store(gateway.port, late)  # nobody takes these
        gateway.kill()
        for path in gateway.data_dir.glob("ledger.db*"):
            path.unlink()

        rebuilt = router("spool", "rebuild", "-c", str(gateway.configuration))
        assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
        with Sink(tmp_path / "sink", port=port) as sink:
            gateway.start()
            sink.wait_for(uids(late))
            expected = {(m.uid, m.sha256) for m in (*early, *late)}
            assert sink.data_sets().keys() == expected  # of the early ones some may come again


def damage(data_dir: Path, made: Made) -> None:
    """Change one bit in the pixels of an instance, wherever it lies."""
    for path in sorted(data_dir.rglob("*")):
        if not path.is_file() or path.name.startswith("ledger"):
            continue
        at = path.read_bytes().find(made.data_set)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + len(made.data_set) - 100)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes((byte ^ 0x10,)))
            return
    raise AssertionError("the instance is nowhere in the spool")


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["in a segment", "in a file of its own"])
def test_a_flipped_byte_is_found_at_delivery_and_never_sent(tmp_path: Path, size: int) -> None:
    port = free_port()
    made = make(size, 0, 3)
    hurt, intact = made[1], [made[0], made[2]]
    with Gateway(tmp_path / "gateway", to_one_sink(port)) as gateway:
        store(gateway.port, made)
        gateway.kill()
        damage(gateway.data_dir, hurt)
        with Sink(tmp_path / "sink", port=port) as sink:
            gateway.start()
            sink.wait_for(uids(intact))
            gateway.wait_quiet()
            assert sink.data_sets().keys() == {(m.uid, m.sha256) for m in intact}
        dead = gateway.deliveries("dead")
        assert [(row["sop_instance_uid"], row["reason"]) for row in dead] == [(hurt.uid, "corrupt")]
        assert "corrupt" in json.dumps(gateway.trace(hurt.uid))
        assert hurt.uid not in gateway.log_text()  # no UIDs of patients in the log, not even here


def test_a_gateway_without_its_ledger_does_not_start_as_if_all_was_well(tmp_path: Path) -> None:
    with Gateway(tmp_path / "gateway", to_one_sink(free_port())) as gateway:
        store(gateway.port, make(SMALL, 0, 1))
        gateway.kill()
        for path in gateway.data_dir.glob("ledger.db*"):
            path.unlink()
        refused = router("serve", "-c", str(gateway.configuration), timeout_s=30)
        assert refused.returncode != 0
        assert "spool rebuild" in refused.stdout + refused.stderr
