"""The items of A-ASSOCIATE-RQ and -AC (PS3.8 §9.3.2, §9.3.3, PS3.7 Annex D), taken apart and put together.

Everything from the wire is checked by length before it is read; items of unknown type are ignored, as
PS3.8 §9.3.1 asks; texts are normalised (NUL and space padding off, what is not ASCII replaced), so that odd
values are for the negotiation to refuse and never crash the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct

from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN, AbortReason, ItemType
from router.dicom.negotiation import (
    Acceptance,
    AssociateRequest,
    CommonExtendedNegotiation,
    ContextAnswer,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserIdentity,
)
from router.errors import RemoteProtocolError

# Items in one PDU, with those inside others: 128 contexts of 64 transfer syntaxes each, and as much again of
# everything else as anybody has sent. To read an item takes 3 µs, so that a PDU full of empty ones, of which
# half a megabyte has room for 130,000, would stop the loop for half a second.
MOST_ITEMS = 10_000

# What we take a peer's maximum to be that states none, although PS3.7 D.3.3.1 demands it.
ASSUMED_MAX_PDU_BYTES = 16384

_ITEM = Struct(">BxH")
_U16 = Struct(">H")
_U32 = Struct(">I")
_WINDOW = Struct(">HH")


def malformed(what: str, *, limit: str = "") -> RemoteProtocolError:
    """The error for a PDU whose fields contradict each other or its length, or are over a limit."""
    return RemoteProtocolError(what, abort_reason=AbortReason.INVALID_PDU_PARAMETER_VALUE, limit=limit)


class Budget:
    """How many more items are read of one PDU."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_ITEMS

    def spend(self) -> None:
        """One more. Raises RemoteProtocolError where none was left."""
        self.left -= 1
        if self.left < 0:
            raise malformed(f"more than {MOST_ITEMS} items in one PDU", limit="contexts")


