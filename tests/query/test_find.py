"""C-FIND towards scripted peers: matches, ends of every kind, C-CANCEL, and what breaks the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from router.dicom.identifier import Match
from router.dicom.query import FIND_CLASSES, Level, Model, find_query, parse_keys
from router.dicom.tagpath import parse
from router.errors import (
    AssociationError,
    AssociationLost,
    AssociationTimeout,
    ConnectFailed,
    RemoteProtocolError,
)
from router.query import find as find_module
from router.query.exchange import Cancellation
from router.query.find import FindEnded, find, open_questions
from router.scu import Target
from tests.dicom.wire import IMPLICIT
from tests.query.peers import PATIENCE_S, Peer, Talk, listening

QUERY = find_query(parse_keys(["PatientName=DOE*"]))
NAME = parse("PatientName")


@dataclass
class Found:
    """What a query brought."""

    matches: list[Match] = field(default_factory=list)

    async def by(
        self,
        target: Target,
        *,
        limit: int | None = None,
        timeout_s: float = PATIENCE_S,
        cancellation: Cancellation | None = None,
    ) -> FindEnded:
        return await find(
            target,
            QUERY,
            on_match=self.matches.append,
            limit=limit,
            timeout_s=timeout_s,
            cancellation=cancellation,
        )

    @property
    def names(self) -> Sequence[str]:
        return [match.text(NAME) for match in self.matches]


async def two_matches(talk: Talk) -> None:
    await talk.match("PatientName=DOE^A")
    await talk.match("PatientName=DOE^B")
    await talk.respond(0x0000)


async def test_what_is_asked_and_what_is_answered() -> None:
    peer, found = Peer(two_matches), Found()
    async with listening(peer) as target:
        ended = await found.by(target)
    assert found.names == ["DOE^A", "DOE^B"]
    assert ended == FindEnded(status=0, matches=2)
    (talk,) = peer.talks
    assert talk.command.sop_class_uid == FIND_CLASSES[Model.STUDY]
    assert talk.asked.text(NAME) == "DOE*"
    assert talk.asked.text(parse("QueryRetrieveLevel")) == "STUDY"
    assert peer.ended == ["released"]


async def test_nothing_is_found() -> None:
    async def nothing(talk: Talk) -> None:
        await talk.respond(0x0000)

    async with listening(Peer(nothing)) as target:
        assert (await Found().by(target)).matches == 0


async def test_a_failure_has_its_status_and_comment_and_keeps_what_came() -> None:
    async def failing(talk: Talk) -> None:
        await talk.match("PatientName=DOE^A")
        await talk.respond(0xA700, comment="too many")

    found = Found()
    async with listening(Peer(failing)) as target:
        ended = await found.by(target)
    assert (ended.status, ended.comment, found.names) == (0xA700, "too many", ["DOE^A"])


async def test_keys_that_are_not_matched_are_told_of() -> None:
    async def doubtful(talk: Talk) -> None:
        await talk.match("PatientName=ROE", status=0xFF01)
        await talk.respond(0x0000)

    async with listening(Peer(doubtful)) as target:
        assert (await Found().by(target)).is_doubtful


async def test_a_limit_cancels_and_is_kept_though_more_come() -> None:
    async def slow_to_stop(talk: Talk) -> None:
        for _ in range(5):
            await talk.match("PatientName=DOE^A")
        await talk.wait_cancel()
        await talk.match("PatientName=DOE^B")
        await talk.respond(0xFE00)

    peer, found = Peer(slow_to_stop), Found()
    async with listening(peer) as target:
        ended = await found.by(target, limit=3)
    assert found.names == ["DOE^A"] * 3
    assert (ended.status, ended.is_cancelled) == (0xFE00, True)
    assert peer.talks[0].cancels == [1]
    assert peer.ended == ["released"]


async def test_a_peer_that_knows_no_cancel_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(talk: Talk) -> None:
        while True:  # until the association is gone
            await talk.match("PatientName=DOE^A")

    monkeypatch.setattr(find_module, "CANCEL_S", 0.2)
    peer, found = Peer(deaf), Found()
    async with listening(peer) as target:
        ended = await found.by(target, limit=2)
    assert (ended.status, ended.is_cancelled, found.names) == (None, True, ["DOE^A"] * 2)


async def test_whoever_waits_can_cancel() -> None:
    cancellation = Cancellation()

    async def asked_to_stop(talk: Talk) -> None:
        await talk.match("PatientName=DOE^A")
        cancellation.ask()
        await talk.wait_cancel()
        await talk.respond(0xFE00)

    async with listening(Peer(asked_to_stop)) as target:
        ended = await Found().by(target, cancellation=cancellation)
    assert (ended.status, ended.is_cancelled) == (0xFE00, True)


async def test_a_silent_peer_times_out() -> None:
    async def silent(talk: Talk) -> None:
        await talk.match("PatientName=DOE^A")
        await talk.wait_end()

    peer = Peer(silent)
    async with listening(peer) as target:
        with pytest.raises(AssociationTimeout, match=r"no response within 0\.05 s"):
            await Found().by(target, timeout_s=0.05)


async def test_a_peer_that_goes() -> None:
    async def gone(talk: Talk) -> None:
        await talk.match("PatientName=DOE^A")
        talk.connection.abort()

    found = Found()
    async with listening(Peer(gone)) as target:
        with pytest.raises(AssociationLost, match="abort"):
            await found.by(target)
    assert found.names == ["DOE^A"]


async def test_a_peer_that_takes_no_queries() -> None:
    peer = Peer(two_matches, refused=[FIND_CLASSES[Model.STUDY]])
    async with listening(peer) as target:
        with pytest.raises(AssociationError, match=r"does not accept queries \(C-FIND, study root\)"):
            await Found().by(target)


async def test_nobody_is_there() -> None:
    async with listening(Peer(two_matches)) as target:
        pass
    with pytest.raises(ConnectFailed):
        await Found().by(target)


async def wrong_message(talk: Talk) -> None:
    await talk.respond(0x0000, responded_to=77)


async def garbage(talk: Talk) -> None:
    await talk.respond(0xFF00, identifier=b"\x10\0\x10\0SQ" + b"\xff" * 50)


async def too_much(talk: Talk) -> None:
    await talk.respond(0xFF00, identifier=bytes(5 * 1024 * 1024))


async def a_request(talk: Talk) -> None:
    context = talk.context
    command = b"\0\0\0\1\2\0\0\0\x30\0" + b"\0\0\x10\1\2\0\0\0\1\0" + b"\0\0\0\x08\2\0\0\0\1\1"
    talk.connection.association.send_message(context.id, command)
    await talk.connection.flush()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (wrong_message, "answers no message of ours"),
        (garbage, "cannot be read"),
        (too_much, "identifier of more than"),
        (a_request, "a request where a response"),
    ],
)
async def test_what_breaks_the_protocol_ends_it(script: object, said: str) -> None:
    peer = Peer(script)  # type: ignore[arg-type]
    async with listening(peer) as target:
        with pytest.raises(RemoteProtocolError, match=said):
            await Found().by(target)


async def test_a_peer_that_takes_implicit_vr_only() -> None:
    async def answer(talk: Talk) -> None:
        assert talk.context.transfer_syntax == IMPLICIT
        await two_matches(talk)

    peer, found = Peer(answer), Found()
    peer.syntaxes = (IMPLICIT,)
    async with listening(peer) as target:
        await found.by(target)
    assert found.names == ["DOE^A", "DOE^B"]


async def test_several_questions_on_one_association() -> None:
    peer = Peer(two_matches)
    names: list[str] = []
    series = find_query(parse_keys(["StudyInstanceUID=1.2"]), level=Level.SERIES)
    async with listening(peer) as target, open_questions(target, Model.STUDY, timeout_s=PATIENCE_S) as asked:
        for query in (QUERY, series):
            await asked.ask(query, lambda match: names.append(match.text(NAME)))
    assert names == ["DOE^A", "DOE^B"] * 2
    assert [talk.command.message_id for talk in peer.talks] == [1, 2]
    assert len(peer.requests) == 1
