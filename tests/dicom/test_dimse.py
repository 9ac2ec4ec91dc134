"""Command sets: golden bytes, what is odd but readable, what is not."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from router.dicom.codes import CommandField, Status
from router.dicom.dimse import (
    Command,
    SubOperations,
    cancel_rq,
    decode_command,
    echo_rq,
    echo_rsp,
    encode_command,
    failure_rsp,
    find_rq,
    get_rq,
    move_rq,
    store_rq,
    store_rsp,
)
from router.errors import RemoteProtocolError
from tests.dicom.wire import CT, INSTANCE, VERIFICATION, unhex

ECHO_RQ = unhex("""
    0000 0000 04000000 38000000                      # group length 56
    0000 0200 12000000 "1.2.840.10008.1.1" 00        # Affected SOP Class UID: Verification
    0000 0001 02000000 3000                          # Command Field C-ECHO-RQ
    0000 1001 02000000 0700                          # Message ID 7
    0000 0008 02000000 0101                          # Command Data Set Type: none
""")

STORE_RQ = unhex("""
    0000 0000 04000000 84000000                      # group length 132
    0000 0200 1A000000 "1.2.840.10008.5.1.4.1.1.2" 00  # Affected SOP Class UID: CT
    0000 0001 02000000 0100                          # Command Field C-STORE-RQ
    0000 1001 02000000 0900                          # Message ID 9
    0000 0007 02000000 0000                          # Priority MEDIUM
    0000 0008 02000000 0100                          # Command Data Set Type: there is one
    0000 0010 1C000000 "1.2.826.0.1.3680043.8.498.1" 00  # Affected SOP Instance UID
    0000 3010 04000000 "PACS"                        # Move Originator AE Title
    0000 3110 02000000 0500                          # Move Originator Message ID
""")

STORE_RSP = unhex("""
    0000 0000 04000000 7A000000                      # group length 122
    0000 0200 1A000000 "1.2.840.10008.5.1.4.1.1.2" 00
    0000 0001 02000000 0180                          # Command Field C-STORE-RSP
    0000 2001 02000000 0900                          # Message ID Being Responded To 9
    0000 0008 02000000 0101
    0000 0009 02000000 00A7                          # Status A700
    0000 0209 04000000 "full"                        # Error Comment
    0000 0010 1C000000 "1.2.826.0.1.3680043.8.498.1" 00
