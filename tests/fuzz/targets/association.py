"""An association and whatever a peer sends it.

The first byte says in which state it begins and how its user behaves, the second how the stream is cut; the
rest is the stream. A passive user does nothing, and then the cuts must make no difference. An active one
answers as the gateway and the sender do, or withdraws; then what we send must be whole PDUs, in proportion to
what came, and nothing but the peer may be to blame for an end.
"""

from __future__ import annotations

from collections.abc import Iterator

from router.dicom.association import Association
from router.dicom.dimse import echo_rq, failure_rsp, store_rsp
from router.dicom.events import (
    AssociationAccepted,
    AssociationRequested,
    CommandReceived,
    DataReceived,
    Event,
    ReleaseRequested,
)
from router.dicom.negotiation import negotiate
from router.dicom.pdu import encode_associate_rq, encode_release_rq, frame_data_set
from router.errors import AssociationLost, LocalProtocolError, RemoteProtocolError
from tests.dicom.wire import a_request, an_acceptor, normalised, pump, sent

WORDS = (
    encode_associate_rq(a_request()),
    encode_release_rq(),
    bytes.fromhex("060000000004 00000000"),
    bytes.fromhex("070000000004 00000000"),
    bytes.fromhex("030000000004 00010101"),
    bytes.fromhex("040000000006 00000002 0103"),
    bytes.fromhex("040000000008 00000004 0302 0000"),
    bytes.fromhex("000000000400000000000000 0000000102000000 3000 0000100102000000 0100"),
    bytes.fromhex("0000000802000000 0101"),
    b"1.2.840.10008.1.1",
    b"1.2.840.10008.1.2",
)

COMMAND_CAP_BYTES = 512
PDU_CAP_BYTES = 2048
REQUEST_CAP_BYTES = 1024
ANSWER_BYTES = 4096  # more than all that one thing from the peer is answered with

_START = 0x03  # of the first byte: the state to begin in
_ACTIVE, _REJECTS, _ASKS, _RELEASES, _ABORTS, _CLOSES = (0x04, 0x08, 0x10, 0x20, 0x40, 0x80)


def target(data: bytes) -> None:
    """See the module."""
    if len(data) < 2:
        return
    mode, step, stream = data[0], data[1], data[2:]
    if mode & _ACTIVE:
        _drive(mode, step, stream)
    else:
        _compare(mode, step, stream)


def _begin(mode: int) -> Association:
    """An association: new in either role, or established in either."""
    start = mode & _START
    if start == 0:
        return Association.acceptor(
            command_cap_bytes=COMMAND_CAP_BYTES, pdu_cap_bytes=PDU_CAP_BYTES,
            request_cap_bytes=REQUEST_CAP_BYTES, most_contexts=3, now=0.0, idle_s=60.0, message_s=10.0,
            message_bytes_per_second=5.0, message_total_s=100.0,
        )  # fmt: skip
    if start == 1:
        return an_acceptor(command_cap_bytes=COMMAND_CAP_BYTES, pdu_cap_bytes=PDU_CAP_BYTES)
    requestor = Association.requestor(
        a_request(async_ops=(0, 1)), command_cap_bytes=COMMAND_CAP_BYTES, pdu_cap_bytes=PDU_CAP_BYTES,
        now=0.0, idle_s=60.0, message_s=10.0,
    )  # fmt: skip
    if start == 3:
        acceptor = Association.acceptor(now=0.0)
        pump(requestor, acceptor)
        acceptor.accept(negotiate(a_request()))
        pump(acceptor, requestor)
    sent(requestor)
    return requestor


def _cut(stream: bytes, step: int) -> Iterator[memoryview]:
    view = memoryview(stream)
    size = step or len(stream) or 1
    return (view[at : at + size] for at in range(0, len(view), size))


# -- a user that does nothing -----------------------------------------------------------------------------


def _compare(mode: int, step: int, stream: bytes) -> None:
    """Cut or whole, the stream means the same and is answered in the same way."""
    whole, cut = _begin(mode), _begin(mode)
    if mode & _RELEASES:
        for association in (whole, cut):
            if association.is_established:
                association.request_release()
    seen, error = _feed(whole, stream, 0)
    seen_cut, error_cut = _feed(cut, stream, step or 1)
    assert str(error) == str(error_cut), (error, error_cut)
    assert whole.state is cut.state
    assert sent(whole) == sent(cut)
    if error is None:
        assert normalised(seen) == normalised(seen_cut)


