"""From the ledger's JSON rows to the gateway's records."""

from __future__ import annotations

import msgspec

from router.model import Arrival, Decision, Delivery, Instance, Place, Transcoding, Wish
from router.spool.schema import INSTANCE_STATES, PRIORITIES

# key, state, segment, offset, length, data set offset, hash, arrival
InstanceRow = tuple[int, int, int, int, int, int, str, Arrival]
# id, destination, attempts, created_at, priority, wish, and the instance's columns
DeliveryRow = tuple[int, str, int, float, int, Wish | None, int, int, int, int, int, int, str, Arrival]
ReleasedRow = tuple[int, int, int]  # key, segment, length

INSTANCE_JSON = (
    "i.key, i.state, i.segment, i.offset, i.length, i.data_set_offset, hex(i.hash), json(i.arrival)"
)
decode_instances = msgspec.json.Decoder(list[InstanceRow]).decode
decode_deliveries = msgspec.json.Decoder(list[DeliveryRow]).decode
decode_released = msgspec.json.Decoder(list[ReleasedRow]).decode
decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
decode_transcoding = msgspec.json.Decoder(Transcoding).decode
decode_decision = msgspec.json.Decoder(Decision).decode
encode_json = msgspec.json.Encoder().encode


def make_instance(
    key: int,
    state: int,
    segment: int,
    offset: int,
    length: int,
    data_set_offset: int,
    content_hash: str,
    arrival: Arrival,
) -> Instance:
    """An instance from the columns of ``INSTANCE_JSON``."""
    return Instance(
        key=key,
        arrival=arrival,
        place=Place(segment=segment, offset=offset, length_bytes=length, data_set_offset=data_set_offset),
        content_hash=bytes.fromhex(content_hash),
        state=INSTANCE_STATES[state],
    )


def make_delivery(row: DeliveryRow) -> Delivery:
    """A leased delivery."""
    return Delivery(
        delivery_id=row[0],
        destination=row[1],
        attempts=row[2],
        created_at=row[3],
        priority=PRIORITIES[row[4]],
        wish=row[5],
        instance=make_instance(*row[6:]),
    )
