"""router.scu: what is sent, what is left out, and what is said when the peer misbehaves."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from router import samples, scu
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN
from router.dicom.part10 import read_file_meta
from router.errors import AssociationRejected, ConnectFailed
from router.scu import SendFile, Sent, Skipped, Target
from router.sink import Failure, Rejection, Sink, SinkOptions


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> list[SendFile]:
    made = samples.generate(tmp_path_factory.mktemp("study"), ct_slices=2, mr_slices=1)
    return [found for sample in made if isinstance(found := scu.examine(sample.path), SendFile)]


@asynccontextmanager
async def sink(options: SinkOptions) -> AsyncIterator[Target]:
    """A sink in this loop, on a port that the system chooses."""
    ports: list[int] = []
    bound = anyio.Event()

    def ready(port: int) -> None:
        ports.append(port)
        bound.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Sink(options).run, ready)
        await bound.wait()
        yield Target(host="127.0.0.1", port=ports[0], called_ae="SINK", calling_ae="TEST")
        tasks.cancel_scope.cancel()


def nobody() -> Target:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return Target(host="127.0.0.1", port=port, called_ae="SINK", calling_ae="TEST")


@dataclass
class Results:
    """What ``send`` reported."""

    sent: list[Sent] = field(default_factory=list)

    async def of(self, target: Target, files: Sequence[SendFile], associations: int = 1) -> list[Sent]:
        await scu.send(target, files, associations=associations, on_result=self.sent.append)
        return self.sent


def data_set_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha256(content[read_file_meta(path).data_set_offset :]).hexdigest()


async def test_echo() -> None:
    async with sink(SinkOptions()) as target:
        assert await scu.echo(target) == 0


async def test_echo_where_nobody_listens() -> None:
    with pytest.raises(ConnectFailed, match="no connection to"):
        await scu.echo(nobody())


async def test_echo_that_is_rejected() -> None:
    async with sink(SinkOptions(reject=Rejection.CALLED_AE)) as target:
        with pytest.raises(AssociationRejected, match="called AE"):
            await scu.echo(target)


@pytest.mark.parametrize("associations", [1, 4])
async def test_data_sets_arrive_byte_for_byte(
    tmp_path: Path, study: list[SendFile], associations: int
) -> None:
    async with sink(SinkOptions(directory=tmp_path)) as target:
        results = await Results().of(target, study, associations)
    assert sorted(sent.file.path for sent in results) == sorted(file.path for file in study)
    assert all(sent.status == 0 and sent.is_stored for sent in results)
    arrived = {data_set_hash(path) for path in tmp_path.glob("*.dcm")}
    assert arrived == {data_set_hash(file.path) for file in study}


@pytest.mark.parametrize("max_pdu_bytes", [1024, 16384, 0])
async def test_a_large_one_is_streamed_in_the_peers_pdu_size(tmp_path: Path, max_pdu_bytes: int) -> None:
    source = tmp_path / "large.dcm"
    meta = samples.generate(tmp_path / "study", ct_slices=1, mr_slices=0, bundled=False)[0]
    source.write_bytes(meta.path.read_bytes() + b"\x00\xff" * (2 * scu.CHUNK_BYTES // 2 + 6))
    file = scu.examine(source)
    assert isinstance(file, SendFile)
    assert file.data_set_bytes > 2 * scu.CHUNK_BYTES
    async with sink(SinkOptions(directory=tmp_path / "in", max_pdu_bytes=max_pdu_bytes)) as target:
        (result,) = await Results().of(target, [file])
    assert result.status == 0
    (arrived,) = (tmp_path / "in").glob("*.dcm")
    assert data_set_hash(arrived) == data_set_hash(source)


async def test_each_status_is_reported(study: list[SendFile]) -> None:
    async with sink(SinkOptions(failures=(Failure(status=0xA700, share=1.0),))) as target:
        results = await Results().of(target, study)
    assert {sent.status for sent in results} == {0xA700}
    assert not any(sent.is_stored for sent in results)


@pytest.mark.parametrize(
    ("status", "stored"),
    [(0x0000, True), (0xB000, True), (0xB007, True), (0x0107, True), (0xA900, False), (None, False)],
)
def test_a_warning_is_stored(study: list[SendFile], status: int | None, stored: bool) -> None:
    assert Sent(file=study[0], status=status, comment="").is_stored is stored


async def test_an_abort_costs_the_file_under_way_and_no_other(study: list[SendFile]) -> None:
    async with sink(SinkOptions(abort_after=3)) as target:
        results = await Results().of(target, study)
    lost = [sent for sent in results if sent.status is None]
    assert len(results) == len(study)
    assert len(lost) == len(study) // 3
    assert all("abort" in sent.comment or "closed" in sent.comment for sent in lost)


async def test_what_the_peer_does_not_take_is_said(study: list[SendFile]) -> None:
    async with sink(SinkOptions(transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))) as target:
        results = await Results().of(target, study)
    for sent in results:
        is_taken = sent.file.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        assert sent.is_stored is is_taken
        assert is_taken or "no presentation context" in sent.comment


async def test_a_peer_that_is_gone_fails_every_file_once(study: list[SendFile]) -> None:
    results = await Results().of(nobody(), study, 2)
    assert len(results) == len(study)
    assert {sent.status for sent in results} == {None}


async def test_a_stalling_peer_times_out(study: list[SendFile]) -> None:
    async with sink(SinkOptions(stall_s=60)) as target:
        (result,) = await Results().of(replace(target, response_s=0.05), study[:1])
    assert result.status is None
    assert "no response within 0.05 s" in result.comment


async def test_a_file_that_shrinks_is_not_sent_as_if_it_were_whole(
    tmp_path: Path, study: list[SendFile]
) -> None:
    path = tmp_path / "shrinking.dcm"
    path.write_bytes(study[0].path.read_bytes())
    file = scu.examine(path)
    assert isinstance(file, SendFile)
    path.write_bytes(path.read_bytes()[:-1000])
    async with sink(SinkOptions(directory=tmp_path / "in")) as target:
        (result,) = await Results().of(target, [file])
    assert "shorter" in result.comment
    assert not list((tmp_path / "in").glob("*.dcm"))


def test_more_kinds_than_one_association_can_carry_are_split(study: list[SendFile]) -> None:
    files = [replace(study[0], sop_class_uid=f"1.2.3.{number % 300}") for number in range(400)]
    batches = list(scu.batches(files))
    assert [file for batch in batches for file in batch] == files
    assert all(len({file.sop_class_uid for file in batch}) <= 128 for batch in batches)


def test_directories_are_searched_and_the_rest_is_named(tmp_path: Path, study: list[SendFile]) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "image").write_bytes(study[0].path.read_bytes())
    (tmp_path / "a.txt").write_text("no image")
    (tmp_path / "empty.dcm").write_bytes(b"")
    found = list(scu.find_files([tmp_path, tmp_path / "missing.dcm"]))
    assert [item.path.name for item in found] == ["a.txt", "empty.dcm", "image", "missing.dcm"]
    assert [isinstance(item, Skipped) for item in found] == [True, True, False, True]
    assert all(item.because for item in found if isinstance(item, Skipped))


def test_a_dicomdir_is_left_out(corpus: Path) -> None:
    directory = corpus / "public" / "dicomdir"
    found = list(scu.find_files([directory]))
    assert found
    assert any(isinstance(item, Skipped) and "DICOMDIR" in item.because for item in found)
