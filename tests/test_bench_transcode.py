"""bench.transcode: what its figures say of each other, and the instances that it sends."""

from __future__ import annotations

import pytest

from bench import compressed, wire
from bench.transcode import Measured, Used, Verdict


def measured(
    *, rate: float = 0.0, transcoded: float = 0.0, used: float = 1.0, machine: float = 0.0
) -> Measured:
    return Measured(
        what="",
        transcoded=transcoded,
        answered=rate,
        delivered=rate,
        used=Used(gateway=used, workers=0.0, sinks=0.0, sender=0.0, machine=machine or used),
    )


def verdict(
    *, alone: Measured, both: Measured, transcoding_used: float = 2.0, processors: int = 2
) -> Verdict:
    transcoding = measured(transcoded=50.0, used=transcoding_used)
    return Verdict(stream_alone=alone, transcoding_alone=transcoding, both=both, processors=processors)


@pytest.mark.parametrize(
    ("used", "processors", "fair"), [(0.5, 2, 1.0), (1.0, 2, 1.0), (1.6, 2, 0.625), (1.6, 8, 1.0)]
)
def test_fair_is_half_of_the_processors_or_what_is_needed(used: float, processors: int, fair: float) -> None:
    found = verdict(alone=measured(rate=100, used=used), both=measured(rate=100), processors=processors)
    assert found.fair == pytest.approx(fair)


def test_a_stream_that_keeps_nine_tenths_of_its_share_is_good() -> None:
    alone = measured(rate=100, used=1.6)
    assert verdict(alone=alone, both=measured(rate=57, transcoded=20)).is_good
    assert not verdict(alone=alone, both=measured(rate=55, transcoded=20)).is_good


def test_deliveries_that_stay_behind_answers_count_as_well() -> None:
    both = Measured(what="", transcoded=20, answered=100, delivered=30, used=measured().used)
    assert verdict(alone=measured(rate=100), both=both).kept == pytest.approx(0.3)


def test_idle_processors_are_no_good() -> None:
    whole = measured(rate=100)
    assert not verdict(alone=whole, both=whole, transcoding_used=1.7).is_good
    assert verdict(alone=whole, both=whole, transcoding_used=1.9).is_good


def test_what_others_used_is_told() -> None:
    alone = measured(rate=100, used=1.0, machine=1.5)
    both = measured(rate=100, used=2.0)
    assert "others used up to 0.50 processors" in str(verdict(alone=alone, both=both))
    assert "others" not in str(verdict(alone=measured(rate=100), both=both))


def test_instances_of_a_slice_differ_in_their_uid_alone() -> None:
    uid = b"1.2.826.0.1.3680043.10.1338.30.100000000"
    data_set = b"before " + uid + b" after" + bytes(range(256)) * 10
    framed = compressed.frame(data_set, 600)
    head = framed.own_head()
    head.patch(7)
    sent = bytes(head.buffer) + b"".join(framed.pieces)
    command, *rest = list(pdus(sent))
    assert uid.replace(b"100000000", b"100000007") in command[1]
    assert b"".join(fragment for _, fragment in rest) == data_set.replace(b"100000000", b"100000007")
    assert [control for control, _ in rest] == [wire.DATA_MORE] * (len(rest) - 1) + [wire.DATA_LAST]
    assert all(len(fragment) + 6 <= 600 for _, fragment in rest)


def pdus(stream: bytes) -> list[tuple[int, bytes]]:
    """The control byte and the fragment of each P-DATA-TF."""
    found = []
    while stream:
        end = 6 + int.from_bytes(stream[2:6], "big")
        found.append((stream[11], stream[12:end]))
        stream = stream[end:]
    return found
