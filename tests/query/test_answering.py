from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from pydicom.dataset import Dataset

from router import scu
from router.config.settings import Limits, Operation
from router.dicom.codes import RESPONSE_BIT, CommandField
from router.dicom.dimse import cancel_rq, find_rq, query_rsp
from router.dicom.events import CommandReceived, DataReceived
from router.dicom.identifier import Match, encode_identifier
from router.dicom.negotiation import ProposedContext
from router.dicom.pdu import frame_data_set
from router.dicom.query import FIND_CLASSES, Key, Level, Model, Query
from router.dicom.tagpath import parse
from router.errors import AssociationError
from router.net.connection import Connection
from router.net.requestor import release as release_association
from router.query import answering, dialogue
from router.query.index import INDEX_NAME
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT
from tests.query.answering import Bench, bench, put, release

pytestmark = pytest.mark.timeout(60)
STUDY_FIND = FIND_CLASSES[Model.STUDY]


def texts(matches: list[Match], keyword: str) -> list[str]:
    return [match.text(parse(keyword)) for match in matches]


async def test_what_was_acknowledged_is_found_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        for number in range(3):
            await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}", InstanceNumber=number)
            ended, found = await one.find("StudyInstanceUID=1.2")
            assert ended.status == 0
            assert texts(found, "NumberOfStudyRelatedInstances") == [str(number + 1)]
        assert texts(found, "PatientName") == ["Müller^Jörg"]
        assert texts(found, "RetrieveAETitle") == ["ROUTER"]
        assert one.counted("find", "success") == 3


