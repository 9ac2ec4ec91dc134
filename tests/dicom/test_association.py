"""Two associations on a wire: messages both ways, release and its collision, aborts, deadlines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import pack

import pytest

from router.dicom.association import Association
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import decode_command, echo_rq, echo_rsp, store_rq, store_rsp
from router.dicom.events import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    CommandReceived,
    ConnectionClosed,
    DataReceived,
    ReleaseCompleted,
    ReleaseRequested,
)
from router.dicom.items import item
from router.dicom.negotiation import negotiate
from router.dicom.pdu import encode_abort, encode_associate_rq, encode_release_rq, frame_data_set
from router.dicom.state import State
from router.errors import AssociationLost, LocalProtocolError
from tests.dicom.wire import (
    CT,
    EXPLICIT,
    INSTANCE,
    a_pair,
    a_request,
    abort_of,
    an_acceptor,
    pump,
    receive,
    sent,
    unhex,
)


def an_asked_acceptor() -> Association:
    """An acceptor that has a request to answer."""
    acceptor = Association.acceptor(now=0.0, request_s=30.0)
    receive(acceptor, encode_associate_rq(a_request()))
    assert acceptor.state is State.STA3
    return acceptor


# -- establishment ----------------------------------------------------------------------------------------


def test_request_is_queued_at_once() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    assert requestor.has_data_to_send
    assert sent(requestor) == encode_associate_rq(a_request())
    assert requestor.state is State.STA5
    assert not requestor.has_data_to_send


def test_both_sides_know_what_was_agreed() -> None:
    requestor, acceptor = a_pair(a_request(max_pdu_bytes=20000))
    assert requestor.is_established
    assert acceptor.is_established
    assert (requestor.peer_ae_title, acceptor.peer_ae_title) == ("ROUTER", "CT1")
    assert (requestor.peer_max_pdu_bytes, acceptor.peer_max_pdu_bytes) == (131072, 20000)
    assert list(requestor.contexts) == list(acceptor.contexts) == [1, 3, 5]
    assert requestor.contexts[3].transfer_syntax == acceptor.contexts[3].transfer_syntax == EXPLICIT
    assert requestor.contexts[3].as_scu
    assert acceptor.contexts[3].as_scp
    assert acceptor.request == requestor.request


def test_request_arrives_as_it_was_meant() -> None:
    acceptor = Association.acceptor(now=0.0)
    assert acceptor.peer_ae_title == ""
    assert receive(acceptor, encode_associate_rq(a_request()), step=1) == [
        AssociationRequested(request=a_request())
    ]


def test_acceptance_without_a_usable_context_is_still_an_acceptance() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    acceptor = Association.acceptor(now=0.0)
    pump(requestor, acceptor)
    acceptor.accept(negotiate(a_request(), allowed=lambda uid: False))
    assert pump(acceptor, requestor) == [AssociationAccepted(contexts={})]
    assert requestor.is_established


def test_rejection_ends_both_sides() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    acceptor = Association.acceptor(now=0.0)
    pump(requestor, acceptor)
    acceptor.reject(1, 1, 7)
    assert acceptor.state is State.STA13
    (event,) = pump(acceptor, requestor)
    assert event == AssociationRejected(
        result=1, source=1, reason=7, text="rejected permanently: called AE title not recognized"
    )
    assert requestor.state is State.STA1


def test_rejection_with_reserved_codes_is_told_as_it_is() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    (event,) = receive(requestor, unhex("03 00 00000004 00 03 09 63"))
    assert isinstance(event, AssociationRejected)
    assert event.text == "rejected with result 3: source 9, reason 99"


def test_protocol_version_is_tested_by_its_first_bit() -> None:  # trap 5 of pynetdicom
    acceptor = Association.acceptor(now=0.0)
    (event,) = receive(acceptor, encode_associate_rq(a_request(protocol_version=0xFFFF)))
    assert isinstance(event, AssociationRequested)


def test_other_protocol_version_is_rejected() -> None:
    acceptor = Association.acceptor(now=0.0)
    (event,) = receive(acceptor, encode_associate_rq(a_request(protocol_version=2)))
    assert isinstance(event, AssociationRejected)
    assert sent(acceptor) == unhex("03 00 00000004 00 01 02 02")
    assert acceptor.state is State.STA13


@pytest.mark.parametrize("name", ["1.2.840.10008.3.1.1.2", ""])
def test_other_application_context_is_rejected(name: str) -> None:
    acceptor = Association.acceptor(now=0.0)
    (event,) = receive(acceptor, encode_associate_rq(a_request(application_context=name)))
    assert isinstance(event, AssociationRejected)
    assert sent(acceptor) == unhex("03 00 00000004 00 01 01 02")


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", (2, 1)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", (2, 1)),  # a TLS client hello
        (encode_release_rq(), (2, 2)),
        (unhex("04 00 00000006"), (2, 2)),
        (unhex("02 00 00000044"), (2, 2)),
        (unhex("01 00 00080001"), (2, 6)),  # over the cap for A-ASSOCIATE-RQ
        (unhex("01 00 00000000"), (2, 6)),
        (unhex("01 00 00000004 0001 0000"), (2, 6)),
        (
            encode_associate_rq(a_request())[:2] + pack(">I", 72) + encode_associate_rq(a_request())[6:],
            (2, 6),
        ),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_something_else_than_a_request_is_aborted(stream: bytes, answer: tuple[int, int], step: int) -> None:
    assert abort_of(Association.acceptor(now=0.0), stream, step=step) == answer


def test_message_before_the_answer_to_the_request_is_aborted() -> None:
    requestor, _ = a_pair()
    requestor.send_message(1, echo_rq(1))
    assert abort_of(an_asked_acceptor(), sent(requestor)) == (2, 2)


def test_request_as_an_answer_to_a_request_is_aborted() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    sent(requestor)
    assert abort_of(requestor, encode_associate_rq(a_request())) == (2, 2)


def test_malformed_acceptance_is_aborted() -> None:
    requestor = Association.requestor(a_request(), now=0.0)
    sent(requestor)
    body = bytes(68) + item(0x21, b"\x01")
    assert abort_of(requestor, unhex("02 00") + pack(">I", len(body)) + body) == (2, 6)


# -- messages ---------------------------------------------------------------------------------------------


def test_echo_there_and_back() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(1, echo_rq(7))
    (asked,) = pump(requestor, acceptor)
    assert isinstance(asked, CommandReceived)
    acceptor.send_message(asked.context.id, echo_rsp(asked.command, Status.SUCCESS))
    (answered,) = pump(acceptor, requestor)
    assert isinstance(answered, CommandReceived)
    assert answered.context is requestor.contexts[1]
    assert (answered.command.responded_to, answered.command.status) == (7, 0)


def store(source: Association, target: Association, data: bytes) -> None:
    """C-STORE from one to the other, and its answer."""
    source.send_message(3, store_rq(4, CT, INSTANCE))
    buffer, gaps = frame_data_set(3, len(data), source.peer_max_pdu_bytes)
    position = 0
    for gap in gaps:
        gap[:] = data[position : position + len(gap)]
        position += len(gap)
    source.send_data(buffer)
    pieces = source.data_to_send()
    assert pieces[1] is buffer
    command, arrived = receive(target, b"".join(pieces))
    assert isinstance(command, CommandReceived)
    assert isinstance(arrived, DataReceived)
    assert (command.command.field, command.command.sop_instance_uid) == (CommandField.C_STORE_RQ, INSTANCE)
    assert b"".join(arrived.fragments) == data
    target.send_message(command.context.id, store_rsp(command.command, Status.SUCCESS))
    (answered,) = pump(target, source)
    assert isinstance(answered, CommandReceived)
    assert (answered.command.responded_to, answered.command.status) == (4, 0)


@pytest.mark.parametrize("size", [0, 1, 2, 131066, 131068, 300_001])
def test_store_there_and_back(size: int) -> None:
    store(*a_pair(), bytes(size))


def test_acceptor_can_send_messages_of_its_own() -> None:  # C-STORE sub-operations of a C-GET
    requestor, acceptor = a_pair()
    store(acceptor, requestor, b"ABCD")


def test_both_send_at_the_same_time() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(1, echo_rq(1))
    acceptor.send_message(1, echo_rq(2))
    (at_acceptor,) = pump(requestor, acceptor)
    (at_requestor,) = pump(acceptor, requestor)
    assert isinstance(at_acceptor, CommandReceived)
    assert isinstance(at_requestor, CommandReceived)
    assert (at_acceptor.command.message_id, at_requestor.command.message_id) == (1, 2)


def test_peers_short_maximum_is_respected() -> None:
    requestor, acceptor = a_pair(a_request(max_pdu_bytes=100))
    acceptor.send_message(3, store_rq(1, CT, INSTANCE))
    data = sent(acceptor)
    assert data[:6] == unhex("04 00 00000064")
    (event,) = receive(requestor, data)
    assert isinstance(event, CommandReceived)


def test_message_on_a_context_that_was_not_accepted_is_our_error() -> None:
    requestor, _ = a_pair()
    with pytest.raises(LocalProtocolError):
        requestor.send_message(7, echo_rq(1))


def test_message_before_the_association_is_our_error() -> None:
    with pytest.raises(LocalProtocolError):
        Association.requestor(a_request(), now=0.0).send_message(1, echo_rq(1))
    with pytest.raises(LocalProtocolError):
        an_asked_acceptor().send_data(b"")


# -- release ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_reversed", [False, True])
def test_release_by_either_side(is_reversed: bool) -> None:
    one, other = a_pair()
    if is_reversed:
        one, other = other, one
    one.request_release()
    assert pump(one, other) == [ReleaseRequested()]
    assert other.is_established  # a response may still be sent
    other.send_message(1, echo_rsp(decode_command(echo_rq(1))))
    other.confirm_release()
    events = pump(other, one)
    assert isinstance(events[0], CommandReceived)
    assert events[1:] == [ReleaseCompleted()]
    assert (one.state, other.state) == (State.STA1, State.STA13)
    assert one.is_closed
    assert other.is_closed
    assert other.receive_eof(1.0) == []
    assert other.state is State.STA1


def test_release_collision() -> None:  # PS3.8 §9.2: Sta9 and 11 on the requestor's side, Sta10 and 12 here
    requestor, acceptor = a_pair()
    requestor.request_release()
    acceptor.request_release()
    from_requestor, from_acceptor = sent(requestor), sent(acceptor)
    assert receive(requestor, from_acceptor) == [ReleaseRequested()]
    assert receive(acceptor, from_requestor) == [ReleaseRequested()]
    assert (requestor.state, acceptor.state) == (State.STA9, State.STA10)
    requestor.confirm_release()
    assert requestor.state is State.STA11
    assert pump(requestor, acceptor) == [ReleaseCompleted()]
    assert (requestor.state, acceptor.state) == (State.STA11, State.STA12)
    acceptor.confirm_release()
    assert acceptor.is_closed
    assert pump(acceptor, requestor) == [ReleaseCompleted()]
    assert requestor.is_closed


def test_release_collision_confirmed_by_the_acceptor_before_its_turn() -> None:
    requestor, acceptor = a_pair()
    requestor.request_release()
    acceptor.request_release()
    from_requestor, from_acceptor = sent(requestor), sent(acceptor)
    receive(requestor, from_acceptor)
    receive(acceptor, from_requestor)
    acceptor.confirm_release()
    assert sent(acceptor) == b""
    requestor.confirm_release()
    assert pump(requestor, acceptor) == [ReleaseCompleted()]
    assert acceptor.state is State.STA13
    assert pump(acceptor, requestor) == [ReleaseCompleted()]


def test_nothing_can_be_sent_after_a_release_was_requested() -> None:
    requestor, _ = a_pair()
    requestor.request_release()
    assert not requestor.is_established
    with pytest.raises(LocalProtocolError):
        requestor.send_message(1, echo_rq(1))
    with pytest.raises(LocalProtocolError):
        requestor.request_release()


def test_release_that_nobody_requested_cannot_be_confirmed() -> None:
    requestor, _ = a_pair()
    with pytest.raises(LocalProtocolError):
        requestor.confirm_release()


# -- the end ----------------------------------------------------------------------------------------------


def test_abort_ends_both_sides() -> None:
    requestor, acceptor = a_pair()
    requestor.abort()
    assert requestor.state is State.STA13
    assert pump(requestor, acceptor) == [Aborted(source=0, reason=0)]
    assert acceptor.state is State.STA1


def test_abort_says_who_and_why() -> None:
    requestor, acceptor = a_pair()
    acceptor.abort(2, 2)
    assert pump(acceptor, requestor) == [Aborted(source=2, reason=2)]


def test_abort_twice_is_said_once() -> None:
    requestor, _ = a_pair()
    requestor.abort()
    sent(requestor)
    requestor.abort()
    assert not requestor.has_data_to_send


def test_abort_before_any_request_says_nothing() -> None:
    acceptor = Association.acceptor(now=0.0)
    acceptor.abort()
    assert acceptor.is_closed
    assert sent(acceptor) == b""


def test_requests_after_the_end_are_a_lost_association() -> None:
    requestor, acceptor = a_pair()
    requestor.abort()
    pump(requestor, acceptor)
    for association in (requestor, acceptor):
        late: list[Callable[[], None]] = [
            partial(association.send_message, 1, echo_rq(1)),
            partial(association.send_data, b""),
            association.request_release,
            association.confirm_release,
            partial(association.accept, negotiate(a_request())),
            partial(association.reject, 1, 1, 1),
        ]
        for verb in late:
            with pytest.raises(AssociationLost):
                verb()


def test_lost_connection_is_told_once() -> None:
    requestor, acceptor = a_pair()
    for association in (requestor, acceptor, an_asked_acceptor(), Association.acceptor(now=0.0)):
        assert association.receive_eof(1.0) == [ConnectionClosed()]
        assert association.receive_eof(1.0) == []
        assert association.state is State.STA1
        assert association.next_deadline() is None


def test_peer_that_closes_instead_of_answering_a_release() -> None:
    requestor, _ = a_pair()
    requestor.request_release()
    assert requestor.receive_eof(1.0) == [ConnectionClosed()]


# -- time -------------------------------------------------------------------------------------------------


def test_request_must_arrive_whole_in_time() -> None:
    acceptor = Association.acceptor(now=100.0, request_s=30.0)
    assert acceptor.next_deadline() == 130.0
    receive(acceptor, encode_associate_rq(a_request())[:50], now=129.0)
    assert acceptor.handle_deadline(129.0) == []
    assert acceptor.next_deadline() == 130.0  # a slow trickle buys no time
    assert acceptor.handle_deadline(130.0) == [Aborted(source=2, reason=0)]
    assert acceptor.is_closed
    assert sent(acceptor) == b""  # PS3.8 AA-2: the connection is just closed


def test_answer_to_the_request_must_arrive_in_time() -> None:
    requestor = Association.requestor(a_request(), now=100.0, reply_s=20.0)
    sent(requestor)
    assert requestor.next_deadline() == 120.0
    assert requestor.handle_deadline(120.0) == [Aborted(source=0, reason=0)]
    assert sent(requestor) == encode_abort(0, 0)


def test_waiting_for_the_local_answer_has_no_deadline() -> None:
    assert an_asked_acceptor().next_deadline() is None


def test_idle_association_is_aborted() -> None:
    acceptor = an_acceptor()
    assert acceptor.next_deadline() == 600.0
    receive(acceptor, unhex("04"), now=500.0)
    assert acceptor.next_deadline() == 560.0  # in the middle of a PDU: message_s
    assert acceptor.handle_deadline(559.0) == []
    assert acceptor.handle_deadline(560.0) == [Aborted(source=2, reason=0)]
    assert sent(acceptor) == encode_abort(2, 0)
    assert acceptor.state is State.STA13


def test_pause_inside_a_message_has_its_own_deadline() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(3, store_rq(1, CT, INSTANCE))
    pump(requestor, acceptor, now=10.0)
    assert acceptor.next_deadline() == 70.0


def test_each_message_starts_the_idle_time_anew() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(1, echo_rq(1))
    (event,) = pump(requestor, acceptor, now=300.0)
    assert isinstance(event, CommandReceived)
    acceptor.send_message(1, echo_rsp(event.command))
    assert acceptor.next_deadline() == 900.0


def test_peer_that_waits_for_our_answer_is_not_idle() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(1, echo_rq(1))
    (event,) = pump(requestor, acceptor, now=0.0)
    assert isinstance(event, CommandReceived)
    assert acceptor.handle_deadline(600.0) == []
    assert acceptor.next_deadline() == 1200.0
    acceptor.send_message(1, echo_rsp(event.command))
    assert acceptor.handle_deadline(1200.0) == [Aborted(source=2, reason=0)]


def test_peer_that_has_some_of_our_answers_is_not_idle_before_the_last() -> None:
    requestor, acceptor = a_pair()
    requestor.send_message(1, echo_rq(1))
    (event,) = pump(requestor, acceptor, now=0.0)
    assert isinstance(event, CommandReceived)
    acceptor.send_message(1, echo_rsp(event.command), is_last=False)
    assert acceptor.handle_deadline(600.0) == []
    acceptor.send_message(1, echo_rsp(event.command))
    assert acceptor.handle_deadline(1200.0) == [Aborted(source=2, reason=0)]


def test_release_must_be_confirmed_in_time() -> None:
    requestor, _ = a_pair()
    requestor.request_release()  # at an instant that it is not told: the wait begins at the next one
    assert requestor.next_deadline() == 30.0
    assert requestor.handle_deadline(400.0) == []
    assert requestor.handle_deadline(429.0) == []
    assert requestor.handle_deadline(430.0) == [Aborted(source=0, reason=0)]


def test_wait_for_the_peers_close_is_bounded() -> None:
    requestor, _ = a_pair()
    requestor.abort()
    assert requestor.handle_deadline(100.0) == []
    assert requestor.next_deadline() == 130.0
    assert requestor.handle_deadline(130.0) == []
    assert requestor.next_deadline() is None


def test_wait_that_the_peer_began_counts_from_what_it_sent() -> None:
    acceptor = an_asked_acceptor()
    receive(acceptor, encode_abort(0, 0), now=50.0)
    assert acceptor.next_deadline() is None
    rejected = Association.acceptor(now=0.0, request_s=30.0)
    receive(rejected, encode_associate_rq(a_request(protocol_version=2)), now=20.0)
    assert rejected.next_deadline() == 50.0
    rejected.handle_deadline(50.0)
    assert rejected.state is State.STA1


def test_without_limits_there_is_no_deadline() -> None:
    acceptor = Association.acceptor(now=0.0)
    receive(acceptor, encode_associate_rq(a_request()))
    acceptor.accept(negotiate(a_request()))
    assert acceptor.next_deadline() is None
