"""What the gateway says of an instance is what happened: ``explain``, ``trace`` and the sinks' logs."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from router.samples import generate
from tests.peers.gateway import Gateway, modality, router
from tests.peers.instances import CT, Maker
from tests.peers.sender import Association
from tests.peers.sink import Sink

pytestmark = [pytest.mark.slow]

RETRY = {"initial": "50ms", "maximum": "100ms"}


def test_explain_and_trace_say_what_the_sinks_logs_confirm(tmp_path: Path) -> None:
    samples = generate(tmp_path / "samples")
    with (
        Sink(tmp_path / "images") as images,
        Sink(tmp_path / "all", "--fail", "A700:30%", "--seed", "1") as everything,
        Gateway(
            tmp_path / "gateway",
            {
                "modalities": {
                    "images": modality(images.port, "IMAGES"),
                    "all": modality(everything.port, "ALL", retry=RETRY),
                },
                "rules": [
                    {"rule": "sections", "when": {"Modality": ["CT", "MR"]}, "send": "images"},
                    {"rule": "archive", "send": "all", "priority": "low"},
                ],
            },
        ) as gateway,
    ):
        done = router("send", f"ROUTER@127.0.0.1:{gateway.port}", "--quiet", str(tmp_path / "samples"))
        assert done.returncode == 0, done.stderr
        gateway.wait_quiet()

        answered: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, sink in (("images", images), ("all", everything)):
            for line in sink.lines():
                answered[name, line.sop_instance_uid].append(line.status)
        paths = [str(sample.path) for sample in samples]
        explained = json.loads(router("explain", "-c", str(gateway.configuration), "--json", *paths).stdout)

        for sample, explanation in zip(samples, explained, strict=True):
            uid = sample.sop_instance_uid
            (trace,) = gateway.trace(uid)
            went_to = {name for name, instance in answered if instance == uid}
            assert set(explanation["destinations"]) == went_to
            assert trace["destinations"] == explanation["destinations"]
            assert trace["rules"] == explanation["rules"]
            attempts = {
                row["destination"]: [attempt["status"] for attempt in row["history"]]
                for row in json.loads(json.dumps(trace["deliveries"]))
            }
            assert attempts == {name: answered[name, uid] for name in went_to}
    assert any("A700" in statuses for statuses in answered.values())  # there were failures to tell of


def test_sigterm_drains_and_what_is_left_is_delivered_after_the_next_start(tmp_path: Path) -> None:
    maker = Maker(40_000)
    made = [maker.make(number) for number in range(60)]
    with Sink(tmp_path / "slow", "--stall", "0.2") as slow:
        configuration = {
            "modalities": {"slow": modality(slow.port, associations=2)},
            "rules": [{"rule": "all", "send": "slow"}],
            "drain": "2s",
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            with Association(gateway.port, [CT]) as association:
                for m in made:
                    assert association.store(CT[0], m.uid, CT[1], m.data_set) == 0
            assert gateway.stop() == 0
            before = len(slow.lines())
            assert before < len(made)
            gateway.start()
            slow.wait_for({m.uid for m in made})
            gateway.wait_quiet()
    assert sum(slow.data_sets().values()) == len(made)  # an orderly stop sends nothing twice
