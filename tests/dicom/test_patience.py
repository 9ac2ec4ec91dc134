"""When a peer is late: pauses, trickles, and messages that never end."""

from __future__ import annotations

import math
from struct import pack

import pytest

from router.dicom.association import Association
from router.dicom.codes import CommandField
from router.dicom.dimse import encode_command, store_rq
from router.dicom.events import Aborted
from router.dicom.negotiation import negotiate
from router.dicom.patience import Patience, Wait
from router.dicom.pdu import encode_associate_rq, pdata_command
from router.errors import RemoteProtocolError
from tests.dicom.wire import CT, INSTANCE, a_request, receive, sent

ABORTED = [Aborted(source=2, reason=0)]


def an_acceptor(
    *, idle_s: float = 600.0, message_s: float = 60.0, rate: float = 100.0, total_s: float = math.inf
) -> Association:
    acceptor = Association.acceptor(
        now=0.0,
        request_s=30.0,
        idle_s=idle_s,
        message_s=message_s,
        message_bytes_per_second=rate,
        message_total_s=total_s,
    )
    receive(acceptor, encode_associate_rq(a_request()))
    acceptor.accept(negotiate(a_request()))
    sent(acceptor)
    return acceptor


def begin_data_set(acceptor: Association, now: float, length: int = 1_000_000) -> None:
    """A C-STORE-RQ, and the header of one long P-DATA-TF."""
    receive(acceptor, pdata_command(3, store_rq(1, CT, INSTANCE), 0), now=now)
    receive(acceptor, pack(">BBIIBB", 4, 0, length + 6, length + 2, 3, 2), now=now)


def test_a_byte_a_second_is_no_progress() -> None:
    acceptor = an_acceptor()
    begin_data_set(acceptor, 10.0)
    for second in range(11, 70):
        receive(acceptor, b"x", now=float(second))
        assert acceptor.handle_deadline(float(second)) == []
    assert acceptor.next_deadline() == 70.0
    assert acceptor.handle_deadline(70.0) == ABORTED
    assert acceptor.overdue is Wait.RATE
    assert acceptor.is_closed


def test_what_comes_fast_enough_may_take_as_long_as_it_needs() -> None:
    acceptor = an_acceptor()
    begin_data_set(acceptor, 0.0)
    for minute in range(1, 100):
        receive(acceptor, bytes(6000), now=minute * 60.0 - 1.0)
        assert acceptor.next_deadline() == minute * 60.0
        assert acceptor.handle_deadline(minute * 60.0) == []
    assert acceptor.is_mid_message


def test_a_pause_is_a_pause_also_where_much_came_before() -> None:
    acceptor = an_acceptor()
    begin_data_set(acceptor, 0.0)
    receive(acceptor, bytes(500_000), now=1.0)
    assert acceptor.handle_deadline(60.0) == []  # a minute with enough of it
    assert acceptor.handle_deadline(119.0) == []
    assert acceptor.handle_deadline(120.0) == ABORTED
    assert acceptor.overdue is Wait.PAUSE


def test_a_message_is_bounded_in_all() -> None:
    acceptor = an_acceptor(total_s=150.0)
    begin_data_set(acceptor, 5.0)
    for second in range(6, 155):
        receive(acceptor, bytes(200), now=float(second))
        assert acceptor.handle_deadline(float(second)) == []
    assert acceptor.handle_deadline(155.0) == ABORTED
    assert acceptor.overdue is Wait.TOTAL


def test_one_message_after_the_other_is_not_one_message() -> None:
    acceptor = an_acceptor(total_s=100.0)
    begin_data_set(acceptor, 0.0, length=1000)
    for start in range(0, 1000, 90):
        # The end of one and the beginning of the next in one piece: there is always one under way.
        end = bytes(1000) if start == 0 else bytes(998)
        command = pdata_command(3, store_rq(1, CT, INSTANCE), 0)
        receive(acceptor, end + command + pack(">BBIIBB", 4, 0, 1006, 1002, 3, 2) + b"ab", now=start + 59.0)
        assert acceptor.is_mid_message
        assert acceptor.handle_deadline(start + 60.0) == []


def test_a_command_that_never_ends_is_late_too() -> None:
    acceptor = an_acceptor()
    receive(acceptor, pdata_command(3, store_rq(1, CT, INSTANCE), 0)[:20], now=10.0)
    for second in range(11, 70):
        receive(acceptor, b"\0", now=float(second))
    assert acceptor.handle_deadline(70.0) == ABORTED
    assert acceptor.overdue is Wait.RATE


def test_who_was_not_read_is_excused() -> None:
    acceptor = an_acceptor()
    begin_data_set(acceptor, 0.0)
    acceptor.excuse(59.0)
    assert acceptor.next_deadline() == 119.0
    assert acceptor.handle_deadline(60.0) == []


def test_an_idle_association_says_so() -> None:
    acceptor = an_acceptor(idle_s=50.0)
    assert acceptor.handle_deadline(50.0) == ABORTED
    assert acceptor.overdue is Wait.IDLE


def test_an_association_without_a_context_is_not_kept_for_long() -> None:
    acceptor = Association.acceptor(now=0.0, request_s=30.0, idle_s=600.0)
    receive(acceptor, encode_associate_rq(a_request()))
    acceptor.accept(negotiate(a_request(), allowed=lambda _: False))
    assert acceptor.next_deadline() == 30.0


def test_a_request_that_has_no_answer_keeps_no_association() -> None:
    acceptor = an_acceptor(idle_s=50.0)
    cancel = encode_command(field=CommandField.C_CANCEL_RQ, responded_to=1)
    receive(acceptor, pdata_command(1, cancel, 0), now=10.0)
    assert acceptor.handle_deadline(60.0) == ABORTED


def test_a_request_that_drips_is_late_by_its_own_name() -> None:
    acceptor = Association.acceptor(now=0.0, request_s=30.0)
    assert acceptor.handle_deadline(30.0) == ABORTED
    assert acceptor.overdue is Wait.REQUEST


def test_more_contexts_than_the_limit_are_refused_for_good() -> None:
    acceptor = Association.acceptor(now=0.0, most_contexts=2)
    receive(acceptor, encode_associate_rq(a_request()))
    assert sent(acceptor)[6:] == bytes((0, 1, 3, 2))  # permanent, presentation related, local limit exceeded
    assert acceptor.is_closed


def test_a_request_over_its_limit_is_not_read() -> None:
    acceptor = Association.acceptor(now=0.0, request_cap_bytes=200)
    with pytest.raises(RemoteProtocolError) as caught:
        receive(acceptor, encode_associate_rq(a_request()))
    assert caught.value.limit == "request_bytes"


def test_a_request_full_of_empty_items_is_not_read_to_its_end() -> None:
    empty = pack(">BBH", 0x40, 0, 0)
    whole = encode_associate_rq(a_request())[6:] + empty * 60_000
    acceptor = Association.acceptor(now=0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        receive(acceptor, pack(">BBI", 1, 0, len(whole)) + whole)
    assert caught.value.limit == "contexts"


def test_without_a_least_rate_only_pauses_count() -> None:
    patience = Patience(reply_s=1.0, idle_s=9.0, message_s=5.0, now=0.0)
    patience.begin_message(1.0)
    patience.last_at = 3.0
    assert patience.message_until() == 8.0
    assert patience.late_in_message(8.0) is Wait.PAUSE