async def test_every_level(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1", InstanceNumber=1)
        await put(one.spool, "1.2", "1.2.3", "1.2.3.2", InstanceNumber=2)
        await put(one.spool, "1.2", "1.2.4", "1.2.4.1", Modality="SR")
        await put(one.spool, "1.5", "1.5.1", "1.5.1.1", PatientID="P2", PatientName="DOE^JANE")
        patients = ("NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances")
        _, found = await one.find("PatientID=P1", *patients, level=Level.PATIENT)
        assert [texts(found, key) for key in ("NumberOfPatientRelatedStudies", *patients)] == [
            ["1"],
            ["2"],
            ["3"],
        ]
        _, found = await one.find("PatientID=P1", model=Model.PATIENT, level=Level.STUDY)
        assert texts(found, "ModalitiesInStudy") == ["CT\\SR"]
        _, found = await one.find("StudyInstanceUID=1.2", "NumberOfStudyRelatedSeries", level=Level.SERIES)
        counts = zip(texts(found, "Modality"), texts(found, "NumberOfSeriesRelatedInstances"), strict=True)
        assert set(counts) == {("CT", "2"), ("SR", "1")}
        assert texts(found, "NumberOfStudyRelatedSeries") == ["2", "2"]
        _, found = await one.find("StudyInstanceUID=1.2", "SeriesInstanceUID=1.2.3", level=Level.INSTANCE)
        assert set(texts(found, "InstanceNumber")) == {"1", "2"}
        _, found = await one.find("SOPClassesInStudy", "ModalitiesInStudy=SR")
        assert texts(found, "SOPClassesInStudy") == [CT]
        assert texts(found, "StudyInstanceUID") == ["1.2"]


async def test_of_several_arrivals_of_one_instance_the_latest_counts(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1", StudyDescription="before")
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1", StudyDescription="after")
        _, found = await one.find()
        assert texts(found, "StudyDescription") == ["after"]
        assert texts(found, "NumberOfStudyRelatedInstances") == ["1"]


async def test_what_is_released_is_not_found_any_more(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        instances = [await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}") for number in range(3)]
        await release(one.spool, *instances[:2])
        _, found = await one.find()
        assert texts(found, "NumberOfStudyRelatedInstances") == ["1"]
        await release(one.spool, instances[2])
        assert (await one.find())[1] == []


async def test_what_lies_far_inside_of_a_data_set(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1", PatientComments="x" * 9000, StudyID="S1")
        await put(one.spool, "1.3", "1.3.3", "1.3.3.1", SourceImageSequence=[long_item()], StudyID="S2")
        _, found = await one.find("StudyID")
        assert sorted(texts(found, "StudyID")) == ["S1", "S2"]


def long_item() -> Dataset:
    item = Dataset()
    item.TextValue = "y" * 300_000
    return item


@pytest.mark.parametrize("values", [{"StudyInstanceUID": None}, {"SeriesInstanceUID": None}])
async def test_what_belongs_nowhere_cannot_be_asked_for(tmp_path: Path, values: dict[str, None]) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1", **values)
        await put(one.spool, "1.5", "1.5.3", "1.5.3.1")
        ended, found = await one.find()
        assert ended.status == 0
        assert texts(found, "StudyInstanceUID") == ["1.5"]


async def test_garbage_in_the_spool_harms_nobody(tmp_path: Path) -> None:
    from tests.query.answering import put_bytes

    async with bench(tmp_path) as one:
        await put_bytes(one.spool, "1.9.9", b"\xff" * 1000)
        await put_bytes(one.spool, "1.9.8", b"")
        await put(one.spool, "1.5", "1.5.3", "1.5.3.1")
        _, found = await one.find()
        assert texts(found, "StudyInstanceUID") == ["1.5"]


async def test_the_index_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        gone = await put(one.spool, "1.4", "1.4.3", "1.4.3.1")
        assert len((await one.find())[1]) == 2
    async with bench(tmp_path, index=False) as one:  # meanwhile it is not kept
        await put(one.spool, "1.3", "1.3.3", "1.3.3.1")
        await release(one.spool, gone)
    async with bench(tmp_path) as one:
        assert sorted(texts((await one.find())[1], "StudyInstanceUID")) == ["1.2", "1.3"]


@pytest.mark.parametrize("damage", ["missing", "garbage", "version"])
async def test_an_index_that_cannot_be_used_is_made_anew(tmp_path: Path, damage: str) -> None:
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        assert len((await one.find())[1]) == 1
    path = tmp_path / INDEX_NAME
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"no database at all" * 1000)
    else:
        content = bytearray(path.read_bytes())
        content[60:64] = (99).to_bytes(4, "big")  # user_version
        path.write_bytes(content)
    async with bench(tmp_path) as one:
        assert len((await one.find())[1]) == 1


async def test_an_index_that_breaks_under_way_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.query.feeding.RETRY_S", 0.0)
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        assert len((await one.find())[1]) == 1
        path = tmp_path / INDEX_NAME
        for name in (path, path.with_name(path.name + "-wal")):
            size = name.stat().st_size
            with name.open("r+b") as file:
                file.write(b"\xaa" * size)
        ended, _ = await one.find()
        while ended.status != 0:  # it is being made anew
            assert ended.status in (0x0110, 0xA700)
            ended, found = await one.find()
        assert texts(found, "StudyInstanceUID") == ["1.2"]


async def test_without_an_index_nothing_is_answered(tmp_path: Path) -> None:
    async with bench(tmp_path, index=False) as one:
        assert one.service.desk is None
        with pytest.raises(AssociationError, match="does not accept"):
            await one.find()
        connection = await scu.associate(one.target, (_context(STUDY_FIND),))
        connection.abort()
    assert not (tmp_path / INDEX_NAME).exists()


@pytest.mark.parametrize("index", [True, False])
async def test_who_may_not_ask_gets_his_contexts_refused(tmp_path: Path, index: bool) -> None:
    async with bench(tmp_path, operations=(Operation.ECHO, Operation.STORE), index=index) as one:
        connection = await scu.associate(one.target, (_context(STUDY_FIND),))
        assert not connection.association.contexts
        connection.abort()


def _context(sop_class_uid: str, *syntaxes: str, number: int = 1) -> ProposedContext:
    return ProposedContext(
        id=number, abstract_syntax=sop_class_uid, transfer_syntaxes=syntaxes or (EXPLICIT, IMPLICIT)
    )


async def test_identifiers_come_in_what_we_can_read(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        wanted = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50", IMPLICIT, EXPLICIT)
        connection = await scu.associate(one.target, (_context(STUDY_FIND, *wanted),))
        assert connection.association.contexts[1].transfer_syntax == IMPLICIT
        await release_association(connection)


# What a peer says on the wire


async def ask(connection: Connection, query: Query | bytes, *, message_id: int = 7) -> None:
    (context,) = connection.association.contexts.values()
    identifier = query if isinstance(query, bytes) else encode_identifier(query, context.transfer_syntax)
    connection.association.send_message(context.id, find_rq(message_id, STUDY_FIND))
    framed, gaps = frame_data_set(context.id, len(identifier), connection.association.peer_max_pdu_bytes)
    at = 0
    for gap in gaps:
        gap[:] = identifier[at : at + len(gap)]
        at += len(gap)
    connection.association.send_data(framed)
    await connection.flush()


async def responses(connection: Connection) -> list[int]:
    """The statuses until the last one."""
    found: list[int] = []
    while not found or found[-1] in (0xFF00, 0xFF01):
        event = await connection.next_event()
        if isinstance(event, CommandReceived):
            assert event.command.field == CommandField.C_FIND_RQ | RESPONSE_BIT
            assert event.command.responded_to == 7
            assert event.command.status is not None
            found.append(event.command.status)
        else:
            assert isinstance(event, DataReceived)
    return found


def studies(*keys: str) -> Query:
    paths = tuple(Key(path=parse(key)) for key in keys)
    return Query(model=Model.STUDY, level=Level.STUDY, keys=paths)


async def connected(one: Bench) -> Connection:
    return await scu.associate(one.target, (_context(STUDY_FIND),))


async def test_statuses(tmp_path: Path) -> None:
    series = Query(model=Model.STUDY, level=Level.SERIES, keys=(Key(path=parse("Modality")),))
    async with bench(tmp_path) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        connection = await connected(one)
        for query, expected in (
            (studies("StudyInstanceUID"), [0xFF00, 0]),
            (studies("StudyInstanceUID", "Modality"), [0xFF01, 0]),
            (series, [0xA900]),
            (b"", [0xA900]),
            (b"\x08\x00\x52\x00CS\xff\xffgarbage", [0xA900]),
            (bytes(dialogue.REQUEST_CAP_BYTES + 2), [0xA900]),
            (studies("StudyInstanceUID"), [0xFF00, 0]),
        ):
            await ask(connection, query)
            assert await responses(connection) == expected
        await release_association(connection)
        assert one.counted("find", "refused") == 4


async def test_a_query_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "STEP", 1)
    async with bench(tmp_path) as one:
        for number in range(200):
            await put(one.spool, f"1.2.{number}", f"1.3.{number}", f"1.4.{number}")
        connection = await connected(one)
        await ask(connection, studies("StudyInstanceUID"))
        connection.association.send_message(1, cancel_rq(6))  # of another message: nothing to do with it
        connection.association.send_message(1, cancel_rq(7))
        await connection.flush()
        said = await responses(connection)
        assert said[-1] == 0xFE00
        assert len(said) < 200
        await ask(connection, studies("StudyInstanceUID"))  # the association goes on
        assert (await responses(connection))[-1] == 0
        await release_association(connection)
        assert one.counted("find", "cancelled") == 1


async def test_a_cancel_of_what_has_ended_is_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        connection = await connected(one)
        await ask(connection, studies("StudyInstanceUID"))
        assert await responses(connection) == [0]
        connection.association.send_message(1, cancel_rq(7))
        await ask(connection, studies("StudyInstanceUID"))
        assert await responses(connection) == [0]
        await release_association(connection)


async def test_who_goes_in_the_middle_is_not_answered(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        for number in range(50):
            await put(one.spool, f"1.2.{number}", f"1.3.{number}", f"1.4.{number}")
        connection = await connected(one)
        await ask(connection, studies("StudyInstanceUID"))
        connection.abort()
        with anyio.fail_after(10):
            while not any(one.counted("find", how) for how in ("lost", "success")):
                await anyio.lowlevel.checkpoint()
        ended, found = await one.find()
        assert (ended.status, len(found)) == (0, 50)


async def test_too_many_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, limits=Limits(queries_per_peer=1)) as one:
        assert one.service.desk is not None
        connection = await connected(one)
        held = one.service.desk._places
        server = _Somebody(connection)
        async with held.taken(server):  # type: ignore[arg-type]
            await ask(connection, studies("StudyInstanceUID"))
            assert await responses(connection) == [0xA700]
        await ask(connection, studies("StudyInstanceUID"))
        assert await responses(connection) == [0]
        assert one.counted("find", "busy") == 1
        assert "limits_reached_total" in one.telemetry.render().decode()


class _Somebody:
    """Another association of the same peer."""

    def __init__(self, connection: Connection) -> None:
        self.listener, self.peer, self.limits = "main", connection.peer, connection.limits


async def test_an_index_that_is_not_ready_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of what is here would be taken for all of it."""
    monkeypatch.setattr(answering, "CATCH_UP_S", 0.0)
    async with bench(tmp_path) as one:
        assert one.service._feeder is not None
        one.service._feeder._must_compare = True
        monkeypatch.setattr(one.spool, "live_keys", anyio.sleep_forever)
        connection = await connected(one)
        await ask(connection, studies("StudyInstanceUID"))
        assert await responses(connection) == [0xA700]


def test_a_response_to_a_request_with_a_bad_uid_repeats_it_not() -> None:
    from router.dicom.dimse import Command, decode_command

    command = Command(field=CommandField.C_FIND_RQ, message_id=7, sop_class_uid="no uid")
    again = decode_command(query_rsp(command, 0xA900, comment="why"))
    assert (again.sop_class_uid, again.status, again.comment) == ("", 0xA900, "why")
