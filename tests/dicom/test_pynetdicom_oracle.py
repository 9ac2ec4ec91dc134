"""Our codecs against pynetdicom's: what one writes the other reads, PDU by PDU and message by message."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import (
    A_ABORT_RQ,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
)
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    P_DATA,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import uid_to_service_class

from router.dicom.dimse import decode_command, echo_rq, store_rq, store_rsp
from router.dicom.events import CommandReceived, DataReceived
from router.dicom.negotiation import (
    AssociateRequest,
    CommonExtendedNegotiation,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    is_storage,
    negotiate,
)
from router.dicom.pdu import (
    decode_abort,
    decode_associate_ac,
    decode_associate_rj,
    decode_associate_rq,
    encode_abort,
    encode_associate_ac,
    encode_associate_rj,
    encode_associate_rq,
    encode_release_rp,
    encode_release_rq,
    frame_data_set,
    pdata_command,
)
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, INSTANCE, MR, an_acceptor, normalised, receive

REQUEST = AssociateRequest(
    calling_ae="CT1",
    called_ae="ROUTER",
    contexts=(
        ProposedContext(id=1, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT, IMPLICIT)),
        ProposedContext(id=255, abstract_syntax=MR, transfer_syntaxes=(IMPLICIT,)),
    ),
    max_pdu_bytes=16382,
    implementation_class_uid="1.2.3.4",
    implementation_version="V1",
    roles=(RoleSelection(sop_class_uid=CT, scu=True, scp=True),),
    async_ops=(3, 2),
    user_identity=UserIdentity(kind=2, primary=b"user", secondary=b"secret", response_requested=True),
    extended=(ExtendedNegotiation(sop_class_uid=CT, information=b"\x02\x00\x03\x00\x01\x00"),),
    common_extended=(
        CommonExtendedNegotiation(sop_class_uid=CT, service_class_uid="1.2.840.10008.4.2", related=(MR,)),
    ),
)


def their_request() -> A_ASSOCIATE:
    """``REQUEST`` as pynetdicom's primitive."""
    theirs = A_ASSOCIATE()
    theirs.application_context_name = "1.2.840.10008.3.1.1.1"
    theirs.calling_ae_title, theirs.called_ae_title = REQUEST.calling_ae, REQUEST.called_ae
    maximum, uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    maximum.maximum_length_received = REQUEST.max_pdu_bytes
    uid.implementation_class_uid = REQUEST.implementation_class_uid
    version, window = ImplementationVersionNameNotification(), AsynchronousOperationsWindowNegotiation()
    version.implementation_version_name = REQUEST.implementation_version
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 3, 2
    role, extended = SCP_SCU_RoleSelectionNegotiation(), SOPClassExtendedNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = CT, True, True
    extended.sop_class_uid = CT
    extended.service_class_application_information = REQUEST.extended[0].information
    common, identity = SOPClassCommonExtendedNegotiation(), UserIdentityNegotiation()
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [MR]
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"user", b"secret"
    theirs.user_information = [maximum, uid, version, window, role, extended, common, identity]
    contexts = []
    for context in REQUEST.contexts:
        contexts.append(build_context(context.abstract_syntax, list(context.transfer_syntaxes)))
        contexts[-1].context_id = context.id
    theirs.presentation_context_definition_list = contexts
    return theirs


def test_their_request_reads() -> None:
    assert decode_associate_rq(A_ASSOCIATE_RQ(their_request()).encode()[6:]) == REQUEST


def test_they_read_our_request() -> None:
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encode_associate_rq(REQUEST))
    assert (theirs.calling_ae_title, theirs.called_ae_title) == ("CT1", "ROUTER")
    contexts = [
        (c.context_id, c.abstract_syntax, tuple(c.transfer_syntax)) for c in theirs.presentation_context
    ]
    assert contexts == [(c.id, c.abstract_syntax, c.transfer_syntaxes) for c in REQUEST.contexts]
    user: Any = theirs.user_information
    assert (user.maximum_length, user.implementation_class_uid) == (16382, "1.2.3.4")
    assert user.implementation_version_name == "V1"
    assert (user.async_ops_window.max_operations_invoked, user.async_ops_window.max_operations_performed) == (
        3,
        2,
    )
    assert (user.role_selection[UID(CT)].scu, user.role_selection[UID(CT)].scp) == (1, 1)
    assert user.ext_neg[0].app_info == REQUEST.extended[0].information
    assert user.common_ext_neg[0].related_general_sop_class_identification == [MR]
    assert (user.user_identity.primary, user.user_identity.secondary) == (b"user", b"secret")
    assert user.user_identity.response_requested


