"""``find``, ``move`` and ``get`` towards DCMTK, Orthanc, pynetdicom and a gateway, as one types them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from bench.process import CHECKOUT
from router import samples
from router.dicom.codes import EXPLICIT_VR_BIG_ENDIAN
from tests.corpus import read_part10
from tests.peers import wait_until
from tests.peers.dcmqrscp import DcmQrScp
from tests.peers.dcmtk import storescu
from tests.peers.gateway import Gateway, modality, router, send_all_to
from tests.peers.orthanc import Orthanc
from tests.peers.pynetdicom_qr import PynetdicomArchive
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(170)]

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
PEOPLE = (  # name, character set, PatientID, StudyDate
    ("Müller^Jörg", "ISO_IR 100", "P-LATIN", "20260115"),
    ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"], "P-JAPAN", "20260201"),
    ("DOE^JOHN", None, "P-DOE", "20251224"),
    ("DOEBLIN^ANNA", "ISO_IR 192", "P-DOEBLIN", "20260115"),
)


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A peer and what was put into it."""

    name: str
    target: str
    study: str  # of many kinds of instances
    files: dict[str, Path]  # by SOP Instance UID
    moves_to: str


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink"), keep=True) as started:
        yield started


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A study of several modalities and transfer syntaxes, and one small study of each of some people."""
    directory = tmp_path_factory.mktemp("files")
    made = samples.generate(directory / "study", ct_slices=3, mr_slices=2, bundled=False)
    paths = [sample.path for sample in made if sample.transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN]
    report = next(sample.path for sample in made if sample.modality == "SR")
    for number, (name, character_set, patient, date) in enumerate(PEOPLE, start=1):
        dataset = dcmread(report)
        dataset.SpecificCharacterSet = character_set
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = name, patient, date
        dataset.ContentSequence[0].TextValue = "Normal."
        dataset.AccessionNumber = f"ACC{number}"
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            dataset[keyword].value = f"{dataset[keyword].value}{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = directory / f"{patient}.dcm"
        dataset.save_as(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module", params=["dcmqrscp", "orthanc", "pynetdicom", "gateway"])
def archive(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    files: list[Path],
    sink: Sink,
) -> Iterator[Archive]:
    directory = tmp_path_factory.mktemp(str(request.param))
    with ExitStack() as running:
        if request.param == "dcmqrscp":
            dcmtk = running.enter_context(DcmQrScp(directory / "peer", destinations={"SINK": sink.port}))
            paths = [path for path in files if read_part10(path).transfer_syntax_uid in NATIVE]
            storescu(dcmtk.port, paths, "-aec", "QRSCP", "-R")
            target = dcmtk.target
        elif request.param == "orthanc":
            paths = files
            options = {
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
                "DicomModalities": {"sink": ["SINK", "127.0.0.1", sink.port]},
            }
            orthanc = running.enter_context(Orthanc(directory / "peer", options))
            orthanc.upload(paths)
            target = f"ORTHANC@127.0.0.1:{orthanc.port}"
        elif request.param == "gateway":
            paths = files
            configuration = {
                "index": True,
                "accept_unknown": ["echo", "store", "find", "move", "get"],
                "modalities": {"sink": modality(sink.port, "SINK")},
            }
            gateway = running.enter_context(Gateway(directory / "peer", configuration))
            target = f"ROUTER@127.0.0.1:{gateway.port}"
            done = router("send", target, *map(str, paths))
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            paths = files
            pynetdicom = PynetdicomArchive(directory / "peer", paths, ("SINK", sink.port))
            target = running.enter_context(pynetdicom).target
        yield Archive(
            name=str(request.param),
            target=target,
            study=str(dcmread(files[0]).StudyInstanceUID),
            files={read_part10(path).sop_instance_uid: path for path in paths},
            moves_to="SINK",
        )


def find(archive: Archive, *options: str) -> list[dict[str, object]]:
    """The matches of a query that succeeds."""
    done = router("find", archive.target, "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(matches: list[dict[str, object]]) -> set[object]:
    return {match["PatientName"] for match in matches}


def in_study(archive: Archive) -> dict[str, Path]:
    return {
        uid: path
        for uid, path in archive.files.items()
        if dcmread(path, stop_before_pixels=True).StudyInstanceUID == archive.study
    }


def content(path: Path) -> Dataset:
    """What must be the same, however a peer writes it: all but groups that say how it was stored."""
    dataset = dcmread(path)
    return Dataset({element.tag: element for element in dataset if element.tag.element != 0})


def test_wildcards(archive: Archive) -> None:
    assert names(find(archive, "-k", "PatientName=DOE*")) == {"DOE^JOHN", "DOEBLIN^ANNA"}
    assert names(find(archive, "-k", "PatientName=DOE^J?HN")) == {"DOE^JOHN"}
    assert find(archive, "-k", "PatientName=NOBODY*") == []


def test_ranges_of_dates(archive: Archive) -> None:
    asked = ("-k", "PatientID=P-*")
    later = find(archive, "-k", "StudyDate=20260101-", *asked)
    assert {match["PatientID"] for match in later} == {"P-LATIN", "P-JAPAN", "P-DOEBLIN"}
    between = find(archive, "-k", "StudyDate=20260110-20260120", *asked)
    assert {match["PatientID"] for match in between} == {"P-LATIN", "P-DOEBLIN"}
    assert {match["PatientID"] for match in find(archive, "-k", "StudyDate=-20251231", *asked)} == {"P-DOE"}


def test_names_in_the_character_set_of_their_own(archive: Archive) -> None:
    """Orthanc answers all in one character set (Latin-1 by default), which lacks the Japanese name."""
    (latin,) = find(archive, "-k", "PatientID=P-LATIN")
    assert latin["PatientName"] == "Müller^Jörg"
    (japanese,) = find(archive, "-k", "PatientID=P-JAPAN")
    if archive.name != "orthanc":
        assert japanese["PatientName"] == PEOPLE[1][0]


def test_a_key_that_is_not_ascii(archive: Archive) -> None:
    """dcmqrscp compares bytes, so that the key has to come in the character set of what it holds."""
    options = ("--character-set", "ISO_IR 100") if archive.name == "dcmqrscp" else ()
    assert "Müller^Jörg" in names(find(archive, "-k", "PatientName=Müller^J*", *options))


def test_a_list_of_uids(archive: Archive) -> None:
    studies = [str(match["StudyInstanceUID"]) for match in find(archive, "-k", "PatientID=P-DOE*")]
    assert len(studies) == 2
    found = find(archive, *(option for uid in studies for option in ("-k", f"StudyInstanceUID={uid}")))
    assert {match["StudyInstanceUID"] for match in found} == set(studies)


def test_several_values_of_one_attribute(archive: Archive) -> None:
    """dcmqrscp does not know the attribute."""
    (study,) = find(archive, "-k", f"StudyInstanceUID={archive.study}", "-k", "ModalitiesInStudy")
    modalities = study["ModalitiesInStudy"]
    assert isinstance(modalities, list)
    if archive.name == "orthanc":
        assert {"CT", "MR", "CR", "US"} <= set(modalities)


def test_down_the_levels(archive: Archive) -> None:
    (patient,) = find(archive, "--level", "patient", "-k", "PatientID=SAMPLE-1")
    assert patient["PatientName"] == "Müller^Maria"
    study = ("-k", f"StudyInstanceUID={archive.study}")
    series = find(archive, "--level", "series", *study)
    assert {match["Modality"] for match in series} >= {"CT", "MR", "SR"}
    (ct,) = (match["SeriesInstanceUID"] for match in series if match["Modality"] == "CT")
    instances = find(archive, "--level", "instance", *study, "-k", f"SeriesInstanceUID={ct}")
    expected = {
        uid
        for uid, path in in_study(archive).items()
        if dcmread(path, stop_before_pixels=True).SeriesInstanceUID == ct
    }
    assert {match["SOPInstanceUID"] for match in instances} == expected


def test_a_limit(archive: Archive) -> None:
    done = router("find", archive.target, "--json", "--limit", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_a_worklist(archive: Archive) -> None:
    """Of these only pynetdicom has one: all that it holds."""
    options = (
        "--model",
        "worklist",
        "-k",
        "ScheduledProcedureStepSequence.Modality=CT",
        "-k",
        "PatientID=P-*",
    )
    if archive.name != "pynetdicom":
        done = router("find", archive.target, *options)
        assert done.returncode == 1
        assert "does not accept worklist queries" in done.stderr
        return
    found = find(archive, *options)
    assert names(found) == {name for name, _, _, _ in PEOPLE}
    assert all(isinstance(match["ScheduledProcedureStepSequence"], list) for match in found)


@pytest.mark.parametrize("by", ["study", "patient", "series", "instance"])
def test_get(archive: Archive, tmp_path: Path, by: str) -> None:
    expected = in_study(archive)
    keys = ["-k", f"StudyInstanceUID={archive.study}"]
    if by == "patient":
        keys = ["-k", "PatientID=SAMPLE-1"]
    elif by in ("series", "instance"):
        head = dcmread(next(iter(expected.values())), stop_before_pixels=True)
        expected = {
            uid: path
            for uid, path in expected.items()
            if dcmread(path, stop_before_pixels=True).SeriesInstanceUID == head.SeriesInstanceUID
        }
        keys += ["-k", f"SeriesInstanceUID={head.SeriesInstanceUID}"]
        if by == "instance":
            expected = dict(list(expected.items())[:2])
            keys += [option for uid in expected for option in ("-k", f"SOPInstanceUID={uid}")]
    done = router("get", archive.target, *keys, "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    got = {read_part10(path).sop_instance_uid: path for path in (tmp_path / "out").iterdir()}
    assert got.keys() == expected.keys()
    for uid, path in got.items():
        assert content(path) == content(expected[uid])
        if archive.name != "dcmqrscp":  # which takes everything that is uncompressed in explicit VR
            mine, theirs = read_part10(expected[uid]), read_part10(path)
            assert theirs.transfer_syntax_uid == mine.transfer_syntax_uid


def test_get_again_writes_nothing(archive: Archive, tmp_path: Path) -> None:
    arguments = ("get", archive.target, "-k", "PatientID=P-DOE", "-o", str(tmp_path / "out"))
    assert router(*arguments).returncode == 0
    before = {path: path.stat().st_ino for path in (tmp_path / "out").iterdir()}
    again = router(*arguments)
    assert again.returncode == 0
    assert "1 of them there already" in again.stdout
    assert {path: path.stat().st_ino for path in (tmp_path / "out").iterdir()} == before


def test_move_into_our_sink(archive: Archive, sink: Sink) -> None:
    before = len(sink.lines())
    done = router("move", archive.target, "-k", f"StudyInstanceUID={archive.study}", "--to", archive.moves_to)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = set(in_study(archive))
    sink.wait_for(expected)
    assert {line.sop_instance_uid for line in sink.lines()[before:]} == expected


def test_move_to_whom_the_peer_does_not_know(archive: Archive) -> None:
    done = router("move", archive.target, "-k", f"StudyInstanceUID={archive.study}", "--to", "NOBODY")
    assert done.returncode == 1
    assert archive.target in done.stderr
    if archive.name != "orthanc":  # which answers C000
        assert "move destination unknown" in done.stderr


def test_what_is_not_there(archive: Archive, tmp_path: Path) -> None:
    for command, options in (("move", ["--to", "SINK"]), ("get", ["-o", str(tmp_path / "out")])):
        done = router(command, archive.target, "-k", "StudyInstanceUID=1.2.3.4.5", *options)
        assert done.returncode == 1
        assert done.stderr


def test_move_to_the_gateway_itself(files: list[Path], sink: Sink, tmp_path: Path) -> None:
    """Without ``--to`` it goes to the AE title of the configuration, and on by the rules."""
    paths = [path for path in files if read_part10(path).transfer_syntax_uid in NATIVE][:3]
    configuration = {
        "ae_title": "OURSELVES",
        "modalities": {"out": modality(sink.port)},
        "rules": send_all_to("out"),
    }
    with Gateway(tmp_path / "gateway", configuration) as gateway:
        with DcmQrScp(tmp_path / "peer", destinations={"OURSELVES": gateway.port}) as dcmtk:
            storescu(dcmtk.port, paths, "-aec", "QRSCP", "-R")
            known = json.loads(gateway.configuration.read_text())
            known["modalities"]["pacs"] = modality(dcmtk.port, "QRSCP")
            (tmp_path / "router.yaml").write_text(json.dumps(known))
            before = len(sink.lines())
            study = str(dcmread(paths[0]).StudyInstanceUID)
            done = router(
                "move", "pacs", "-c", str(tmp_path / "router.yaml"), "-k", f"StudyInstanceUID={study}"
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "sent to OURSELVES: 3 done" in done.stdout
            gateway.wait_quiet()
    assert len(sink.lines()) - before == 3


def test_ctrl_c_asks_the_peer_to_stop(tmp_path: Path) -> None:
    """A peer that says nothing more would be waited for without end."""
    with socket.create_server(("127.0.0.1", 0)) as mute:  # the kernel takes the connection, and nobody else
        port = mute.getsockname()[1]
        command = [sys.executable, "-m", "router", "find", f"MUTE@127.0.0.1:{port}", "--timeout", "60"]
        with subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) as asking:
            assert asking.stderr is not None
            try:
                wait_until(lambda: is_connected(port), "it is connected")
                asking.send_signal(signal.SIGINT)
                assert "asked to stop" in asking.stderr.readline()
                asking.send_signal(signal.SIGINT)
                assert asking.wait(20) == 1
                assert "Given up." in asking.stderr.read()
            finally:
                asking.kill()


def is_connected(port: int) -> bool:
    """Somebody has a connection to this port of loopback, as the kernel has it."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(row.split()[2].endswith(f":{port:04X}") and row.split()[3] == "01" for row in lines)
