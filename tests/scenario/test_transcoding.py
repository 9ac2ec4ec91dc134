"""Transcoding in a running gateway: workers that die or hang, bombs, and what the operator is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from router.dicom.syntaxes import RLE_LOSSLESS
from router.samples import generate
from router.transform.worker import NICENESS
from tests.corpus import read_part10
from tests.peers import wait_until
from tests.peers.gateway import Gateway, Json, modality, router, send_all_to
from tests.peers.sink import Sink

pytestmark = pytest.mark.timeout(120)

RETRY = {"initial": "100ms", "maximum": "100ms"}


@contextmanager
def site(tmp_path: Path, *options: str, transcode: Json | None = None) -> Iterator[tuple[Gateway, Sink]]:
    """A gateway with one worker, before a sink that takes Explicit VR Little Endian only."""
    with Sink(tmp_path / "sink", "--transfer-syntax", EXPLICIT_VR_LITTLE_ENDIAN, keep=True) as sink:
        configuration = {
            "modalities": {"sink": modality(sink.port, "SINK", retry=RETRY)},
            "rules": send_all_to("sink"),
            "transcode": {"workers": 1, **(transcode or {})},
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            yield gateway, sink


def samples(directory: Path) -> dict[str, Path]:
    """The generated study by title; a CT of it is RLE compressed."""
    return {sample.title: sample.path for sample in generate(directory, bundled=False)}


def send(gateway: Gateway, *paths: Path) -> None:
    done = router("send", f"ROUTER@127.0.0.1:{gateway.port}", "--quiet", *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def workers(gateway: Gateway) -> list[int]:
    """The process ids of its workers."""
    return [child.pid for child in psutil.Process(gateway.pid).children() if child.is_running()]


def history(gateway: Gateway, path: Path) -> list[tuple[str, str]]:
    """Reason and comment of each attempt to deliver a file."""
    (trace,) = gateway.trace(read_part10(path).sop_instance_uid)
    deliveries = trace["deliveries"]
    assert isinstance(deliveries, list)
    return [(attempt["reason"], attempt["comment"]) for attempt in deliveries[0]["history"]]


def test_a_study_arrives_in_the_one_form_that_is_taken(tmp_path: Path) -> None:
    with site(tmp_path) as (gateway, sink):
        study = samples(tmp_path / "study")
        send(gateway, *study.values())
        sink.wait_for({read_part10(path).sop_instance_uid for path in study.values()})
        gateway.wait_quiet()
        assert {line.transfer_syntax_uid for line in sink.lines()} == {EXPLICIT_VR_LITTLE_ENDIAN}
        (trace,) = gateway.trace(read_part10(study["CT RLE"]).sop_instance_uid)
        (attempt,) = trace["deliveries"][0]["history"]  # type: ignore[index]
        assert attempt["transcoding"]["is_lossless"]
        assert attempt["transcoding"]["frames"] == 1
        labels = 'from="rle-lossless",outcome="lossless",to="explicit-vr-little-endian"'
        compressed = [p for p in study.values() if read_part10(p).transfer_syntax_uid == RLE_LOSSLESS]
        assert gateway.metrics()[f"dicom_router_transcodes_total{{{labels}}}"] == len(compressed)
        url = f"http://127.0.0.1:{gateway.http}"
        told = router("trace", str(trace["sop_instance_uid"]), "--url", url)
        assert "transcoded rle-lossless → explicit-vr-little-endian" in told.stdout
        assert "1 frame identical" in told.stdout
        assert not list((gateway.data_dir / "transcode").iterdir())
        (worker,) = workers(gateway)
        assert psutil.Process(worker).nice() == NICENESS
        assert os.getsid(worker) == os.getsid(gateway.pid)  # elsewhere its priority would count for nothing


@contextmanager
def stopped_worker(gateway: Gateway, first: Path, second: Path) -> Iterator[int]:
    """A worker that has done ``first``, was stopped, and has ``second`` as its job."""
    send(gateway, first)
    gateway.wait_quiet()
    (worker,) = workers(gateway)
    os.kill(worker, signal.SIGSTOP)
    send(gateway, second)
    directory = gateway.data_dir / "transcode"
    wait_until(lambda: any(directory.iterdir()), "the worker has a job")
    yield worker


def test_a_killed_worker_costs_one_attempt(tmp_path: Path) -> None:
    with site(tmp_path) as (gateway, sink):
        study = samples(tmp_path / "study")
        with stopped_worker(gateway, study["MR big endian"], study["CT RLE"]) as worker:
            send(gateway, study["CR"])  # what needs no worker goes on
            sink.wait_for({read_part10(study["CR"]).sop_instance_uid})
            os.kill(worker, signal.SIGKILL)
        sink.wait_for({read_part10(study["CT RLE"]).sop_instance_uid})
        gateway.wait_quiet()
        assert history(gateway, study["CT RLE"]) == [
            ("transcode", "the worker process died of SIGKILL"),
            ("success", ""),
        ]
        assert len(workers(gateway)) == 1


def test_a_worker_that_hangs_is_killed(tmp_path: Path) -> None:
    with site(tmp_path, transcode={"timeout": "1s"}) as (gateway, sink):
        study = samples(tmp_path / "study")
        with stopped_worker(gateway, study["MR big endian"], study["CT RLE"]) as worker:
            sink.wait_for({read_part10(study["CT RLE"]).sop_instance_uid})
        gateway.wait_quiet()
        assert history(gateway, study["CT RLE"])[0] == ("transcode", "it took longer than 1 s")
        assert not psutil.pid_exists(worker)


def test_a_bomb_is_refused_within_its_limits(tmp_path: Path, corpus: Path) -> None:
    bomb = corpus / "public" / "bad" / "derived" / "deflate_bomb_64mb.dcm"
    with site(tmp_path) as (gateway, sink):
        send(gateway, bomb)
        gateway.wait_quiet()
        ((reason, comment),) = history(gateway, bomb)
        assert reason == "transcode"
        assert "more than the 8192 of its image" in comment, comment
        assert not sink.lines()
        (worker,) = workers(gateway)
        peak = psutil.Process(worker).memory_info().rss
        assert peak < 400 * 1024 * 1024


def test_no_worker_outlives_its_gateway(tmp_path: Path) -> None:
    with site(tmp_path) as (gateway, _):
        study = samples(tmp_path / "study")
        send(gateway, study["CT RLE"])
        gateway.wait_quiet()
        left = workers(gateway)
        assert left
        gateway.kill()
        wait_until(lambda: not any(map(psutil.pid_exists, left)), "the workers are gone")
        gateway.start()
        send(gateway, study["CT RLE"])
        gateway.wait_quiet()
        left = workers(gateway)
        assert gateway.stop() == 0
        assert not any(map(psutil.pid_exists, left))
