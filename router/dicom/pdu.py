"""PDUs as bytes (PS3.8 §9.3): the association's own PDUs both ways, and P-DATA-TF framing for sending.

``decode_*`` take the variable field, after the six bytes of type and length, and raise RemoteProtocolError
for whatever does not fit; ``encode_*`` give whole PDUs. Receiving P-DATA-TF is in ``association``.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from router.dicom.codes import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    MAX_AE_TITLE_LENGTH,
    ItemType,
    PduType,
)
from router.dicom.items import (
    Budget,
    UserInformation,
    malformed,
    read_context_answer,
    read_proposed_context,
    read_user_information,
    text,
    text_item,
    walk,
    write_acceptance_information,
    write_context_answer,
    write_proposed_context,
    write_request_information,
)
from router.dicom.negotiation import (
    Acceptance,
    AssociateReply,
    AssociateRequest,
    ContextAnswer,
    ProposedContext,
)

HEADER_BYTES = 6  # PDU type, reserved, length
PDV_HEADER_BYTES = 6  # item length, context id, message control header
_OVERHEAD = HEADER_BYTES + PDV_HEADER_BYTES
UNLIMITED_PDU_BYTES = 131072  # what we send where the peer sets no limit
_SMALLEST_MAX_PDU_BYTES = PDV_HEADER_BYTES + 2  # below it no PDV of even length fits; no peer means it

# Message control header (PS3.8 Annex E.2)
COMMAND_BIT = 0x01
LAST_BIT = 0x02

_HEADER = Struct(">BxI")
_ASSOCIATE = Struct(">HH16s16s32x")
_PDATA = Struct(">BxIIBB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An A-ASSOCIATE-RJ."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """An A-ABORT."""

    source: int
    reason: int


def _pdu(pdu_type: int, body: bytes) -> bytes:
    return _HEADER.pack(pdu_type, len(body)) + body


def _ae_title(title: str) -> bytes:
    return title.encode("ascii", "replace")[:MAX_AE_TITLE_LENGTH].ljust(MAX_AE_TITLE_LENGTH)


def encode_associate_rq(request: AssociateRequest) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 §9.3.2)."""
    titles = _ae_title(request.called_ae), _ae_title(request.calling_ae)
    return _pdu(
        PduType.ASSOCIATE_RQ,
        _ASSOCIATE.pack(request.protocol_version, 0, *titles)
        + text_item(ItemType.APPLICATION_CONTEXT, request.application_context)
        + b"".join(map(write_proposed_context, request.contexts))
        + write_request_information(request),
    )


def encode_associate_ac(
    request: AssociateRequest,
    acceptance: Acceptance,
    max_pdu_bytes: int,
    *,
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID,
    implementation_version: str = IMPLEMENTATION_VERSION,
) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 §9.3.3); the AE titles are those of the request, as the standard asks."""
    return _pdu(
        PduType.ASSOCIATE_AC,
        _ASSOCIATE.pack(1, 0, _ae_title(request.called_ae), _ae_title(request.calling_ae))
        + text_item(ItemType.APPLICATION_CONTEXT, APPLICATION_CONTEXT)
        + b"".join(map(write_context_answer, acceptance.answers))
        + write_acceptance_information(
            acceptance, max_pdu_bytes, implementation_class_uid, implementation_version
        ),
    )


def encode_associate_rj(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 §9.3.4)."""
    return _pdu(PduType.ASSOCIATE_RJ, bytes((0, result, source, reason)))


def encode_release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 §9.3.6)."""
    return _pdu(PduType.RELEASE_RQ, bytes(4))


def encode_release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 §9.3.7)."""
    return _pdu(PduType.RELEASE_RP, bytes(4))


def encode_abort(source: int, reason: int) -> bytes:
    """A-ABORT (PS3.8 §9.3.8)."""
    return _pdu(PduType.ABORT, bytes((0, 0, source, reason)))


@dataclass(slots=True)
class _Associate:
    """What A-ASSOCIATE-RQ and -AC have in common, while it is read."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    application_context: str
    proposed: list[ProposedContext]
    answers: list[ContextAnswer]
    user: UserInformation


def _decode_associate(body: bytes) -> _Associate:
    if len(body) < _ASSOCIATE.size:
        raise malformed("A-ASSOCIATE PDU is shorter than its fixed fields")
    version, _, called, calling = _ASSOCIATE.unpack_from(body)
    found = _Associate(version, text(called), text(calling), "", [], [], UserInformation())
    budget = Budget()
    for item_type, contents in walk(body[_ASSOCIATE.size :], budget):
        if item_type == ItemType.PRESENTATION_CONTEXT_RQ:
            found.proposed.append(read_proposed_context(contents, budget))
        elif item_type == ItemType.PRESENTATION_CONTEXT_AC:
            found.answers.append(read_context_answer(contents, budget))
        elif item_type == ItemType.APPLICATION_CONTEXT:
            found.application_context = text(contents)
        elif item_type == ItemType.USER_INFORMATION:
            found.user = read_user_information(contents, budget)
    return found


def decode_associate_rq(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ. Whether it is acceptable is not asked here."""
    found = _decode_associate(body)
    user = found.user
    return AssociateRequest(
        calling_ae=found.calling_ae,
        called_ae=found.called_ae,
        contexts=tuple(found.proposed),
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        roles=tuple(user.roles),
        async_ops=user.async_ops,
        user_identity=user.user_identity,
        extended=tuple(user.extended),
        common_extended=tuple(user.common_extended),
        application_context=found.application_context,
        protocol_version=found.protocol_version,
    )


