"""What an acceptor answers to each kind of proposal, and what a requestor makes of the answer."""

from __future__ import annotations

import warnings

import pytest

from router.dicom.codes import ContextResult
from router.dicom.negotiation import (
    AcceptedContext,
    AssociateReply,
    AssociateRequest,
    ContextAnswer,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    conclude,
    is_storage,
    is_storage_or_verification,
    negotiate,
    propose_store,
)
from router.dicom.pdu import encode_associate_ac
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION, a_request

JPEG_2000 = "1.2.840.10008.1.2.4.90"
RETIRED_SPECTRAL = "1.2.840.10008.1.2.4.53"
PRIVATE_SYNTAX = "1.2.840.113619.5.2"
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"
WORKLIST = "1.2.840.10008.5.1.4.31"


def context(id: int, abstract_syntax: str, *transfer_syntaxes: str) -> ProposedContext:
    return ProposedContext(id=id, abstract_syntax=abstract_syntax, transfer_syntaxes=transfer_syntaxes)


def answers(request: AssociateRequest, **policy: object) -> list[tuple[int, int, str]]:
    acceptance = negotiate(request, **policy)  # type: ignore[arg-type]
    assert {a.id for a in acceptance.answers if a.result == 0} == set(acceptance.contexts)
    return [(answer.id, answer.result, answer.transfer_syntax) for answer in acceptance.answers]


@pytest.mark.parametrize(
    "syntaxes",
    [
        (EXPLICIT, IMPLICIT),
        (IMPLICIT, EXPLICIT),
        (JPEG_2000, EXPLICIT),
        (RETIRED_SPECTRAL, IMPLICIT),  # trap 7 of pynetdicom
        (PRIVATE_SYNTAX, IMPLICIT),
    ],
)
def test_senders_first_transfer_syntax_wins(syntaxes: tuple[str, ...]) -> None:  # trap 6 of pynetdicom
    assert answers(a_request(context(1, CT, *syntaxes))) == [(1, 0, syntaxes[0])]


def test_senders_first_of_a_given_list_wins() -> None:
    request = a_request(context(1, CT, JPEG_2000, EXPLICIT, IMPLICIT))
    assert answers(request, transfer_syntaxes=[IMPLICIT, EXPLICIT]) == [(1, 0, EXPLICIT)]


def test_no_transfer_syntax_of_a_given_list_is_result_4() -> None:
    request = a_request(context(1, CT, JPEG_2000))
    assert answers(request, transfer_syntaxes=[IMPLICIT]) == [(1, 4, "")]


def test_context_without_transfer_syntax_is_result_4() -> None:  # trap 4 of pynetdicom
    assert answers(a_request(context(1, CT), context(3, CT, ""))) == [(1, 4, ""), (3, 4, "")]


def test_context_without_abstract_syntax_is_result_3() -> None:
    assert answers(a_request(context(1, "", EXPLICIT))) == [(1, 3, "")]


def test_even_context_ids_are_result_2_and_cost_nothing_else() -> None:  # trap 4 of pynetdicom
    request = a_request(context(0, CT, EXPLICIT), context(2, CT, EXPLICIT), context(3, CT, EXPLICIT))
    assert answers(request) == [(0, 2, ""), (2, 2, ""), (3, 0, EXPLICIT)]


def test_context_id_that_is_there_twice_is_result_2_once() -> None:
    request = a_request(context(1, CT, EXPLICIT), context(1, MR, IMPLICIT), context(3, MR, IMPLICIT))
    assert answers(request) == [(1, 2, ""), (3, 0, IMPLICIT)]


def test_other_services_are_result_3_and_what_only_others_may_ask_is_result_1() -> None:
    request = a_request(context(1, WORKLIST, IMPLICIT), context(3, PRIVATE_CLASS, EXPLICIT))
    assert answers(request) == [(1, 3, ""), (3, 0, EXPLICIT)]
    assert answers(request, allowed=lambda uid: uid == WORKLIST) == [(1, 0, IMPLICIT), (3, 1, "")]


@pytest.mark.parametrize(
    "uid",
    [
        CT,
        PRIVATE_CLASS,
        "1.2.840.10008.5.1.4.1.1.9999",  # of an edition to come
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image, retired
        "1.2.840.10008.5.1.4.1.1.40",  # retired, without a name in pydicom's dictionary
        "1.2.840.10008.5.1.4.1.1.501.1",  # DICOS CT
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image, retired
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
    ],
)
def test_storage_sop_classes_and_unknown_uids_are_storage(uid: str) -> None:
    assert is_storage(uid)


