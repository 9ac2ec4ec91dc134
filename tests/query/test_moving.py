from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from router.config.settings import Deliver, Modality, Operation
from router.dicom.dimse import SubOperations
from router.dicom.query import Level, Model, parse_keys, retrieve_query
from router.dicom.tagpath import parse
from router.model import Form, Instance
from router.query import retrieval, sending
from router.query.exchange import Cancellation
from router.query.retrieve import RetrieveEnded, move
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, MR
from tests.query.answering import PATIENCE_S, Bench, bench, data_set, put, put_bytes, release
from tests.query.making import FakeMaker, made
from tests.query.storing import Destination, listening

pytestmark = pytest.mark.timeout(60)
JPEG_LS, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"


def modalities(port: int, **more: object) -> Mapping[str, Modality]:
    one = Modality(ae_title="THERE", host="127.0.0.1", port=port, **more)  # type: ignore[arg-type]
    return {"there": one}


async def retrieve(
    one: Bench,
    *keys: str,
    to: str = "THERE",
    model: Model | None = None,
    level: Level | None = None,
    progress: list[SubOperations] | None = None,
    cancellation: Cancellation | None = None,
) -> RetrieveEnded:
    """C-MOVE as our own SCU asks it."""
    return await move(
        one.target,
        retrieve_query(parse_keys(keys or ("StudyInstanceUID=1.2",)), model=model, level=level),
        to,
        on_progress=progress.append if progress is not None else lambda _: None,
        timeout_s=PATIENCE_S,
        cancellation=cancellation,
    )


async def three(one: Bench) -> list[Instance]:
    return [await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}") for number in (1, 2, 3)]


async def test_a_study_goes_byte_for_byte_and_says_who_wanted_it(tmp_path: Path) -> None:
    async with (
        listening(Destination()) as there,
        bench(tmp_path, modalities=modalities(there.port, local_ae_title="OURS")) as one,
    ):
        await three(one)
        await put(one.spool, "1.9", "1.9.3", "1.9.3.1")
        progress: list[SubOperations] = []
        ended = await retrieve(one, progress=progress)
        assert ended.status == 0
        assert ended.counts == SubOperations(remaining=None, completed=3, failed=0, warning=0)
        said = [(counts.remaining, counts.completed) for counts in progress]
        assert said[:2] == [(2, 1), (1, 2)]
        assert there.stored == {f"1.2.3.{n}": data_set("1.2", "1.2.3", f"1.2.3.{n}") for n in (1, 2, 3)}
        assert {command.move_originator for command in there.commands} == {"ASKER"}
        assert {command.move_originator_id for command in there.commands} == {1}
        assert [command.message_id for command in there.commands] == [1, 2, 3]
        (request,) = there.requests
        assert (request.calling_ae, request.called_ae) == ("OURS", "THERE")
        (context,) = request.contexts
        assert (context.abstract_syntax, context.transfer_syntaxes) == (CT, (EXPLICIT,))
        assert one.counted("move", "success") == 1


@pytest.mark.parametrize(
    ("keys", "model", "expected"),
    [
        (("PatientID=P1",), Model.PATIENT, {"1.2.3.1", "1.2.3.2", "1.2.4.1"}),
        (("PatientID=P1", "StudyInstanceUID=1.2"), Model.PATIENT, {"1.2.3.1", "1.2.3.2", "1.2.4.1"}),
        (("PatientID=P2", "StudyInstanceUID=1.2"), Model.PATIENT, set()),
        (
            ("StudyInstanceUID=1.2", "StudyInstanceUID=1.5"),
            None,
            {"1.2.3.1", "1.2.3.2", "1.2.4.1", "1.5.1.1"},
        ),
        (("StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3"), None, {"1.2.3.1", "1.2.3.2"}),
        (
            ("StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", "SOPInstanceUID=1.2.3.2"),
            None,
            {"1.2.3.2"},
        ),
        (("StudyInstanceUID=1.7",), None, set()),
    ],
)
async def test_what_is_named_is_sent(
    tmp_path: Path, keys: tuple[str, ...], model: Model | None, expected: set[str]
) -> None:
    async with listening(Destination()) as there, bench(tmp_path, modalities=modalities(there.port)) as one:
        for study, series, number in (("1.2", "1.2.3", 1), ("1.2", "1.2.3", 2), ("1.2", "1.2.4", 1)):
            await put(one.spool, study, series, f"{series}.{number}")
        await put(one.spool, "1.5", "1.5.1", "1.5.1.1", PatientID="P2")
        ended = await retrieve(one, *keys, model=model)
        assert ended.status == 0
        assert set(there.stored) == expected
        assert ended.counts.completed == len(expected)