def _feed(association: Association, stream: bytes, step: int) -> tuple[list[Event], str | None]:
    events: list[Event] = []
    for piece in _cut(stream, step):
        try:
            events += association.receive_data(piece, 0.0)
        except RemoteProtocolError as error:
            _check_aborted(association, error)
            return events, str(error)
        _check_held(association)
    return events, None


# -- a user that acts -------------------------------------------------------------------------------------


def _drive(mode: int, step: int, stream: bytes) -> None:
    association = _begin(mode)
    now, sent_bytes = 0.0, 0
    answerable = 1
    for piece in _cut(stream, step):
        now += 7.0 if mode & _CLOSES else 1.0
        _meet_deadline(association, now)
        try:
            events = association.receive_data(piece, now)
        except RemoteProtocolError as error:
            _check_aborted(association, error)
            assert not association.receive_data(piece, now)
            break
        _check_held(association)
        answerable += len(events)
        for event in events:
            _act(association, event, mode)
        sent_bytes += _check_sent(association)
        if mode & _ABORTS and now > 20.0:
            association.abort()
    assert sent_bytes <= ANSWER_BYTES * answerable + 32 * len(stream), "more is answered than was asked"
    _end(association, mode, now)


def _act(association: Association, event: Event, mode: int) -> None:
    """What the user does at an event; where the association is over already, it is told so."""
    try:
        if isinstance(event, AssociationRequested):
            if mode & _REJECTS:
                association.reject(1, 1, 7)
            else:
                association.accept(negotiate(event.request, async_ops=(8, 1)))
        elif isinstance(event, AssociationAccepted):
            _ask(association)
        elif isinstance(event, CommandReceived):
            _answer(association, event)
        elif isinstance(event, DataReceived) and event.last and mode & _ASKS:
            _ask(association)
            if mode & _RELEASES:
                association.request_release()
        elif isinstance(event, ReleaseRequested):
            association.confirm_release()
    except AssociationLost:
        assert association.is_closed
    except LocalProtocolError:
        # Several events of one call: a later one has changed the state since this one happened.
        assert not association.is_established or mode & (_RELEASES | _ASKS)


def _ask(association: Association) -> None:
    for context_id in association.contexts:
        association.send_message(context_id, echo_rq(1))
        buffer, gaps = frame_data_set(context_id, 64, association.peer_max_pdu_bytes)
        assert sum(map(len, gaps)) == 64
        association.send_data(buffer)
        break


def _answer(association: Association, event: CommandReceived) -> None:
    command = event.command
    if command.is_response:
        return
    if command.problem or not command.has_data_set:
        association.send_message(event.context.id, failure_rsp(command, 0x0110, command.problem))
    else:
        association.send_message(event.context.id, store_rsp(command, 0))


def _end(association: Association, mode: int, now: float) -> None:
    """However it stands, it comes to its end: by the peer's close, or by deadlines that do not spin."""
    if mode & _CLOSES:
        association.receive_eof(now)
        assert association.is_closed
        return
    for _ in range(8):
        deadline = association.next_deadline()
        if deadline is None:
            return
        now = max(now, deadline)
        _meet_deadline(association, now)
        _check_sent(association)
    raise AssertionError(f"deadlines without end in {association.state}")


def _meet_deadline(association: Association, now: float) -> None:
    """As a driver does it: where something is due it is done once, and the next time is later."""
    deadline = association.next_deadline()
    if deadline is not None and now >= deadline:
        association.handle_deadline(now)
        later = association.next_deadline()
        assert later is None or later > now


# -- what always holds ------------------------------------------------------------------------------------


def _check_held(association: Association) -> None:
    """No more is kept of what has come than the caps allow."""
    inbound = association._inbound
    assert len(inbound._command) <= COMMAND_CAP_BYTES
    assert len(inbound._body) <= inbound._associate_cap
    assert len(inbound._head) < 6


def _check_sent(association: Association) -> int:
    """Whole PDUs of types that exist; the data sets of P-DATA-TF are not looked into."""
    out = sent(association)
    at = 0
    while at < len(out):
        assert out[at] in range(1, 8), out[at:]
        at += 6 + int.from_bytes(out[at + 2 : at + 6], "big")
    assert at == len(out)
    return len(out)


def _check_aborted(association: Association, error: RemoteProtocolError) -> None:
    assert association.is_closed
    pieces = association._to_send
    assert bytes(pieces[-1]) == bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, error.abort_reason))
