from __future__ import annotations

from pathlib import Path

import pytest

from router import scu
from router.config.settings import Limits, Operation
from router.dicom.codes import CommandField
from router.dicom.dimse import SubOperations, cancel_rq, get_rq, store_rq, store_rsp
from router.dicom.events import CommandReceived, DataReceived
from router.dicom.identifier import decode_identifier, encode_identifier, failed_uids
from router.dicom.negotiation import ProposedContext, RoleSelection
from router.dicom.pdu import frame_data_set
from router.dicom.query import GET_CLASSES, Model, parse_keys, retrieve_query
from router.errors import AssociationError, TranscodeFailed
from router.model import Form
from router.net.connection import Connection
from router.net.requestor import release as release_association
from router.query import sending
from router.query.get import Fetched, get
from router.query.retrieve import RetrieveEnded
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, MR
from tests.query.answering import PATIENCE_S, Bench, bench, data_set, put, put_bytes
from tests.query.making import FakeMaker, made

pytestmark = pytest.mark.timeout(60)
STUDY_GET = GET_CLASSES[Model.STUDY]
ONLY_GET = (Operation.FIND, Operation.GET)


async def fetch(
    one: Bench, directory: Path, *classes: str, key: str = "StudyInstanceUID=1.2"
) -> RetrieveEnded:
    """C-GET as our own SCU asks it."""
    fetched: list[Fetched] = []
    return await get(
        one.target,
        retrieve_query(parse_keys((key,))),
        directory,
        sop_class_uids=classes,
        on_progress=lambda _: None,
        on_fetched=fetched.append,
        timeout_s=PATIENCE_S,
    )


@pytest.mark.parametrize("operations", [tuple(Operation), ONLY_GET])
async def test_a_study_comes_byte_for_byte(tmp_path: Path, operations: tuple[Operation, ...]) -> None:
    async with bench(tmp_path / "data", operations=operations) as one:
        for number in (1, 2, 3):
            await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}")
        await put(one.spool, "1.9", "1.9.3", "1.9.3.1")
        ended = await fetch(one, tmp_path / "out")
        assert ended.status == 0
        assert ended.counts == SubOperations(remaining=None, completed=3, failed=0, warning=0)
        assert one.counted("get", "success") == 1
    found = [path.read_bytes() for path in sorted((tmp_path / "out").iterdir())]
    for number, content in enumerate(found, start=1):
        assert content.endswith(data_set("1.2", "1.2.3", f"1.2.3.{number}"))
    assert len(found) == 3


async def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path / "data") as one:
        ended = await fetch(one, tmp_path / "out", key="StudyInstanceUID=1.7")
        assert (ended.status, ended.counts.completed) == (0, 0)


async def test_a_large_one_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WINDOW_BYTES", 64 * 1024)
    async with bench(tmp_path / "data") as one:
        data = data_set("1.2", "1.2.3", "1.2.3.1", TextValue="x" * 1_000_000)
        await put_bytes(one.spool, "1.2.3.1", data)
        assert (await fetch(one, tmp_path / "out")).status == 0
    (path,) = (tmp_path / "out").iterdir()
    assert path.read_bytes().endswith(data)


async def test_what_no_context_takes_as_it_is_has_failed(tmp_path: Path) -> None:
    async with bench(tmp_path / "data") as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        await put_bytes(one.spool, "1.2.3.2", data_set("1.2", "1.2.3", "1.2.3.2"), sop_class=MR)
        ended = await fetch(one, tmp_path / "out", CT)
        assert (ended.status, ended.failed_uids) == (0xB000, ("1.2.3.2",))
        ended = await fetch(one, tmp_path / "out", "1.2.840.10008.5.1.4.1.1.1")
        assert (ended.status, ended.counts.failed) == (0xA702, 2)


@pytest.mark.parametrize("maker", [FakeMaker(), FakeMaker(failure=TranscodeFailed("no worker")), None])
async def test_what_no_context_takes_as_it_is_comes_in_another_form(
    tmp_path: Path, maker: FakeMaker | None
) -> None:
    context = ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,))
    async with bench(tmp_path / "data", maker=maker) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        connection = await connected(one, context)
        await ask(connection)
        received, data = await next_message(connection)
        if maker is None or maker.failure is not None:
            assert received.command.status == 0xA702
            assert failed_uids(decode_identifier(data, EXPLICIT)) == ("1.2.3.1",)
            return
        assert received.context.id == 3
        assert data == made("1.2.3.1", Form(transfer_syntax_uid=IMPLICIT))
        assert maker.asked == [("1.2.3.1", (IMPLICIT,))]
        connection.association.send_message(3, store_rsp(received.command, 0))
        await connection.flush()
        received, _ = await next_message(connection)
        assert received.command.status == 0
        assert maker.are_closed()


async def test_who_may_not_get(tmp_path: Path) -> None:
    async with bench(tmp_path / "data", operations=(Operation.FIND, Operation.STORE)) as one:
        with pytest.raises(AssociationError, match="does not accept"):
            await fetch(one, tmp_path / "out")


# What a peer says on the wire


CONTEXTS = (
    ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT,)),
    ProposedContext(id=5, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,)),
)


