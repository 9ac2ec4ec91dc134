"""What comes in: any chunking gives the same events, views are not copies, and each breach its A-ABORT."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given, settings, strategies as st

from router.dicom.codes import CommandField
from router.dicom.dimse import echo_rq, store_rq, store_rsp
from router.dicom.events import Aborted, CommandReceived, DataReceived, Event
from router.dicom.pdu import (
    encode_abort,
    encode_associate_rj,
    encode_associate_rq,
    encode_release_rp,
    encode_release_rq,
    frame_data_set,
    pdata_command,
)
from router.dicom.state import State
from router.errors import RemoteProtocolError
from tests.dicom.wire import (
    CT,
    INSTANCE,
    a_request,
    abort_of,
    an_acceptor,
    normalised,
    receive,
    unhex,
)

UNRECOGNIZED, UNEXPECTED, UNEXPECTED_PARAMETER, INVALID_VALUE = (2, 1), (2, 2), (2, 5), (2, 6)

DATA_SET = bytes(range(256)) * 5


def pdv(context_id: int, control: int, payload: bytes = b"") -> bytes:
    return pack(">IBB", len(payload) + 2, context_id, control) + payload


def pdata(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return pack(">BxI", 4, len(body)) + body


def framed(data: bytes, *, context_id: int = 3, max_pdu: int = 512, last: bool = True) -> bytes:
    buffer, gaps = frame_data_set(context_id, len(data), max_pdu, last=last)
    position = 0
    for gap in gaps:
        gap[:] = data[position : position + len(gap)]
        position += len(gap)
    return bytes(buffer)


STORE = store_rq(1, CT, INSTANCE)


def a_store(data: bytes = DATA_SET, *, max_pdu: int = 512) -> bytes:
    return pdata_command(3, STORE, max_pdu) + framed(data, max_pdu=max_pdu)


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# -- messages ---------------------------------------------------------------------------------------------


def test_echo_request_arrives() -> None:
    (event,) = receive(an_acceptor(), pdata_command(1, echo_rq(5), 0))
    assert isinstance(event, CommandReceived)
    assert event.context.id == 1
    assert (event.command.field, event.command.message_id) == (CommandField.C_ECHO_RQ, 5)


def test_store_in_one_chunk_is_two_events() -> None:
    command, data = receive(an_acceptor(), a_store())
    assert isinstance(command, CommandReceived)
    assert isinstance(data, DataReceived)
    assert command.context.abstract_syntax == CT
    assert data.last
    assert b"".join(data.fragments) == DATA_SET


def test_fragments_are_views_of_what_was_passed_in() -> None:
    chunk = bytearray(a_store())
    _, data = an_acceptor().receive_data(memoryview(chunk), 0.0)
    assert isinstance(data, DataReceived)
    assert all(fragment.obj is chunk for fragment in data.fragments)


def test_one_chunk_brings_one_event_of_a_data_set() -> None:
    acceptor = an_acceptor()
    stream = memoryview(a_store(bytes(100_000), max_pdu=1000))
    first = acceptor.receive_data(stream[:30_000], 0.0)
    second = acceptor.receive_data(stream[30_000:60_000], 0.0)
    third = acceptor.receive_data(stream[60_000:], 0.0)
    assert list(map(kinds, (first, second, third))) == [
        ["CommandReceived", "DataReceived"],
        ["DataReceived"],
        ["DataReceived"],
    ]
    assert [event.last for event in first + second + third if isinstance(event, DataReceived)] == [
        False,
        False,
        True,
    ]


def test_messages_one_after_another_in_one_chunk() -> None:
    events = receive(an_acceptor(), a_store(b"AB") + pdata_command(1, echo_rq(2), 0) + a_store(b"CD"))
    assert [event[1] if isinstance(event, tuple) else type(event) for event in normalised(events)] == [
        CommandReceived, b"AB", CommandReceived, CommandReceived, b"CD",
    ]  # fmt: skip


def test_command_and_data_set_in_one_pdu() -> None:
    events = receive(an_acceptor(), pdata(pdv(3, 3, STORE), pdv(3, 0, b"AB"), pdv(3, 2, b"CD")))
    assert normalised(events)[1:] == [("data set", b"ABCD")]


def test_empty_fragments_are_nothing_but_their_last_bit() -> None:
    command = pdata(pdv(3, 1, STORE[:50]), pdv(3, 1), pdv(3, 1, STORE[50:]), pdv(3, 3))
    data = pdata(pdv(3, 0)) + pdata(pdv(3, 0, b"AB")) + pdata(pdv(3, 2))
    events = receive(an_acceptor(), command + data)
    assert normalised(events)[1:] == [("data set", b"AB")]


def test_empty_end_leaves_no_fragments_to_the_next_message() -> None:
    acceptor = an_acceptor()
    events = receive(acceptor, pdata(pdv(3, 3, STORE)) + pdata(pdv(3, 0), pdv(3, 2)) + a_store(b"XY"))
    (_, nothing, _, something) = events
    assert isinstance(nothing, DataReceived)
    assert isinstance(something, DataReceived)
    assert nothing.fragments == []
    assert b"".join(something.fragments) == b"XY"


def test_reserved_control_bits_are_not_tested() -> None:
    stream = pdata(pdv(3, 0xFF, STORE)) + pdata(pdv(3, 0xFC, b"AB"), pdv(3, 0xFE, b"CD"))
    events = receive(an_acceptor(), stream)
    assert normalised(events)[1:] == [("data set", b"ABCD")]


def test_a_requests_problem_costs_nothing_but_itself() -> None:  # trap 3 of pynetdicom
    odd = pdata_command(3, store_rq(1, CT, "1." + "2" * 70, priority=5), 0) + framed(b"AB")
    events = receive(an_acceptor(), odd + a_store(b"CD"))
    commands = [event.command for event in events if isinstance(event, CommandReceived)]
    assert [bool(command.problem) for command in commands] == [True, False]
    assert normalised(events)[3] == ("data set", b"CD")


def test_pdu_over_what_was_offered_but_under_the_cap_is_read() -> None:
    acceptor = an_acceptor(pdu_cap_bytes=1 << 20)
    events = receive(acceptor, a_store(bytes(500_000), max_pdu=400_000))
    assert normalised(events)[1:] == [("data set", bytes(500_000))]


def test_mid_message_is_known_from_the_first_byte_on() -> None:
    acceptor = an_acceptor()
    stream = a_store(b"ABCD") + pdata_command(1, echo_rq(1), 0)
    ends = {len(a_store(b"ABCD")), len(stream)}
    for position in range(len(stream)):
        receive(acceptor, stream[position : position + 1])
        assert acceptor.is_mid_message == (position + 1 not in ends)


# -- any chunking gives the same events -------------------------------------------------------------------


def conversation() -> bytes:
    return (
        pdata_command(1, echo_rq(1), 0)
        + a_store(DATA_SET)
        + a_store(b"")
        + pdata_command(5, store_rq(2, "1.2.840.10008.5.1.4.1.1.4", INSTANCE), 40)
        + framed(DATA_SET, context_id=5, max_pdu=40)
        + pdata(pdv(3, 3, STORE), pdv(3, 0, b"AB"), pdv(3, 0), pdv(3, 2, b"CD"))
        + framed_response()
        + encode_release_rq()
    )


def framed_response() -> bytes:
    (event,) = receive(an_acceptor(), pdata_command(1, echo_rq(9), 0))
    assert isinstance(event, CommandReceived)
    return pdata_command(3, store_rsp(event.command, 0), 0)


WHOLE = conversation()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 7, 11, 12, 13, 100, 511, 512, 518, 519, 1000])
def test_even_chunks_give_the_events_of_the_whole(step: int) -> None:
    assert normalised(receive(an_acceptor(), WHOLE, step=step)) == normalised(receive(an_acceptor(), WHOLE))


@given(st.lists(st.integers(0, len(WHOLE)), max_size=30))
@settings(deadline=None)
def test_any_chunks_give_the_events_of_the_whole(cuts: list[int]) -> None:
    acceptor = an_acceptor()
    view = memoryview(WHOLE)
    events: list[Event] = []
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(WHOLE)], strict=True):
        events += acceptor.receive_data(view[start:stop], 0.0)
    assert normalised(events) == normalised(receive(an_acceptor(), WHOLE))
    assert acceptor.state is State.STA8


@pytest.mark.parametrize("step", [1, 7, 0])
def test_abort_inside_a_data_set_comes_after_what_arrived_of_it(step: int) -> None:
    stream = pdata_command(3, STORE, 0) + framed(b"ABCD", last=False) + encode_abort(0, 0) + b"more"
    events = receive(an_acceptor(), stream, step=step)
    assert normalised(events)[1:] == [("cut short", b"ABCD"), Aborted(source=0, reason=0)]


@given(st.binary(min_size=1, max_size=300), st.integers(0, len(WHOLE)), st.integers(1, 40))
@settings(deadline=None)
def test_garbage_gives_events_or_the_peers_error(garbage: bytes, at: int, step: int) -> None:
    acceptor = an_acceptor()
    try:
        receive(acceptor, WHOLE[:at] + garbage + WHOLE[at:], step=step)
    except RemoteProtocolError as error:
        answer = b"".join(acceptor.data_to_send())
        assert answer == encode_abort(2, error.abort_reason)
        assert acceptor.state is State.STA13
        assert acceptor.receive_data(memoryview(garbage), 0.0) == []


# -- breaches: PS3.8 Table 9-26 ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        (unhex("08 00 00000004 00000000"), UNRECOGNIZED),
        (unhex("00 00 00000000"), UNRECOGNIZED),
        (b"GET / HTTP/1.1\r\n\r\n", UNRECOGNIZED),
        (encode_associate_rq(a_request()), UNEXPECTED),
        (encode_associate_rj(1, 1, 1), UNEXPECTED),
        (encode_release_rp(), UNEXPECTED),
        (pdata(pdv(3, 3, STORE)) + encode_release_rq(), UNEXPECTED),  # inside a message
        (pdata(pdv(7, 3, STORE)), INVALID_VALUE),  # a context that was not proposed
        (pdata(pdv(2, 3, STORE)), INVALID_VALUE),
        (pdata(pdv(3, 2, b"AB")), UNEXPECTED_PARAMETER),  # data before command
        (pdata(pdv(3, 3, STORE), pdv(3, 2, b"AB"), pdv(3, 2, b"CD")), UNEXPECTED_PARAMETER),
        (pdata(pdv(1, 3, echo_rq(1))) + pdata(pdv(1, 2, b"AB")), UNEXPECTED_PARAMETER),  # none announced
        (pdata(pdv(3, 3, STORE)) + pdata(pdv(3, 3, STORE)), UNEXPECTED_PARAMETER),
        (pdata(pdv(3, 3, STORE)) + pdata(pdv(5, 2, b"AB")), UNEXPECTED_PARAMETER),  # another context
        (pdata(pdv(3, 1, STORE[:20])) + pdata(pdv(3, 0, b"AB")), UNEXPECTED_PARAMETER),
        (pdata(pdv(3, 1, STORE[:20])) + pdata(pdv(5, 3, STORE[20:])), UNEXPECTED_PARAMETER),
        (pdata(pdv(3, 3, STORE[:-3])), INVALID_VALUE),  # a command set that cannot be taken apart
        (pdata(), INVALID_VALUE),  # no PDV
        (unhex("04 00 00000003 000000"), INVALID_VALUE),
        (unhex("04 00 00000006 00000001 03 03"), INVALID_VALUE),  # a PDV shorter than its header
        (unhex("04 00 00000006 00000003 03 03"), INVALID_VALUE),  # longer than its PDU
        (unhex("04 00 00000008 FFFFFFFF 03 03 0000"), INVALID_VALUE),
        (unhex("04 00 0000000B 00000004 03 01 0000 000000"), INVALID_VALUE),  # stray bytes behind it
        (unhex("04 00 00100001"), INVALID_VALUE),  # over the cap of 1 MiB
        (unhex("04 00 FFFFFFFF"), INVALID_VALUE),
        (unhex("05 00 00000003 000000"), INVALID_VALUE),
        (unhex("05 00 00000000"), INVALID_VALUE),
        (unhex("07 00 00000005 0000000000"), INVALID_VALUE),
    ],
)
def test_breach_is_answered_by_an_abort(stream: bytes, answer: tuple[int, int], step: int) -> None:
    assert abort_of(an_acceptor(), stream, step=step) == answer


@pytest.mark.parametrize("step", [0, 1, 100])
def test_command_set_over_its_cap_is_an_invalid_value(step: int) -> None:
    at_the_cap = pdata_command(3, STORE, 0)
    assert receive(an_acceptor(command_cap_bytes=len(STORE)), at_the_cap, step=step)
    for stream in (at_the_cap, pdata_command(3, STORE, 40)):
        assert abort_of(an_acceptor(command_cap_bytes=len(STORE) - 1), stream, step=step) == INVALID_VALUE


def test_breach_after_a_data_set_has_begun_in_the_short_way() -> None:
    good = pdata(pdv(3, 3, STORE)) + framed(DATA_SET, last=False)
    assert abort_of(an_acceptor(), good + unhex("04 00 00000008 00000005 03 02 4142")) == INVALID_VALUE
    assert abort_of(an_acceptor(), good + pdata(pdv(5, 2, b"AB"))) == UNEXPECTED_PARAMETER
