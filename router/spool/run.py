"""Records that lie one after another in one segment, and are written by one call."""

from __future__ import annotations

from router.model import Buffer, Instance, InstanceState, Place
from router.spool.record import BLOCK, encode_header
from router.spool.segment import Segment
from router.spool.work import Append

_ZERO_BLOCK = memoryview(bytes(BLOCK))


class Run:
    """Records that lie one after another in one segment and are written by one call."""

    __slots__ = ("appends", "buffers", "segment", "start", "tail")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.start = self.tail = segment.tail
        self.appends: list[Append] = []
        self.buffers: list[Buffer] = []

    def add(self, item: Append, limit: int) -> bool:
        """Place the record; False if the segment has no room for it."""
        header = encode_header(
            self.segment.generation,
            self.start,
            item.key,
            item.length,
            item.data_set_offset,
            item.content_hash,
            item.encoded,
        )
        offset = self.tail + len(header)
        end = offset + item.length
        padded = (end + BLOCK - 1) & -BLOCK
        if padded > limit:
            return False
        self.buffers.append(header)
        self.buffers.extend(item.parts)
        if padded != end:
            self.buffers.append(_ZERO_BLOCK[: padded - end])
        self.tail = padded
        place = Place(
            segment=self.segment.number,
            offset=offset,
            length_bytes=item.length,
            data_set_offset=item.data_set_offset,
        )
        item.result = Instance(
            key=item.key,
            arrival=item.arrival,
            place=place,
            content_hash=item.content_hash,
            state=InstanceState.RECEIVED,
        )
        self.appends.append(item)
        return True
