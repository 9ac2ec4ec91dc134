"""DCMTK, Orthanc, pynetdicom and our own commands ask a gateway that holds a study."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from router import samples
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from tests.corpus import read_part10
from tests.peers import PATIENCE_S, require, wait_until
from tests.peers.gateway import Gateway, modality, router, send_all_to
from tests.peers.orthanc import Orthanc
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(170)]

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@dataclass(frozen=True, kw_only=True)
class Held:
    """A gateway and what it holds."""

    gateway: Gateway
    files: dict[str, Path]  # by SOP Instance UID
    study: str
    sink: Sink
    orthanc: Orthanc


def configuration(sink: Sink, orthanc: Orthanc | None = None, **more: object) -> dict[str, object]:
    peers = {"orthanc": modality(orthanc.port, "ORTHANC")} if orthanc is not None else {}
    return {
        "index": True,
        "retention": "1h",
        "accept_unknown": ["echo", "store", "find", "move", "get"],
        "modalities": {
            **peers,
            "out": modality(sink.port, "SINK"),
            "mute": {"ae_title": "MUTE", "host": "127.0.0.1", "port": 104, "accept": ["echo", "store"]},
        },
        "rules": send_all_to("out"),
        **more,
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = samples.generate(tmp_path_factory.mktemp("files"), ct_slices=5, mr_slices=3, bundled=False)
    return {sample.sop_instance_uid: sample.path for sample in made}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Iterator[Held]:
    directory = tmp_path_factory.mktemp("answering")
    with (
        Sink(directory / "sink", "--ae-title", "SINK", keep=True) as sink,
        Orthanc(directory / "orthanc") as orthanc,
        Gateway(directory / "gateway", configuration(sink, orthanc)) as gateway,
    ):
        orthanc.knows("gateway", "ROUTER", gateway.port)
        store(gateway, files.values())
        study = str(dcmread(next(iter(files.values())), stop_before_pixels=True).StudyInstanceUID)
        yield Held(gateway=gateway, files=files, study=study, sink=sink, orthanc=orthanc)


def store(gateway: Gateway, paths: Iterable[Path]) -> None:
    done = router("send", f"ROUTER@127.0.0.1:{gateway.port}", *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr


def find(gateway: Gateway, *options: str) -> list[dict[str, object]]:
    done = router("find", f"ROUTER@127.0.0.1:{gateway.port}", "--json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def dcmtk(program: str, gateway: Gateway, *options: str) -> subprocess.CompletedProcess[str]:
    command = [require(program), "-v", "-aec", "ROUTER", *options, "127.0.0.1", str(gateway.port)]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False
    )


def keys(*pairs: str) -> list[str]:
    return [option for pair in pairs for option in ("-k", pair)]


# C-FIND


@pytest.mark.parametrize("root", ["-S", "-P"])
def test_findscu(held: Held, root: str) -> None:
    above = ["PatientID=SAMPLE-1"] if root == "-P" else []
    wanted = keys("QueryRetrieveLevel=STUDY", "NumberOfStudyRelatedInstances", "StudyDate=20260101-", *above)
    said = dcmtk("findscu", held.gateway, root, *wanted)
    assert said.returncode == 0, said.stderr
    whole = said.stdout + said.stderr
    assert "Find Response: 1 (Pending)" in whole
    assert f"[{len(held.files)}]" in whole


def test_findscu_cancels(held: Held, tmp_path: Path) -> None:
    """Cancelled after the first of many matches; dcmtk's answers are counted by the files it writes."""
    series = dcmread(held.files[next(iter(held.files))], stop_before_pixels=True).SeriesInstanceUID
    level = ("QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={held.study}", f"SeriesInstanceUID={series}")
    said = dcmtk("findscu", held.gateway, "-S", "--cancel", "1", *keys(*level, "SOPInstanceUID"))
    assert said.returncode == 0, said.stderr
    assert find(held.gateway) != []  # it goes on


def test_pynetdicom_asks(held: Held) -> None:
    entity = AE("ASKER")
    entity.add_requested_context(STUDY_ROOT_FIND)
    association = entity.associate("127.0.0.1", held.gateway.port, ae_title="ROUTER")
    assert association.is_established
    question = Dataset()
    question.QueryRetrieveLevel, question.StudyInstanceUID = "SERIES", held.study
    question.Modality, question.NumberOfSeriesRelatedInstances = "C*", ""
    found = [(status.Status, match) for status, match in association.send_c_find(question, STUDY_ROOT_FIND)]
    question.StudyInstanceUID = ""
    (refused,) = [status.Status for status, _ in association.send_c_find(question, STUDY_ROOT_FIND)]
    association.release()
    assert [status for status, _ in found] == [0xFF00, 0xFF00, 0x0000]
    assert {match.Modality for _, match in found if match} == {"CT", "CR"}
    assert {match.RetrieveAETitle for _, match in found if match} == {"ROUTER"}
    assert refused == 0xA900


