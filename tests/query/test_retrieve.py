"""C-MOVE and C-GET towards scripted peers: numbers, ends, files, and what may go wrong with each."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from router.dicom.codes import CommandField
from router.dicom.dimse import SubOperations, store_rq
from router.dicom.events import Event
from router.dicom.part10 import read_file_meta
from router.dicom.pdu import frame_data_set
from router.dicom.query import GET_CLASSES, MOVE_CLASSES, Model, parse_keys, retrieve_query
from router.dicom.tagpath import parse
from router.errors import AssociationError, AssociationLost, AssociationTimeout, RemoteProtocolError
from router.net.connection import Connection
from router.query import arrivals, retrieve
from router.query.exchange import Cancellation
from router.query.get import Fetched, get
from router.query.retrieve import RetrieveEnded, move
from router.scu import Target
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, MR, unhex
from tests.query.peers import PATIENCE_S, Peer, Talk, listening

STUDY = retrieve_query(parse_keys(["StudyInstanceUID=1.2.3"]))
DATA = unhex('0800 1800 "UI" 0600 "1.9.1" 00') + b"\x10\x00\x10\x00PN\x04\x00A^B "
FAILED = unhex('0800 5800 "UI" 0C00 "1.9.1\\1.9.2" 00')  # Failed SOP Instance UID List


@dataclass
class Progress:
    """What was said while it went on."""

    counts: list[SubOperations] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)

    async def of_move(
        self, target: Target, *, timeout_s: float = PATIENCE_S, cancellation: Cancellation | None = None
    ) -> RetrieveEnded:
        return await move(
            target, STUDY, "SINK", on_progress=self.counts.append,
            timeout_s=timeout_s, cancellation=cancellation,
        )  # fmt: skip

    async def of_get(
        self,
        target: Target,
        directory: Path,
        *classes: str,
        timeout_s: float = PATIENCE_S,
        cancellation: Cancellation | None = None,
    ) -> RetrieveEnded:
        return await get(
            target, STUDY, directory, sop_class_uids=classes, on_progress=self.counts.append,
            on_fetched=self.fetched.append, timeout_s=timeout_s, cancellation=cancellation,
        )  # fmt: skip


async def test_move_says_how_far_it_is() -> None:
    async def moving(talk: Talk) -> None:
        for done in range(3):
            counts = SubOperations(remaining=3 - done, completed=done, failed=0, warning=0)
            await talk.respond(0xFF00, counts=counts)
        await talk.respond(0x0000, counts=SubOperations(completed=3, failed=0, warning=0))

    peer, progress = Peer(moving), Progress()
    async with listening(peer) as target:
        ended = await progress.of_move(target)
    assert [one.remaining for one in progress.counts] == [3, 2, 1, None]
    assert (ended.status, ended.counts.completed, ended.is_complete) == (0, 3, True)
    (talk,) = peer.talks
    assert talk.command.field == CommandField.C_MOVE_RQ
    assert talk.command.sop_class_uid == MOVE_CLASSES[Model.STUDY]
    assert talk.command.move_destination == "SINK"
    assert talk.asked.text(parse("StudyInstanceUID")) == "1.2.3"
    assert [one.name for one in talk.asked.attributes] == ["QueryRetrieveLevel", "StudyInstanceUID"]
    assert peer.ended == ["released"]


@pytest.mark.parametrize(
    ("status", "counts", "identifier", "is_complete"),
    [
        (0x0000, None, None, True),
        (0x0000, SubOperations(completed=2, failed=1, warning=0), None, False),
        (0xB000, SubOperations(completed=2, failed=0, warning=1), None, True),
        (0xB000, SubOperations(completed=2, failed=2, warning=0), FAILED, False),
        (0xB000, None, None, False),  # failures or warnings: nobody knows
        (0xA702, SubOperations(completed=0, failed=2, warning=0), FAILED, False),
        (0xA801, None, None, False),
        (0xFE00, SubOperations(remaining=2, completed=1, failed=0, warning=0), None, False),
        (0x0000, None, FAILED, False),
    ],
)
async def test_what_is_complete(
    status: int, counts: SubOperations | None, identifier: bytes | None, is_complete: bool
) -> None:
    async def ending(talk: Talk) -> None:
        await talk.respond(status, counts=counts, identifier=identifier, comment="so it is")

    async with listening(Peer(ending)) as target:
        ended = await Progress().of_move(target)
    assert (ended.status, ended.comment, ended.is_complete) == (status, "so it is", is_complete)
    assert ended.failed_uids == (("1.9.1", "1.9.2") if identifier else ())


async def test_numbers_that_the_last_word_leaves_out_are_those_before() -> None:
    async def terse(talk: Talk) -> None:
        await talk.respond(0xFF00, counts=SubOperations(remaining=1, completed=1, failed=1, warning=0))
        await talk.respond(0xB000, counts=SubOperations(completed=2))

    async with listening(Peer(terse)) as target:
        ended = await Progress().of_move(target)
    assert ended.counts == SubOperations(completed=2, failed=1, warning=0)
    assert not ended.is_complete


async def test_a_move_is_cancelled() -> None:
    cancellation = Cancellation()

    async def stopping(talk: Talk) -> None:
        await talk.respond(0xFF00, counts=SubOperations(remaining=9, completed=1, failed=0, warning=0))
        cancellation.ask()
        await talk.wait_cancel()
        await talk.respond(0xFE00, counts=SubOperations(remaining=9, completed=1, failed=0, warning=0))

    async with listening(Peer(stopping)) as target:
        ended = await Progress().of_move(target, cancellation=cancellation)
    assert (ended.status, ended.is_cancelled, ended.is_complete) == (0xFE00, True, False)


async def test_a_move_that_goes_on_in_spite_of_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    cancellation = Cancellation()

    async def deaf(talk: Talk) -> None:
        cancellation.ask()
        await talk.wait_cancel()
        await talk.wait_end()

    monkeypatch.setattr(retrieve, "CANCEL_S", 0.05)
    async with listening(Peer(deaf)) as target:
        ended = await Progress().of_move(target, cancellation=cancellation)
    assert (ended.status, ended.is_cancelled) == (None, True)


async def test_a_move_without_a_word() -> None:
    async def silent(talk: Talk) -> None:
        await talk.wait_end()

    async with listening(Peer(silent)) as target:
        with pytest.raises(AssociationTimeout, match="no response within"):
            await Progress().of_move(target, timeout_s=0.05)


async def test_a_request_where_none_is_allowed() -> None:
    async def storing(talk: Talk) -> None:
        context = talk.context
        talk.connection.association.send_message(context.id, unhex("0000 0001 02000000 3000"))
        await talk.connection.flush()

    async with listening(Peer(storing)) as target:
        with pytest.raises(RemoteProtocolError, match="a request where"):
            await Progress().of_move(target)


def sends(*instances: tuple[bytes, str], status: int = 0x0000) -> Callable[[Talk], Awaitable[None]]:
    """A peer that sends these and says so."""

    async def sending(talk: Talk) -> None:
        for number, (data, uid) in enumerate(instances, start=1):
            await talk.store(data, uid, message_id=number)
        done = sum(response.status == 0 for response in talk.responses)
        counts = SubOperations(completed=done, failed=len(instances) - done, warning=0)
        await talk.respond(status if done == len(instances) else 0xB000, counts=counts)

    return sending


async def test_get_files_each_data_set_as_it_came(tmp_path: Path) -> None:
    async def sending(talk: Talk) -> None:
        await talk.store(DATA, "1.9.1", syntax=EXPLICIT)
        await talk.respond(0xFF00, counts=SubOperations(remaining=1, completed=1, failed=0, warning=0))
        await talk.store(DATA[::-1], "1.9.2", sop_class_uid=MR, syntax=IMPLICIT)
        await talk.respond(0x0000, counts=SubOperations(completed=2, failed=0, warning=0))

    peer, progress = Peer(sending), Progress()
    async with listening(peer) as target:
        ended = await progress.of_get(target, tmp_path / "a" / "b", CT, MR)
    assert (ended.status, ended.is_complete) == (0, True)
    for fetched, uid, data, syntax in zip(
        progress.fetched, ("1.9.1", "1.9.2"), (DATA, DATA[::-1]), (EXPLICIT, IMPLICIT), strict=True
    ):
        assert fetched.path == tmp_path / "a" / "b" / f"{uid}.dcm"
        content = fetched.path.read_bytes()
        meta = read_file_meta(content)
        assert (meta.sop_instance_uid, meta.transfer_syntax_uid) == (uid, syntax)
        assert content[meta.data_set_offset :] == data
        assert b"ARCHIVE" in content[: meta.data_set_offset]  # who sent it
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["1.9.1.dcm", "1.9.2.dcm"]
    assert peer.talks[0].command.sop_class_uid == GET_CLASSES[Model.STUDY]
    assert {role.sop_class_uid for role in peer.requests[0].roles} == {CT, MR}
    assert peer.ended == ["released"]


async def test_what_is_there_already_is_not_written_twice(tmp_path: Path) -> None:
    progress = Progress()
    async with listening(Peer(sends((DATA, "1.9.1")))) as target:
        for _ in range(2):
            await progress.of_get(target, tmp_path, CT)
    assert [fetched.is_new for fetched in progress.fetched] == [True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["1.9.1.dcm"]


async def test_a_file_with_other_bytes_stays(tmp_path: Path) -> None:
    (tmp_path / "1.9.1.dcm").write_bytes(b"something else")
    progress = Progress()
    async with listening(Peer(sends((DATA, "1.9.1")))) as target:
        await progress.of_get(target, tmp_path, CT)
    assert progress.fetched[0].path == tmp_path / "1.9.1.2.dcm"
    assert (tmp_path / "1.9.1.dcm").read_bytes() == b"something else"
    assert (tmp_path / "1.9.1.2.dcm").read_bytes().endswith(DATA)


async def test_there_is_an_end_to_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "MOST_NAMES", 2)
    progress = Progress()
    async with listening(Peer(sends(*((DATA + bytes([n, 0]), "1.9.1") for n in range(3))))) as target:
        ended = await progress.of_get(target, tmp_path, CT)
    assert [fetched.problem != "" for fetched in progress.fetched] == [False, False, True]
    assert not ended.is_complete
    assert len(list(tmp_path.iterdir())) == 2


async def test_success_is_said_when_file_and_name_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        name = os.readlink(f"/proc/self/fd/{number}")
        done.append("directory" if Path(name) == tmp_path else "file")
        real(number)

    async def sending(talk: Talk) -> None:
        await talk.store(DATA, "1.9.1")
        done.append("answered")
        await talk.respond(0x0000)

    monkeypatch.setattr(os, "fsync", fsync)
    async with listening(Peer(sending)) as target:
        await Progress().of_get(target, tmp_path, CT)
    assert done == ["file", "directory", "answered"]


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 0xA700), (errno.EIO, 0x0110)])
@pytest.mark.parametrize("step", ["write_all", "claim_name"])
async def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int, step: str
) -> None:
    real = getattr(arrivals, step)
    calls: list[int] = []

    def failing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(arrivals, step, failing)
    peer, progress = Peer(sends((DATA * 1000, "1.9.1"), (DATA, "1.9.2"))), Progress()
    async with listening(peer) as target:
        ended = await progress.of_get(target, tmp_path, CT)
    assert [response.status for response in peer.talks[0].responses] == [status, 0]
    assert progress.fetched[0].problem == os.strerror(number)
    assert not ended.is_complete
    assert [path.name for path in tmp_path.iterdir()] == ["1.9.2.dcm"]


@pytest.mark.parametrize("uid", ["../../etc/x", "1.2." + "3" * 80, ""])
async def test_a_uid_that_is_none_names_no_file(tmp_path: Path, uid: str) -> None:
    peer, progress = Peer(sends((DATA, uid), (DATA, "1.9.1"))), Progress()
    async with listening(peer) as target:
        await progress.of_get(target, tmp_path / "in", CT)
    assert [response.status for response in peer.talks[0].responses] == [0x0115, 0]
    assert progress.fetched[0].problem
    assert [path.name for path in tmp_path.rglob("*.dcm")] == ["1.9.1.dcm"]


async def test_an_instance_of_another_class_than_its_context(tmp_path: Path) -> None:
    async def lying(talk: Talk) -> None:
        other = talk.context_of(CT, EXPLICIT)
        real, talk.context_of = talk.context_of, lambda *_: other  # type: ignore[method-assign]
        await talk.store(DATA, "1.9.1", sop_class_uid=MR)
        talk.context_of = real  # type: ignore[method-assign]
        await talk.respond(0xB000)

    peer, progress = Peer(lying), Progress()
    async with listening(peer) as target:
        await progress.of_get(target, tmp_path, CT, MR)
    assert [response.status for response in peer.talks[0].responses] == [0x0122]
    assert "not that of the presentation context" in progress.fetched[0].problem


async def test_an_instance_without_a_data_set_is_none(tmp_path: Path) -> None:
    peer, progress = Peer(sends((b"", "1.9.1"))), Progress()
    async with listening(peer) as target:
        await progress.of_get(target, tmp_path, CT)
    assert peer.talks[0].responses[0].status == 0x0110
    assert not list(tmp_path.iterdir())


async def test_an_abort_in_the_middle_of_an_instance_leaves_nothing_of_it(tmp_path: Path) -> None:
    async def breaking(talk: Talk) -> None:
        await talk.store(DATA, "1.9.1")
        context = talk.context_of(CT, EXPLICIT)

        talk.connection.association.send_message(context.id, store_rq(2, CT, "1.9.2"))
        framed, _ = frame_data_set(context.id, 3 * 1024 * 1024, 16384, last=False)
        talk.connection.association.send_data(framed)
        await talk.connection.flush()
        talk.connection.abort()

    progress = Progress()
    async with listening(Peer(breaking)) as target:
        with pytest.raises(AssociationLost):
            await progress.of_get(target, tmp_path, CT)
    assert [path.name for path in tmp_path.iterdir()] == ["1.9.1.dcm"]
    assert [fetched.sop_instance_uid for fetched in progress.fetched] == ["1.9.1"]


async def test_a_large_instance_does_not_fill_memory(tmp_path: Path) -> None:
    size, piece = 96 * 1024 * 1024, 1024 * 1024

    async def sending(talk: Talk) -> None:

        context, association = talk.context_of(CT, EXPLICIT), talk.connection.association
        association.send_message(context.id, store_rq(1, CT, "1.9.1"))
        for at in range(0, size, piece):
            framed, _ = frame_data_set(
                context.id, piece, association.peer_max_pdu_bytes, last=at + piece == size
            )
            association.send_data(framed)
            await talk.connection.flush()
        await talk.connection.next_event()
        await talk.respond(0x0000)

    progress = Progress()
    async with listening(Peer(sending)) as target:
        tracemalloc.start()
        try:
            await progress.of_get(target, tmp_path, CT)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert progress.fetched[0].data_set_bytes == size
    assert peak < 24 * 1024 * 1024


async def test_a_get_is_cancelled_and_what_was_under_way_is_kept(tmp_path: Path) -> None:
    cancellation = Cancellation()

    async def stopping(talk: Talk) -> None:
        await talk.store(DATA, "1.9.1", message_id=1)
        cancellation.ask()
        await talk.store(DATA, "1.9.2", message_id=2)
        if not talk.cancels:
            await talk.wait_cancel()
        await talk.respond(0xFE00, counts=SubOperations(remaining=7, completed=2, failed=0, warning=0))

    peer, progress = Peer(stopping), Progress()
    async with listening(peer) as target:
        ended = await progress.of_get(target, tmp_path, CT, cancellation=cancellation)
    assert (ended.status, ended.is_cancelled, ended.is_complete) == (0xFE00, True, False)
    assert peer.talks[0].cancels == [1]
    assert len(progress.fetched) == 2


async def test_another_request_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    async def echoing(talk: Talk) -> None:
        echo = unhex("0000 0001 02000000 3000 0000 1001 02000000 0900 0000 0008 02000000 0101")
        talk.connection.association.send_message(talk.context.id, echo)
        await talk.connection.flush()
        answer = await talk.connection.next_event()
        talk.responses.append(answer.command)  # type: ignore[union-attr]
        await talk.store(DATA, "1.9.1")
        await talk.respond(0x0000)

    peer, progress = Peer(echoing), Progress()
    async with listening(peer) as target:
        await progress.of_get(target, tmp_path, CT)
    assert [response.status for response in peer.talks[0].responses] == [0x0211, 0]
    assert len(progress.fetched) == 1


async def test_a_silent_get_times_out(tmp_path: Path) -> None:
    async def silent(talk: Talk) -> None:
        await talk.store(DATA, "1.9.1")
        await talk.wait_end()

    async with listening(Peer(silent)) as target:
        with pytest.raises(AssociationTimeout, match="no response within"):
            await Progress().of_get(target, tmp_path, CT, timeout_s=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["1.9.1.dcm"]


async def test_a_peer_that_knows_no_get(tmp_path: Path) -> None:
    peer = Peer(sends(), refused=[GET_CLASSES[Model.STUDY]])
    async with listening(peer) as target:
        with pytest.raises(AssociationError, match="does not accept retrieval by C-GET"):
            await Progress().of_get(target, tmp_path)


async def test_an_instance_that_comes_slowly_is_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = anyio.Event()
    real = Cancellation.next_event

    async def next_event(self: Cancellation, connection: Connection, deadline: float) -> Event | None:
        event = await real(self, connection, deadline)
        if event is None:
            waited.set()
        return event

    async def slowly(talk: Talk) -> None:
        context = talk.context_of(CT, EXPLICIT)
        talk.connection.association.send_message(context.id, store_rq(1, CT, "1.9.1"))
        framed, _ = frame_data_set(context.id, 1000, 16384, last=False)
        talk.connection.association.send_data(framed)
        await talk.connection.flush()
        await waited.wait()  # longer than the patience for a word
        await talk.send(context, DATA)
        await talk.connection.next_event()
        await talk.respond(0x0000)

    monkeypatch.setattr(Cancellation, "next_event", next_event)
    progress = Progress()
    async with listening(Peer(slowly)) as target:
        await progress.of_get(target, tmp_path, CT, timeout_s=1.0)
    assert progress.fetched[0].data_set_bytes == 1000 + len(DATA)