""")


def element(number: int, value: bytes) -> bytes:
    return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


def us(number: int, value: int) -> bytes:
    return element(number, value.to_bytes(2, "little"))


def a_store(**changes: bytes | None) -> bytes:
    """A C-STORE-RQ of which elements are replaced or left out."""
    elements: dict[str, bytes | None] = {
        "sop_class": element(0x0002, CT.encode() + b"\0"),
        "field": us(0x0100, 1),
        "message_id": us(0x0110, 9),
        "priority": us(0x0700, 0),
        "data_set_type": us(0x0800, 1),
        "instance": element(0x1000, INSTANCE.encode() + b"\0"),
    }
    elements.update(changes)
    return b"".join(value for value in elements.values() if value)


def test_echo_request_is_these_bytes() -> None:
    assert echo_rq(7) == ECHO_RQ


def test_echo_request_reads() -> None:
    assert decode_command(ECHO_RQ) == Command(
        field=CommandField.C_ECHO_RQ, message_id=7, sop_class_uid=VERIFICATION
    )


def test_store_request_is_these_bytes() -> None:
    assert store_rq(9, CT, INSTANCE, move_originator="PACS", move_originator_id=5) == STORE_RQ


def test_store_request_reads() -> None:
    assert decode_command(memoryview(STORE_RQ)) == Command(
        field=CommandField.C_STORE_RQ,
        message_id=9,
        sop_class_uid=CT,
        sop_instance_uid=INSTANCE,
        has_data_set=True,
        move_originator="PACS",
        move_originator_id=5,
    )


def test_store_response_is_these_bytes() -> None:
    assert store_rsp(decode_command(STORE_RQ), Status.OUT_OF_RESOURCES, "full") == STORE_RSP


def test_store_response_reads() -> None:
    response = decode_command(STORE_RSP)
    assert (response.responded_to, response.status, response.comment) == (9, 0xA700, "full")
    assert response.is_response
    assert not response.problem


def test_echo_response_answers_its_request() -> None:
    response = decode_command(echo_rsp(decode_command(ECHO_RQ)))
    assert (response.field, response.responded_to, response.status) == (CommandField.C_ECHO_RSP, 7, 0)


def test_response_to_an_unknown_request_has_its_command_field_with_the_response_bit() -> None:
    find = Command(field=CommandField.C_FIND_RQ, message_id=3, sop_class_uid="1.2.840.10008.5.1.4.31")
    response = decode_command(failure_rsp(find, Status.UNRECOGNIZED_OPERATION, "no"))
    assert (response.field, response.responded_to, response.status) == (CommandField.C_FIND_RSP, 3, 0x0211)


def test_comment_is_cut_to_a_long_string_without_backslashes() -> None:
    comment = decode_command(store_rsp(decode_command(STORE_RQ), 0x0110, "a\\é" + "x" * 100)).comment
    assert comment == "a/?" + "x" * 61


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"instance": element(0x1000, b"1." + b"2" * 63)}, "SOP Instance UID is not a UID"),
        ({"instance": element(0x1000, b"../../etc/x\0")}, "SOP Instance UID is not a UID"),
        ({"instance": element(0x1000, b"1.2.\xc3\xa9.3\0")}, "SOP Instance UID is not a UID"),
        ({"instance": element(0x1000, b"1.2\0.3.4")}, "SOP Instance UID is not a UID"),
        ({"instance": element(0x1000, b"")}, "no Affected SOP Instance UID"),
        ({"instance": None}, "no Affected SOP Instance UID"),
        ({"sop_class": None}, "no Affected SOP Class UID"),
        ({"sop_class": element(0x0002, b"CT")}, "SOP Class UID is not a UID"),
        ({"priority": us(0x0700, 5)}, "Priority missing or none of 0, 1, 2"),
        ({"priority": None}, "Priority missing or none of 0, 1, 2"),
        ({"priority": element(0x0700, b"\0\0\0\0")}, "(0000,0700) has not the length of its VR"),
        ({"message_id": None}, "no Message ID"),
        ({"data_set_type": None}, "no Command Data Set Type"),
        ({"data_set_type": us(0x0800, 0x0101)}, "C-STORE without a data set"),
        ({"originator": element(0x1030, b"A" * 18)}, "Move Originator is longer than an AE title"),
    ],
)
def test_odd_store_request_is_a_problem_and_no_error(changes: dict[str, bytes | None], problem: str) -> None:
    command = decode_command(a_store(**changes))
    assert command.problem == problem
    assert store_rsp(command, Status.INVALID_ARGUMENT, command.problem)


def test_store_without_data_set_type_is_still_followed_by_its_data_set() -> None:
    assert decode_command(a_store(data_set_type=None)).has_data_set


@pytest.mark.parametrize("uid", [b"1.2.3\0", b"1.2.3 ", b"1.2.3", b" 1.2.3\0\0 "])
def test_padding_of_uids_is_no_problem(uid: bytes) -> None:
    command = decode_command(a_store(instance=element(0x1000, uid)))
    assert (command.sop_instance_uid, command.problem) == ("1.2.3", "")


def test_uid_that_is_none_is_not_sent_back() -> None:
    response = decode_command(store_rsp(decode_command(a_store(instance=element(0x1000, b"../x"))), 0x0117))
    assert (response.sop_instance_uid, response.sop_class_uid) == ("", CT)


def test_requested_uids_stand_in_for_affected_ones() -> None:
    get = us(0x0100, 0x0110) + us(0x0110, 1) + us(0x0800, 0x0101)
    command = decode_command(element(0x0003, b"1.2\0") + get + element(0x1001, b"1.3\0"))
    assert (command.sop_class_uid, command.sop_instance_uid, command.problem) == ("1.2", "1.3", "")


def test_echo_without_sop_class_is_a_problem_and_no_error() -> None:
    echo = us(0x0100, 0x0030) + us(0x0110, 1) + us(0x0800, 0x0101)
    assert decode_command(echo).problem == "no Affected SOP Class UID"


def test_cancel_needs_no_message_id() -> None:
    cancel = us(0x0100, 0x0FFF) + us(0x0120, 4) + us(0x0800, 0x0101)
    assert decode_command(cancel).problem == ""


def test_unknown_elements_are_ignored() -> None:
    extra = element(0x0901, b"\x10\0\x20\0") + b"\x09\0\x10\0" + (4).to_bytes(4, "little") + b"ABCD"
    assert decode_command(a_store(extra=extra)) == decode_command(a_store())


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\0\0\x01",
        STORE_RQ[:-1],
        STORE_RQ[:-12],
        us(0x0110, 1),  # no command field
        element(0x0100, b""),
        element(0x0100, b"\x01"),
        b"\0\0\0\x01\xff\xff\xff\xff\x01\0",
        b"\0\0\0\x01\x02\0\0\0\x01",  # a number cut short
    ],
)
def test_command_set_that_cannot_be_taken_apart_is_the_peers_error(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_command(garbage)
    assert caught.value.abort_reason == 6


@given(st.binary(max_size=200))
def test_garbage_gives_a_command_or_the_peers_error(garbage: bytes) -> None:
    try:
        decode_command(garbage)
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=40), st.integers(0, len(STORE_RQ)))
def test_garbage_inside_a_request_gives_a_command_or_the_peers_error(garbage: bytes, at: int) -> None:
    try:
        decode_command(STORE_RQ[:at] + garbage + STORE_RQ[at:])
    except RemoteProtocolError:
        pass


UIDS = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,8}){0,6}", fullmatch=True)
WORDS = st.integers(0, 0xFFFF)


@given(UIDS, UIDS, WORDS, st.sampled_from([0, 1, 2]), st.none() | WORDS)
def test_what_is_written_reads_the_same(
    sop_class: str, instance: str, message_id: int, priority: int, originator_id: int | None
) -> None:
    encoded = encode_command(
        field=CommandField.C_STORE_RQ,
        message_id=message_id,
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        priority=priority,
        has_data_set=True,
        move_originator_id=originator_id,
    )
    assert len(encoded) % 2 == 0
    assert decode_command(encoded) == Command(
        field=CommandField.C_STORE_RQ,
        message_id=message_id,
        sop_class_uid=sop_class,
        sop_instance_uid=instance,
        priority=priority,
        has_data_set=True,
        move_originator_id=originator_id,
    )


FIND_CLASS = "1.2.840.10008.5.1.4.1.2.2.1"
FIND_RQ = unhex("""
    0000 0000 04000000 4C000000                      # group length 76
    0000 0200 1C000000 "1.2.840.10008.5.1.4.1.2.2.1" 00  # Affected SOP Class UID: Study Root FIND
    0000 0001 02000000 2000                          # Command Field C-FIND-RQ
    0000 1001 02000000 0300                          # Message ID 3
    0000 0007 02000000 0000                          # Priority MEDIUM
    0000 0008 02000000 0100                          # Command Data Set Type: there is one
