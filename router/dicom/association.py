"""One association, sans-I/O: bytes in, events and bytes out, time as an argument (PS3.8 §9).

The driver passes received bytes to ``receive_data`` and sends what ``data_to_send`` returns, after every call
that may have queued something. The states are the table in ``state``; a request of ours that it does not have
is LocalProtocolError, or AssociationLost where the association is over already (its end may come between any
two awaits of the driver). What the peer does against the table or the standard raises RemoteProtocolError
once the A-ABORT is queued; events of the same call that came before it are given up with the association.

After the end (Sta13, Sta1) ``is_closed`` holds: the driver sends what is queued and closes the connection.
Whatever still arrives is thrown away unread, and an ARTIM deadline bounds the wait for the peer's close.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from router.dicom.codes import MAX_CONTEXTS, AbortReason, AbortSource, PduType
from router.dicom.events import (
    Aborted,
    AssociationAccepted,
    AssociationRequested,
    ConnectionClosed,
    Event,
    ReleaseCompleted,
    ReleaseRequested,
)
from router.dicom.inbound import ASSOCIATE_CAP_BYTES, Inbound
from router.dicom.negotiation import (
    Acceptance,
    AcceptedContext,
    AssociateRequest,
    agreed_window,
    conclude,
)
from router.dicom.patience import Patience, Wait
from router.dicom.pdu import (
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
    pdata_command,
)
from router.dicom.refusal import refusal_of, rejected
from router.dicom.state import NEXT_STATES, TRANSITIONS, Action, State, Trigger
from router.errors import AssociationLost, LocalProtocolError, RemoteProtocolError
from router.model import Buffer

_P_DATA_TF = int(PduType.P_DATA_TF)
_TRIGGERS: Mapping[int, Trigger] = {
    PduType.ASSOCIATE_RQ: Trigger.ASSOCIATE_RQ,
    PduType.ASSOCIATE_AC: Trigger.ASSOCIATE_AC,
    PduType.ASSOCIATE_RJ: Trigger.ASSOCIATE_RJ,
    PduType.P_DATA_TF: Trigger.P_DATA_TF,
    PduType.RELEASE_RQ: Trigger.RELEASE_RQ,
    PduType.RELEASE_RP: Trigger.RELEASE_RP,
    PduType.ABORT: Trigger.ABORT,
}
_CLOSED = (State.STA1, State.STA13)
_ESTABLISHED = State.STA6
_MAY_SEND = (State.STA6, State.STA8)
_AWAITING_US = (State.STA1, State.STA3, State.STA8, State.STA9, State.STA12)
_AWAITING_PEER = (State.STA7, State.STA10, State.STA11, State.STA13)
_REFUSALS = (Action.AA_1, Action.AA_7, Action.AA_8)


class Association:
    """One association in either role. Make it with ``acceptor`` or ``requestor``.

    Sizes in bytes, durations in seconds; ``now`` is any clock that never goes back, the same in every call.
    """

    def __init__(
        self,
        *,
        is_requestor: bool,
        pdu_cap_bytes: int,
        command_cap_bytes: int,
        request_cap_bytes: int = ASSOCIATE_CAP_BYTES,
        patience: Patience,
    ) -> None:
        self._is_requestor = is_requestor
        self._inbound = Inbound(
            pdu_cap_bytes=pdu_cap_bytes,
            command_cap_bytes=command_cap_bytes,
            associate_cap_bytes=request_cap_bytes,
            admit=self._admit,
            take=self._take,
        )
        self._patience = patience
        self._ended_seen = 0  # messages, by ``Inbound.ended``
        self.is_mid_message = False  # a message or another PDU has begun to arrive and is not whole yet
        self.overdue: Wait | None = None  # what the peer was late with, where that ended the association
        self._most_contexts = MAX_CONTEXTS
        self._state = State.STA1
        self._to_send: list[Buffer] = []
        self._request: AssociateRequest | None = None
        self._offered_max_pdu_bytes = 0
        self._peer_max_pdu_bytes = 0
        self._window = 1
        self._must_confirm_release = False

    @classmethod
    def acceptor(
        cls,
        *,
        max_pdu_bytes: int = 131072,
        pdu_cap_bytes: int = 4 * 1024 * 1024,
        command_cap_bytes: int = 65536,
        request_cap_bytes: int = ASSOCIATE_CAP_BYTES,
        most_contexts: int = MAX_CONTEXTS,
        request_s: float = 30.0,
        idle_s: float = math.inf,
        message_s: float = math.inf,
        message_bytes_per_second: float = 0.0,
        message_total_s: float = math.inf,
        now: float,
    ) -> Association:
        """The side that was connected to, with its transport connection just made.

        ``max_pdu_bytes`` is what we offer; a longer P-DATA-TF is still read up to ``pdu_cap_bytes``.
        ``request_s`` is ARTIM: how long the A-ASSOCIATE-RQ, and after the end the peer's close, may take.
        """
        patience = Patience(
            reply_s=request_s, idle_s=idle_s, message_s=message_s,
            bytes_per_second=message_bytes_per_second, total_s=message_total_s, now=now,
        )  # fmt: skip
        self = cls(
            is_requestor=False, pdu_cap_bytes=pdu_cap_bytes, command_cap_bytes=command_cap_bytes,
            request_cap_bytes=request_cap_bytes, patience=patience,
        )  # fmt: skip
        self._most_contexts = most_contexts
        self._offered_max_pdu_bytes = max_pdu_bytes
        self._fire(Trigger.CONNECTION_INDICATION)
        return self

    @classmethod
    def requestor(
        cls,
        request: AssociateRequest,
        *,
        pdu_cap_bytes: int = 4 * 1024 * 1024,
        command_cap_bytes: int = 65536,
        reply_s: float = 30.0,
        idle_s: float = math.inf,
        message_s: float = math.inf,
        now: float,
    ) -> Association:
        """The side that connects, for a transport connection that is made; its A-ASSOCIATE-RQ is queued.

        ``reply_s`` bounds the wait for A-ASSOCIATE-AC, for A-RELEASE-RP, and for the peer's close.
        """
        self = cls(
            is_requestor=True, pdu_cap_bytes=pdu_cap_bytes, command_cap_bytes=command_cap_bytes,
            patience=Patience(reply_s=reply_s, idle_s=idle_s, message_s=message_s, now=now),
        )  # fmt: skip
        self._request = request
        self._fire(Trigger.ASSOCIATE_REQUEST)
        self._fire(Trigger.CONNECTION_CONFIRMED)
        self._to_send.append(encode_associate_rq(request))
        return self

    # -- questions ----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the association stands in PS3.8 Table 9-10."""
        return self._state

    @property
    def is_established(self) -> bool:
        """Messages can be sent: accepted, and neither released by us nor over."""
        return self._state in _MAY_SEND

    @property
    def is_closed(self) -> bool:
        """The association is over: send what is queued, then close the connection."""
        return self._state in _CLOSED

    @property
    def has_data_to_send(self) -> bool:
        """``data_to_send`` would return something."""
        return bool(self._to_send)

    @property
    def request(self) -> AssociateRequest | None:
        """The A-ASSOCIATE-RQ: ours, or the peer's once it has come."""
        return self._request

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The presentation contexts that both sides accepted, by id."""
        return self._inbound.contexts

    @property
    def peer_max_pdu_bytes(self) -> int:
        """The longest P-DATA-TF variable field that the peer takes; 0: no limit. For ``frame_data_set``."""
        return self._peer_max_pdu_bytes

    @property
    def window(self) -> int:
        """How many requests may be outstanding (PS3.7 D.3.3.3); 0: no limit, 1: no window was agreed."""
        return self._window

    @property
    def peer_ae_title(self) -> str:
        """The peer's AE title as the request names it; "" before there is one."""
        if self._request is None:
            return ""
        return self._request.called_ae if self._is_requestor else self._request.calling_ae

    # -- the wire -----------------------------------------------------------------------------------------

    def receive_data(self, data: memoryview, now: float) -> list[Event]:
        """Take received bytes, in chunks of any size; return what they meant, in order.

        Events keep views of ``data``: do not write into it again while they live. Raises RemoteProtocolError,
        with the A-ABORT queued, when the peer breaks the protocol; the association is over then.
        """
        if self._state in _CLOSED:
            return []
        inbound, patience = self._inbound, self._patience
        patience.last_at = now
        patience.heard_bytes += len(data)
        if patience.is_stale:
            patience.began_at = now
        try:
            events = inbound.feed(data)
            if not self.is_mid_message or inbound.ended != self._ended_seen:
                self._ended_seen = inbound.ended
                patience.begin_message(now)
            self.is_mid_message = inbound.is_mid_message
            return events
        except RemoteProtocolError as error:
            self._to_send.append(encode_abort(AbortSource.SERVICE_PROVIDER, error.abort_reason))
            self._fire(Trigger.INVALID_PDU)
            raise
        finally:
            patience.is_stale = False

    def receive_eof(self, now: float) -> list[Event]:
        """The transport connection is gone, or the peer will send no more: DICOM knows no half-close."""
        self._patience.last_at = now
        was_closed = self._state in _CLOSED
        if self._state is not State.STA1:
            self._fire(Trigger.CONNECTION_CLOSED)
        self._inbound.end()
        return [] if was_closed else [ConnectionClosed()]

    def data_to_send(self) -> list[Buffer]:
        """What is to be sent, in order; each byte is returned once."""
        pieces, self._to_send = self._to_send, []
        return pieces

    # -- requests of the local user -----------------------------------------------------------------------

    def accept(self, acceptance: Acceptance) -> None:
        """Answer AssociationRequested: queue the A-ASSOCIATE-AC."""
        self._fire(Trigger.ACCEPT)
        assert self._request is not None  # noqa: S101 - Sta3 is entered with a request
        self._inbound.contexts = MappingProxyType(dict(acceptance.contexts))
        if not acceptance.contexts:  # there is nothing to be asked on it
            self._patience.idle_s = min(self._patience.idle_s, self._patience.reply_s)
        self._window = 1 if acceptance.async_ops is None else acceptance.async_ops[0]
        self._to_send.append(encode_associate_ac(self._request, acceptance, self._offered_max_pdu_bytes))

    def reject(self, result: int, source: int, reason: int) -> None:
        """Answer AssociationRequested: queue the A-ASSOCIATE-RJ (PS3.8 Table 9-21). It is over then."""
        self._fire(Trigger.REJECT)
        self._to_send.append(encode_associate_rj(result, source, reason))

    def send_message(self, context_id: int, command: bytes, *, is_last: bool = True) -> None:
        """Queue a command set; where it announces a data set, ``send_data`` must follow.

        ``is_last=False``: a response that others follow, so that it is still our turn.
        """
        if self._state not in _MAY_SEND:
            self._fire(Trigger.P_DATA_REQUEST)
        if context_id not in self._inbound.contexts:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")
        self._inbound.owes_answer &= not is_last
        self._to_send.append(pdata_command(context_id, command, self._peer_max_pdu_bytes))

    def send_data(self, buffer: Buffer) -> None:
        """Queue what ``frame_data_set`` framed, as it is; do not write into it before it is sent."""
        if self._state not in _MAY_SEND:
            self._fire(Trigger.P_DATA_REQUEST)
        self._to_send.append(buffer)

    def request_release(self) -> None:
        """Queue an A-RELEASE-RQ; ReleaseCompleted, or the peer's close, comes of it."""
        self._fire(Trigger.RELEASE_REQUEST)
        self._to_send.append(encode_release_rq())

    def confirm_release(self) -> None:
        """Answer ReleaseRequested: queue the A-RELEASE-RP, or do so when a release collision lets us."""
        if self._state is State.STA10:  # PS3.8 §9.2: the acceptor's answer waits for the requestor's
            self._must_confirm_release = True
            return
        self._fire(Trigger.RELEASE_RESPONSE)
        self._to_send.append(encode_release_rp())

    def abort(self, source: int = AbortSource.SERVICE_USER, reason: int = AbortReason.NOT_SPECIFIED) -> None:
        """Queue an A-ABORT; the association is over. Nothing happens where it is over already."""
        if self._state in _CLOSED:
            return
        if self._state is State.STA2:  # nobody has asked for an association yet: just close
            self._fire(Trigger.CONNECTION_CLOSED)
            return
        self._fire(Trigger.ABORT_REQUEST)
        self._to_send.append(encode_abort(source, reason))

    # -- time ---------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` is due if nothing happens before; None: never. Changes with every call.

        A driver that has stopped reading must not call ``handle_deadline``: it is not the peer that is late.
        """
        state, patience = self._state, self._patience
        if state is _ESTABLISHED:
            deadline = patience.message_until() if self.is_mid_message else patience.idle_until()
        elif state in _AWAITING_US:  # it is for the local user to act
            return None
        else:
            deadline = patience.began_at + patience.reply_s
        return None if deadline == math.inf else deadline

    def handle_deadline(self, now: float) -> list[Event]:
        """Act on a deadline that has passed, and only then.

        Waiting for the request (ARTIM): over, nothing is sent. Waiting for an answer, or for the rest of a
        message, or idle for too long: the A-ABORT is queued. Each gives Aborted, and ``overdue`` says which.
        After the end: no more is awaited. A wait that began with a request of ours lasts its full time from
        the first call on.
        """
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return []
        state, patience = self._state, self._patience
        is_our_turn = state is State.STA6 and self._inbound.owes_answer and not self.is_mid_message
        if patience.is_stale or is_our_turn:
            patience.is_stale = False
            patience.last_at = patience.began_at = now
            return []
        if state is State.STA13:
            self._fire(Trigger.ARTIM_EXPIRED)
            return []
        if state is State.STA2:
            self.overdue = Wait.REQUEST
            self._fire(Trigger.ARTIM_EXPIRED)
            return [Aborted(source=AbortSource.SERVICE_PROVIDER, reason=AbortReason.NOT_SPECIFIED)]
        if state is _ESTABLISHED:
            self.overdue = patience.late_in_message(now) if self.is_mid_message else Wait.IDLE
            if self.overdue is None:
                return []
        else:
            self.overdue = Wait.REPLY
        source = AbortSource.SERVICE_PROVIDER if state is _ESTABLISHED else AbortSource.SERVICE_USER
        self.abort(source)
        patience.began_at, patience.is_stale = now, False
        return [Aborted(source=source, reason=AbortReason.NOT_SPECIFIED)]

    def excuse(self, now: float) -> None:
        """The driver reads again after it had stopped: the peer could not have sent more."""
        self._patience.excuse(now)

    # -- inside -------------------------------------------------------------------------------------------

    def _fire(self, trigger: Trigger, *, other: bool = False) -> Action:
        """Make the transition for an event; ``other`` takes the second of two next states."""
        action = TRANSITIONS.get((trigger, self._state))
        if action is None:
            if self._state in _CLOSED:
                raise AssociationLost("the association is over")
            raise LocalProtocolError(f"{trigger.name} is not possible in {self._state.value}")
        self._state = NEXT_STATES[action][1 if other else 0]
        self._patience.began_at = self._patience.last_at
        self._patience.is_stale = self._state in _AWAITING_PEER
        if self._state in _CLOSED:
            self._inbound.is_stopped = True
        return action

    def _admit(self, pdu_type: int) -> None:
        """Refuse a PDU whose type the standard or the state does not know, as soon as its type is read."""
        if pdu_type == _P_DATA_TF and self._state is _ESTABLISHED:
            return
        trigger = _TRIGGERS.get(pdu_type)
        if trigger is None:
            raise RemoteProtocolError(
                f"unrecognized PDU type {pdu_type:02X}", abort_reason=AbortReason.UNRECOGNIZED_PDU
            )
        # A release inside a message is against the order of messages, though the table alone would have it.
        is_early = trigger is Trigger.RELEASE_RQ and self._inbound.is_in_message
        if is_early or TRANSITIONS.get((trigger, self._state)) in _REFUSALS:
            raise RemoteProtocolError(
                f"unexpected {PduType(pdu_type).name} in {self._state.value}",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )

    def _take(self, pdu_type: int, body: bytes) -> Event | None:
        """Act on a whole PDU that ``_admit`` let in."""
        if pdu_type == PduType.ASSOCIATE_RQ:
            return self._take_request(decode_associate_rq(body))
        if pdu_type == PduType.ASSOCIATE_AC:
            return self._take_acceptance(body)
        if pdu_type == PduType.ASSOCIATE_RJ:
            rejection = decode_associate_rj(body)
            self._fire(Trigger.ASSOCIATE_RJ)
            return rejected(rejection.result, rejection.source, rejection.reason)
        if pdu_type == PduType.ABORT:
            abort = decode_abort(body)
            self._fire(Trigger.ABORT)
            return Aborted(source=abort.source, reason=abort.reason)
        if pdu_type == PduType.RELEASE_RQ:
            self._fire(Trigger.RELEASE_RQ, other=self._state is State.STA7 and not self._is_requestor)
            return ReleaseRequested()
        self._fire(Trigger.RELEASE_RP)
        if self._must_confirm_release:
            self.confirm_release()
        return ReleaseCompleted()

    def _take_request(self, request: AssociateRequest) -> Event:
        """AE-6: the service provider itself refuses what it cannot speak (PS3.8 Tables 9-11, 9-21)."""
        self._request = request
        self._peer_max_pdu_bytes = request.max_pdu_bytes
        refusal = refusal_of(request, most_contexts=self._most_contexts)
        self._fire(Trigger.ASSOCIATE_RQ, other=refusal is not None)
        if refusal is None:
            return AssociationRequested(request=request)
        self._to_send.append(encode_associate_rj(*refusal))
        return rejected(*refusal)

    def _take_acceptance(self, body: bytes) -> Event:
        assert self._request is not None  # noqa: S101 - a requestor has one from the start
        reply = decode_associate_ac(body)
        self._fire(Trigger.ASSOCIATE_AC)
        self._peer_max_pdu_bytes = reply.max_pdu_bytes
        self._window = agreed_window(self._request, reply)
        contexts = MappingProxyType(conclude(self._request, reply))
        self._inbound.contexts = contexts
        return AssociationAccepted(contexts=contexts)
