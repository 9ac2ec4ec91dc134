"""Every valid file, to destinations that take few transfer syntaxes: each gets every image it could take.

What a destination takes is asked of the destination itself, without the gateway. What it takes as received
must arrive unchanged; of the rest, all that can be decoded must arrive in a form that it takes, and what
does not must have died of a reason that is listed here.

Each kind of image goes to each destination; with ``DICOM_ROUTER_EVERY_FILE=1`` each single file does, which
takes some minutes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from router.dicom.syntaxes import LOSSLESS_TARGETS, NATIVE_TARGETS, Encoding, label, syntax_of
from tests.corpus import CorpusFile, Part10, read_part10, valid_files, wants_every_file
from tests.peers.dcmtk import StoreScp
from tests.peers.gateway import Gateway, modality, router, send_all_to
from tests.peers.orthanc import Orthanc
from tests.peers.sender import accepted_pairs
from tests.peers.sink import Sink

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(600)]

# Of DCMTK's storescp: what it prefers by itself, implicit VR only, and then each preference for images.
PROFILES = ("+x=", "+xi", "+xe", "+xb", "+xs", "+xy", "+xx", "+xv", "+xw", "+xt", "+xu", "+xr", "+xd")
RETRY = {"initial": "100ms", "maximum": "100ms", "max_attempts": 2}
MADE = (*NATIVE_TARGETS, *LOSSLESS_TARGETS)
READABLE = (Encoding.NATIVE, Encoding.LOSSLESS, Encoding.LOSSY)


SOME_OF_EACH = 1  # files of each SOP class and transfer syntax
LARGE_BYTES = 400_000


@pytest.fixture
def files(manifest: tuple[CorpusFile, ...]) -> list[tuple[Path, Part10]]:
    """DCMTK's receivers, Orthanc among them, wait for more where a data set has an odd length."""
    found = [(file.path, read_part10(file.path)) for file in valid_files(manifest)]
    found = [(path, part10) for path, part10 in found if len(part10.data_set) % 2 == 0]
    if wants_every_file():
        return found
    chosen: dict[str, list[tuple[Path, Part10]]] = defaultdict(list)
    for path, part10 in found:
        if len(part10.data_set) < LARGE_BYTES:
            kind = f"{part10.sop_class_uid} {part10.transfer_syntax_uid}"
            chosen[kind].append((path, part10))
    return [one for kind in chosen.values() for one in kind[:SOME_OF_EACH]]