def post(orthanc: Orthanc, path: str, body: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(orthanc.post(path, body))
    return found


def test_orthanc_asks_and_fetches_by_move(held: Held) -> None:
    question = {"Level": "Study", "Query": {"PatientName": "müller*", "ModalitiesInStudy": "MR"}}
    asked = post(held.orthanc, "/modalities/gateway/query", question)
    content = json.loads(held.orthanc.get(f"/queries/{asked['ID']}/answers/0/content?simplify"))
    assert content["StudyInstanceUID"] == held.study
    assert content["PatientName"] == "Müller^Maria"
    post(held.orthanc, f"/queries/{asked['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    sent = {path: read_part10(path) for path in held.files.values()}
    assert held.orthanc.data_sets() == {one.sop_instance_uid: one.sha256 for one in sent.values()}


def test_who_may_not_ask(held: Held) -> None:
    said = dcmtk("findscu", held.gateway, "-S", "-aet", "MUTE", *keys("QueryRetrieveLevel=STUDY"))
    assert said.returncode != 0
    assert "No Acceptable Presentation Contexts" in said.stderr
    refused = held.gateway.metrics()
    assert refused['dicom_router_presentation_contexts_refused_total{reason="not_allowed"}'] >= 1


def test_without_the_index_no_such_class_is_known(tmp_path: Path) -> None:
    with Gateway(tmp_path / "gateway", {"accept_unknown": ["echo", "store", "find"]}) as gateway:
        said = dcmtk("findscu", gateway, "-S", *keys("QueryRetrieveLevel=STUDY"))
        assert "No Acceptable Presentation Contexts" in said.stderr
        name = 'dicom_router_presentation_contexts_refused_total{reason="abstract_syntax_not_supported"}'
        assert gateway.metrics()[name] == 1
        assert not (gateway.data_dir / "index.db").exists()


# C-MOVE


@pytest.mark.parametrize("root", ["-S", "-P"])
def test_movescu(held: Held, root: str) -> None:
    before = len(held.sink.lines())
    above = ["PatientID=SAMPLE-1"] if root == "-P" else []
    wanted = keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={held.study}", *above)
    said = dcmtk("movescu", held.gateway, root, "-aem", "SINK", *wanted)
    assert said.returncode == 0, said.stderr
    assert "Received Final Move Response (Success)" in said.stdout + said.stderr
    arrived = {line.sop_instance_uid: line for line in held.sink.lines()[before:]}
    assert arrived.keys() == held.files.keys()
    for uid, path in held.files.items():
        sent = read_part10(path)
        assert arrived[uid].sha256 == sent.sha256
        assert arrived[uid].transfer_syntax_uid == sent.transfer_syntax_uid


def test_movescu_to_nobody(held: Held) -> None:
    wanted = keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={held.study}")
    said = dcmtk("movescu", held.gateway, "-S", "-aem", "NOBODY", *wanted)
    assert "MoveDestinationUnknown" in said.stdout + said.stderr


# C-GET


def test_getscu(held: Held, tmp_path: Path) -> None:
    """It proposes explicit VR for everything, so that what is held in another form is brought into that."""
    (tmp_path / "out").mkdir()
    wanted = keys("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={held.study}")
    said = dcmtk("getscu", held.gateway, "-S", "-od", str(tmp_path / "out"), "+B", *wanted)
    assert said.returncode == 0, said.stderr
    got = {one.sop_instance_uid: one for one in map(read_part10, (tmp_path / "out").iterdir())}
    assert got.keys() == held.files.keys()
    assert {one.transfer_syntax_uid for one in got.values()} == {EXPLICIT_VR_LITTLE_ENDIAN}
    for uid, path in held.files.items():
        sent = read_part10(path)
        if sent.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN:
            assert got[uid].sha256 == sent.sha256


def test_pynetdicom_gets(held: Held) -> None:
    get = "1.2.840.10008.5.1.4.1.2.2.3"
    got: dict[str, Dataset] = {}

    def store(event: evt.Event) -> int:
        got[event.dataset.SOPInstanceUID] = event.dataset
        return 0x0000

    entity = AE("ASKER")
    entity.add_requested_context(get)
    heads = [dcmread(path, stop_before_pixels=True) for path in held.files.values()]
    pairs = {(head.SOPClassUID, head.file_meta.TransferSyntaxUID) for head in heads}
    for sop_class, syntax in pairs:
        entity.add_requested_context(sop_class, syntax)
    roles = [build_role(sop_class, scp_role=True) for sop_class in {pair[0] for pair in pairs}]
    association = entity.associate(
        "127.0.0.1",
        held.gateway.port,
        ae_title="ROUTER",
        ext_neg=[*roles],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    assert association.is_established
    question = Dataset()
    question.QueryRetrieveLevel, question.StudyInstanceUID = "STUDY", held.study
    statuses = [status for status, _ in association.send_c_get(question, get)]
    association.release()
    assert statuses[-1].Status == 0
    assert statuses[-1].NumberOfCompletedSuboperations == len(held.files)
    assert got.keys() == held.files.keys()


# What becomes of the index


def test_what_was_delivered_and_is_not_kept_is_gone(tmp_path: Path, files: dict[str, Path]) -> None:
    with (
        Sink(tmp_path / "sink", "--ae-title", "SINK") as sink,
        Gateway(tmp_path / "gateway", configuration(sink, retention="0s")) as gateway,
    ):
        store(gateway, files.values())
        gateway.wait_quiet()
        wait_until(lambda: find(gateway) == [], "nothing is held")


@pytest.mark.parametrize("lost", [False, True])
def test_killed_and_started_again(tmp_path: Path, files: dict[str, Path], lost: bool) -> None:
    with (
        Sink(tmp_path / "sink", "--ae-title", "SINK") as sink,
        Gateway(tmp_path / "gateway", configuration(sink)) as gateway,
    ):
        store(gateway, list(files.values())[:5])
        assert number_held(gateway) == 5
        store(gateway, list(files.values())[5:])
        gateway.kill()
        if lost:
            for path in gateway.data_dir.glob("index.db*"):
                path.unlink()
        gateway.start()
        assert number_held(gateway) == len(files)


def number_held(gateway: Gateway) -> int:
    (study,) = find(gateway)
    number = study["NumberOfStudyRelatedInstances"]
    assert isinstance(number, int)
    return number
