"""Command sets (PS3.7 §6.3.1, §9.3, Annex E): read into a plain record, written from arguments.

A codec of our own over implicit VR little endian, because every instance passes it twice. Reading is lenient:
what is odd but readable is named in ``Command.problem`` and answered with a failure status for that one
message; only a command set that cannot be taken apart costs the association.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct, error

from router.dicom.codes import (
    MAX_AE_TITLE_LENGTH,
    MAX_UID_LENGTH,
    RESPONSE_BIT,
    VERIFICATION,
    AbortReason,
    CommandField,
)
from router.errors import RemoteProtocolError
from router.model import Buffer, Priority

# (0000,0700), PS3.7 §9.3.1.1: medium, high, low
PRIORITIES = (Priority.NORMAL, Priority.HIGH, Priority.LOW)
DIMSE_PRIORITIES = {priority: code for code, priority in enumerate(PRIORITIES)}

_NO_DATA_SET = 0x0101  # (0000,0800): any other value announces a data set
_MAX_COMMENT_LENGTH = 64  # VR LO

# Elements of group 0000 as they read in little endian: (element << 16 | group).
_SOP_CLASS_UID = 0x00020000
_REQUESTED_SOP_CLASS_UID = 0x00030000
_COMMAND_FIELD = 0x01000000
_MESSAGE_ID = 0x01100000
_RESPONDED_TO = 0x01200000
_MOVE_DESTINATION = 0x06000000
_PRIORITY = 0x07000000
_DATA_SET_TYPE = 0x08000000
_STATUS = 0x09000000
_COMMENT = 0x09020000
_SOP_INSTANCE_UID = 0x10000000
_REQUESTED_SOP_INSTANCE_UID = 0x10010000
_REMAINING = 0x10200000
_COMPLETED = 0x10210000
_FAILED = 0x10220000
_WARNING = 0x10230000
_MOVE_ORIGINATOR = 0x10300000
_MOVE_ORIGINATOR_ID = 0x10310000

_SUB_OPERATIONS = frozenset((_REMAINING, _COMPLETED, _FAILED, _WARNING))
_NUMBERS = _SUB_OPERATIONS | frozenset(
    (_COMMAND_FIELD, _MESSAGE_ID, _RESPONDED_TO, _PRIORITY, _DATA_SET_TYPE, _STATUS, _MOVE_ORIGINATOR_ID)
)
_ELEMENT = Struct("<II")
_US = Struct("<H")
_US_ELEMENT = Struct("<IIH")
_GROUP_LENGTH = Struct("<III")
_is_uid = re.compile(r"[0-9]+(?:\.[0-9]+)*").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOperations:
    """How far a C-MOVE or C-GET is, in C-STORE sub-operations (PS3.7 §9.3.3.2); None: not said."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set. Numbers that were not sent are 0 or None, texts ""."""

    field: int  # (0000,0100): a CommandField, or whatever the peer sent
    message_id: int = 0
    responded_to: int | None = None
    sop_class_uid: str = ""  # affected, or else requested
    sop_instance_uid: str = ""  # affected, or else requested
    priority: int = 0
    status: int | None = None
    comment: str = ""
    has_data_set: bool = False
    move_originator: str = ""
    move_originator_id: int | None = None
    move_destination: str = ""
    sub_operations: SubOperations | None = None  # None: none of its numbers was sent
    problem: str = ""  # "" or why it is not acceptable: answer with a failure status

    @property
    def is_response(self) -> bool:
        """It answers a request: ``responded_to`` says which."""
        return bool(self.field & RESPONSE_BIT)


def decode_command(buffer: Buffer) -> Command:
    """Read a whole command set.

    Raises RemoteProtocolError where it cannot be taken apart: elements cut short, or no command field.
    """
    data = bytes(buffer)
    numbers: dict[int, int] = {}
    texts: dict[int, bytes] = {}
    odd = 0
    position, end = 0, len(data)
    read_element, read_number = _ELEMENT.unpack_from, _US.unpack_from
    try:
        while position < end:
            tag, length = read_element(data, position)
            position += 8
            if tag in _NUMBERS:
                if length >= 2:
                    numbers[tag] = read_number(data, position)[0]
                if length != 2:
                    odd = tag
            else:
                texts[tag] = data[position : position + length]
            position += length
    except error:
        position = end + 1
    if position != end:
        raise _unreadable("command set cut short")
    field = numbers.get(_COMMAND_FIELD)
    if field is None:
        raise _unreadable("command set without a command field")
    sop_class_uid = _text(texts.get(_SOP_CLASS_UID) or texts.get(_REQUESTED_SOP_CLASS_UID))
    sop_instance_uid = _text(texts.get(_SOP_INSTANCE_UID) or texts.get(_REQUESTED_SOP_INSTANCE_UID))
    move_originator = _text(texts.get(_MOVE_ORIGINATOR))
    data_set_type = numbers.get(_DATA_SET_TYPE)
    if data_set_type is None and field != CommandField.C_STORE_RQ:  # the only one of ours that must have one
        data_set_type = _NO_DATA_SET
    problem = ""
    if odd:
        problem = f"(0000,{odd >> 16:04X}) has not the length of its VR"
    elif not field & RESPONSE_BIT:
        problem = _find_problem(field, numbers, sop_class_uid, sop_instance_uid, move_originator)
    return Command(
        field=field,
        message_id=numbers.get(_MESSAGE_ID, 0),
        responded_to=numbers.get(_RESPONDED_TO),
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        priority=numbers.get(_PRIORITY, 0),
        status=numbers.get(_STATUS),
        comment=_text(texts.get(_COMMENT)),
        has_data_set=data_set_type != _NO_DATA_SET,
        move_originator=move_originator,
        move_originator_id=numbers.get(_MOVE_ORIGINATOR_ID),
        move_destination=_text(texts.get(_MOVE_DESTINATION)),
        sub_operations=None if _SUB_OPERATIONS.isdisjoint(numbers) else _sub_operations(numbers),
        problem=problem,
    )