def test_they_read_our_acceptance_and_what_they_write_of_it_reads_the_same() -> None:
    acceptance = negotiate(REQUEST, allowed=lambda uid: uid == CT, user_identity_response=b"")
    ours = encode_associate_ac(REQUEST, acceptance, 131072)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(ours)
    contexts = [(c.context_id, c.result) for c in theirs.presentation_context]
    assert contexts == [(1, 0), (255, 1)]
    assert theirs.presentation_context[0].transfer_syntax == EXPLICIT
    assert decode_associate_ac(ours[6:]).max_pdu_bytes == 131072
    assert decode_associate_ac(theirs.encode()[6:]) == decode_associate_ac(ours[6:])


@pytest.mark.parametrize(
    ("encoded", "theirs"),
    [
        (encode_associate_rj(2, 3, 2), A_ASSOCIATE_RJ),
        (encode_release_rq(), A_RELEASE_RQ),
        (encode_release_rp(), A_RELEASE_RP),
        (encode_abort(2, 6), A_ABORT_RQ),
    ],
)
def test_the_short_pdus_are_theirs(encoded: bytes, theirs: type) -> None:
    pdu = theirs()
    pdu.decode(encoded)
    assert pdu.encode() == encoded


def test_they_read_the_codes_of_the_short_pdus() -> None:
    rejection, abort = A_ASSOCIATE_RJ(), A_ABORT_RQ()
    rejection.decode(encode_associate_rj(2, 3, 2))
    abort.decode(encode_abort(2, 6))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 2)
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    ours = decode_associate_rj(rejection.encode()[6:])
    assert (ours.result, ours.source, ours.reason) == (2, 3, 2)
    assert (decode_abort(abort.encode()[6:]).source, decode_abort(abort.encode()[6:]).reason) == (2, 6)


# -- messages ---------------------------------------------------------------------------------------------


def a_store(data: bytes) -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID = 9
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, INSTANCE
    primitive.Priority = 2
    primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID = "PACS", 5
    primitive.DataSet = BytesIO(data)
    return primitive


def written(message: DIMSEMessage, context_id: int, max_pdu: int) -> bytes:
    """A message as pynetdicom puts it on the wire."""
    return b"".join(P_DATA_TF(primitive).encode() for primitive in message.encode_msg(context_id, max_pdu))


def read(message: DIMSEMessage, data: bytes) -> DIMSEMessage:
    """A message as pynetdicom takes it from the wire, a P-DATA-TF at a time."""
    position = 0
    is_whole = False
    while position < len(data):
        length = 6 + int.from_bytes(data[position + 2 : position + 6], "big")
        pdu = P_DATA_TF()
        pdu.decode(data[position : position + length])
        primitive = pdu.to_primitive()
        assert isinstance(primitive, P_DATA)
        is_whole = message.decode_msg(primitive)
        position += length
    assert is_whole
    return message


@pytest.mark.parametrize("size", [0, 2, 100, 4096])
@pytest.mark.parametrize("max_pdu", [50, 128, 16384])
def test_their_store_request_arrives(size: int, max_pdu: int) -> None:
    message = C_STORE_RQ()
    message.primitive_to_message(a_store(bytes(size)))
    if not size:
        message.data_set = BytesIO()
    events = receive(an_acceptor(), written(message, 3, max_pdu))
    first = events[0]
    assert isinstance(first, CommandReceived)
    command = first.command
    assert (command.message_id, command.sop_class_uid, command.sop_instance_uid) == (9, CT, INSTANCE)
    assert (command.priority, command.move_originator, command.move_originator_id) == (2, "PACS", 5)
    assert command.problem == ""
    assert b"".join(b"".join(e.fragments) for e in events if isinstance(e, DataReceived)) == bytes(size)
    if size:
        assert normalised(events)[1:] == [("data set", bytes(size))]


