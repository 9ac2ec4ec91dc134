"""Who may come in: the decision, case by case."""

from __future__ import annotations

import pytest

from router.config.access import IdentityPolicy, User
from router.config.settings import Listener, Modality, Operation, Settings
from router.dicom.codes import UserIdentityKind
from router.dicom.negotiation import AssociateRequest, UserIdentity
from router.receive.admission import Admission, Refusal, admit, is_performed

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
HERE = "10.0.0.5"
ADDRESSES = {"10.0.0.5": {"10.0.0.5"}, "pacs.example": {"10.0.0.7", "fd00::7"}}


def request(calling: str = "CT1", called: str = "ROUTER") -> AssociateRequest:
    return AssociateRequest(calling_ae=calling, called_ae=called, contexts=())


def decide(
    settings: Settings, calling: str = "CT1", called: str = "ROUTER", peer: str = "10.0.0.5"
) -> object:
    return admit(settings, request(calling, called), peer=peer, addresses_of=ADDRESSES.__getitem__)


def modality(host: str = "10.0.0.5", **more: object) -> Modality:
    return Modality(ae_title="CT1", host=host, port=104, **more)  # type: ignore[arg-type]


def test_unknown_caller_is_rejected_as_such() -> None:
    verdict = decide(Settings())
    assert isinstance(verdict, Refusal)
    assert (verdict.result, verdict.source, verdict.reason) == (1, 1, 3)


def test_unknown_caller_may_do_what_accept_unknown_says() -> None:
    verdict = decide(Settings(accept_unknown=(Operation.ECHO,)))
    assert isinstance(verdict, Admission)
    assert verdict.allows(VERIFICATION)
    assert not verdict.allows(CT)


def test_a_modality_may_do_what_its_entry_says() -> None:
    verdict = decide(Settings(modalities={"ct": modality(accept=(Operation.STORE,))}))
    assert isinstance(verdict, Admission)
    assert verdict.allows(CT)
    assert verdict.allows("1.3.46.670589.2.3.1.1")  # a private storage class
    assert not verdict.allows(VERIFICATION)
    assert not verdict.allows(FIND)


@pytest.mark.parametrize("index", [True, False])
def test_queries_are_answered_where_there_is_an_index_to_those_who_may_ask(index: bool) -> None:
    may_ask = Settings(index=index, modalities={"ct": modality(accept=(Operation.FIND,))})
    verdict = decide(may_ask)
    assert isinstance(verdict, Admission)
    assert verdict.allows(FIND) is index
    assert not verdict.allows(CT)
    assert not verdict.allows(WORKLIST)
    assert is_performed(may_ask, FIND) is index
    verdict = decide(Settings(index=index, accept_unknown=(Operation.STORE,)), calling="NOBODY")
    assert isinstance(verdict, Admission)
    assert not verdict.allows(FIND)


def test_a_modality_that_may_do_nothing_is_rejected() -> None:
    assert isinstance(decide(Settings(modalities={"ct": modality(accept=())})), Refusal)


@pytest.mark.parametrize(
    ("host", "peer", "is_in"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("pacs.example", "fd00::7", True),
    ],
)
def test_check_host_compares_addresses(host: str, peer: str, is_in: bool) -> None:
    settings = Settings(modalities={"ct": modality(host, check_host=True)}, accept_unknown=(Operation.STORE,))
    assert isinstance(decide(settings, peer=peer), Admission) is is_in


def test_two_entries_of_one_title_on_two_hosts_are_told_apart() -> None:
    settings = Settings(
        modalities={
            "here": modality("10.0.0.5", check_host=True, accept=(Operation.ECHO,)),
            "there": modality("pacs.example", check_host=True, accept=(Operation.STORE,)),
        }
    )
    verdict = decide(settings, peer="10.0.0.7")
    assert isinstance(verdict, Admission)
    assert verdict.operations == {Operation.STORE}


