"""Orthanc's DICOMweb service as a destination: what arrives, who may, and what an outage costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from router import samples
from tests.corpus import read_part10
from tests.peers import unavailable, wait_until
from tests.peers.gateway import Gateway, router
from tests.peers.orthanc import Orthanc

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
OPTIONS = {
    "Plugins": [str(PLUGIN)],
    "DicomWeb": {"Enable": True},
    "AuthenticationEnabled": True,
    "RegisteredUsers": {"gateway": "secret"},
}
AUTH = {"username": "gateway", "password": "secret"}


@pytest.fixture(autouse=True)
def _is_there() -> None:
    if not PLUGIN.exists():
        unavailable("orthanc-dicomweb is not installed")


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    return [made.path for made in samples.generate(tmp_path / "study", ct_slices=6, mr_slices=3)]


def configuration(url: str, **destination: object) -> dict[str, object]:
    deliver = {"retry": {"initial": "200ms", "maximum": "500ms"}}
    cloud = {"dicomweb": url, "auth": AUTH, "deliver": deliver, **destination}
    return {"destinations": {"cloud": cloud}, "rules": [{"rule": "all", "send": "cloud"}]}


def send(gateway: Gateway, paths: list[Path]) -> None:
    done = router("send", f"ROUTER@127.0.0.1:{gateway.port}", "--quiet", *map(str, paths))
    assert done.returncode == 0, done.stderr


def ours(paths: list[Path]) -> dict[str, str]:
    return {file.sop_instance_uid: file.sha256 for file in map(read_part10, paths)}


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    with Orthanc(tmp_path / "orthanc", OPTIONS, user=("gateway", "secret")) as started:
        yield started


def test_what_is_sent_arrives_byte_for_byte(orthanc: Orthanc, tmp_path: Path, study: list[Path]) -> None:
    large = samples.generate(tmp_path / "large", ct_slices=1, mr_slices=0, bundled=False)[0].path
    with Gateway(tmp_path / "gateway", configuration(orthanc.dicomweb)) as gateway:
        send(gateway, [*study, large])
        wait_until(lambda: orthanc.data_sets().keys() == ours([*study, large]).keys(), "all of it arrives")
        wait_until(lambda: not gateway.depths(), "the gateway knows it")
    assert orthanc.data_sets() == ours([*study, large])


def test_who_is_not_known_waits_and_loses_nothing(
    orthanc: Orthanc, tmp_path: Path, study: list[Path]
) -> None:
    wrong = {"username": "gateway", "password": "wrong-and-secret"}
    with Gateway(tmp_path / "gateway", configuration(orthanc.dicomweb, auth=wrong)) as gateway:
        send(gateway, study)
        wait_until(lambda: "HTTP 401 Unauthorized" in gateway.get("/api/v1/queue"), "it is refused")
        up = 'dicom_router_destination_up{destination="cloud"}'
        wait_until(lambda: gateway.metrics().get(up) == 0, "the destination is taken for down")
        assert gateway.depths()["cloud", "pending"] == len(study)
        gateway.stop()
        text = gateway.configuration.read_text().replace("wrong-and-secret", "secret")
        gateway.configuration.write_text(text)
        gateway.start()
        wait_until(lambda: orthanc.data_sets() == ours(study), "with the right password all of it arrives")
        assert "secret" not in gateway.log_text()


def test_an_outage_is_waited_for(tmp_path: Path, study: list[Path]) -> None:
    with Orthanc(tmp_path / "orthanc", OPTIONS, user=("gateway", "secret")) as orthanc:
        with Gateway(tmp_path / "gateway", configuration(orthanc.dicomweb)) as gateway:
            send(gateway, study[:3])
            wait_until(lambda: len(orthanc.identifiers()) == 3, "some have arrived")
            orthanc.kill()
            send(gateway, study[3:])
            waiting = len(study) - 3
            wait_until(lambda: gateway.depths().get(("cloud", "pending")) == waiting, "the others wait")
            gateway.kill()
            gateway.start()
            orthanc.start()
            wait_until(lambda: orthanc.data_sets() == ours(study), "they arrive", timeout_s=60)
