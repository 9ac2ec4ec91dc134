"""De-identified on the way to real programs: what arrives is nobody's, and the same study each time."""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, config, dcmread

from router import samples
from router.transform.pseudonyms import Pseudonyms
from tests.corpus import CorpusFile, read_part10, some_of_each, valid_files
from tests.peers import wait_until
from tests.peers.dcmtk import StoreScp
from tests.peers.gateway import Gateway, modality, router
from tests.peers.orthanc import Orthanc
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

LARGE_BYTES = 2_000_000
BASIC: list[dict[str, object]] = [{"deidentify": "basic"}, {"set": {"PatientName": "TRIAL-{PatientID}"}}]
KEEPING: list[dict[str, object]] = [{"deidentify": {"profile": "basic", "burned_in": "keep"}}]
KEY = "0123456789abcdef" * 2


def rule(name: str, *, edit: list[dict[str, object]]) -> dict[str, object]:
    return {"rule": name, "send": name, "edit": edit}


def send(gateway: Gateway, paths: list[Path]) -> None:
    done = router(
        "send", f"ROUTER@127.0.0.1:{gateway.port}", "-n", "4", "--quiet", *map(str, paths), timeout_s=200
    )
    assert done.returncode == 0, done.stdout + done.stderr


def seen(content: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(content), force=True)


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    made = samples.generate(tmp_path / "study", ct_slices=6, mr_slices=4, bundled=False)
    return [one.path for one in made if one.title.startswith(("CT", "MR"))]


def test_real_images_arrive_without_who_they_are_of(
    tmp_path: Path, manifest: tuple[CorpusFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    parts = {
        file.path: part
        for file in some_of_each(valid_files(manifest))
        if len((part := read_part10(file.path)).data_set) % 2 == 0 and len(part.data_set) < LARGE_BYTES
    }
    before = {part.sop_instance_uid: seen(path.read_bytes()) for path, part in parts.items()}
    with StoreScp(tmp_path / "scp") as scp:
        made: dict[str, object] = {
            "modalities": {"trial": modality(scp.port)},
            "destinations": {"archive": {"folder": f"{tmp_path}/archive/{{SOPInstanceUID}}.dcm"}},
            "rules": [rule("trial", edit=KEEPING), {"rule": "archive", "send": "archive"}],
            "deidentify": {"key": KEY},
        }
        with Gateway(tmp_path / "gateway", made) as gateway:
            send(gateway, list(parts))
            gateway.wait_quiet(120)
            lost = {str(row["sop_instance_uid"]) for row in gateway.deliveries("dead")}
            log = gateway.log_text()
        arrived = {part.sop_instance_uid: part for part in map(read_part10, scp.directory.iterdir())}
    ours = Pseudonyms(KEY)
    assert lost, "reports are refused"
    wanted = {ours.uid(str(one.SOPInstanceUID)) for uid, one in before.items() if uid not in lost}
    assert wanted == arrived.keys()
    identities = {
        str(one.get(keyword)).encode("utf-8", "surrogateescape")
        for one in before.values()
        for keyword in ("PatientName", "PatientID", "StudyInstanceUID")
        if len(str(one.get(keyword) or "")) > 8
    }
    assert len(identities) > 50
    for part in arrived.values():
        assert not [one for one in identities if one in part.data_set]
    kept = {part.data_set for part in map(read_part10, (tmp_path / "archive").iterdir())}
    assert kept == {part.data_set for part in parts.values()}, "others get it as it came"
    assert KEY not in log
    files = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_orthanc_has_one_study_of_one_patient_that_nobody_knows(tmp_path: Path, study: list[Path]) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc:
        made: dict[str, object] = {
            "modalities": {"trial": modality(orthanc.port)},
            "rules": [rule("trial", edit=BASIC)],
        }
        with Gateway(tmp_path / "gateway", made) as gateway:
            send(gateway, study)
            wait_until(lambda: len(orthanc.identifiers()) == len(study), "everything is in Orthanc")
            key = (gateway.data_dir / "deidentify.key").read_text()
        found = list(map(seen, orthanc.contents()))
    before = list(map(seen, (path.read_bytes() for path in study)))
    ours = Pseudonyms(key)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        wanted = {ours.uid(str(one.get(keyword))) for one in before if one.get(keyword)}
        assert {str(one.get(keyword)) for one in found if one.get(keyword)} == wanted
    pseudonym = ours.patient_id(str(before[0].PatientID))
    assert {(one.PatientID, str(one.PatientName)) for one in found} == {(pseudonym, f"TRIAL-{pseudonym}")}
    assert {one.PatientIdentityRemoved for one in found} == {"YES"}
    pixels = {bytes(one.PixelData) for one in before}
    assert len(pixels) == len(study)


def test_killed_and_restarted_it_is_the_same_study(tmp_path: Path, study: list[Path]) -> None:
    """Two workers, two destinations' worth of associations, and ``kill -9`` in the middle, twice."""
    with Sink(tmp_path / "sink", keep=True) as sink:
        made: dict[str, object] = {
            "modalities": {"trial": modality(sink.port, associations=2)},
            "rules": [rule("trial", edit=BASIC)],
            "transcode": {"workers": 2},
        }
        with Gateway(tmp_path / "gateway", made) as gateway:
            for count in (1, len(study) + 2):
                send(gateway, study)
                wait_until(lambda count=count: len(sink.lines()) >= count, "some have arrived")  # type: ignore[misc]
                gateway.kill()
                gateway.start()
            wait_until(lambda: len(sink.lines()) >= 2 * len(study), "each arrival is delivered")
            gateway.wait_quiet()
            key = (gateway.data_dir / "deidentify.key").read_text()
            shown = json.dumps(gateway.trace(read_part10(study[0]).sop_instance_uid))
        files = [seen(path.read_bytes()) for path in sink.directory.rglob("*.dcm")]
    ours = Pseudonyms(key)
    assert {line.sop_instance_uid for line in sink.lines()} == {
        ours.uid(read_part10(path).sop_instance_uid) for path in study
    }
    assert len({str(one.StudyInstanceUID) for one in files}) == 1
    assert len({one.PatientID for one in files}) == 1
    assert "de-identified" in shown
    assert key.strip() not in shown + gateway.log_text()


def test_what_may_be_burned_in_stays_and_says_why(tmp_path: Path) -> None:
    made = samples.generate(tmp_path / "study", ct_slices=1, mr_slices=0, bundled=False)
    refused = [one.path for one in made if one.title.startswith(("US", "SR"))]
    with Sink(tmp_path / "sink") as sink:
        configuration: dict[str, object] = {
            "modalities": {"trial": modality(sink.port)},
            "rules": [rule("trial", edit=BASIC)],
        }
        with Gateway(tmp_path / "gateway", configuration) as gateway:
            send(gateway, refused)
            wait_until(lambda: len(gateway.deliveries("dead")) == len(refused), "all are refused")
            said = {str(row["last_comment"]) for row in gateway.deliveries("dead")}
        assert not sink.lines()
    assert any("burned_in: keep" in one for one in said)
    assert any("structured content" in one for one in said)
