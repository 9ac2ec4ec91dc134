"""Command sets: read to a record, or refused as a whole; and each of our answers is read as it was meant."""

from __future__ import annotations

from router.dicom.codes import CommandField
from router.dicom.dimse import (
    PRIORITIES,
    Command,
    decode_command,
    echo_rsp,
    encode_command,
    failure_rsp,
    move_rq,
    store_rq,
    store_rsp,
)
from router.dicom.part10 import file_meta, read_file_meta
from router.errors import RemoteProtocolError
from router.model import Arrival, Origin
from tests.dicom.wire import CT, EXPLICIT, INSTANCE

_ELEMENTS = (
    0x0000,
    0x0002,
    0x0003,
    0x0100,
    0x0110,
    0x0120,
    0x0600,
    0x0700,
    0x0800,
    0x0900,
    0x0902,
    0x1000,
    0x1001,
    0x1020,
    0x1021,
    0x1022,
    0x1023,
    0x1030,
)
WORDS = (
    *(b"\0\0" + element.to_bytes(2, "little") + b"\x02\0\0\0" for element in _ELEMENTS),
    *(field.to_bytes(2, "little") for field in CommandField),
    CT.encode() + b"\0",
    INSTANCE.encode(),
    b"\x01\x01",
    store_rq(1, CT, INSTANCE),
    move_rq(1, CT, "ROUTER"),
)
_ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.1", listener="11112")


def target(data: bytes) -> None:
    """See the module."""
    try:
        command = decode_command(data)
    except RemoteProtocolError:
        return
    _check_record(command)
    if not command.is_response:
        for encoded in (
            store_rsp(command, 0xA700, "out of resources"),
            failure_rsp(command, 0x0211, command.problem),
            echo_rsp(command),
        ):
            answer = decode_command(encoded)
            assert answer.is_response
            assert answer.responded_to == command.message_id
            assert not answer.problem
    if command.field == CommandField.C_STORE_RQ and not command.problem:
        _check_storable(command)


def _check_record(command: Command) -> None:
    """What was read can be written, and is read as the same."""
    encoded = encode_command(
        field=command.field,
        message_id=command.message_id,
        responded_to=command.responded_to,
        sop_class_uid=command.sop_class_uid,
        sop_instance_uid=command.sop_instance_uid,
        priority=command.priority,
        status=command.status,
        comment=command.comment,
        has_data_set=command.has_data_set,
        move_originator=command.move_originator,
        move_originator_id=command.move_originator_id,
        move_destination=command.move_destination,
        sub_operations=command.sub_operations,
    )
    again = decode_command(encoded)
    assert (again.field, again.message_id, again.responded_to) == (
        command.field,
        command.message_id,
        command.responded_to,
    )
    assert again.has_data_set == command.has_data_set
    assert again.sub_operations == command.sub_operations
    if command.sop_instance_uid.isascii():
        assert again.sop_instance_uid == command.sop_instance_uid


def _check_storable(command: Command) -> None:
    """A C-STORE-RQ without a problem has all that an instance needs, also in its file meta information."""
    assert PRIORITIES[command.priority]
    assert command.has_data_set
    meta = file_meta(
        Arrival(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=EXPLICIT,
            origin=_ORIGIN,
            received_at=0.0,
        )
    )
    read = read_file_meta(meta)
    assert (read.sop_class_uid, read.sop_instance_uid) == (command.sop_class_uid, command.sop_instance_uid)
    assert (read.transfer_syntax_uid, read.data_set_offset) == (EXPLICIT, len(meta))