def decode_associate_ac(body: bytes) -> AssociateReply:
    """Read an A-ASSOCIATE-AC. Its AE titles are reserved fields and not looked at."""
    found = _decode_associate(body)
    user = found.user
    return AssociateReply(
        answers=tuple(found.answers),
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        roles=tuple(user.roles),
        async_ops=user.async_ops,
        extended=tuple(user.extended),
        user_identity_response=user.user_identity_response,
        application_context=found.application_context,
        protocol_version=found.protocol_version,
    )


def _four_bytes(body: bytes) -> bytes:
    if len(body) != 4:
        raise malformed("PDU is not 4 bytes long")
    return body


def decode_associate_rj(body: bytes) -> Rejection:
    """Read an A-ASSOCIATE-RJ; codes that the standard reserves stay as they are."""
    _, result, source, reason = _four_bytes(body)
    return Rejection(result=result, source=source, reason=reason)


def decode_abort(body: bytes) -> Abort:
    """Read an A-ABORT; codes that the standard reserves stay as they are."""
    _, _, source, reason = _four_bytes(body)
    return Abort(source=source, reason=reason)


# -- P-DATA-TF --------------------------------------------------------------------------------------------


def fragment_bytes(max_pdu: int) -> int:
    """How many bytes of a message go into one P-DATA-TF; even, as PS3.8 Annex E.1 wants fragments to be."""
    limit = max(max_pdu or UNLIMITED_PDU_BYTES, _SMALLEST_MAX_PDU_BYTES)
    return (limit - PDV_HEADER_BYTES) & ~1


def pdata_command(context_id: int, command: bytes, max_pdu: int) -> bytes:
    """A command set as P-DATA-TF PDUs, nearly always one. ``max_pdu`` is the peer's limit, 0 for none."""
    size = len(command)
    step = fragment_bytes(max_pdu)
    if size <= step:
        head = _PDATA.pack(PduType.P_DATA_TF, size + 6, size + 2, context_id, COMMAND_BIT | LAST_BIT)
        return head + command
    parts: list[bytes] = []
    for start in range(0, size, step):
        part = command[start : start + step]
        control = COMMAND_BIT | (LAST_BIT if start + step >= size else 0)
        parts.append(_PDATA.pack(PduType.P_DATA_TF, len(part) + 6, len(part) + 2, context_id, control))
        parts.append(part)
    return b"".join(parts)


def frame_data_set(
    context_id: int, length: int, max_pdu: int, *, last: bool = True
) -> tuple[bytearray, list[memoryview]]:
    """Frame ``length`` bytes of a data set before they are there.

    Returns the P-DATA-TF PDUs with all headers written, and writable views of the gaps, in order, whose sizes
    add up to ``length``: fill them (``os.preadv``), then pass the buffer to ``Association.send_data``.
    ``last=False`` frames a window of a data set that goes on; its ``length`` should be even. ``max_pdu`` is
    the peer's limit, 0 for none.
    """
    if length < 0:
        raise ValueError("length must not be negative")
    step = fragment_bytes(max_pdu)
    full, rest = divmod(length, step)
    if last and not rest and full:
        full, rest = full - 1, step  # the last PDU is a full one, and carries the last-fragment bit
    has_tail = rest > 0 or last
    buffer = bytearray(length + _OVERHEAD * (full + has_tail))
    view = memoryview(buffer)
    gaps: list[memoryview] = []
    position = 0
    if full:
        head = _PDATA.pack(PduType.P_DATA_TF, step + 6, step + 2, context_id, 0)
        stride = step + _OVERHEAD
        for position in range(0, full * stride, stride):
            start = position + _OVERHEAD
            buffer[position:start] = head
            gaps.append(view[start : start + step])
        position = full * stride
    if has_tail:
        control = LAST_BIT if last else 0
        _PDATA.pack_into(buffer, position, PduType.P_DATA_TF, rest + 6, rest + 2, context_id, control)
        if rest:
            gaps.append(view[position + _OVERHEAD :])
    return buffer, gaps
