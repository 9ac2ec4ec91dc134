"""PDUs: golden bytes, what the standard tolerates, what it does not, and the framing of data sets."""

from __future__ import annotations

from struct import pack, unpack_from

import pytest
from hypothesis import given, strategies as st

from router.dicom.codes import ContextResult
from router.dicom.items import ASSUMED_MAX_PDU_BYTES, item, text_item
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
from router.dicom.pdu import (
    Abort,
    Rejection,
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
from router.errors import RemoteProtocolError
from tests.dicom.wire import CT, EXPLICIT, IMPLICIT, unhex

APPLICATION_CONTEXT_ITEM = unhex('10 00 0015 "1.2.840.10008.3.1.1.1"')

FIXED = unhex("""
    0001 0000                                          # protocol version 1, reserved
    "ROUTER          "                                 # called AE title
    "CT1             "                                 # calling AE title
    0000000000000000 0000000000000000 0000000000000000 0000000000000000
""")

REQUEST_BODY = (
    FIXED
    + APPLICATION_CONTEXT_ITEM
    + unhex("""
    20 00 004D 03 00 00 00                             # presentation context 3
      30 00 0019 "1.2.840.10008.5.1.4.1.1.2"           # abstract syntax: CT
      40 00 0013 "1.2.840.10008.1.2.1"                 # transfer syntaxes
      40 00 0011 "1.2.840.10008.1.2"
    50 00 0091                                         # user information
      51 00 0004 00004000                              # maximum length 16384
      52 00 0005 "1.2.3"                               # implementation class UID
      53 00 0004 0000 0001                             # asynchronous operations: any, 1
      54 00 001D 0019 "1.2.840.10008.5.1.4.1.1.2" 00   # role selection: SCU no,
        01                                             # SCP yes
      55 00 0004 "V1.0"                                # implementation version name
      56 00 0021 0019 "1.2.840.10008.5.1.4.1.1.2"      # SOP class extended negotiation
        020003000000
      57 00 0012 0003 "1.5" 0003 "1.6"                 # common extended negotiation: class, service,
        0006 0004 "1.7."                               # related classes
      58 00 0010 02 01 0004 "user" 0006 "secret"       # user identity: username and passcode, answer
""")
)

REQUEST = AssociateRequest(
    calling_ae="CT1",
    called_ae="ROUTER",
    contexts=(ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=(EXPLICIT, IMPLICIT)),),
    max_pdu_bytes=16384,
    implementation_class_uid="1.2.3",
    implementation_version="V1.0",
    roles=(RoleSelection(sop_class_uid=CT, scu=False, scp=True),),
    async_ops=(0, 1),
    extended=(ExtendedNegotiation(sop_class_uid=CT, information=unhex("020003000000")),),
    common_extended=(
        CommonExtendedNegotiation(sop_class_uid="1.5", service_class_uid="1.6", related=("1.7.",)),
    ),
    user_identity=UserIdentity(kind=2, primary=b"user", secondary=b"secret", response_requested=True),
)

ACCEPTANCE = Acceptance(
    answers=(
        ContextAnswer(id=3, result=ContextResult.ACCEPTANCE, transfer_syntax=EXPLICIT),
        ContextAnswer(id=5, result=ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, transfer_syntax=""),
    ),
    contexts={},
    roles=REQUEST.roles,
    async_ops=(1, 1),
    user_identity_response=b"ok",
)

ACCEPTANCE_BODY = (
    FIXED
    + APPLICATION_CONTEXT_ITEM
    + unhex("""
    21 00 001B 03 00 00 00                             # presentation context 3: acceptance
      40 00 0013 "1.2.840.10008.1.2.1"
    21 00 0019 05 00 03 00                             # presentation context 5: abstract syntax not supported
      40 00 0011 "1.2.840.10008.1.2"                   # of no significance
    50 00 004A                                         # user information
      51 00 0004 00020000                              # maximum length 131072
      52 00 0005 "1.2.3"
      53 00 0004 0001 0001
      54 00 001D 0019 "1.2.840.10008.5.1.4.1.1.2" 00
        01
      55 00 0004 "V1.0"
      59 00 0004 0002 "ok"                             # user identity: server response
""")
)


def test_associate_request_is_these_bytes() -> None:
    assert encode_associate_rq(REQUEST) == unhex("01 00") + pack(">I", len(REQUEST_BODY)) + REQUEST_BODY


def test_associate_request_reads() -> None:
    assert decode_associate_rq(REQUEST_BODY) == REQUEST


def test_associate_acceptance_is_these_bytes() -> None:
    encoded = encode_associate_ac(
        REQUEST, ACCEPTANCE, 131072, implementation_class_uid="1.2.3", implementation_version="V1.0"
    )
    assert encoded == unhex("02 00") + pack(">I", len(ACCEPTANCE_BODY)) + ACCEPTANCE_BODY


