"""The receiving half of an association: a stream of bytes into PDUs, and P-DATA into messages, as it streams.

Every byte of every instance comes through ``Inbound.feed``, so it is written for speed: a P-DATA-TF is never
gathered, its fragments leave as views of what was passed in, and the two shapes that nearly all PDUs have
(a whole command set in one PDV; one PDV of a data set for each PDU) take short ways through the loop. Both
must do exactly what the long way does; the chunking property in the tests holds that.

Only what has to be whole is copied: PDU and PDV headers that a chunk's end cuts, command sets, and the
association's own PDUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct

from router.dicom.codes import RESPONSE_BIT, AbortReason, CommandField, PduType
from router.dicom.dimse import decode_command
from router.dicom.events import CommandReceived, DataReceived, Event
from router.dicom.items import malformed
from router.dicom.negotiation import AcceptedContext
from router.dicom.pdu import COMMAND_BIT, HEADER_BYTES, LAST_BIT, PDV_HEADER_BYTES
from router.errors import RemoteProtocolError

# The longest A-ASSOCIATE-RQ or -AC that is read: 128 contexts with 40 transfer syntaxes of 64 characters and
# a full user information item come to 430 kB.
ASSOCIATE_CAP_BYTES = 512 * 1024

_P_DATA_TF = int(PduType.P_DATA_TF)
_ASSOCIATE = (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC)
_CANCEL = int(CommandField.C_CANCEL_RQ)
_BOTH = COMMAND_BIT | LAST_BIT
_PDU_HEADER = Struct(">BxI")
_PDV_HEADER = Struct(">IBB")
_PDATA_HEADERS = Struct(">BxIIBB")  # a P-DATA-TF up to the first byte of its first PDV's fragment
_PDATA_HEADERS_BYTES = _PDATA_HEADERS.size


class Inbound:
    """What has come in and is not yet an event.

    ``admit`` is asked at each PDU's header whether the state allows its type, and raises if not; ``take``
    gets each whole PDU that is not P-DATA-TF. Errors are RemoteProtocolError; after one the object is out of
    step and must not be fed again.
    """

    __slots__ = (
        "_admit", "_associate_cap", "_body", "_body_left", "_body_type", "_command", "_command_cap",
        "_context", "_context_id", "_control", "_head", "_in_data_set", "_pdu_cap", "_pdu_left",
        "_pdv_left", "_take", "contexts", "ended", "is_stopped", "owes_answer",
    )  # fmt: skip

    def __init__(
        self,
        *,
        pdu_cap_bytes: int,
        command_cap_bytes: int,
        associate_cap_bytes: int = ASSOCIATE_CAP_BYTES,
        admit: Callable[[int], None],
        take: Callable[[int, bytes], Event | None],
    ) -> None:
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.is_stopped = False  # set by the owner: nothing after this PDU is of interest
        self.ended = 0  # messages and other PDUs that have come whole
        self.owes_answer = False  # a request came that has an answer; the owner clears it when it answers
        self._pdu_cap = pdu_cap_bytes
        self._command_cap = command_cap_bytes
        self._associate_cap = associate_cap_bytes
        self._admit = admit
        self._take = take
        self._head = b""  # the first bytes of a PDU or PDV header
        self._pdu_left = 0  # of the P-DATA-TF under way, with what is left of its PDV
        self._pdv_left = 0  # of the PDV's fragment under way
        self._control = 0  # that PDV's message control header
        self._body = bytearray()  # of another PDU under way
        self._body_type = 0
        self._body_left = 0
        self._context: AcceptedContext | None = None  # of the message under way
        self._context_id = -1
        self._in_data_set = False
        self._command = bytearray()

    def end(self) -> None:
        """Nothing more will come, and nobody is asked any more: its owner is let go of."""
        self.is_stopped = True
        self._admit = self._take = _nobody

    @property
    def is_mid_message(self) -> bool:
        """Something has begun to arrive and is not whole yet: a message, or any PDU."""
        return bool(self._context or self._pdu_left or self._body_left or self._head)

    @property
    def is_in_message(self) -> bool:
        """A command set or data set is not whole yet."""
        return self._context is not None

    def feed(self, data: memoryview) -> list[Event]:
        """Take the next bytes of the stream; return what became whole, and what came of a data set."""
        events: list[Event] = []
        fragments: list[memoryview] = []
        position, end = 0, len(data)
        unpack, header_bytes, pdu_cap = _PDATA_HEADERS.unpack_from, _PDATA_HEADERS_BYTES, self._pdu_cap
        while position < end:
            start = position + header_bytes
            if not self._pdu_left and start <= end and not self._head and not self._body_left:
                pdu_type, length, size, context_id, control = unpack(data, position)
                stop = start + size - 2
                if pdu_type == _P_DATA_TF and size == length - 4 and size >= 2 and length <= pdu_cap:
                    if self._in_data_set and context_id == self._context_id and not control & COMMAND_BIT:
                        if stop <= end:
                            if size > 2:
                                fragments.append(data[start:stop])
                            position = stop
                            if control & LAST_BIT:
                                self._end_data_set(events, fragments)
                                fragments = []
                            continue
                    elif control & _BOTH == _BOTH and self._context is None and stop <= end:
                        context = self.contexts.get(context_id)
                        if context is not None and size - 2 <= self._command_cap:
                            self._admit(pdu_type)
                            self._end_command(events, context, data[start:stop])
                            position = stop
                            continue
            position = self._step(data, position, end, events, fragments)
            if self._context is None:
                fragments = []  # those that were there went with their data set's end
            if self.is_stopped:
                return events
        if fragments:
            events.append(DataReceived(fragments=fragments, last=False))
        return events

    def _step(
        self, data: memoryview, position: int, end: int, events: list[Event], fragments: list[memoryview]
    ) -> int:
        """The long way: one header, or what there is of one fragment or PDU. Returns the new position."""
        if self._pdv_left:
            stop = min(position + self._pdv_left, end)
            taken = stop - position
            self._pdv_left -= taken
            self._pdu_left -= taken
            if self._control & COMMAND_BIT:
                self._command += data[position:stop]
            else:
                fragments.append(data[position:stop])
            if not self._pdv_left:
                self._end_fragment(events, fragments)
            return stop
        if self._body_left:
            stop = min(position + self._body_left, end)
            self._body += data[position:stop]
            self._body_left -= stop - position
            if not self._body_left:
                self._end_body(events, fragments)
            return stop
        # Both headers are six bytes long.
        stop = min(position + HEADER_BYTES - len(self._head), end)
        head = self._head + bytes(data[position:stop])
        if len(head) < HEADER_BYTES:
            self._head = head
            if not self._pdu_left:
                self._admit(head[0])  # garbage is known by its first byte
            return stop
        self._head = b""
        if self._pdu_left:
            self._begin_pdv(head, events, fragments)
        else:
            self._begin_pdu(head, events, fragments)
        return stop

    def _begin_pdu(self, head: bytes, events: list[Event], fragments: list[memoryview]) -> None:
        pdu_type, length = _PDU_HEADER.unpack(head)
        self._admit(pdu_type)
        if pdu_type == _P_DATA_TF:
            if length > self._pdu_cap:
                raise malformed(
                    f"P-DATA-TF of {length} bytes is over the limit of {self._pdu_cap}", limit="pdu_cap_bytes"
                )
            if length < PDV_HEADER_BYTES:
                raise malformed("P-DATA-TF without a presentation data value")
            self._pdu_left = length
            return
        if pdu_type in _ASSOCIATE:
            if length > self._associate_cap:
                raise malformed(
                    f"A-ASSOCIATE PDU of {length} bytes is over the limit of {self._associate_cap}",
                    limit="request_bytes",
                )
        elif length != 4:
            raise malformed(f"PDU of type {pdu_type:02X} is not 4 bytes long")
        self._body_type, self._body_left, self._body = pdu_type, length, bytearray()
        if not length:
            self._end_body(events, fragments)

    def _end_body(self, events: list[Event], fragments: list[memoryview]) -> None:
        if fragments:  # of a data set that this PDU cuts short: they came first
            events.append(DataReceived(fragments=fragments[:], last=False))
            fragments.clear()
        self.ended += 1
        body, self._body = bytes(self._body), bytearray()
        event = self._take(self._body_type, body)
        if event is not None:
            events.append(event)

    def _begin_pdv(self, head: bytes, events: list[Event], fragments: list[memoryview]) -> None:
        size, context_id, control = _PDV_HEADER.unpack(head)
        if size < 2 or size + 4 > self._pdu_left:
            raise malformed(f"presentation data value of {size} bytes does not fit its P-DATA-TF")
        left = self._pdu_left - size - 4
        if 0 < left < PDV_HEADER_BYTES:
            raise malformed(f"{left} stray bytes at the end of a P-DATA-TF")
        is_command = bool(control & COMMAND_BIT)
        if self._context is None:
            context = self.contexts.get(context_id)
            if context is None:
                raise malformed(f"presentation context {context_id} was not accepted")
            if not is_command:
                raise _unexpected("a data set without a command that announces it")
            self._context, self._context_id = context, context_id
        elif context_id != self._context_id:
            raise _unexpected("another presentation context inside a message")
        elif is_command is self._in_data_set:
            inner, outer = ("command", "data") if is_command else ("data", "command")
            raise _unexpected(f"a {inner} set inside a {outer} set")
        if is_command and len(self._command) + size - 2 > self._command_cap:
            raise malformed(
                f"command set is over the limit of {self._command_cap} bytes", limit="command_set_bytes"
            )
        self._control = control
        self._pdv_left = size - 2
        self._pdu_left -= PDV_HEADER_BYTES
        if not self._pdv_left:
            self._end_fragment(events, fragments)

    def _end_fragment(self, events: list[Event], fragments: list[memoryview]) -> None:
        if not self._control & LAST_BIT:
            return
        if self._in_data_set:
            self._end_data_set(events, fragments)
            return
        command, self._command = bytes(self._command), bytearray()
        assert self._context is not None  # noqa: S101 - a fragment belongs to a message
        self._end_command(events, self._context, command)

    def _end_command(
        self, events: list[Event], context: AcceptedContext, encoded: bytes | memoryview
    ) -> None:
        command = decode_command(encoded)
        if command.status is None and not command.field & RESPONSE_BIT and command.field != _CANCEL:
            self.owes_answer = True
        if command.has_data_set:
            self._context, self._context_id, self._in_data_set = context, context.id, True
        else:
            self._context, self._context_id = None, -1
            self.ended += 1
        events.append(CommandReceived(context=context, command=command))

    def _end_data_set(self, events: list[Event], fragments: list[memoryview]) -> None:
        self._context, self._context_id, self._in_data_set = None, -1, False
        self.ended += 1
        events.append(DataReceived(fragments=fragments, last=True))


def _nobody(*_: object) -> None:
    """Who is asked when nobody is there any more."""


def _unexpected(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(what, abort_reason=AbortReason.UNEXPECTED_PDU_PARAMETER)