def _sub_operations(numbers: dict[int, int]) -> SubOperations:
    return SubOperations(
        remaining=numbers.get(_REMAINING),
        completed=numbers.get(_COMPLETED),
        failed=numbers.get(_FAILED),
        warning=numbers.get(_WARNING),
    )


def _unreadable(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, abort_reason=AbortReason.INVALID_PDU_PARAMETER_VALUE)


def _text(value: bytes | None) -> str:
    """Text of any VR: what is not ASCII becomes U+FFFD; padding, also by NUL, goes."""
    return value.decode("ascii", "replace").strip(" \0") if value else ""


def _find_problem(field: int, numbers: dict[int, int], sop_class: str, instance: str, originator: str) -> str:
    """Say in a few bland words what is wrong with a request (PS3.7 §9.3), or ""."""
    if _MESSAGE_ID not in numbers and field != CommandField.C_CANCEL_RQ:
        return "no Message ID"
    if _DATA_SET_TYPE not in numbers:
        return "no Command Data Set Type"
    if sop_class and (len(sop_class) > MAX_UID_LENGTH or not _is_uid(sop_class)):
        return "SOP Class UID is not a UID"
    if instance and (len(instance) > MAX_UID_LENGTH or not _is_uid(instance)):
        return "SOP Instance UID is not a UID"
    if len(originator) > MAX_AE_TITLE_LENGTH:
        return "Move Originator is longer than an AE title"
    if field == CommandField.C_STORE_RQ:
        if not sop_class:
            return "no Affected SOP Class UID"
        if not instance:
            return "no Affected SOP Instance UID"
        if numbers.get(_PRIORITY, 3) > 2:
            return "Priority missing or none of 0, 1, 2"
        if numbers[_DATA_SET_TYPE] == _NO_DATA_SET:
            return "C-STORE without a data set"
    elif field == CommandField.C_ECHO_RQ and not sop_class:
        return "no Affected SOP Class UID"
    return ""


def encode_command(
    *,
    field: int,
    message_id: int | None = None,
    responded_to: int | None = None,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    priority: int | None = None,
    status: int | None = None,
    comment: str = "",
    has_data_set: bool = False,
    move_originator: str = "",
    move_originator_id: int | None = None,
    move_destination: str = "",
    sub_operations: SubOperations | None = None,
) -> bytes:
    """Write a command set: the elements that are given, in order of their tags, after the group length."""
    number = _US_ELEMENT.pack
    parts: list[bytes] = []
    if sop_class_uid:
        parts.append(_text_element(_SOP_CLASS_UID, sop_class_uid, b"\0"))
    parts.append(number(_COMMAND_FIELD, 2, field))
    if message_id is not None:
        parts.append(number(_MESSAGE_ID, 2, message_id))
    if responded_to is not None:
        parts.append(number(_RESPONDED_TO, 2, responded_to))
    if move_destination:
        parts.append(_text_element(_MOVE_DESTINATION, move_destination, b" "))
    if priority is not None:
        parts.append(number(_PRIORITY, 2, priority))
    # PS3.7 §9.3: anything but 0101H; 0001H is what everybody sends
    parts.append(number(_DATA_SET_TYPE, 2, 0x0001 if has_data_set else _NO_DATA_SET))
    if status is not None:
        parts.append(number(_STATUS, 2, status))
    if comment:
        parts.append(_text_element(_COMMENT, comment[:_MAX_COMMENT_LENGTH].replace("\\", "/"), b" "))
    if sop_instance_uid:
        parts.append(_text_element(_SOP_INSTANCE_UID, sop_instance_uid, b"\0"))
    if sub_operations is not None:
        parts += (number(tag, 2, count) for tag, count in _counts(sub_operations) if count is not None)
    if move_originator:
        parts.append(_text_element(_MOVE_ORIGINATOR, move_originator, b" "))
    if move_originator_id is not None:
        parts.append(number(_MOVE_ORIGINATOR_ID, 2, move_originator_id))
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 4, len(body)) + body


