"""How the elements of a data set lie (PS3.5 §7): the two byte orders, the VRs, the delimiters of items."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

SHORT_VRS = frozenset("AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset("OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # 32-bit lengths (PS3.5 Table 7.1-1)
LONG_VRS_AS_BYTES = frozenset(vr.encode() for vr in LONG_VRS)

UNDEFINED = 0xFFFFFFFF  # as a length
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
NESTING_CAP = 32  # sequences in sequences; IODs of PS3.3 nest five, hostile data without end


@dataclass(frozen=True, slots=True)
class ByteOrder:
    """The structures of one byte order."""

    is_little: bool
    explicit: Struct  # group, element, VR as it lies, 16-bit length
    implicit: Struct  # group, element, 32-bit length
    length: Struct
    short_vrs: dict[int, str]  # by the number that the two letters make when read as one
    long_vrs: dict[int, str]


def _order(sign: str) -> ByteOrder:
    u16 = Struct(sign + "H")
    return ByteOrder(
        is_little=sign == "<",
        explicit=Struct(sign + "HHHH"),
        implicit=Struct(sign + "HHI"),
        length=Struct(sign + "I"),
        short_vrs={u16.unpack(vr.encode())[0]: vr for vr in SHORT_VRS},
        long_vrs={u16.unpack(vr.encode())[0]: vr for vr in LONG_VRS},
    )


LITTLE, BIG = _order("<"), _order(">")
