"""The workshop with real worker processes: what is made once, what is kept, and what a bad job costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import xxhash

from router.config.settings import Deidentify, Transcode
from router.deliver.project_key import FILE_NAME, ProjectKey
from router.deliver.workshop import Rendered, Workshop
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.part10 import read_file_meta
from router.dicom.syntaxes import RLE_LOSSLESS
from router.errors import BrokenCodec, TranscodeFailed
from router.model import Arrival, Edit, EditKind, Form, Instance, InstanceState, Origin, Place
from router.samples import generate
from router.telemetry import Telemetry
from router.transform.job import Job, Result, perform
from router.transform.pseudonyms import Pseudonyms
from router.transform.transcode import Limits

pytestmark = pytest.mark.timeout(60)

IMPLICIT = Form(transfer_syntax_uid=IMPLICIT_VR_LITTLE_ENDIAN)
EXPLICIT = Form(transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)
RLE = Form(transfer_syntax_uid=RLE_LOSSLESS)


class Files:
    """Stored objects that are files; counts how often each was read."""

    def __init__(self, directory: Path) -> None:
        study = generate(directory, bundled=False)
        self.instances = {sample.title: self._instance(n, sample.path) for n, sample in enumerate(study)}
        self._paths = {n: sample.path for n, sample in enumerate(study)}
        self.reads: list[int] = []

    def _instance(self, key: int, path: Path) -> Instance:
        meta, content = read_file_meta(path), path.read_bytes()
        return Instance(
            key=key,
            arrival=Arrival(
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                origin=Origin(calling_ae="CT1", called_ae="ROUTER", peer="10.0.0.1", listener="11112"),
                received_at=0.0,
            ),
            place=Place(segment=0, offset=0, length_bytes=len(content), data_set_offset=meta.data_set_offset),
            content_hash=xxhash.xxh3_128(content).digest(),
            state=InstanceState.ROUTED,
        )

    async def read(self, instance: Instance, buffers: Sequence[memoryview]) -> None:
        self.reads.append(instance.key)
        await self.read_range(instance, 0, buffers)

    async def read_head(self, instance: Instance, limit: int) -> bytes:
        raise AssertionError("nobody asks for it")

    async def read_range(self, instance: Instance, offset: int, buffers: Sequence[memoryview]) -> None:
        await anyio.lowlevel.checkpoint()
        content = self._paths[instance.key].read_bytes()
        for buffer in buffers:
            buffer[:] = content[offset : offset + len(buffer)]
            offset += len(buffer)

    async def verify(self, instance: Instance) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "study")


@asynccontextmanager
async def open_workshop(
    directory: Path, settings: Transcode | None = None, key: ProjectKey | None = None
) -> AsyncIterator[Workshop]:
    workshop = Workshop(settings or Transcode(workers=1), directory, Telemetry(), key=key)
    workshop.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(workshop.run)
        yield workshop
        tasks.cancel_scope.cancel()


async def content_of(rendered: Rendered) -> bytes:
    assert rendered.rendition is not None
    instance = rendered.rendition.instance
    whole = memoryview(bytearray(instance.place.length_bytes))
    await rendered.rendition.read(instance, [whole])
    return bytes(whole)


async def test_a_rendition_is_a_part_10_object_of_the_same_instance(tmp_path: Path, files: Files) -> None:
    one = files.instances["CT"]
    async with open_workshop(tmp_path / "t") as workshop:
        rendered = await workshop.render(one, (RLE,), files)
        content = await content_of(rendered)
        meta = read_file_meta(content)
        assert (meta.transfer_syntax_uid, meta.sop_instance_uid) == (
            RLE_LOSSLESS,
            one.arrival.sop_instance_uid,
        )
        assert rendered.rendition is not None
        assert rendered.rendition.instance.place.data_set_offset == meta.data_set_offset
        assert rendered.rendition.instance.arrival.transfer_syntax_uid == RLE_LOSSLESS
        assert rendered.rendition.transcoding.is_lossless
        assert not list((tmp_path / "t").iterdir())


async def test_what_two_want_at_once_is_made_once(tmp_path: Path, files: Files) -> None:
    rendered: list[Rendered] = []

    async def want(workshop: Workshop) -> None:
        rendered.append(await workshop.render(files.instances["CT"], (RLE,), files))

    async with open_workshop(tmp_path / "t") as workshop:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(want, workshop)
        assert len({id(one.rendition) for one in rendered}) == 1
        assert len(files.reads) == 1
        for one in rendered:
            assert await content_of(one)
            assert one.rendition is not None
            one.rendition.let_go()
        again = await workshop.render(files.instances["CT"], (RLE,), files)  # the workshop held it
        assert await content_of(again)
        assert len(files.reads) == 1
        await workshop.render(files.instances["CT"], (IMPLICIT,), files)
        assert len(files.reads) == 2


async def test_whoever_was_first_may_go_away(tmp_path: Path, files: Files) -> None:
    async with open_workshop(tmp_path / "t") as workshop, anyio.create_task_group() as others:
        with anyio.CancelScope() as scope:
            others.start_soon(_cancel_soon, scope, workshop)
            await workshop.render(files.instances["CT"], (RLE,), files)
        rendered = await workshop.render(files.instances["CT"], (RLE,), files)
        assert await content_of(rendered)


async def _cancel_soon(scope: anyio.CancelScope, workshop: Workshop) -> None:
    while not workshop.is_busy:
        await anyio.lowlevel.checkpoint()
    scope.cancel()


async def test_the_first_form_that_it_can_have_is_made_and_the_others_are_explained(
    tmp_path: Path, files: Files
) -> None:
    async with open_workshop(tmp_path / "t") as workshop:
        rendered = await workshop.render(files.instances["SR"], (RLE, IMPLICIT), files)
        assert rendered.rendition is not None
        assert rendered.rendition.instance.arrival.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
        ((uid, because),) = ((o.transfer_syntax_uid, o.because) for o in rendered.obstacles)
        assert uid == RLE_LOSSLESS
        assert "no pixel data" in because
        refused = await workshop.render(files.instances["SR"], (RLE,), files)
        assert refused.rendition is None


async def test_what_is_kept_has_a_bound(tmp_path: Path, files: Files) -> None:
    one, other = files.instances["CT"], files.instances["CR"]
    size = one.place.length_bytes
    async with open_workshop(tmp_path / "t", Transcode(workers=1, cache_bytes=size)) as workshop:
        first = await workshop.render(one, (IMPLICIT,), files)
        assert (await workshop.render(other, (RLE,), files)).rendition is not None
        assert await content_of(first)  # it is held, kept or not
        assert first.rendition is not None
        first.rendition.let_go()
        files.reads.clear()
        await workshop.render(one, (IMPLICIT,), files)
        assert files.reads == [one.key]


async def test_a_damaged_copy_is_not_given_out_again(tmp_path: Path, files: Files) -> None:
    async with open_workshop(tmp_path / "t") as workshop:
        first = await workshop.render(files.instances["CT"], (RLE,), files)
        assert first.rendition is not None
        first.rendition.is_damaged = True
        second = await workshop.render(files.instances["CT"], (RLE,), files)
        assert second.rendition is not first.rendition


async def test_pixels_have_a_limit(tmp_path: Path, files: Files) -> None:
    async with open_workshop(tmp_path / "t", Transcode(workers=1, max_pixels=1000)) as workshop:
        rendered = await workshop.render(files.instances["CT RLE"], (EXPLICIT,), files)
        assert rendered.rendition is None
        assert "more samples than max_pixels allows" in rendered.obstacles[0].because


async def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "t"
    directory.mkdir()
    (directory / "7.in").write_bytes(b"left")
    async with open_workshop(directory):
        assert not list(directory.iterdir())


async def test_a_full_disk_fails_one_attempt(tmp_path: Path, files: Files) -> None:
    async with open_workshop(tmp_path / "t") as workshop:
        (tmp_path / "t").rmdir()
        with pytest.raises(TranscodeFailed, match="files of the transcoding"):
            await workshop.render(files.instances["CT"], (RLE,), files)


async def test_a_codec_that_fails_its_proof_is_counted_and_the_next_form_is_made(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(frame: object, image: object, form: Form) -> bytes:
        raise BrokenCodec("the decoded frames of the result are not those of the source")

    async def here(job: Job) -> Result:
        return perform(job, Limits(pixels_max=10**9, inflate_bytes_max=10**9))

    monkeypatch.setattr("router.transform.codecs.encode", broken)
    telemetry = Telemetry()
    workshop = Workshop(Transcode(workers=1), tmp_path / "t", telemetry)
    workshop.open()
    monkeypatch.setattr(workshop.workers, "perform", here)
    rendered = await workshop.render(files.instances["CT"], (RLE, IMPLICIT), files)
    assert rendered.rendition is not None
    assert rendered.rendition.instance.arrival.transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    assert [obstacle.is_broken for obstacle in rendered.obstacles] == [True]
    labels = 'from="explicit-vr-little-endian",outcome="broken",to="rle-lossless"'
    assert f"dicom_router_transcodes_total{{{labels}}} 1.0" in telemetry.render().decode()


DEIDENTIFIED = Form(
    transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
    edits=(Edit(kind=EditKind.DEIDENTIFY, keeps_burned_in=True),),
)


async def test_the_key_reaches_the_worker_by_no_file_and_no_command_line(
    tmp_path: Path, files: Files
) -> None:
    one = files.instances["CT"]
    key = ProjectKey(Deidentify(), tmp_path)
    async with open_workshop(tmp_path / "t", key=key) as workshop:
        assert not (tmp_path / FILE_NAME).exists()
        await workshop.render(one, (RLE,), files)
        assert not (tmp_path / FILE_NAME).exists(), "nothing has needed it"
        rendered = await workshop.render(one, (DEIDENTIFIED,), files)
        seen = b"".join(
            path.read_bytes()
            for process in Path("/proc").glob("[0-9]*")
            for path in (process / "cmdline", process / "environ")
            if is_readable(path)
        )
    assert rendered.rendition is not None
    wanted = Pseudonyms(key.get()).uid(one.arrival.sop_instance_uid)
    assert rendered.rendition.instance.arrival.sop_instance_uid == wanted
    assert b"router.transform.worker" in seen
    assert key.get().encode() not in seen


def is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


async def test_without_a_key_that_is_right_it_waits_rather_than_leaves(tmp_path: Path, files: Files) -> None:
    one = files.instances["CT"]
    (tmp_path / FILE_NAME).write_text("damaged")
    async with open_workshop(tmp_path / "t", key=ProjectKey(Deidentify(), tmp_path)) as workshop:
        with pytest.raises(TranscodeFailed, match="no key for de-identification"):
            await workshop.render(one, (DEIDENTIFIED,), files)
    async with open_workshop(tmp_path / "t") as workshop:
        with pytest.raises(TranscodeFailed, match="nobody here has the key"):
            await workshop.render(one, (DEIDENTIFIED,), files)
    assert not list((tmp_path / "t").iterdir())
