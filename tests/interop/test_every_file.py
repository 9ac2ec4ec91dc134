"""Every valid file, from every kind of sender to every kind of destination, its data set's bytes unchanged.

What a destination accepts is asked of the destination itself, without the gateway: which contexts, and what
it keeps of a data set (Orthanc and DCMTK's senders parse and write anew, so theirs is compared with what they
do to the same file without the gateway between). Data sets of odd length go to our sink only: DCMTK's
receivers, Orthanc among them, wait for more and abort.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.corpus import CorpusFile, Part10, read_part10, valid_files
from tests.peers import dcmtk
from tests.peers.dcmtk import StoreScp
from tests.peers.gateway import Gateway, Json, modality, router
from tests.peers.orthanc import Orthanc
from tests.peers.sender import accepted_pairs, store_files
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(170)]

SINK_ONLY = "SINKONLY"  # a called AE title
MISREAD = "31"  # what DCMTK makes of pydicom__rtdose_rle.dcm, whose UIDs are not of VR UI; refused as 0122
DESTINATIONS = ("storescp", "orthanc", "sink")
RETRY = {"initial": "100ms", "maximum": "100ms", "max_attempts": 2}
RULES = [
    {"rule": "sink-only", "when": {"called_ae": SINK_ONLY}, "send": "sink", "stop": True},
    {"rule": "all", "send": list(DESTINATIONS)},
]

DataSets = Counter[tuple[str, str]]  # SOP Instance UID and SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A gateway with one destination of each kind behind it."""

    gateway: Gateway
    storescp: StoreScp
    orthanc: Orthanc
    sink: Sink


def configuration(storescp: StoreScp, orthanc: Orthanc, sink: Sink) -> Json:
    return {
        "modalities": {
            "storescp": modality(storescp.port, "STORESCP", retry=RETRY, transcode=False),
            "orthanc": modality(orthanc.port, "ORTHANC", retry=RETRY, transcode=False),
            "sink": modality(sink.port, "SINK", retry=RETRY, transcode=False),
        },
        "rules": RULES,
    }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with (
        StoreScp(tmp_path / "storescp") as storescp,
        Orthanc(tmp_path / "orthanc") as orthanc,
        Sink(tmp_path / "sink") as sink,
        Gateway(tmp_path / "gateway", configuration(storescp, orthanc, sink)) as gateway,
    ):
        yield Site(gateway=gateway, storescp=storescp, orthanc=orthanc, sink=sink)


def pairs_of(files: Sequence[Part10]) -> list[tuple[str, str]]:
    return [(file.sop_class_uid, file.transfer_syntax_uid) for file in files]


def data_sets(files: Sequence[Part10]) -> DataSets:
    return Counter((file.sop_instance_uid, file.sha256) for file in files)


def kept_by_orthanc(orthanc: Orthanc, files: Sequence[Part10]) -> dict[str, set[str]]:
    """What Orthanc makes of data sets that come to it directly: SHA-256 by UID. It is emptied afterwards.

    Files that share a UID go in one after the other, so that each is seen.
    """
    kept: dict[str, set[str]] = defaultdict(set)
    batches: list[list[Part10]] = []
    seen: Counter[str] = Counter()
    for file in files:
        number = seen[file.sop_instance_uid]
        seen[file.sop_instance_uid] += 1
        if number == len(batches):
            batches.append([])
        batches[number].append(file)
    for batch in batches:
        store_files(orthanc.port, batch)
        for uid, digest in orthanc.data_sets().items():
            kept[uid].add(digest)
        orthanc.clear()
    return dict(kept)


def split_by_length(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Paths whose data set has an even length, and those whose has not."""
    even: list[Path] = []
    odd: list[Path] = []
    for path in paths:
        (odd if len(read_part10(path).data_set) % 2 else even).append(path)
    return even, odd


def check_orthanc(orthanc: Orthanc, expected: dict[str, set[str]]) -> None:
    stored = orthanc.data_sets()
    assert stored.keys() == expected.keys()
    assert [uid for uid, digest in stored.items() if digest not in expected[uid]] == []


def all_files(manifest: Sequence[CorpusFile], series: Sequence[CorpusFile]) -> list[Path]:
    return [file.path for file in (*valid_files(manifest), *valid_files(series))]


def test_our_send_to_every_destination(
    site: Site, manifest: tuple[CorpusFile, ...], series: tuple[CorpusFile, ...]
) -> None:
    even, odd = split_by_length(all_files(manifest, series))
    files = [read_part10(path) for path in even]
    expected_orthanc = kept_by_orthanc(site.orthanc, files)
    accepted = accepted_pairs(site.storescp.port, pairs_of(files))

    for called_ae, paths in (("ROUTER", even), (SINK_ONLY, odd)):
        target = f"{called_ae}@127.0.0.1:{site.gateway.port}"
        done = router("send", target, "-n", "4", "--quiet", *map(str, paths))
        assert done.returncode == 0, done.stdout + done.stderr
    site.gateway.wait_quiet()

    assert site.sink.data_sets() == data_sets([read_part10(path) for path in (*even, *odd)])
    taken = [f for f in files if (f.sop_class_uid, f.transfer_syntax_uid) in accepted]
    assert site.storescp.data_sets() == data_sets(taken)
    check_orthanc(site.orthanc, expected_orthanc)
    dead = Counter(row["destination"] for row in site.gateway.deliveries("dead"))
    assert dead["storescp"] == len(files) - len(taken)
    assert dead["sink"] == 0


def send_with_dcmtk(port: int, public: Sequence[Path], series: Sequence[Path]) -> None:
    """The public set with ``dcmsend``, which proposes each file's own syntax; the series by ``storescu``."""
    dcmtk.dcmsend(port, public)
    dcmtk.storescu(port, series)


def test_dcmtk_senders_to_every_destination(
    site: Site, tmp_path: Path, manifest: tuple[CorpusFile, ...], series: tuple[CorpusFile, ...]
) -> None:
    public, _ = split_by_length([file.path for file in valid_files(manifest)])
    axial = [file.path for file in series]
    with Sink(tmp_path / "all", keep=True) as takes_all, StoreScp(tmp_path / "some") as takes_some:
        send_with_dcmtk(takes_all.port, public, axial)
        send_with_dcmtk(takes_some.port, public, axial)
        sent = [file for file in takes_all.files() if file.sop_instance_uid != MISREAD]
        kept = [file for file in takes_some.files() if file.sop_instance_uid != MISREAD]
    assert len(sent) > 850
    expected_orthanc = kept_by_orthanc(site.orthanc, [f for f in sent if len(f.data_set) % 2 == 0])

    send_with_dcmtk(site.gateway.port, public, axial)
    site.gateway.wait_quiet()

    assert site.sink.data_sets() == data_sets(sent)
    assert site.storescp.data_sets() == data_sets(kept)
    check_orthanc(site.orthanc, expected_orthanc)
