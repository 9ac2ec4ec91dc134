"""Groups with real sinks: the first is killed and comes back, studies stay together. Duplicates, quotas."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from bench.sample import ROOT
from tests.peers import free_port, wait_until
from tests.peers.gateway import Gateway, modality, send_all_to
from tests.peers.instances import CT, Made, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

_STUDY_TAG = b"\x20\x00\x0d\x00UI"
_MAKER = Maker(40_000)
ASSOCIATIONS = 2


def made(numbers: Iterable[int], study: int | None = None) -> list[Made]:
    """Instances, all of one study; of the one with that number (0 to 9) where given."""
    found = [_MAKER.make(number) for number in numbers]
    if study is None:
        return found
    return [Made(uid=one.uid, data_set=_in_study(one.data_set, study)) for one in found]


def _in_study(data_set: bytes, study: int) -> bytes:
    at = data_set.index(_STUDY_TAG) + len(_STUDY_TAG) + 2
    uid = f"{ROOT}.10".encode()
    assert data_set[at : at + len(uid)] == uid
    return data_set[:at] + f"{ROOT}.2{study}".encode() + data_set[at + len(uid) :]


def send(gateway: Gateway, instances: Iterable[Made], *, calling: str = "MODALITY") -> list[int]:
    """The statuses with which they were answered."""
    with Association(gateway.port, [CT], calling=calling) as association:
        return [association.store(*CT[:1], one.uid, CT[1], one.data_set) for one in instances]


def uids(instances: Iterable[Made]) -> set[str]:
    return {one.uid for one in instances}


def arrivals(sink: Sink) -> Counter[str]:
    return Counter(line.sop_instance_uid for line in sink.lines())


def test_failover_loses_nothing_doubles_only_the_outstanding_and_switches_back(tmp_path: Path) -> None:
    port = free_port()
    first = Sink(tmp_path / "first", port=port)
    limits = {"associations": ASSOCIATIONS, "window": 1}
    with Sink(tmp_path / "second") as second:
        configuration = {
            "modalities": {
                "pacs": modality(port, "PACS", **limits, retry={"initial": 0.2, "maximum": 1}),
                "archive": modality(second.port, "ARCHIVE", **limits),
            },
            "destinations": {"safe": {"first_of": ["pacs", "archive"]}},
            "rules": send_all_to("safe"),
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            calm = made(range(40))
            assert set(send(gateway, calm)) == {0}
            gateway.wait_quiet()
            assert arrivals(first) == Counter(uids(calm))
            assert not second.lines()

            troubled = made(range(100, 400))
            assert set(send(gateway, troubled[:150])) == {0}
            first.stop()
            assert set(send(gateway, troubled[150:])) == {0}
            second.wait_for(uids(troubled) - set(arrivals(first)))
            gateway.wait_quiet()
            at_first, at_second = arrivals(first), arrivals(second)
            assert set(at_first) | set(at_second) == uids(calm) | uids(troubled)
            assert max(at_first.values()) == max(at_second.values()) == 1
            assert len(set(at_first) & set(at_second)) <= ASSOCIATIONS
            carried = gateway.trace(troubled[-1].uid)[0]["deliveries"]
            assert isinstance(carried, list)
            assert carried[0]["destination"] == "safe"
            assert carried[0]["history"][-1]["carried_by"] == "archive"

            with Sink(tmp_path / "again", port=port) as again:
                up = 'dicom_router_destination_up{destination="pacs"}'
                wait_until(lambda: gateway.metrics()[up] == 1, "the first is found to be back")
                back = made(range(500, 540))
                assert set(send(gateway, back)) == {0}
                again.wait_for(uids(back))
                gateway.wait_quiet()
                assert arrivals(again) == Counter(uids(back))


def test_balance_keeps_studies_together_and_spreads_them(tmp_path: Path) -> None:
    with Sink(tmp_path / "one") as one, Sink(tmp_path / "two") as two:
        configuration = {
            "modalities": {"pacs1": modality(one.port, "ONE"), "pacs2": modality(two.port, "TWO")},
            "destinations": {"both": {"one_of": ["pacs1", "pacs2"]}},
            "rules": send_all_to("both"),
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            studies = {study: made(range(20 * study, 20 * study + 20), study) for study in range(10)}
            for part in (slice(0, 10), slice(10, 20)):
                for instances in studies.values():
                    assert set(send(gateway, instances[part])) == {0}
                gateway.wait_quiet()
                assert gateway.stop() == 0
                gateway.start()  # where a study goes is the same after a restart
            because = gateway.trace(studies[0][0].uid)[0]["rules"]
            assert "one of pacs1, pacs2" in str(because)
        homes: dict[int, set[str]] = defaultdict(set)
        at = {"one": arrivals(one), "two": arrivals(two)}
        for study, instances in studies.items():
            for made_one in instances:
                homes[study] |= {name for name, seen in at.items() if made_one.uid in seen}
    assert sum(sum(seen.values()) for seen in at.values()) == 200
    assert all(len(home) == 1 for home in homes.values())
    assert {name for home in homes.values() for name in home} == {"one", "two"}


def test_identical_duplicates_are_acknowledged_and_visible_and_not_sent(tmp_path: Path) -> None:
    with Sink(tmp_path / "sink") as sink:
        configuration = {
            "modalities": {"pacs": modality(sink.port)},
            "rules": send_all_to("pacs"),
            "duplicates": "skip-identical",
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            images = made(range(10))
            assert set(send(gateway, images)) == {0}
            gateway.wait_quiet()
            assert set(send(gateway, images)) == {0}
            assert set(send(gateway, images[:5], calling="WORKSTATION")) == {0}
            changed = Made(uid=images[0].uid, data_set=images[0].data_set[:-1] + b"\x01")
            assert send(gateway, [changed]) == [0]
            gateway.wait_quiet()
            assert arrivals(sink) == Counter(uids(images)) + Counter([changed.uid])
            traces = gateway.trace(images[1].uid)
            assert [bool(trace["destinations"]) for trace in traces] == [True, False, False]
            assert f"skipped: the same data set as {traces[0]['key']}" in str(traces[1]["rules"])
            assert gateway.metrics()["dicom_router_duplicates_skipped_total"] == 15


def test_a_quota_refuses_one_source_and_no_other(tmp_path: Path) -> None:
    port = free_port()
    configuration = {
        "modalities": {
            "ct1": {"ae_title": "CT1", "host": "127.0.0.1", "port": 1, "send": ["echo"], "quota": "400kB"},
            "pacs": modality(port, retry={"initial": 0.1, "maximum": 0.5}),
        },
        "rules": send_all_to("pacs"),
        "quota_unknown": "10MB",
    }
    with Gateway(tmp_path / "gateway", configuration) as gateway:
        statuses = send(gateway, made(range(20)), calling="CT1")
        taken = statuses.count(0)
        assert statuses == [0] * taken + [0xA700] * (20 - taken)
        assert 10 <= taken <= 12
        assert set(send(gateway, made(range(100, 120)))) == {0}
        assert gateway.metrics()['dicom_router_quota_refusals_total{source="ct1"}'] == 20 - taken
        with Sink(tmp_path / "sink", port=port) as sink:
            sink.wait_for(uids(made(range(taken))))
            gateway.wait_quiet()
            wait_until(lambda: send(gateway, made([200]), calling="CT1") == [0], "the quota is free again")