def _counts(sub_operations: SubOperations) -> tuple[tuple[int, int | None], ...]:
    return (
        (_REMAINING, sub_operations.remaining),
        (_COMPLETED, sub_operations.completed),
        (_FAILED, sub_operations.failed),
        (_WARNING, sub_operations.warning),
    )


def _text_element(tag: int, value: str, padding: bytes) -> bytes:
    encoded = value.encode("ascii", "replace")
    if len(encoded) & 1:
        encoded += padding
    return _ELEMENT.pack(tag, len(encoded)) + encoded


def echo_rq(message_id: int) -> bytes:
    """C-ECHO-RQ (PS3.7 §9.3.5.1)."""
    return encode_command(field=CommandField.C_ECHO_RQ, message_id=message_id, sop_class_uid=VERIFICATION)


def echo_rsp(command: Command, status: int = 0) -> bytes:
    """C-ECHO-RSP to ``command`` (PS3.7 §9.3.5.2)."""
    return encode_command(
        field=CommandField.C_ECHO_RSP,
        responded_to=command.message_id,
        sop_class_uid=VERIFICATION,
        status=status,
    )


def store_rq(
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    priority: int = 0,
    *,
    move_originator: str = "",
    move_originator_id: int | None = None,
) -> bytes:
    """C-STORE-RQ (PS3.7 §9.3.1.1); its data set follows."""
    return encode_command(
        field=CommandField.C_STORE_RQ,
        message_id=message_id,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        priority=priority,
        has_data_set=True,
        move_originator=move_originator,
        move_originator_id=move_originator_id,
    )


def find_rq(message_id: int, sop_class_uid: str, priority: int = 0) -> bytes:
    """C-FIND-RQ (PS3.7 §9.3.2.1); its identifier follows."""
    return _query_rq(CommandField.C_FIND_RQ, message_id, sop_class_uid, priority)


def move_rq(message_id: int, sop_class_uid: str, destination: str, priority: int = 0) -> bytes:
    """C-MOVE-RQ (PS3.7 §9.3.4.1): to the AE ``destination``; its identifier follows."""
    return _query_rq(CommandField.C_MOVE_RQ, message_id, sop_class_uid, priority, destination)


def get_rq(message_id: int, sop_class_uid: str, priority: int = 0) -> bytes:
    """C-GET-RQ (PS3.7 §9.3.3.1); its identifier follows."""
    return _query_rq(CommandField.C_GET_RQ, message_id, sop_class_uid, priority)


def _query_rq(
    field: CommandField, message_id: int, sop_class_uid: str, priority: int, move_destination: str = ""
) -> bytes:
    return encode_command(
        field=field,
        message_id=message_id,
        sop_class_uid=sop_class_uid,
        priority=priority,
        has_data_set=True,
        move_destination=move_destination,
    )


def query_rsp(
    command: Command,
    status: int,
    *,
    comment: str = "",
    has_data_set: bool = False,
    sub_operations: SubOperations | None = None,
) -> bytes:
    """A response to a C-FIND, C-MOVE or C-GET (PS3.7 §9.3.2.2, §9.3.3.2, §9.3.4.2)."""
    return encode_command(
        field=command.field | RESPONSE_BIT,
        responded_to=command.message_id,
        sop_class_uid=command.sop_class_uid if _is_usable(command.sop_class_uid) else "",
        status=status,
        comment=comment,
        has_data_set=has_data_set,
        sub_operations=sub_operations,
    )


def cancel_rq(message_id: int) -> bytes:
    """C-CANCEL-RQ for a C-FIND, C-MOVE or C-GET of ours (PS3.7 §9.3.2.3); it has no response of its own."""
    return encode_command(field=CommandField.C_CANCEL_RQ, responded_to=message_id)


def store_rsp(command: Command, status: int, comment: str = "") -> bytes:
    """C-STORE-RSP to ``command`` (PS3.7 §9.3.1.2). UIDs that are none are not repeated to the peer."""
    return encode_command(
        field=CommandField.C_STORE_RSP,
        responded_to=command.message_id,
        sop_class_uid=command.sop_class_uid if _is_usable(command.sop_class_uid) else "",
        sop_instance_uid=command.sop_instance_uid if _is_usable(command.sop_instance_uid) else "",
        status=status,
        comment=comment,
    )


def _is_usable(uid: str) -> bool:
    return len(uid) <= MAX_UID_LENGTH and _is_uid(uid) is not None


def failure_rsp(command: Command, status: int, comment: str = "") -> bytes:
    """The response to a request of any service that we do not perform or cannot accept (PS3.7 Annex C)."""
    return encode_command(
        field=command.field | RESPONSE_BIT,
        responded_to=command.message_id,
        sop_class_uid=command.sop_class_uid if _is_usable(command.sop_class_uid) else "",
        status=status,
        comment=comment,
    )