@pytest.mark.parametrize("size", [2, 100, 4096])
@pytest.mark.parametrize("max_pdu", [50, 128, 16384])
def test_our_store_request_arrives_at_theirs(size: int, max_pdu: int) -> None:
    data = bytes(range(256)) * 16
    buffer, gaps = frame_data_set(3, size, max_pdu)
    position = 0
    for gap in gaps:
        gap[:] = data[position : position + len(gap)]
        position += len(gap)
    ours = pdata_command(3, store_rq(9, CT, INSTANCE, 1), max_pdu) + buffer
    primitive: Any = read(DIMSEMessage(), ours).message_to_primitive()
    assert (primitive.MessageID, primitive.AffectedSOPClassUID) == (9, CT)
    assert (primitive.AffectedSOPInstanceUID, primitive.Priority) == (INSTANCE, 1)
    assert primitive.DataSet.getvalue() == data[:size]


def test_store_responses_both_ways() -> None:
    request = decode_command(store_rq(9, CT, INSTANCE))
    theirs: Any = read(
        DIMSEMessage(), pdata_command(3, store_rsp(request, 0xA700, "full"), 0)
    ).message_to_primitive()
    assert (theirs.MessageIDBeingRespondedTo, theirs.Status) == (9, 0xA700)
    assert (theirs.AffectedSOPInstanceUID, theirs.ErrorComment) == (INSTANCE, "full")
    message = C_STORE_RSP()
    message.primitive_to_message(theirs)
    (event,) = receive(an_acceptor(), written(message, 3, 16384))
    assert isinstance(event, CommandReceived)
    assert event.command == decode_command(store_rsp(request, 0xA700, "full"))


def test_echo_requests_both_ways() -> None:
    theirs: Any = read(DIMSEMessage(), pdata_command(1, echo_rq(7), 0)).message_to_primitive()
    assert isinstance(theirs, C_ECHO)
    assert theirs.MessageID == 7
    message = C_ECHO_RQ()
    message.primitive_to_message(theirs)
    assert written(message, 1, 16384) == pdata_command(1, echo_rq(7), 16384)


def test_every_sop_class_of_theirs_is_where_it_belongs() -> None:
    import pynetdicom

    for context in pynetdicom.AllStoragePresentationContexts:
        assert context.abstract_syntax is not None
        assert is_storage(context.abstract_syntax), context.abstract_syntax
    others = (
        pynetdicom.QueryRetrievePresentationContexts
        + pynetdicom.BasicWorklistManagementPresentationContexts
        + pynetdicom.PrintManagementPresentationContexts
        + pynetdicom.ModalityPerformedPresentationContexts
        + pynetdicom.StorageCommitmentPresentationContexts
        + pynetdicom.UnifiedProcedurePresentationContexts
        + pynetdicom.VerificationPresentationContexts
    )
    for context in others:
        assert context.abstract_syntax is not None
        assert not is_storage(context.abstract_syntax), uid_to_service_class(context.abstract_syntax)


def test_every_transfer_syntax_of_theirs_and_the_retired_ones_are_accepted() -> None:  # trap 7
    import pynetdicom

    syntaxes = [*pynetdicom.ALL_TRANSFER_SYNTAXES, *(f"1.2.840.10008.1.2.4.{n}" for n in range(52, 67))]
    contexts = tuple(
        ProposedContext(id=2 * index + 1, abstract_syntax=CT, transfer_syntaxes=(str(syntax),))
        for index, syntax in enumerate(syntaxes)
    )
    acceptance = negotiate(AssociateRequest(calling_ae="A", called_ae="B", contexts=contexts))
    assert [a.transfer_syntax for a in acceptance.answers] == syntaxes