def walk(items: bytes, budget: Budget | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield (item type, contents) of each item.

    Raises RemoteProtocolError where one is cut short, or where there are more than the budget has left.
    """
    position, end = 0, len(items)
    budget = budget if budget is not None else Budget()
    while position < end:
        budget.spend()
        if end - position < 4:
            raise malformed("item cut short")
        item_type, length = _ITEM.unpack_from(items, position)
        position += 4
        if length > end - position:
            raise malformed(f"item {item_type:02X} is longer than what holds it")
        yield item_type, items[position : position + length]
        position += length


def text(value: bytes) -> str:
    """An AE title, UID or name as text."""
    return value.decode("ascii", "replace").strip(" \0")


def item(item_type: int, contents: bytes) -> bytes:
    """One item around its contents."""
    return _ITEM.pack(item_type, len(contents)) + contents


def text_item(item_type: int, value: str) -> bytes:
    """One item that holds a UID or a name; UIDs are not padded here (PS3.8 Annex F)."""
    return item(item_type, value.encode("ascii", "replace"))


def _counted(contents: bytes, position: int) -> tuple[bytes, int]:
    """A two-byte length and that many bytes, and where they end."""
    start = position + 2
    if start > len(contents):
        raise malformed("sub-item cut short")
    end = start + int(_U16.unpack_from(contents, position)[0])
    if end > len(contents):
        raise malformed("field is longer than its sub-item")
    return contents[start:end], end


def _count(value: bytes) -> bytes:
    return _U16.pack(len(value)) + value


# -- presentation contexts --------------------------------------------------------------------------------


def read_proposed_context(contents: bytes, budget: Budget | None = None) -> ProposedContext:
    """Presentation context item of an A-ASSOCIATE-RQ (PS3.8 §9.3.2.2)."""
    if len(contents) < 4:
        raise malformed("presentation context item cut short")
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for item_type, value in walk(contents[4:], budget):
        if item_type == ItemType.ABSTRACT_SYNTAX:
            abstract_syntax = abstract_syntax or text(value)
        elif item_type == ItemType.TRANSFER_SYNTAX:
            transfer_syntaxes.append(text(value))
    return ProposedContext(
        id=contents[0], abstract_syntax=abstract_syntax, transfer_syntaxes=tuple(transfer_syntaxes)
    )


def read_context_answer(contents: bytes, budget: Budget | None = None) -> ContextAnswer:
    """Presentation context item of an A-ASSOCIATE-AC (PS3.8 §9.3.3.2).

    The transfer syntax of a context that was not accepted means nothing and is not read.
    """
    if len(contents) < 4:
        raise malformed("presentation context item cut short")
    transfer_syntax = ""
    if contents[2] == 0:
        for item_type, value in walk(contents[4:], budget):
            if item_type == ItemType.TRANSFER_SYNTAX:
                transfer_syntax = transfer_syntax or text(value)
    return ContextAnswer(id=contents[0], result=contents[2], transfer_syntax=transfer_syntax)


def write_proposed_context(context: ProposedContext) -> bytes:
    """The reverse of ``read_proposed_context``."""
    syntaxes = [text_item(ItemType.TRANSFER_SYNTAX, syntax) for syntax in context.transfer_syntaxes]
    head = bytes((context.id, 0, 0, 0)) + text_item(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax)
    return item(ItemType.PRESENTATION_CONTEXT_RQ, head + b"".join(syntaxes))


def write_context_answer(answer: ContextAnswer) -> bytes:
    """The reverse of ``read_context_answer``.

    The transfer syntax of a refused context means nothing, but there are peers that fail where it is empty.
    """
    head = bytes((answer.id, 0, answer.result, 0))
    syntax = text_item(ItemType.TRANSFER_SYNTAX, answer.transfer_syntax or IMPLICIT_VR_LITTLE_ENDIAN)
    return item(ItemType.PRESENTATION_CONTEXT_AC, head + syntax)


# -- user information -------------------------------------------------------------------------------------


@dataclass(slots=True)
class UserInformation:
    """The user information item of either PDU while it is read (PS3.8 §9.3.2.3, PS3.7 Annex D.3.3)."""

    max_pdu_bytes: int = ASSUMED_MAX_PDU_BYTES
    implementation_class_uid: str = ""
    implementation_version: str = ""
    async_ops: tuple[int, int] | None = None
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = None
    roles: list[RoleSelection] = field(default_factory=list)
    extended: list[ExtendedNegotiation] = field(default_factory=list)
    common_extended: list[CommonExtendedNegotiation] = field(default_factory=list)


def read_user_information(contents: bytes, budget: Budget | None = None) -> UserInformation:
    """Read the sub-items that we know, and drop the others."""
    found = UserInformation()
    budget = budget if budget is not None else Budget()
    for item_type, value in walk(contents, budget):
        if item_type == ItemType.MAXIMUM_LENGTH:
            if len(value) != 4:
                raise malformed("maximum length sub-item is not 4 bytes long")
            found.max_pdu_bytes = _U32.unpack(value)[0]
        elif item_type == ItemType.IMPLEMENTATION_CLASS_UID:
            found.implementation_class_uid = text(value)
        elif item_type == ItemType.IMPLEMENTATION_VERSION:
            found.implementation_version = text(value)
        elif item_type == ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW:
            if len(value) != 4:
                raise malformed("asynchronous operations window sub-item is not 4 bytes long")
            found.async_ops = _WINDOW.unpack(value)
        elif item_type == ItemType.ROLE_SELECTION:
            found.roles.append(_read_role(value))
        elif item_type == ItemType.EXTENDED_NEGOTIATION:
            uid, end = _counted(value, 0)
            found.extended.append(ExtendedNegotiation(sop_class_uid=text(uid), information=value[end:]))
        elif item_type == ItemType.COMMON_EXTENDED_NEGOTIATION:
            found.common_extended.append(_read_common_extended(value, budget))
        elif item_type == ItemType.USER_IDENTITY_RQ:
            found.user_identity = _read_user_identity(value)
        elif item_type == ItemType.USER_IDENTITY_AC:
            found.user_identity_response = _counted(value, 0)[0]
    return found


def _read_role(value: bytes) -> RoleSelection:
    uid, end = _counted(value, 0)
    if len(value) != end + 2:
        raise malformed("role selection sub-item has another length than its fields")
    return RoleSelection(sop_class_uid=text(uid), scu=value[end] == 1, scp=value[end + 1] == 1)


def _read_common_extended(value: bytes, budget: Budget) -> CommonExtendedNegotiation:
    uid, end = _counted(value, 0)
    service, end = _counted(value, end)
    rest, _ = _counted(value, end)
    related: list[str] = []
    position = 0
    while position < len(rest):
        budget.spend()
        one, position = _counted(rest, position)
        related.append(text(one))
    return CommonExtendedNegotiation(
        sop_class_uid=text(uid), service_class_uid=text(service), related=tuple(related)
    )


def _read_user_identity(value: bytes) -> UserIdentity:
    if len(value) < 2:
        raise malformed("user identity sub-item cut short")
    primary, end = _counted(value, 2)
    secondary, _ = _counted(value, end)
    return UserIdentity(kind=value[0], response_requested=value[1] == 1, primary=primary, secondary=secondary)


def write_request_information(request: AssociateRequest) -> bytes:
    """The user information item of an A-ASSOCIATE-RQ."""
    parts = _common_parts(
        request.max_pdu_bytes, request.implementation_class_uid, request.implementation_version,
        request.async_ops, request.roles, request.extended,
    )  # fmt: skip
    for common in request.common_extended:
        related = b"".join(_count(uid.encode("ascii", "replace")) for uid in common.related)
        uids = (common.sop_class_uid, common.service_class_uid)
        head = b"".join(_count(uid.encode("ascii", "replace")) for uid in uids)
        parts.append(item(ItemType.COMMON_EXTENDED_NEGOTIATION, head + _count(related)))
    if identity := request.user_identity:
        head = bytes((identity.kind, identity.response_requested))
        secrets = _count(identity.primary) + _count(identity.secondary)
        parts.append(item(ItemType.USER_IDENTITY_RQ, head + secrets))
    return item(ItemType.USER_INFORMATION, b"".join(parts))


def write_acceptance_information(
    acceptance: Acceptance, max_pdu_bytes: int, implementation_class_uid: str, implementation_version: str
) -> bytes:
    """The user information item of an A-ASSOCIATE-AC."""
    parts = _common_parts(
        max_pdu_bytes, implementation_class_uid, implementation_version,
        acceptance.async_ops, acceptance.roles, acceptance.extended,
    )  # fmt: skip
    if acceptance.user_identity_response is not None:
        parts.append(item(ItemType.USER_IDENTITY_AC, _count(acceptance.user_identity_response)))
    return item(ItemType.USER_INFORMATION, b"".join(parts))


def _common_parts(
    max_pdu_bytes: int,
    implementation_class_uid: str,
    implementation_version: str,
    async_ops: tuple[int, int] | None,
    roles: Iterable[RoleSelection],
    extended: Iterable[ExtendedNegotiation],
) -> list[bytes]:
    """The sub-items that both PDUs have, in order of their types as most implementations write them."""
    parts = [
        item(ItemType.MAXIMUM_LENGTH, _U32.pack(max_pdu_bytes)),
        text_item(ItemType.IMPLEMENTATION_CLASS_UID, implementation_class_uid),
    ]
    if async_ops is not None:
        parts.append(item(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, _WINDOW.pack(*async_ops)))
    for role in roles:
        uid = _count(role.sop_class_uid.encode("ascii", "replace"))
        parts.append(item(ItemType.ROLE_SELECTION, uid + bytes((role.scu, role.scp))))
    if implementation_version:
        parts.append(text_item(ItemType.IMPLEMENTATION_VERSION, implementation_version))
    for one in extended:
        uid = _count(one.sop_class_uid.encode("ascii", "replace"))
        parts.append(item(ItemType.EXTENDED_NEGOTIATION, uid + one.information))
    return parts