async def connected(
    one: Bench, *contexts: ProposedContext, has_role: bool = True, is_scu: bool = False
) -> Connection:
    get_context = ProposedContext(id=1, abstract_syntax=STUDY_GET, transfer_syntaxes=(EXPLICIT,))
    contexts = (get_context, *(contexts or CONTEXTS))
    roles = (RoleSelection(sop_class_uid=CT, scu=is_scu, scp=True),) if has_role else ()
    return await scu.associate(one.target, contexts, roles=roles)


async def send(connection: Connection, context_id: int, command: bytes, data: bytes) -> None:
    framed, gaps = frame_data_set(context_id, len(data), connection.association.peer_max_pdu_bytes)
    at = 0
    for gap in gaps:
        gap[:] = data[at : at + len(gap)]
        at += len(gap)
    connection.association.send_message(context_id, command)
    connection.association.send_data(framed)
    await connection.flush()


async def ask(connection: Connection) -> None:
    query = retrieve_query(parse_keys(("StudyInstanceUID=1.2",)))
    await send(connection, 1, get_rq(7, STUDY_GET), encode_identifier(query, EXPLICIT))


async def next_message(connection: Connection) -> tuple[CommandReceived, bytes]:
    received = await connection.next_event()
    assert isinstance(received, CommandReceived)
    data, is_complete = b"", not received.command.has_data_set
    while not is_complete:
        event = await connection.next_event()
        assert isinstance(event, DataReceived)
        data += b"".join(event.fragments)
        is_complete = event.last
    return received, data


async def test_roles_are_what_may_be_done(tmp_path: Path) -> None:
    """Who may get and not store is sent instances, and sends none."""
    async with bench(tmp_path / "data", operations=ONLY_GET) as one:
        connection = await connected(one, is_scu=True)
        assert connection.association.contexts.keys() == {1, 3, 5}
        assert not connection.association.contexts[3].as_scu
        assert connection.association.contexts[3].as_scp
        data = data_set("1.2", "1.2.3", "1.2.3.1")
        await send(connection, 3, store_rq(1, CT, "1.2.3.1"), data)
        received, _ = await next_message(connection)
        assert received.command.status == 0x0124
        assert not len(await one.spool.live_keys())
        await release_association(connection)
        connection = await connected(one, has_role=False)
        assert connection.association.contexts.keys() == {1}
        connection.abort()


async def test_who_may_store_too_does_both(tmp_path: Path) -> None:
    async with bench(tmp_path / "data") as one:
        connection = await connected(one, is_scu=True)
        await send(connection, 3, store_rq(1, CT, "1.2.3.1"), data_set("1.2", "1.2.3", "1.2.3.1"))
        received, _ = await next_message(connection)
        assert received.command.status == 0
        await ask(connection)
        received, data = await next_message(connection)
        assert received.command.field == CommandField.C_STORE_RQ
        assert received.context.id == 3
        assert data == data_set("1.2", "1.2.3", "1.2.3.1")
        connection.association.send_message(3, store_rsp(received.command, 0))
        await connection.flush()
        received, _ = await next_message(connection)
        assert received.command.status == 0
        await release_association(connection)


@pytest.mark.parametrize("by", ["listening", "awaiting"])
async def test_it_is_cancelled(tmp_path: Path, by: str) -> None:
    """The C-CANCEL comes behind the answer of a sub-operation, or before it."""
    async with bench(tmp_path / "data") as one:
        for number in (1, 2, 3):
            await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}")
        connection = await connected(one)
        await ask(connection)
        received, _ = await next_message(connection)
        messages = [(3, store_rsp(received.command, 0xA700)), (1, cancel_rq(7))]
        for context_id, message in messages if by == "listening" else reversed(messages):
            connection.association.send_message(context_id, message)
        await connection.flush()
        received, data = await next_message(connection)
        while received.command.status == 0xFF00:
            received, data = await next_message(connection)
        assert received.command.status == 0xFE00
        assert received.command.sub_operations == SubOperations(remaining=2, completed=0, failed=1, warning=0)
        assert failed_uids(decode_identifier(data, EXPLICIT)) == ("1.2.3.1",)
        await release_association(connection)


async def test_a_caller_that_takes_its_time_is_not_idle(tmp_path: Path) -> None:
    """It is owed the last response, whatever was sent meanwhile."""
    async with bench(tmp_path / "data") as one:
        for number in (1, 2):
            await put(one.spool, "1.2", "1.2.3", f"1.2.3.{number}")
        connection = await connected(one)
        await ask(connection)
        received, _ = await next_message(connection)
        assert received.command.field == CommandField.C_STORE_RQ
        association = one.connections[0].association
        deadline = association.next_deadline()
        assert deadline is not None
        assert association.handle_deadline(deadline) == []
        assert association.is_established


async def test_a_peer_that_answers_something_else_is_aborted(tmp_path: Path) -> None:
    async with bench(tmp_path / "data") as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        connection = await connected(one)
        await ask(connection)
        await next_message(connection)
        await ask(connection)
        with pytest.raises(AssociationError):
            await next_message(connection)
        assert one.counted("get", "lost") == 1


async def test_a_peer_that_answers_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    async with bench(tmp_path / "data", limits=Limits(answer_s=0.2)) as one:
        await put(one.spool, "1.2", "1.2.3", "1.2.3.1")
        connection = await connected(one)
        await ask(connection)
        await next_message(connection)
        with pytest.raises(AssociationError):
            await next_message(connection)