""")
MOVE_RQ = unhex("""
    0000 0000 04000000 5A000000                      # group length 90
    0000 0200 1C000000 "1.2.840.10008.5.1.4.1.2.2.2" 00  # Affected SOP Class UID: Study Root MOVE
    0000 0001 02000000 2100                          # Command Field C-MOVE-RQ
    0000 1001 02000000 0300                          # Message ID 3
    0000 0006 06000000 "SINK1 "                      # Move Destination, padded
    0000 0007 02000000 0000                          # Priority MEDIUM
    0000 0008 02000000 0100                          # Command Data Set Type: there is one
""")
GET_RQ = unhex("""
    0000 0000 04000000 4C000000                      # group length 76
    0000 0200 1C000000 "1.2.840.10008.5.1.4.1.2.2.3" 00  # Affected SOP Class UID: Study Root GET
    0000 0001 02000000 1000                          # Command Field C-GET-RQ
    0000 1001 02000000 0300                          # Message ID 3
    0000 0007 02000000 0200                          # Priority LOW
    0000 0008 02000000 0100                          # Command Data Set Type: there is one
""")
CANCEL_RQ = unhex("""
    0000 0000 04000000 1E000000                      # group length 30
    0000 0001 02000000 FF0F                          # Command Field C-CANCEL-RQ
    0000 2001 02000000 0300                          # Message ID Being Responded To 3
    0000 0008 02000000 0101                          # Command Data Set Type: none
