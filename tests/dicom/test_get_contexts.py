"""What a C-GET proposes: never more than 128 contexts, and every class in every transfer syntax."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from router.dicom.get_contexts import COMMON_CLASSES, Proposal, classes_of, propose_get
from router.dicom.negotiation import AssociateReply, AssociateRequest, ContextAnswer, conclude, is_storage
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, MR

GET = "1.2.840.10008.5.1.4.1.2.2.3"


def propose(*sop_class_uids: str) -> Proposal:
    return propose_get(GET, (EXPLICIT, IMPLICIT), sop_class_uids)


def syntaxes_of(proposal: Proposal, sop_class_uid: str) -> list[tuple[str, ...]]:
    return [c.transfer_syntaxes for c in proposal.contexts if c.abstract_syntax == sop_class_uid]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 12, 63, 64, 127, 128, 500])
def test_an_association_bears_it(count: int) -> None:
    proposal = propose(*(f"1.2.{number}" for number in range(count)))
    ids = [context.id for context in proposal.contexts]
    assert len(ids) <= 128
    assert ids == list(range(1, 2 * len(ids), 2))
    assert max(ids) <= 255
    assert proposal.contexts[0].abstract_syntax == GET
    offered = {context.abstract_syntax for context in proposal.contexts[1:]}
    assert {role.sop_class_uid for role in proposal.roles} == offered
    assert all(role.scp and not role.scu for role in proposal.roles)


@pytest.mark.parametrize("count", [0, 1, 5, 6, 30, 63, 64, 127])
def test_every_class_is_proposed_in_every_transfer_syntax_once(count: int) -> None:
    proposal = propose(*(f"1.2.{number}" for number in range(count)))
    everything = sorted(syntax for group in syntaxes_of(propose(CT), CT) for syntax in group)
    assert len(everything) == len(set(everything)) > 20
    for role in proposal.roles:
        groups = syntaxes_of(proposal, role.sop_class_uid)
        assert sorted(syntax for group in groups for syntax in group) == everything


def test_few_classes_have_one_context_for_each_transfer_syntax() -> None:
    assert all(len(group) == 1 for group in syntaxes_of(propose(CT, MR), MR))


def test_where_contexts_are_few_what_is_uncompressed_has_its_own() -> None:
    native, other = syntaxes_of(propose(), CT)
    assert native == (EXPLICIT, IMPLICIT)
    assert EXPLICIT not in other


def test_the_common_classes_fill_an_association_and_are_storage() -> None:
    assert len(set(COMMON_CLASSES)) == len(COMMON_CLASSES) == 63
    assert all(is_storage(uid) and UID(uid).name != uid for uid in COMMON_CLASSES)


def test_modalities_stand_for_classes() -> None:
    found = classes_of(["CT", "SR"])
    assert CT in found
    assert "1.2.840.10008.5.1.4.1.1.88.11" in found
    assert found[-1] == "1.2.840.10008.5.1.4.1.1.7"
    assert all(UID(uid).name != uid for uid in found)
    assert classes_of(["CT", "AU"]) == classes_of([]) == classes_of([""]) == ()


def test_the_role_is_ours_where_the_peer_agrees() -> None:
    proposal = propose(CT)
    request = AssociateRequest(
        calling_ae="A", called_ae="B", contexts=proposal.contexts, roles=proposal.roles
    )
    answers = tuple(
        ContextAnswer(id=context.id, result=0, transfer_syntax=context.transfer_syntaxes[0])
        for context in proposal.contexts
    )
    reply = AssociateReply(
        answers=answers,
        max_pdu_bytes=0,
        implementation_class_uid="1.2",
        implementation_version="",
        roles=proposal.roles,
    )
    contexts = conclude(request, reply)
    assert (contexts[1].as_scu, contexts[1].as_scp) == (True, False)
    assert (contexts[3].as_scu, contexts[3].as_scp) == (False, True)