@pytest.mark.parametrize(
    "uid",
    [
        VERIFICATION,
        WORKLIST,
        "1.2.840.10008.5.1.4.1.2.1.1",  # Patient Root C-FIND
        "1.2.840.10008.5.1.4.1.2.2.2",  # Study Root C-MOVE
        "1.2.840.10008.5.1.4.1.2.1.3",  # Patient Root C-GET
        "1.2.840.10008.1.20.1",  # Storage Commitment Push
        "1.2.840.10008.1.20.2",  # Storage Commitment Pull, retired
        "1.2.840.10008.3.1.2.3.3",  # MPPS
        "1.2.840.10008.5.1.1.9",  # Basic Grayscale Print Meta
        "1.2.840.10008.5.1.1.1",  # Basic Film Session
        "1.2.840.10008.5.1.4.34.6.1",  # UPS Push
        "1.2.840.10008.5.1.4.1.1.201.2",  # Inventory C-FIND, among the storage UIDs
        "1.2.840.10008.5.1.4.1.1.200.4",  # Protocol Approval C-FIND, too
        "1.2.840.10008.1.3.10",  # Media Storage Directory: never on the network
        "1.2.840.10008.10.1",  # DICOM-RTV
        EXPLICIT,  # no SOP class at all
        "1.2.840.10008.3.1.1.1",
        "",
        "CT",
        "1.2." + "3" * 64,
    ],
)
def test_everything_else_is_not_storage(uid: str) -> None:
    assert not is_storage(uid)
    assert is_storage_or_verification(uid) == (uid == VERIFICATION)


def test_async_operations_window_is_answered_with_what_the_acceptor_wants() -> None:
    assert negotiate(a_request()).async_ops is None
    assert negotiate(a_request(async_ops=(0, 0))).async_ops == (1, 1)
    assert negotiate(a_request(async_ops=(5, 1)), async_ops=(8, 8)).async_ops == (5, 1)
    assert negotiate(a_request(async_ops=(5, 0)), async_ops=(0, 8)).async_ops == (5, 8)


def test_default_roles() -> None:
    accepted = negotiate(a_request(context(1, CT, EXPLICIT))).contexts[1]
    assert (accepted.as_scu, accepted.as_scp) == (False, True)


def test_role_selection_is_answered_for_accepted_sop_classes() -> None:
    roles = (
        RoleSelection(sop_class_uid=CT, scu=False, scp=True),
        RoleSelection(sop_class_uid=WORKLIST, scu=True, scp=True),
        RoleSelection(sop_class_uid=MR, scu=True, scp=True),  # never proposed
    )
    acceptance = negotiate(a_request(context(1, CT, EXPLICIT), context(3, WORKLIST, EXPLICIT), roles=roles))
    assert acceptance.roles == roles[:1]
    assert (acceptance.contexts[1].as_scu, acceptance.contexts[1].as_scp) == (True, False)


def test_extended_negotiation_repeated_is_answered_once() -> (
    None
):  # 7,000 of them: an answer longer than its item
    proposed = ExtendedNegotiation(sop_class_uid=PRIVATE_CLASS, information=b"")
    request = a_request(context(1, PRIVATE_CLASS, EXPLICIT), extended=(proposed,) * 7000)
    acceptance = negotiate(request)
    assert len(acceptance.extended) == 1
    assert encode_associate_ac(request, acceptance, 131072)


def test_storage_extended_negotiation_says_full_support_and_nothing_coerced() -> None:
    proposed = (
        ExtendedNegotiation(sop_class_uid=CT, information=b"\x03\0\0\0\x01\0"),
        ExtendedNegotiation(sop_class_uid="1.2.840.10008.5.1.4.1.2.1.1", information=b"\x01"),
    )
    request = a_request(
        context(1, CT, EXPLICIT), context(3, "1.2.840.10008.5.1.4.1.2.1.1", EXPLICIT), extended=proposed
    )
    expected = (ExtendedNegotiation(sop_class_uid=CT, information=b"\x02\0\x03\0\0\0"),)
    assert negotiate(request, allowed=lambda uid: True).extended == expected


