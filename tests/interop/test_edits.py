"""Edits on their way to real programs: what is named is changed, all else is as it was, and nothing leaks.

pydicom says what arrived: it has no part in how the gateway edits.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, config, dcmread
from pydicom.dataelem import DataElement

from router import samples
from tests.corpus import CorpusFile, read_part10, valid_files, wants_every_file
from tests.peers import wait_until
from tests.peers.dcmtk import StoreScp
from tests.peers.gateway import Gateway, modality, router
from tests.peers.orthanc import Orthanc
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

LARGE_BYTES = 2_000_000
EDITS = [
    {"set": {"InstitutionName": "SITE A", "PatientID": "A-{PatientID}", "StationName": "{calling_ae}"}},
    {"blank": ["PatientName"]},
    {"remove": ["PatientBirthDate", "RequestAttributesSequence"]},
    {"remove_private": True},
]
REASONS = {  # for which something may not leave
    "no presentation context accepted for it",  # of no storage SOP class, which storescp does not take
    "programs disagree on big endian pixel data of more than 16 bits",
}
CHANGED = {"InstitutionName", "PatientID", "StationName", "PatientName", "PatientBirthDate"}
CHANGED |= {"RequestAttributesSequence"}


@pytest.fixture
def files(manifest: tuple[CorpusFile, ...]) -> list[Path]:
    """One file of each SOP class and transfer syntax; of even length, as DCMTK waits for more otherwise."""
    kinds: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for file in valid_files(manifest):
        part10 = read_part10(file.path)
        if len(part10.data_set) % 2 == 0 and len(part10.data_set) < LARGE_BYTES:
            kinds[part10.sop_class_uid, part10.transfer_syntax_uid].append(file.path)
    return [path for paths in kinds.values() for path in (paths if wants_every_file() else paths[:1])]


def send(gateway: Gateway, paths: Sequence[Path]) -> None:
    done = router(
        "send", f"ROUTER@127.0.0.1:{gateway.port}", "-n", "4", "--quiet", *map(str, paths), timeout_s=200
    )
    assert done.returncode == 0, done.stdout + done.stderr


def configuration(peers: Mapping[str, object], destinations: Mapping[str, object]) -> dict[str, object]:
    rule = {"rule": "edited", "send": [*peers, *destinations], "edit": EDITS}
    return {"modalities": dict(peers), "destinations": dict(destinations), "rules": [rule]}


def seen(content: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(BytesIO(content), force=True)


def rest(data_set: Dataset) -> dict[int, object]:
    """What has to be as it was: every standard element, at every level, but those that are edited."""
    found: dict[int, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for element in data_set:
            if element.tag.is_private or element.keyword in CHANGED or element.tag.element == 0:
                continue
            found[int(element.tag)] = value_of(element)
    return found


def value_of(element: DataElement) -> object:
    if element.VR == "SQ":
        return [rest(item) for item in element.value or []]
    value = element.value
    if isinstance(value, bytes):
        return value.rstrip(b"\0 ")
    return str(value)


def check(before: Dataset, after: Dataset) -> None:
    assert after.InstitutionName == "SITE A"
    assert after.PatientID == f"A-{before.get('PatientID') or ''}"
    assert after.StationName == "DICOM_ROUTER"
    assert not after.get("PatientName")
    assert "PatientBirthDate" not in after
    assert not [e.tag for e in after.iterall() if e.tag.is_private]


def test_every_kind_of_image_arrives_edited_and_otherwise_as_it_was(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    originals = {read_part10(path).sop_instance_uid: path for path in files}
    with StoreScp(tmp_path / "scp") as scp:
        folder = tmp_path / "folder"
        made = configuration(
            {"pacs": modality(scp.port)}, {"files": {"folder": f"{folder}/{{SOPInstanceUID}}.dcm"}}
        )
        with Gateway(tmp_path / "gateway", made) as gateway:
            send(gateway, list(originals.values()))
            wait_until(lambda: ended(gateway) == 2 * len(originals), "everything is delivered or dead", 120)
            dead = {str(row["sop_instance_uid"]): row for row in gateway.deliveries("dead")}
    arrived = {file.sop_instance_uid: path for path in folder.iterdir() if (file := read_part10(path))}
    stored = {read_part10(path).sop_instance_uid: path for path in scp.directory.iterdir()}
    assert {str(row["last_comment"]).rpartition(": ")[2] for row in dead.values()} <= REASONS
    assert len(dead) <= 3
    kept = 0
    for uid, path in originals.items():
        if uid in arrived:
            before, after = seen(path.read_bytes()), seen(arrived[uid].read_bytes())
            check(before, after)
            assert rest(after) == rest(before)
        if uid in stored:
            check(seen(path.read_bytes()), seen(stored[uid].read_bytes()))
            sent, was = read_part10(stored[uid]), read_part10(path)
            kept += sent.transfer_syntax_uid == was.transfer_syntax_uid
            if sent.transfer_syntax_uid == was.transfer_syntax_uid and uid in arrived:
                assert sent.data_set == read_part10(arrived[uid]).data_set
    assert kept > len(originals) / 2, "where the form is taken it is kept"
    assert originals.keys() == (arrived.keys() & stored.keys()) | dead.keys()


def ended(gateway: Gateway) -> float:
    return sum(
        value
        for name, value in gateway.metrics().items()
        if name.startswith("dicom_router_deliveries_total{")
    )


@pytest.fixture
def study(tmp_path: Path) -> list[Path]:
    return [made.path for made in samples.generate(tmp_path / "study", ct_slices=6, mr_slices=4)]


def test_orthanc_knows_the_edited_patient_and_no_other(tmp_path: Path, study: list[Path]) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc:
        with Gateway(tmp_path / "gateway", configuration({"pacs": modality(orthanc.port)}, {})) as gateway:
            send(gateway, study)
            wait_until(lambda: len(orthanc.identifiers()) == len(study), "everything is in Orthanc")
        found = list(map(seen, orthanc.contents()))
    assert {one.PatientID[:2] for one in found} == {"A-"}
    assert {str(one.PatientName) for one in found} == {""}


def test_killed_at_any_moment_nothing_leaves_unedited(tmp_path: Path, study: list[Path]) -> None:
    with Sink(tmp_path / "sink", keep=True) as sink:
        made = configuration({"pacs": modality(sink.port, associations=2)}, {})
        with Gateway(tmp_path / "gateway", made) as gateway:
            for count in (1, 4):
                send(gateway, study)
                wait_until(lambda count=count: len(sink.lines()) >= count, "some have arrived")  # type: ignore[misc]
                gateway.kill()
                gateway.start()
            wait_until(lambda: len(sink.lines()) >= 2 * len(study), "each arrival is delivered")
            wait_until(lambda: not waiting(gateway), "nothing waits any more")
        uids = {line.sop_instance_uid for line in sink.lines()}
        files = [seen(path.read_bytes()) for path in sink.directory.rglob("*.dcm")]
    assert uids == {read_part10(path).sop_instance_uid for path in study}
    assert files
    assert {one.PatientID[:2] for one in files} == {"A-"}
    assert {str(one.get("PatientName", "")) for one in files} == {""}


def waiting(gateway: Gateway) -> int:
    return sum(count for (_, state), count in gateway.depths().items() if state in ("pending", "active"))