def test_associate_acceptance_reads() -> None:
    reply = decode_associate_ac(ACCEPTANCE_BODY)
    assert reply.answers == ACCEPTANCE.answers
    assert (reply.max_pdu_bytes, reply.async_ops, reply.user_identity_response) == (131072, (1, 1), b"ok")
    assert reply.roles == REQUEST.roles


def test_the_short_pdus_are_these_bytes() -> None:
    assert encode_associate_rj(1, 2, 2) == unhex("03 00 00000004 00 01 02 02")
    assert encode_release_rq() == unhex("05 00 00000004 00000000")
    assert encode_release_rp() == unhex("06 00 00000004 00000000")
    assert encode_abort(2, 6) == unhex("07 00 00000004 00 00 02 06")


def test_the_short_pdus_read() -> None:
    assert decode_associate_rj(unhex("00 01 02 02")) == Rejection(result=1, source=2, reason=2)
    assert decode_abort(unhex("00 00 02 06")) == Abort(source=2, reason=6)


def test_user_identity_never_shows_its_secrets() -> None:
    assert "secret" not in repr(REQUEST)
    assert "user'" not in repr(REQUEST)


# -- what is tolerated ------------------------------------------------------------------------------------


def test_unknown_items_are_ignored_at_every_depth() -> None:  # PS3.8 §9.3.1; trap 1 of pynetdicom
    context = item(
        0x20, bytes((3, 0, 0, 0)) + item(0x77, b"?") + text_item(0x30, CT) + text_item(0x40, IMPLICIT)
    )
    user = item(0x50, item(0x5F, b"what") + item(0x51, pack(">I", 999)))
    request = decode_associate_rq(FIXED + item(0x11, b"x") + APPLICATION_CONTEXT_ITEM + context + user)
    assert request.contexts == (ProposedContext(id=3, abstract_syntax=CT, transfer_syntaxes=(IMPLICIT,)),)
    assert request.max_pdu_bytes == 999


@pytest.mark.parametrize(
    ("title", "read"),
    [
        (b"CT1\0\0\0\0\0\0\0\0\0\0\0\0\0", "CT1"),
        (b"  CT1   \0\0\0\0\0\0\0\0", "CT1"),
        ("CT-Zürich".encode("latin-1").ljust(16), "CT-Z�rich"),
        (b" " * 16, ""),
    ],
)
def test_odd_ae_titles_are_normalised(title: bytes, read: str) -> None:  # trap 4 of pynetdicom
    request = decode_associate_rq(FIXED[:20] + title + FIXED[36:] + APPLICATION_CONTEXT_ITEM)
    assert request.calling_ae == read
    assert encode_associate_rq(request)[26:42] == read.replace("\ufffd", "?").encode("ascii").ljust(16)


def test_ae_title_that_was_not_ascii_can_be_sent_back() -> None:
    request = decode_associate_rq(FIXED[:20] + b"\xff" * 16 + FIXED[36:])
    body = encode_associate_ac(request, ACCEPTANCE, 0)[6:]
    assert body[20:36] == b"?" * 16


def test_context_without_any_syntax_reads() -> None:
    request = decode_associate_rq(FIXED + item(0x20, bytes((4, 0, 0, 0))))
    assert request.contexts == (ProposedContext(id=4, abstract_syntax="", transfer_syntaxes=()),)


def test_padded_uids_are_normalised() -> None:
    context = item(0x20, bytes((1, 0, 0, 0)) + item(0x30, b"1.2.3\0") + item(0x40, b"1.2.4 "))
    (read,) = decode_associate_rq(FIXED + context).contexts
    assert (read.abstract_syntax, read.transfer_syntaxes) == ("1.2.3", ("1.2.4",))


def test_missing_maximum_length_is_assumed() -> None:
    assert decode_associate_rq(FIXED).max_pdu_bytes == ASSUMED_MAX_PDU_BYTES


def test_transfer_syntax_of_a_refused_context_is_not_read() -> None:  # PS3.8 §9.3.3.2: not significant
    answer = item(0x21, bytes((1, 0, 3, 0)) + b"\x40\0\xff\xff")
    assert decode_associate_ac(FIXED + answer).answers == (ContextAnswer(id=1, result=3, transfer_syntax=""),)


# -- what is not ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "items",
    [
        unhex("20"),  # item header cut short
        unhex("20 00 00"),
        unhex("10 00 0005 31"),  # item longer than the PDU
        unhex("20 00 0002 0100"),  # context shorter than its fixed fields
        unhex("20 00 0009 01000000 30 00 0009 31"),  # sub-item longer than its context
        item(0x50, unhex("51 00 0002 4000")),
        item(0x50, unhex("53 00 0002 0001")),
        item(0x50, unhex("54 00 0004 0009 3131")),  # UID longer than its sub-item
        item(0x50, unhex("54 00 0003 0001 31")),  # roles missing
        item(0x50, unhex("54 00 0001 00")),
        item(0x50, unhex("56 00 0002 0001")),
        item(0x50, unhex("57 00 0005 0001 31 0001")),
        item(0x50, unhex("57 00 000C 0001 31 0001 32 0004 0003 3333")),
        item(0x50, unhex("58 00 0001 01")),
        item(0x50, unhex("58 00 0004 0101 0005")),
        item(0x50, unhex("59 00 0002 0001")),
    ],
)
def test_length_that_does_not_fit_is_an_invalid_parameter(items: bytes) -> None:  # trap 2 of pynetdicom
    for decode in (decode_associate_rq, decode_associate_ac):
        if items[0] == 0x20 and len(items) > 4 and decode is decode_associate_ac:
            continue
        with pytest.raises(RemoteProtocolError) as caught:
            decode(FIXED + items)
        assert caught.value.abort_reason == 6