def test_user_identity_is_answered_only_where_asked_and_checked() -> None:
    asking = a_request(user_identity=UserIdentity(kind=1, primary=b"user", response_requested=True))
    silent = a_request(user_identity=UserIdentity(kind=1, primary=b"user"))
    assert negotiate(asking).user_identity_response is None
    assert negotiate(silent, user_identity_response=b"").user_identity_response is None
    assert negotiate(asking, user_identity_response=b"").user_identity_response == b""


# -- the requestor's side ---------------------------------------------------------------------------------


def reply(*answers: tuple[int, int, str], roles: tuple[RoleSelection, ...] = ()) -> AssociateReply:
    return AssociateReply(
        answers=tuple(ContextAnswer(id=i, result=r, transfer_syntax=t) for i, r, t in answers),
        max_pdu_bytes=16384,
        implementation_class_uid="1.2.3",
        implementation_version="",
        roles=roles,
    )


def test_accepted_contexts_are_usable_as_scu() -> None:
    request = a_request(context(1, CT, EXPLICIT, IMPLICIT), context(3, MR, EXPLICIT))
    assert conclude(request, reply((1, 0, IMPLICIT), (3, 3, ""))) == {
        1: AcceptedContext(id=1, abstract_syntax=CT, transfer_syntax=IMPLICIT, as_scu=True, as_scp=False)
    }


@pytest.mark.parametrize("answer", [(1, 0, JPEG_2000), (1, 0, ""), (7, 0, EXPLICIT), (1, 9, EXPLICIT)])
def test_answer_that_was_not_proposed_is_no_acceptance(answer: tuple[int, int, str]) -> None:
    assert conclude(a_request(context(1, CT, EXPLICIT)), reply(answer)) == {}


@pytest.mark.parametrize(
    ("asked", "granted", "roles"),
    [
        ((True, True), (True, True), (True, True)),
        ((False, True), (False, True), (False, True)),
        ((False, True), (True, True), (False, True)),  # more than was asked
        ((True, True), (True, False), (True, False)),
        ((True, True), None, (True, False)),  # not answered: the default roles
        (None, (True, True), (True, False)),
    ],
)
def test_roles_are_what_both_said(
    asked: tuple[bool, bool] | None, granted: tuple[bool, bool] | None, roles: tuple[bool, bool]
) -> None:
    def selection(role: tuple[bool, bool] | None) -> tuple[RoleSelection, ...]:
        return (RoleSelection(sop_class_uid=CT, scu=role[0], scp=role[1]),) if role else ()

    request = a_request(context(1, CT, EXPLICIT), roles=selection(asked))
    accepted = conclude(request, reply((1, 0, EXPLICIT), roles=selection(granted)))[1]
    assert (accepted.as_scu, accepted.as_scp) == roles


def test_store_proposal_has_one_context_for_each_pair() -> None:
    assert propose_store([(CT, EXPLICIT), (CT, JPEG_2000), (CT, EXPLICIT), (MR, EXPLICIT)]) == (
        context(1, CT, EXPLICIT),
        context(3, CT, JPEG_2000),
        context(5, MR, EXPLICIT),
    )


def test_store_proposal_is_never_longer_than_the_ids_reach() -> None:
    proposed = propose_store((f"1.2.{n}", EXPLICIT) for n in range(300))
    assert len(proposed) == 128
    assert proposed[-1].id == 255


def test_results_are_codes_of_the_standard() -> None:
    assert [result.value for result in ContextResult] == [0, 1, 2, 3, 4]


def test_uid_with_leading_zeros_gives_no_warning() -> None:  # each was kept, with its text, as long as we run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_storage("1.2.840.10.0085.1.4.1.1.2")


def test_queries_come_in_what_can_be_read_and_not_in_what_the_sender_prefers() -> None:
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    request = a_request(context(1, find, "1.2.840.10008.1.2.2", IMPLICIT, EXPLICIT))
    everything = negotiate(request, supported=lambda _: True)
    assert [(one.result, one.transfer_syntax) for one in everything.answers] == [(0, IMPLICIT)]
    request = a_request(context(1, find, "1.2.840.10008.1.2.2"))
    assert negotiate(request, supported=lambda _: True).answers[0].result == 4