""")
MOVE_RSP = unhex("""
    0000 0000 04000000 84000000                      # group length
    0000 0200 1C000000 "1.2.840.10008.5.1.4.1.2.2.2" 00
    0000 0001 02000000 2180                          # Command Field C-MOVE-RSP
    0000 2001 02000000 0300                          # Message ID Being Responded To 3
    0000 0008 02000000 0101
    0000 0009 02000000 00FF                          # Status FF00
    0000 2010 02000000 0700                          # Number of Remaining Sub-operations
    0000 2110 02000000 0500                          # Number of Completed Sub-operations
    0000 2210 02000000 0200                          # Number of Failed Sub-operations
    0000 2310 02000000 0100                          # Number of Warning Sub-operations
""")


def test_query_and_retrieve_requests_are_these_bytes() -> None:
    assert find_rq(3, FIND_CLASS) == FIND_RQ
    assert move_rq(3, "1.2.840.10008.5.1.4.1.2.2.2", "SINK1") == MOVE_RQ
    assert get_rq(3, "1.2.840.10008.5.1.4.1.2.2.3", priority=2) == GET_RQ
    assert cancel_rq(3) == CANCEL_RQ


def test_move_request_reads() -> None:
    assert decode_command(MOVE_RQ) == Command(
        field=CommandField.C_MOVE_RQ,
        message_id=3,
        sop_class_uid="1.2.840.10008.5.1.4.1.2.2.2",
        has_data_set=True,
        move_destination="SINK1",
    )


def test_numbers_of_sub_operations_read() -> None:
    response = decode_command(MOVE_RSP)
    assert (response.responded_to, response.status, response.problem) == (3, 0xFF00, "")
    assert response.sub_operations == SubOperations(remaining=7, completed=5, failed=2, warning=1)


def test_numbers_that_are_not_said_are_not_zero() -> None:
    last = us(0x0100, 0x8021) + us(0x0120, 3) + us(0x0800, 0x0101) + us(0x0900, 0xB000) + us(0x1022, 4)
    assert decode_command(last).sub_operations == SubOperations(failed=4)
    assert decode_command(ECHO_RQ).sub_operations is None


COUNTS = st.none() | st.integers(0, 0xFFFF)


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([0x8010, 0x8021]))
def test_sub_operations_that_are_written_read_the_same(
    remaining: int | None, completed: int | None, failed: int | None, warning: int | None, field: int
) -> None:
    counts = SubOperations(remaining=remaining, completed=completed, failed=failed, warning=warning)
    encoded = encode_command(field=field, responded_to=1, status=0xFF00, sub_operations=counts)
    expected = None if counts == SubOperations() else counts
    assert decode_command(encoded).sub_operations == expected