async def test_a_large_one_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WINDOW_BYTES", 64 * 1024)
    async with listening(Destination()) as there, bench(tmp_path, modalities=modalities(there.port)) as one:
        large = {
            f"1.2.3.{size}": data_set("1.2", "1.2.3", f"1.2.3.{size}", TextValue="x" * size)
            for size in (1, 64 * 1024, 1_000_000)
        }
        for uid, data in large.items():
            await put_bytes(one.spool, uid, data)
        assert (await retrieve(one)).status == 0
        assert there.stored == large


@pytest.mark.parametrize(
    ("statuses", "expected", "failed"),
    [
        ({"1.2.3.2": 0xA700}, (0xB000, 2, 0, 1), ("1.2.3.2",)),
        ({"1.2.3.2": 0xB007}, (0xB000, 2, 1, 0), ()),
        ({"1.2.3.2": 0x0111}, (0, 3, 0, 0), ()),
        (dict.fromkeys(("1.2.3.1", "1.2.3.2", "1.2.3.3"), 0xC000), (0xA702, 0, 0, 3), None),
        ({"1.2.3.2": None}, (0xB000, 1, 0, 2), ("1.2.3.2", "1.2.3.3")),
    ],
)
async def test_how_it_ends(
    tmp_path: Path,
    statuses: dict[str, int | None],
    expected: tuple[int, int, int, int],
    failed: tuple[str, ...] | None,
) -> None:
    async with (
        listening(Destination(statuses=statuses)) as there,
        bench(tmp_path, modalities=modalities(there.port)) as one,
    ):
        await three(one)
        ended = await retrieve(one)
        counts = ended.counts
        assert (ended.status, counts.completed, counts.warning, counts.failed) == expected
        assert ended.failed_uids == (("1.2.3.1", "1.2.3.2", "1.2.3.3") if failed is None else failed)


async def test_what_the_destination_does_not_take_as_it_is_has_failed(tmp_path: Path) -> None:
    async with (
        listening(Destination(takes=lambda uid: uid == CT)) as there,
        bench(tmp_path, modalities=modalities(there.port)) as one,
    ):
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        await put_bytes(one.spool, "1.2.3.2", data_set("1.2", "1.2.3", "1.2.3.2"), sop_class=MR)
        ended = await retrieve(one)
        assert (ended.status, ended.failed_uids) == (0xB000, ("1.2.3.2",))
        assert set(there.stored) == {"1.2.3.1"}


async def test_what_the_destination_does_not_take_as_it_is_goes_in_another_form(tmp_path: Path) -> None:
    """All forms are proposed at once, as received first; which of them it can have is found out by trying."""
    maker = FakeMaker()
    async with (
        listening(Destination(syntaxes=(IMPLICIT,))) as there,
        bench(tmp_path, modalities=modalities(there.port), maker=maker) as one,
    ):
        await three(one)
        ended = await retrieve(one)
        assert (ended.status, ended.counts.completed) == (0, 3)
        assert there.stored["1.2.3.2"] == made("1.2.3.2", Form(transfer_syntax_uid=IMPLICIT))
        (request,) = there.requests
        proposed = [context.transfer_syntaxes for context in request.contexts]
        assert proposed[:2] == [(EXPLICIT,), (IMPLICIT,)]
        assert maker.are_closed()


async def test_a_destination_of_its_own_preference_is_sent_that(tmp_path: Path) -> None:
    maker = FakeMaker(impossible=(JPEG_LS,))
    deliver = Deliver(transfer_syntaxes=(Form(transfer_syntax_uid=JPEG_LS), Form(transfer_syntax_uid=RLE)))
    async with (
        listening(Destination()) as there,
        bench(tmp_path, modalities=modalities(there.port, deliver=deliver), maker=maker) as one,
    ):
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        assert (await retrieve(one)).status == 0
        assert maker.asked[0][1][:2] == (JPEG_LS, RLE)
        assert there.stored["1.2.3.1"] == made("1.2.3.1", Form(transfer_syntax_uid=RLE))


async def test_a_destination_that_is_sent_nothing_transcoded(tmp_path: Path) -> None:
    maker = FakeMaker()
    async with (
        listening(Destination(syntaxes=(IMPLICIT,))) as there,
        bench(
            tmp_path, modalities=modalities(there.port, deliver=Deliver(transcode=False)), maker=maker
        ) as one,
    ):
        await three(one)
        assert (await retrieve(one)).status == 0xA702
        assert maker.asked == []


