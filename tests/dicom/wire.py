"""What the tests of the association layer share: golden bytes, ready associations, and a wire between two."""

from __future__ import annotations

from collections.abc import Iterable

from router.dicom.association import Association
from router.dicom.events import AssociationAccepted, AssociationRequested, DataReceived, Event
from router.dicom.negotiation import AssociateRequest, ProposedContext, negotiate, propose_store
from router.errors import RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
INSTANCE = "1.2.826.0.1.3680043.8.498.1"


def unhex(commented: str) -> bytes:
    """Bytes from lines of hex; ``#`` begins a comment, ``"..."`` is ASCII text."""
    out = bytearray()
    for line in commented.splitlines():
        for index, part in enumerate(line.partition("#")[0].split('"')):
            out += part.encode("ascii") if index % 2 else bytes.fromhex(part)
    return bytes(out)


def a_request(*contexts: ProposedContext, **fields: object) -> AssociateRequest:
    """A request for Verification (1), CT (3) and MR (5), unless contexts are given."""
    proposed = contexts or propose_store([(VERIFICATION, IMPLICIT), (CT, EXPLICIT), (MR, IMPLICIT)])
    return AssociateRequest(calling_ae="CT1", called_ae="ROUTER", contexts=proposed, **fields)  # type: ignore[arg-type]


def receive(association: Association, data: bytes, *, step: int = 0, now: float = 0.0) -> list[Event]:
    """Pass bytes to an association, in chunks of ``step`` bytes where given."""
    view = memoryview(data)
    events: list[Event] = []
    for start in range(0, len(view), step or len(view) or 1):
        events += association.receive_data(view[start : start + step] if step else view, now)
    return events


def sent(association: Association) -> bytes:
    """Everything that an association has to send, in one piece."""
    return b"".join(association.data_to_send())


def pump(source: Association, target: Association, now: float = 0.0) -> list[Event]:
    """Carry what one has to send to the other."""
    return receive(target, sent(source), now=now)


def an_acceptor(
    request: AssociateRequest | None = None, *, command_cap_bytes: int = 65536, pdu_cap_bytes: int = 1 << 20
) -> Association:
    """An acceptor that is established, with nothing left to send."""
    acceptor = Association.acceptor(
        now=0.0, request_s=30.0, idle_s=600.0, message_s=60.0,
        command_cap_bytes=command_cap_bytes, pdu_cap_bytes=pdu_cap_bytes,
    )  # fmt: skip
    requestor = Association.requestor(request or a_request(), now=0.0)
    (event,) = pump(requestor, acceptor)
    assert isinstance(event, AssociationRequested)
    acceptor.accept(negotiate(event.request))
    sent(acceptor)
    return acceptor


def a_pair(request: AssociateRequest | None = None) -> tuple[Association, Association]:
    """A requestor and an acceptor that have agreed, with nothing left to send."""
    requestor = Association.requestor(
        request or a_request(), now=0.0, reply_s=30.0, idle_s=600.0, message_s=60.0
    )
    acceptor = Association.acceptor(now=0.0, request_s=30.0, idle_s=600.0, message_s=60.0)
    (requested,) = pump(requestor, acceptor)
    assert isinstance(requested, AssociationRequested)
    acceptor.accept(negotiate(requested.request))
    (accepted,) = pump(acceptor, requestor)
    assert isinstance(accepted, AssociationAccepted)
    return requestor, acceptor


def normalised(events: Iterable[Event]) -> list[object]:
    """Events with the bytes of each data set joined: what must not depend on how the stream was cut."""
    out: list[object] = []
    gathered = bytearray()
    is_open = False
    for event in events:
        if isinstance(event, DataReceived):
            gathered += b"".join(event.fragments)
            is_open = not event.last
            if event.last:
                out.append(("data set", bytes(gathered)))
                gathered.clear()
        else:
            if is_open:
                out.append(("cut short", bytes(gathered)))
                gathered.clear()
                is_open = False
            out.append(event)
    if is_open:
        out.append(("unfinished", bytes(gathered)))
    return out


def abort_of(association: Association, data: bytes, *, step: int = 0) -> tuple[int, int]:
    """Pass bytes that break the protocol; return (source, reason) of the A-ABORT that answers them."""
    try:
        receive(association, data, step=step)
    except RemoteProtocolError as error:
        answer = sent(association)
        assert answer[:8] == unhex("07 00 00000004 0000")
        assert len(answer) == 10
        assert answer[9] == error.abort_reason
        assert association.is_closed
        assert association.receive_data(memoryview(data), 0.0) == []
        return answer[8], answer[9]
    raise AssertionError("no RemoteProtocolError")
