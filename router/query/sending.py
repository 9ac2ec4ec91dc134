"""C-STORE sub-operations: instances of the spool over one association, as they lie there if that is taken.

One at a time, each answered before the next. What fits into a window is read whole and checked against its
hash before its first byte leaves; what does not is checked first and then streamed. What the association does
not take as it was received goes in the best form that it takes, made by the workshop, as a delivery would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from router.deliver.queue import Content
from router.deliver.renditions import Maker, makeable
from router.dicom.codes import CommandField
from router.dicom.dimse import store_rq
from router.dicom.events import CommandReceived
from router.dicom.pdu import frame_data_set
from router.errors import (
    AssociationLost,
    AssociationTimeout,
    RemoteProtocolError,
    StorageError,
    TranscodeFailed,
)
from router.logs import get_logger
from router.model import Form, Instance
from router.net.connection import Connection
from router.plan import Carried, Pair, Wanted, choose_form, pair_of
from router.transform.ladder import rungs

WINDOW_BYTES = 4 * 1024 * 1024  # of one instance in memory; even, as fragments are (PS3.8 Annex E.1)

log = get_logger("query")


@dataclass(frozen=True, slots=True, kw_only=True)
class Originator:
    """Who had it sent by C-MOVE (PS3.7 §9.1.1.1.6)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """In which forms instances may go, and who makes them."""

    maker: Maker | None  # None: as they were received
    preferred: tuple[Form, ...] = ()  # by the destination
    may_transcode: bool = True

    def rungs(self, received_uid: str) -> tuple[Form, ...]:
        """Those of an instance that was received so, the best first."""
        may = self.may_transcode and self.maker is not None
        made = makeable() if may else frozenset[str]()
        return rungs(received_uid, wish=None, preferred=self.preferred, may_transcode=may, makeable=made)

    def pairs(self, instance: Instance) -> tuple[Pair, ...]:
        """The contexts on which it may go, the best first."""
        arrival = instance.arrival
        forms = self.rungs(arrival.transfer_syntax_uid)
        return tuple((arrival.sop_class_uid, form.transfer_syntax_uid) for form in forms)


class SubOperations:
    """Sends over one association. ``on_cancel`` is told of a C-CANCEL that comes in place of an answer."""

    def __init__(
        self,
        connection: Connection,
        content: Content,
        forms: Forms,
        *,
        response_s: float,
        originator: Originator | None = None,
        on_cancel: Callable[[int | None], None] | None = None,
    ) -> None:
        self._connection = connection
        self._content = content
        self._forms = forms
        self._response_s = response_s
        self._originator = originator
        self._on_cancel = on_cancel
        self._message_id = 0
        self._contexts: dict[Pair, int] = {
            (context.abstract_syntax, context.transfer_syntax): context.id
            for context in connection.association.contexts.values()
            if context.as_scu
        }

    async def send(self, instance: Instance) -> int | None:
        """The status of its answer; None where it could not be sent, and the next one still can.

        Raises ``RouterError`` where the association is over.
        """
        pairs = frozenset(self._forms.pairs(instance))
        choice = choose_form(
            pair_of(instance),
            self._forms.rungs(instance.arrival.transfer_syntax_uid),
            accepted=self._contexts,
            refused=pairs.difference(self._contexts),
        )
        if isinstance(choice, Carried):
            return await self._send(instance, choice.context_id, self._content)
        if isinstance(choice, Wanted) and self._forms.maker is not None:
            return await self._send_as(instance, choice.forms, self._forms.maker)
        return None

    async def _send_as(self, instance: Instance, forms: tuple[Form, ...], maker: Maker) -> int | None:
        """In the first of these forms that it can have."""
        try:
            rendered = await maker.render(instance, forms, self._content)
        except (TranscodeFailed, StorageError) as error:
            log.warning("not sent", key=instance.key, because=str(error))
            return None
        rendition = rendered.rendition
        if rendition is None:
            return None
        try:
            made = rendition.instance
            return await self._send(made, self._contexts[pair_of(made)], rendition)
        finally:
            rendition.let_go()

    async def _send(self, instance: Instance, context_id: int, content: Content) -> int | None:
        try:
            framed = await self._read(instance, context_id, content)
        except StorageError as error:
            log.warning("not sent", key=instance.key, because=str(error))
            return None
        arrival, by = instance.arrival, self._originator
        self._message_id = self._message_id % 0xFFFF + 1
        request = store_rq(
            self._message_id,
            arrival.sop_class_uid,
            arrival.sop_instance_uid,
            move_originator=by.ae_title if by is not None else "",
            move_originator_id=by.message_id if by is not None else None,
        )
        association = self._connection.association
        association.send_message(context_id, request, is_last=False)
        if framed is not None:
            association.send_data(framed)
            await self._flush()
        else:
            await self._stream(instance, context_id, content)
        return await self._answer()

    async def _read(self, instance: Instance, context_id: int, content: Content) -> bytearray | None:
        """The framed data set; None where it is too long for that, and is sound."""
        if instance.size_bytes > WINDOW_BYTES:
            await content.verify(instance)
            return None
        limit = self._connection.association.peer_max_pdu_bytes
        framed, gaps = frame_data_set(context_id, instance.size_bytes, limit)
        meta = memoryview(bytearray(instance.place.data_set_offset))
        await content.read(instance, [meta, *gaps])
        return framed

    async def _stream(self, instance: Instance, context_id: int, content: Content) -> None:
        size, base = instance.size_bytes, instance.place.data_set_offset
        association = self._connection.association
        for start in range(0, size, WINDOW_BYTES):
            length = min(WINDOW_BYTES, size - start)
            is_last = start + length == size
            framed, gaps = frame_data_set(context_id, length, association.peer_max_pdu_bytes, last=is_last)
            try:
                await content.read_range(instance, base + start, gaps)
            except StorageError as error:  # half a message is out: there is no way to go on
                self._connection.abort()
                raise AssociationLost("aborted: our own copy could not be read to its end") from error
            association.send_data(framed)
            await self._flush()

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(self._response_s):
                await self._connection.flush()
        except TimeoutError:
            self._connection.abort()
            raise AssociationTimeout(f"the peer takes nothing within {self._response_s:g} s") from None

    async def _answer(self) -> int:
        try:
            async with asyncio.timeout(self._response_s):
                while True:
                    event = await self._connection.next_event()
                    if not isinstance(event, CommandReceived):
                        raise self._broken()
                    command = event.command
                    if command.field == CommandField.C_CANCEL_RQ and self._on_cancel is not None:
                        self._on_cancel(command.responded_to)
                        continue
                    if (
                        command.field != CommandField.C_STORE_RSP
                        or command.responded_to != self._message_id
                        or command.status is None
                        or command.has_data_set
                    ):
                        raise self._broken()
                    return command.status
        except TimeoutError:
            self._connection.abort()
            raise AssociationTimeout(f"no response within {self._response_s:g} s") from None

    def _broken(self) -> RemoteProtocolError:
        self._connection.abort()
        return RemoteProtocolError("something else than the response to C-STORE")
