"""One instance on its way in: its fragments gathered as they lie, or streamed once they are many.

Up to ``large_object_bytes`` an instance waits in memory and is handed to the spool in one piece; from there
on it flows into a file of its own, so that memory is bounded by a window and not by an object's size. Where
all instances together hold more than ``memory_all_bytes``, each flows into a file much sooner: many senders
that stop in the middle cost disk then, and not memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router.dicom.codes import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, Status
from router.dicom.dimse import PRIORITIES, Command
from router.dicom.identity import identify
from router.dicom.negotiation import AcceptedContext
from router.dicom.part10 import file_meta
from router.model import Arrival, Buffer, Origin
from router.spool import LargeObject, Spool

PRESSED_BYTES = 256 * 1024  # gathered in memory at most while there is too much there
IDENTITY_BYTES = 4096  # (0008,0016) and (0008,0018) come first: further in there is nothing to look for


def problem_with(context: AcceptedContext, command: Command) -> tuple[int, str]:
    """Why a C-STORE-RQ cannot be carried out on this context: a status and a comment, or success."""
    if command.sop_class_uid != context.abstract_syntax:
        return Status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"
    return Status.SUCCESS, ""


class TooLong(Exception):
    """The data set is over the limit; what follows of it is to be thrown away."""


@dataclass(slots=True)
class Held:
    """What the instances of all associations of a listener hold in memory."""

    limit_bytes: int
    on_pressed: Callable[[], None] = lambda: None
    total_bytes: int = 0

    @property
    def is_pressed(self) -> bool:
        """They hold more than they should."""
        return self.total_bytes > self.limit_bytes


class Intake:
    """Takes one instance's fragments; ``commit`` makes it durable, ``abandon`` leaves nothing behind."""

    def __init__(
        self,
        spool: Spool,
        origin: Origin,
        context: AcceptedContext,
        command: Command,
        *,
        large_object_bytes: int,
        data_set_bytes: int,
        held: Held,
    ) -> None:
        self._spool = spool
        self._large_object_bytes = large_object_bytes
        self._data_set_bytes = data_set_bytes
        self._held = held
        self.origin = origin
        self._context = context
        self.command = command
        self._parts: list[Buffer] = []
        self._gathered_bytes = 0
        self._meta_bytes = 0
        self._large: LargeObject | None = None
        self._warning = ""
        self.size_bytes = 0  # of the data set, so far

    @property
    def held_bytes(self) -> int:
        """How much of it is in memory."""
        return self._gathered_bytes

    async def take(self, fragments: list[memoryview], *, now: float) -> None:
        """Take what arrived. Raises ``TooLong``; ``StorageError`` where it must be streamed and cannot."""
        arrived = sum(map(len, fragments))
        self.size_bytes += arrived
        if self.size_bytes > self._data_set_bytes:
            raise TooLong
        self._parts += fragments
        self._gathered_bytes += arrived
        self._held.total_bytes += arrived
        if self._large is not None:
            await self._large.write(self._take_parts())
        elif self._gathered_bytes >= self._large_object_bytes or (
            self._gathered_bytes >= PRESSED_BYTES and self._held.is_pressed
        ):
            if self._gathered_bytes < self._large_object_bytes:
                self._held.on_pressed()
            head, meta = self._head(now)
            self._large = self._spool.start_large(head)
            await self._large.write([meta, *self._take_parts()])

    async def commit(self, *, now: float) -> tuple[int, str]:
        """Make it durable. The status to answer with; raises ``StorageError``."""
        if self._large is not None:
            large, self._large = self._large, None
            await large.commit(self._meta_bytes)
        else:
            arrival, meta = self._head(now)
            parts, self._parts = self._parts, []  # held, and counted so, until ``abandon``
            await self._spool.append(arrival, [meta, *parts], len(meta))
        if self._warning:  # stored and passed on all the same (PS3.4 §B.2.3)
            return Status.DATA_SET_DOES_NOT_MATCH_WARNING, self._warning
        return Status.SUCCESS, ""

    async def abandon(self) -> None:
        """Drop what has been gathered, if it has not been committed."""
        self._take_parts()
        if self._large is not None:
            large, self._large = self._large, None
            await large.abandon()

    def _take_parts(self) -> list[Buffer]:
        parts, self._parts = self._parts, []
        self._held.total_bytes -= self._gathered_bytes
        self._gathered_bytes = 0
        return parts

    def _head(self, now: float) -> tuple[Arrival, bytes]:
        """The arrival and its file meta information; compares the data set's identity with the command's."""
        command, context = self.command, self._context
        arrival = Arrival(
            sop_class_uid=command.sop_class_uid,
            sop_instance_uid=command.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            origin=self.origin,
            received_at=now,
            priority=PRIORITIES[command.priority],
        )
        meta = file_meta(arrival)
        self._meta_bytes = len(meta)
        if context.transfer_syntax != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
            found = identify(self._first_bytes(), context.transfer_syntax)
            if found is not None and found != (command.sop_class_uid, command.sop_instance_uid):
                self._warning = "SOP class or instance UID of data set and command differ"
        return arrival, meta

    def _first_bytes(self) -> Buffer:
        """The start of the data set: usually one fragment holds enough of it."""
        if self._parts and len(self._parts[0]) >= IDENTITY_BYTES:
            return self._parts[0]
        return b"".join(self._parts[:16])[:IDENTITY_BYTES] if self._parts else b""