@pytest.mark.parametrize(
    ("shown", "is_in"), [({"ct1.example"}, True), ({"ct2.example"}, False), (set[str](), False)]
)
def test_a_title_that_is_bound_to_a_certificate_needs_it(shown: set[str], is_in: bool) -> None:
    settings = Settings(modalities={"ct": modality(certificate_names=("CT1.example", "sha256:00"))})
    verdict = admit(
        settings,
        request(),
        peer=HERE,
        addresses_of=ADDRESSES.__getitem__,
        certificate_names=shown,
    )
    assert isinstance(verdict, Admission) is is_in
    if isinstance(verdict, Refusal):
        assert (verdict.result, verdict.source, verdict.reason) == (1, 1, 3)
        assert verdict.label == "certificate_not_recognised"


def test_called_title_counts_only_where_it_is_checked() -> None:
    open_to_all = Settings(accept_unknown=(Operation.STORE,))
    strict = Settings(accept_unknown=(Operation.STORE,), check_called_ae=True)
    assert isinstance(decide(open_to_all, called="OTHER"), Admission)
    verdict = decide(strict, called="OTHER")
    assert isinstance(verdict, Refusal)
    assert verdict.reason == 7


def listener(**more: object) -> Listener:
    return Listener(port=0, name="here", **more)  # type: ignore[arg-type]


def decide_at(
    settings: Settings,
    where: Listener,
    *,
    peer: str = HERE,
    called: str = "ROUTER",
    who: UserIdentity | None = None,
) -> Admission | Refusal:
    asked = AssociateRequest(calling_ae="CT1", called_ae=called, contexts=(), user_identity=who)
    return admit(settings, asked, peer=peer, addresses_of=ADDRESSES.__getitem__, listener=where)


def why(verdict: Admission | Refusal) -> tuple[str, tuple[int, int, int]] | None:
    """The word and the codes of a refusal; each has its advice."""
    if isinstance(verdict, Admission):
        return None
    assert verdict.advice
    return verdict.label, (verdict.result, verdict.source, verdict.reason)


@pytest.mark.parametrize(
    ("networks", "peer", "is_in"),
    [
        (["10.0.0.0/24"], "10.0.0.5", True),
        (["10.0.0.0/24"], "::ffff:10.0.0.5", True),
        (["10.0.0.0/24"], "10.0.1.5", False),
        (["10.0.1.0/24", "fd00::/8"], "fd12::1", True),
        (["fd00::/8"], "fe80::1%eth0", False),
        (["10.0.0.5"], "10.0.0.5", True),
        (["0.0.0.0/0"], "no address", False),
    ],
)
def test_addresses_of_a_modality_and_of_a_listener(networks: list[str], peer: str, is_in: bool) -> None:
    bound = Settings(modalities={"ct": modality(addresses=networks)})
    found = why(decide_at(bound, listener(), peer=peer))
    assert found == (None if is_in else ("host_not_recognised", (1, 1, 3)))
    anybody = Settings(accept_unknown=(Operation.ECHO,))
    found = why(decide_at(anybody, listener(addresses=networks), peer=peer))
    assert found == (None if is_in else ("address_not_allowed", (1, 1, 3)))


def test_addresses_stand_beside_the_host() -> None:
    settings = Settings(modalities={"ct": modality("10.0.0.5", check_host=True, addresses=["10.9.0.0/16"])})
    assert why(decide_at(settings, listener(), peer="10.0.0.5")) is None
    assert why(decide_at(settings, listener(), peer="10.9.1.1")) is None
    assert why(decide_at(settings, listener(), peer="10.8.1.1")) == ("host_not_recognised", (1, 1, 3))


def test_a_modality_may_be_bound_to_listeners() -> None:
    settings = Settings(modalities={"ct": modality(listeners=("secure", "inside"))})
    assert why(decide_at(settings, Listener(port=1, name="inside"))) is None
    assert why(decide_at(settings, listener())) == ("listener_not_allowed", (1, 1, 3))


