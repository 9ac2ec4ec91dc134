"""Who may come in: the decision, case by case."""

from __future__ import annotations

import pytest

from router.config.settings import Modality, Operation, Settings
from router.dicom.negotiation import AssociateRequest
from router.receive.admission import Admission, Refusal, admit

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
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