def test_short_pdu_of_another_length_is_an_error() -> None:
    for decode in (decode_associate_rj, decode_abort):
        with pytest.raises(RemoteProtocolError):
            decode(b"\0\0\0")


@pytest.mark.parametrize("body", [b"", FIXED[:-1]])
def test_associate_pdu_shorter_than_its_fixed_fields_is_an_error(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_associate_rq(body)
    with pytest.raises(RemoteProtocolError):
        decode_associate_ac(body)


@given(st.binary(max_size=120), st.integers(0, len(REQUEST_BODY)), st.integers(0, 20))
def test_damaged_associate_pdus_give_only_the_peers_error(garbage: bytes, at: int, cut: int) -> None:
    for body, decode in ((REQUEST_BODY, decode_associate_rq), (ACCEPTANCE_BODY, decode_associate_ac)):
        try:
            decode(body[:at] + garbage + body[at + cut :])
        except RemoteProtocolError:
            pass


# -- P-DATA-TF --------------------------------------------------------------------------------------------


def unframe(data: bytes) -> tuple[list[int], list[int], bytes]:
    """The PDU lengths, message control headers and payload of P-DATA-TF PDUs with one PDV each, context 3."""
    lengths: list[int] = []
    controls: list[int] = []
    payload = b""
    position = 0
    while position < len(data):
        pdu_type, reserved, length, size, context_id, control = unpack_from(">BBIIBB", data, position)
        assert (pdu_type, reserved, context_id, size) == (4, 0, 3, length - 4)
        lengths.append(length)
        controls.append(control)
        payload += data[position + 12 : position + 6 + length]
        position += 6 + length
    assert position == len(data)
    return lengths, controls, payload


def test_command_in_one_pdu_is_these_bytes() -> None:
    assert pdata_command(3, b"ABCD", 16384) == unhex('04 00 0000000A 00000006 03 03 "ABCD"')


def test_command_is_split_where_the_peer_takes_only_short_pdus() -> None:
    assert unframe(pdata_command(3, b"ABCDEFGH", 11)) == ([10, 10], [1, 3], b"ABCDEFGH")


def test_data_set_in_two_pdus_is_these_bytes() -> None:
    buffer, gaps = frame_data_set(3, 6, 10)
    for gap, part in zip(gaps, (b"ABCD", b"EF"), strict=True):
        gap[:] = part
    assert buffer == unhex('04 00 0000000A 00000006 03 00 "ABCD"') + unhex(
        '04 00 00000008 00000004 03 02 "EF"'
    )


@pytest.mark.parametrize(
    ("length", "max_pdu", "last", "lengths", "controls"),
    [
        (0, 16384, True, [6], [2]),
        (0, 16384, False, [], []),
        (8, 10, True, [10, 10], [0, 2]),
        (8, 10, False, [10, 10], [0, 0]),
        (4, 10, True, [10], [2]),
        (6, 10, False, [10, 8], [0, 0]),
        (9, 11, True, [10, 10, 7], [0, 0, 2]),  # an odd maximum: fragments stay even
        (3, 1, True, [8, 7], [0, 2]),  # a maximum that holds nothing: the smallest that does
        (200_000, 0, True, [131072, 68940], [0, 2]),  # no limit
    ],
)
def test_framing_of_a_data_set(
    length: int, max_pdu: int, last: bool, lengths: list[int], controls: list[int]
) -> None:
    buffer, gaps = frame_data_set(3, length, max_pdu, last=last)
    assert sum(map(len, gaps)) == length
    assert unframe(bytes(buffer))[:2] == (lengths, controls)


def test_framing_a_negative_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        frame_data_set(3, -1, 16384)


@given(st.binary(max_size=400), st.integers(0, 64), st.booleans())
def test_what_fills_the_gaps_is_what_arrives(data: bytes, max_pdu: int, last: bool) -> None:
    buffer, gaps = frame_data_set(3, len(data), max_pdu, last=last)
    position = 0
    for gap in gaps:
        gap[:] = data[position : position + len(gap)]
        position += len(gap)
    lengths, controls, payload = unframe(bytes(buffer))
    assert payload == data
    assert all(length <= max_pdu for length in lengths) or max_pdu < 8
    assert controls == [0] * (len(lengths) - last) + [2] * last