def test_a_listener_has_titles_of_its_own() -> None:
    settings = Settings(accept_unknown=(Operation.ECHO,), check_called_ae=True)
    where = listener(called_ae=("RESEARCH", "ROUTER2"))
    assert why(decide_at(settings, where, called="ROUTER2")) is None
    assert why(decide_at(settings, where, called="ROUTER")) == ("called_ae_not_recognised", (1, 1, 7))


def test_a_listener_may_let_fewer_or_more_unknown_callers_do() -> None:
    settings = Settings(accept_unknown=(Operation.ECHO, Operation.STORE))
    verdict = decide_at(settings, listener(accept_unknown=(Operation.ECHO,)))
    assert isinstance(verdict, Admission)
    assert verdict.operations == {Operation.ECHO}
    refused = decide_at(settings, listener(accept_unknown=()))
    assert why(refused) == ("calling_ae_not_recognised", (1, 1, 3))


def test_who_may_only_ask_for_something_else_comes_in_and_is_refused_context_by_context() -> None:
    verdict = decide(Settings(modalities={"ct": modality(accept=(Operation.FIND,))}))
    assert isinstance(verdict, Admission)
    assert not verdict.allows(CT)
    assert not verdict.allows(VERIFICATION)


ALICE = UserIdentity(kind=UserIdentityKind.USERNAME_AND_PASSCODE, primary=b"alice", secondary=b"secret")
TOKEN = UserIdentity(kind=UserIdentityKind.JSON_WEB_TOKEN, primary=b"ey...")
MISSING, WRONG = ("identity_missing", (1, 1, 1)), ("identity_not_recognised", (1, 1, 1))


@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize(
    ("policy", "who", "refused", "is_verified"),
    [
        (IdentityPolicy.IGNORED, None, None, False),
        (IdentityPolicy.IGNORED, ALICE, None, False),
        (IdentityPolicy.OPTIONAL, None, None, False),
        (IdentityPolicy.OPTIONAL, ALICE, None, True),
        (IdentityPolicy.OPTIONAL, TOKEN, None, False),
        (IdentityPolicy.REQUIRED, None, MISSING, False),
        (IdentityPolicy.REQUIRED, ALICE, None, True),
        (IdentityPolicy.REQUIRED, TOKEN, MISSING, False),
    ],
)
def test_what_a_listener_does_with_a_user_identity(
    policy: IdentityPolicy,
    who: UserIdentity | None,
    refused: tuple[str, tuple[int, int, int]] | None,
    is_verified: bool,
    unknown: bool,
) -> None:
    known = Settings(modalities={"ct": modality()}, users={"alice": User()})
    settings = Settings(accept_unknown=(Operation.ECHO,), users={"alice": User()}) if unknown else known
    verdict = decide_at(settings, listener(identity=policy), who=who)
    assert why(verdict) == refused
    if isinstance(verdict, Admission):
        assert (verdict.passport is not None) is is_verified
        assert "secret" not in repr(verdict)


@pytest.mark.parametrize(
    ("who", "refused"),
    [
        (ALICE, None),
        (UserIdentity(kind=UserIdentityKind.USERNAME, primary=b"alice"), None),
        (UserIdentity(kind=UserIdentityKind.USERNAME, primary=b"bob"), WRONG),
        (UserIdentity(kind=UserIdentityKind.USERNAME, primary=b"\xff"), WRONG),
        (None, MISSING),
        (TOKEN, MISSING),
    ],
)
def test_a_modality_may_be_bound_to_users(
    who: UserIdentity | None, refused: tuple[str, tuple[int, int, int]] | None
) -> None:
    settings = Settings(modalities={"ct": modality(users=("alice",))}, users={"alice": User(), "bob": User()})
    verdict = decide_at(settings, listener(), who=who)
    assert why(verdict) == refused
    if isinstance(verdict, Admission):
        assert verdict.passport is not None
