"""A-ASSOCIATE-RQ and -AC: read, negotiated and answered, and each that we write is read as it was meant.

The first byte chooses the PDU and the policy; the rest is its variable field.
"""

from __future__ import annotations

from dataclasses import replace

from router.config.settings import Modality, Operation, Settings
from router.dicom.codes import ItemType
from router.dicom.negotiation import (
    Acceptance,
    AssociateRequest,
    agreed_window,
    conclude,
    is_storage,
    negotiate,
)
from router.dicom.pdu import (
    decode_associate_ac,
    decode_associate_rq,
    encode_associate_ac,
    encode_associate_rq,
)
from router.errors import RemoteProtocolError
from router.receive.admission import Refusal, admit
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, a_request

WORDS = (
    *(bytes((item_type, 0)) for item_type in ItemType),
    CT.encode(),
    b"1.2.840.10008.1.1",
    IMPLICIT.encode(),
    EXPLICIT.encode(),
    b"1.2.840.10008.3.1.1.1",
    bytes.fromhex("3000001B 40000013") + b"1.2.840.10008.1.2.1",
    bytes.fromhex("540000150011") + b"1.2.840.10008.1.1" + bytes.fromhex("0101"),
    bytes.fromhex("560000090003") + b"1.2" + bytes.fromhex("00000000"),
    bytes.fromhex("5300000400000000"),
    bytes.fromhex("5800000A 0201 0002 4141 0002 4242"),
)

_AC, _RESTRICTED, _ANYTHING, _IDENTITY = 0x01, 0x02, 0x04, 0x08
_SETTINGS = Settings(
    modalities={"ct1": Modality(ae_title="CT1", host="h", port=104, accept=(Operation.STORE,))},
    accept_unknown=(Operation.ECHO, Operation.STORE),
)


def target(data: bytes) -> None:
    """See the module."""
    if not data:
        return
    mode, body = data[0], data[1:]
    try:
        if mode & _AC:
            _conclude(body)
        else:
            _negotiate(decode_associate_rq(body), mode)
    except RemoteProtocolError:
        return


def _conclude(body: bytes) -> None:
    """A requestor's side: nothing is agreed that was not proposed."""
    reply = decode_associate_ac(body)
    request = a_request(async_ops=(4, 1))
    proposed = {context.id: context for context in request.contexts}
    for context_id, context in conclude(request, reply).items():
        assert context_id == context.id
        assert context.transfer_syntax in proposed[context_id].transfer_syntaxes
        assert context.abstract_syntax == proposed[context_id].abstract_syntax
    assert 0 <= agreed_window(request, reply) <= 4


def _negotiate(request: AssociateRequest, mode: int) -> None:
    """An acceptor's side: an answer to every context, which the requestor can read."""
    admission = admit(_SETTINGS, request, peer="192.0.2.1", addresses_of=lambda host: ())
    acceptance = negotiate(
        request,
        allowed=None if isinstance(admission, Refusal) else bool if mode & _ANYTHING else admission.allows,
        transfer_syntaxes=(IMPLICIT, EXPLICIT) if mode & _RESTRICTED else None,
        async_ops=(16, 1),
        user_identity_response=b"" if mode & _IDENTITY else None,
    )
    assert {answer.id for answer in acceptance.answers} == {context.id for context in request.contexts}
    for context in acceptance.contexts.values():
        assert context.id % 2
        assert (
            mode & _ANYTHING
            or context.abstract_syntax.endswith(".1.1")
            or is_storage(context.abstract_syntax)
        )
    _check_answer(request, acceptance)
    _check_written(request)


def _check_answer(request: AssociateRequest, acceptance: Acceptance) -> None:
    pdu = encode_associate_ac(request, acceptance, 131072)
    assert len(pdu) == 6 + int.from_bytes(pdu[2:6], "big")
    reply = decode_associate_ac(pdu[6:])
    assert [(a.id, a.result) for a in reply.answers] == [(a.id, int(a.result)) for a in acceptance.answers]
    contexts = conclude(request, reply)
    for context_id, context in acceptance.contexts.items():
        if context.transfer_syntax.isascii():  # else a character stands there that no answer can repeat
            assert contexts[context_id].transfer_syntax == context.transfer_syntax
    if acceptance.async_ops is not None:
        assert reply.async_ops == acceptance.async_ops


def _check_written(request: AssociateRequest) -> None:
    """What we write is read as it was meant; what cannot be written (not ASCII) is replaced once."""
    written = decode_associate_rq(encode_associate_rq(request)[6:])
    again = decode_associate_rq(encode_associate_rq(written)[6:])
    assert again == written
    assert len(written.contexts) == len(request.contexts)
    assert replace(written, calling_ae="", called_ae="").max_pdu_bytes == request.max_pdu_bytes