def send(gateway: Gateway, paths: Sequence[Path]) -> None:
    done = router(
        "send", f"ROUTER@127.0.0.1:{gateway.port}", "-n", "4", "--quiet", *map(str, paths), timeout_s=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    gateway.wait_quiet(500)


def dead_by_destination(gateway: Gateway) -> dict[str, dict[str, Mapping[str, object]]]:
    found: dict[str, dict[str, Mapping[str, object]]] = defaultdict(dict)
    for row in gateway.deliveries("dead"):
        found[str(row["destination"])][str(row["sop_instance_uid"])] = row
    return found


def taken_syntaxes(port: int, files: Sequence[Part10]) -> Mapping[str, set[str]]:
    """By SOP class, the transfer syntaxes that a destination takes, of all that come into question."""
    received = {(file.sop_class_uid, file.transfer_syntax_uid) for file in files}
    made = {(file.sop_class_uid, uid) for file in files for uid in MADE}
    taken: dict[str, set[str]] = defaultdict(set)
    for sop_class_uid, transfer_syntax_uid in accepted_pairs(port, sorted(received | made)):
        taken[sop_class_uid].add(transfer_syntax_uid)
    return taken


# Big endian pixels that programs read in different ways: they pass through, and are not guessed at.
IN_DOUBT = ("programs disagree", "byte order is in doubt")
# What has no compressed form, and why: nothing else may be in the way.
NOT_COMPRESSED = (
    "it has no pixel data",
    "does not take Bits Allocated of",
    "uncompressed YBR_FULL_422",
    "bits outside of Bits Stored are in use",
)


def check(
    name: str,
    files: Sequence[Part10],
    arrived: Sequence[Part10],
    dead: Mapping[str, Mapping[str, object]],
    taken: Mapping[str, set[str]],
    reasons: tuple[str, ...] = IN_DOUBT,
) -> None:
    """``reasons``: what may be said of a file that can be decoded and still cannot be sent."""
    unchanged, changed, refused = [], [], []
    for file in files:
        takes = taken[file.sop_class_uid]
        if file.transfer_syntax_uid in takes:
            unchanged.append(file)
        elif syntax_of(file.transfer_syntax_uid).encoding in READABLE and takes:
            changed.append(file)
        else:
            refused.append(file)
    assert not data_sets(unchanged) - data_sets(arrived), name
    missing = uids([*unchanged, *changed]) - uids(arrived)
    because = {uid: str(dead[uid]["last_comment"]) for uid in missing}
    unexplained = {uid: why for uid, why in because.items() if not any(r in why for r in reasons)}
    assert not unexplained, (name, unexplained)
    wrong = [f.transfer_syntax_uid for f in arrived if f.transfer_syntax_uid not in taken[f.sop_class_uid]]
    assert not wrong, (name, wrong)
    assert dead.keys() == missing.keys() | uids(refused).keys(), name
    assert len(arrived) == len(files) - missing.total() - len(refused), name


def uids(files: Sequence[Part10]) -> Counter[str]:
    return Counter(file.sop_instance_uid for file in files)


def data_sets(files: Sequence[Part10]) -> Counter[tuple[str, str]]:
    return Counter((file.sop_instance_uid, file.sha256) for file in files)


def test_storescp_of_each_profile_and_orthanc_get_every_image(
    tmp_path: Path, files: list[tuple[Path, Part10]]
) -> None:
    parts = [part10 for _, part10 in files]
    with ExitStack() as stack:
        peers = {
            f"scp{at}": stack.enter_context(StoreScp(tmp_path / f"scp{at}", profile=profile))
            for at, profile in enumerate(PROFILES)
        }
        orthanc = stack.enter_context(Orthanc(tmp_path / "orthanc"))
        modalities = {name: modality(peer.port, "STORESCP", retry=RETRY) for name, peer in peers.items()}
        modalities["orthanc"] = modality(orthanc.port, "ORTHANC", retry=RETRY)
        configuration = {"modalities": modalities, "rules": send_all_to(*modalities)}
        gateway = stack.enter_context(Gateway(tmp_path / "gateway", configuration))
        send(gateway, [path for path, _ in files])
        dead = dead_by_destination(gateway)
        for name, peer in peers.items():
            check(name, parts, peer.files(), dead[name], taken_syntaxes(peer.port, parts))
        check_orthanc(parts, orthanc, dead["orthanc"])


def check_orthanc(
    files: Sequence[Part10], orthanc: Orthanc, dead: Mapping[str, Mapping[str, object]]
) -> None:
    """It keeps one of each UID, and refuses with a status what it cannot index, in whatever form."""
    kept = {file.sop_instance_uid for file in orthanc.files()}
    taken = taken_syntaxes(orthanc.port, files)
    for file in files:
        if file.sop_instance_uid in kept or not taken[file.sop_class_uid]:
            continue
        row = dead[file.sop_instance_uid]
        is_in_doubt = any(reason in str(row["last_comment"]) for reason in IN_DOUBT)
        assert row["last_status"] is not None or is_in_doubt, row
    assert len(kept) > 0.7 * len({file.sop_instance_uid for file in files})


def test_a_sink_of_one_transfer_syntax_gets_every_image_that_can_have_it(
    tmp_path: Path, files: list[tuple[Path, Part10]]
) -> None:
    parts = [part10 for _, part10 in files]
    with ExitStack() as stack:
        peers = {
            label(uid): stack.enter_context(Sink(tmp_path / label(uid), "--transfer-syntax", uid, keep=True))
            for uid in MADE
        }
        modalities = {name: modality(peer.port, "SINK", retry=RETRY) for name, peer in peers.items()}
        configuration = {"modalities": modalities, "rules": send_all_to(*modalities)}
        gateway = stack.enter_context(Gateway(tmp_path / "gateway", configuration))
        send(gateway, [path for path, _ in files])
        dead = dead_by_destination(gateway)
        for uid in MADE:
            name = label(uid)
            taken = {file.sop_class_uid: {uid} for file in parts}
            reasons = (*IN_DOUBT, *NOT_COMPRESSED) if uid in LOSSLESS_TARGETS else IN_DOUBT
            check(name, parts, peers[name].files(), dead[name], taken, reasons)