async def test_a_damaged_copy_does_not_leave(tmp_path: Path) -> None:
    async with listening(Destination()) as there, bench(tmp_path, modalities=modalities(there.port)) as one:
        _, second, _ = await three(one)
        await one.find()  # so that all of it is in the index
        place = second.place
        with (tmp_path / "segments" / f"{place.segment:08d}.seg").open("r+b") as file:
            file.seek(place.offset + place.length_bytes - 8)
            file.write(b"\xff" * 8)
        ended = await retrieve(one)
        assert (ended.status, ended.failed_uids) == (0xB000, ("1.2.3.2",))
        assert set(there.stored) == {"1.2.3.1", "1.2.3.3"}
        _, found = await one.find()
        assert found[0].text(parse("NumberOfStudyRelatedInstances")) == "2"


async def test_what_is_released_under_way_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK", 1)
    async with bench(tmp_path, modalities=(known := dict(modalities(1)))) as one:
        instances = await three(one)

        async def let_go() -> None:
            await release(one.spool, instances[2])

        async with listening(Destination(before_answer=let_go)) as there:
            known["there"] = modalities(there.port)["there"]
            one.settings.modalities.update(known)
            ended = await retrieve(one)
        assert (ended.status, ended.failed_uids) == (0xB000, ("1.2.3.3",))


async def test_what_is_released_before_it_begins_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(Destination()) as there, bench(tmp_path, modalities=modalities(there.port)) as one:
        await three(one)
        await one.find()

        async def nothing(keys: object) -> list[Instance]:
            return []

        monkeypatch.setattr(one.spool, "held", nothing)
        ended = await retrieve(one)
        assert (ended.status, ended.counts.failed) == (0xA702, 3)
        assert there.requests == []


@pytest.mark.parametrize("more", [{"ae_title": "ELSEWHERE"}, {"send": (Operation.ECHO,)}])
async def test_a_destination_that_is_not_known(tmp_path: Path, more: dict[str, object]) -> None:
    there = Modality(**{"ae_title": "THERE", "host": "127.0.0.1", "port": 1, **more})  # type: ignore[arg-type]
    async with bench(tmp_path, modalities={"there": there}) as one:
        await three(one)
        ended = await retrieve(one)
        assert ended.status == 0xA801
        assert one.counted("move", "refused") == 1


async def test_a_destination_that_is_down(tmp_path: Path) -> None:
    async with listening(Destination()) as there:
        port = there.port
    async with bench(tmp_path, modalities=modalities(port)) as one:
        await three(one)
        ended = await retrieve(one)
        assert (ended.status, ended.counts.failed) == (0xA702, 3)
        assert ended.failed_uids == ("1.2.3.1", "1.2.3.2", "1.2.3.3")


async def test_more_than_can_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.query.answering.MOST_INSTANCES", 2)
    async with bench(tmp_path, modalities=modalities(1)) as one:
        await three(one)
        assert (await retrieve(one)).status == 0xA701


async def test_an_index_that_is_not_ready_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.query.answering.CATCH_UP_S", 0.0)
    async with bench(tmp_path, modalities=modalities(1)) as one:
        monkeypatch.setattr(one.spool, "live_keys", anyio.sleep_forever)
        assert one.service._feeder is not None
        one.service._feeder.doubt()
        assert (await retrieve(one)).status == 0xA701
        assert one.counted("move", "busy") == 1


async def test_it_is_cancelled(tmp_path: Path) -> None:
    cancellation = Cancellation()
    hold = anyio.Event()

    async def ask() -> None:
        cancellation.ask()
        await hold.wait()

    async with (
        listening(Destination(before_answer=ask)) as there,
        bench(tmp_path, modalities=modalities(there.port)) as one,
    ):
        await three(one)
        async with anyio.create_task_group() as tasks:

            async def let_go() -> None:
                """Once the C-CANCEL has come in."""
                while not any(connection.peek() for connection in one.connections):
                    await anyio.lowlevel.checkpoint()
                hold.set()

            tasks.start_soon(let_go)
            ended = await retrieve(one, cancellation=cancellation)
        assert ended.status == 0xFE00
        assert ended.counts == SubOperations(remaining=2, completed=1, failed=0, warning=0)
        assert len(there.stored) == 1
        assert one.counted("move", "cancelled") == 1


async def test_who_may_query_may_not_move(tmp_path: Path) -> None:
    async with bench(tmp_path, operations=(Operation.FIND,), modalities=modalities(1)) as one:
        await three(one)
        with pytest.raises(Exception, match="does not accept"):
            await retrieve(one)
        assert (await one.find())[0].status == 0
