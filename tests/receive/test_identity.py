"""User identity as acceptor: right and wrong passcodes, on a clock that stands still, and at a socket."""

from __future__ import annotations

import pytest

from router import secrets
from router.clock import ManualClock
from router.config.access import Identity, IdentityPolicy, User
from router.config.settings import Limits, Listener, Operation, Settings
from router.dicom.association import Association
from router.dicom.codes import VERIFICATION, UserIdentityKind
from router.dicom.negotiation import AssociateRequest, UserIdentity, negotiate, propose_store
from router.dicom.pdu import decode_associate_ac, encode_associate_ac
from router.errors import AssociationRejected
from router.net.requestor import associate, release, user_identity
from router.receive import identity as identity_module
from router.receive.admission import Passport
from router.receive.identity import Identities
from router.secrets import hash_password
from tests.receive.test_receiver import SpoolInMemory, gateway

RIGHT, WRONG = "-".join(("right", "käse")), "-".join(("wrong", "one"))
SETTINGS = Settings(
    users={
        "alice": User(passcode_hash=hash_password(RIGHT)),
        "station": User(),
        "empty": User(passcode_hash=hash_password("")),
    },
    accept_unknown=(Operation.ECHO, Operation.STORE),
)
PERMANENT, TRANSIENT = (1, 1, 1), (2, 3, 1)


class Verifier:
    """Identities, and how often a hash was really compared with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.identities = Identities(self.clock)
        self.compared = 0
        verify = secrets.verify

        def counted(secret: str, hashed: str) -> bool:
            self.compared += 1
            return verify(secret, hashed)

        monkeypatch.setattr(secrets, "verify", counted)

    async def ask(
        self, username: str, passcode: bytes | str | None, peer: str = "10.0.0.1"
    ) -> tuple[int, int, int] | None:
        given = passcode.encode() if isinstance(passcode, str) else passcode
        passport = Passport(username=username, passcode=given)
        refused = await self.identities.problem(SETTINGS, passport, peer=peer, failures_per_minute=3)
        return None if refused is None else (refused.result, refused.source, refused.reason)


@pytest.fixture
def verifier(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    return Verifier(monkeypatch)


@pytest.mark.parametrize(
    ("username", "passcode", "answer"),
    [
        ("alice", RIGHT, None),
        ("alice", WRONG, PERMANENT),
        ("alice", "", PERMANENT),
        ("alice", None, PERMANENT),
        ("alice", b"\xff\xfe", PERMANENT),
        ("station", None, None),
        ("station", WRONG, None),  # the name alone is enough
        ("nobody", RIGHT, PERMANENT),
        ("nobody", "", PERMANENT),
        ("empty", "", PERMANENT),  # no passcode is none, whatever somebody has made a hash of
    ],
)
async def test_who_is_who(
    verifier: Verifier, username: str, passcode: bytes | str | None, answer: tuple[int, int, int] | None
) -> None:
    assert await verifier.ask(username, passcode) == answer
    assert verifier.compared == (username != "station")  # so long does it take also for who does not exist


async def test_a_right_passcode_is_remembered_and_a_wrong_one_beside_it_is_not(verifier: Verifier) -> None:
    assert [await verifier.ask("alice", RIGHT) for _ in range(3)] == [None] * 3
    assert verifier.compared == 1
    assert await verifier.ask("alice", WRONG) == PERMANENT
    assert verifier.compared == 2


async def test_after_some_failures_a_peer_has_to_wait_and_nobody_else(verifier: Verifier) -> None:
    assert [await verifier.ask("alice", WRONG) for _ in range(4)] == [PERMANENT] * 3 + [TRANSIENT]
    assert verifier.compared == 3
    assert await verifier.ask("alice", RIGHT, peer="10.0.0.2") is None
    assert await verifier.ask("alice", RIGHT) == TRANSIENT  # remembered as right: it would be worth guessing
    assert await verifier.ask("station", None) is None
    assert [await verifier.ask(f"nobody{n}", RIGHT) for n in range(4)] == [PERMANENT] * 3 + [TRANSIENT]
    verifier.clock.advance(20.0)
    assert await verifier.ask("alice", WRONG) == PERMANENT
    verifier.clock.advance(20.0)
    assert await verifier.ask("alice", RIGHT) is None


async def test_right_ones_use_nothing_up(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Identities, "_is_remembered", lambda *_: False)
    assert [await verifier.ask("alice", RIGHT) for _ in range(5)] == [None] * 5


async def test_not_too_many_wait(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_module, "MOST_WAITING", 0)
    assert await verifier.ask("alice", RIGHT) == TRANSIENT


REQUEST = AssociateRequest(
    calling_ae="SCU", called_ae="SCP", contexts=propose_store([(VERIFICATION, "1.2.840.10008.1.2")])
)


@pytest.mark.parametrize(
    ("identity", "rejected"),
    [
        (Identity(username="alice", passcode=RIGHT), None),
        (Identity(username="station"), None),
        (Identity(username="alice", passcode=WRONG), PERMANENT),
        (Identity(username="alice"), PERMANENT),
        (None, PERMANENT),
    ],
)
async def test_at_a_listener_that_requires_one(
    identity: Identity | None, rejected: tuple[int, int, int] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    listener = Listener(
        port=0, host="127.0.0.1", name="main", identity=IdentityPolicy.REQUIRED, limits=Limits()
    )
    settings = Settings(listeners=(listener,), users=SETTINGS.users, accept_unknown=SETTINGS.accept_unknown)
    request = AssociateRequest(
        calling_ae="SCU", called_ae="SCP", contexts=REQUEST.contexts, user_identity=user_identity(identity)
    )
    async with gateway(SpoolInMemory(), settings, listener) as port:
        if rejected is None:
            await release(await associate(host="127.0.0.1", port=port.port, request=request))
        else:
            with pytest.raises(AssociationRejected) as caught:
                await associate(host="127.0.0.1", port=port.port, request=request)
            assert (caught.value.result, caught.value.source, caught.value.reason) == rejected
    said = "".join(capfd.readouterr())
    assert RIGHT not in said
    assert WRONG not in said
    assert repr(request).count(RIGHT) == repr(identity).count(RIGHT) == 0
    assert ("what_to_do" in said) is (rejected is not None)


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_a_positive_answer_is_given_where_it_is_asked_for(is_asked_for: bool) -> None:
    identity = UserIdentity(
        kind=UserIdentityKind.USERNAME, primary=b"station", response_requested=is_asked_for
    )
    request = AssociateRequest(
        calling_ae="SCU", called_ae="SCP", contexts=REQUEST.contexts, user_identity=identity
    )
    acceptance = negotiate(request, user_identity_response=b"")
    reply = decode_associate_ac(encode_associate_ac(request, acceptance, 16384)[6:])
    assert reply.user_identity_response == (b"" if is_asked_for else None)


def test_what_we_say_of_ourselves() -> None:
    assert user_identity(None) is None
    named = user_identity(Identity(username="gateway"))
    assert named == UserIdentity(kind=1, primary=b"gateway")
    proven = user_identity(Identity(username="gateway", passcode=RIGHT))
    assert proven == UserIdentity(kind=2, primary=b"gateway", secondary=RIGHT.encode())
    asked = AssociateRequest(calling_ae="A", called_ae="B", contexts=REQUEST.contexts, user_identity=proven)
    requestor = Association.requestor(asked, now=0.0)
    assert RIGHT.encode() in b"".join(requestor.data_to_send())
