"""The tag scanner: what rules may ask of a data set, read from its raw bytes and decoded on demand.

:func:`scan` never fails. What the scanner does not understand goes to pydicom; where that fails too, the
element is simply absent and :attr:`Header.problem` says so. Deflated data sets are inflated only as far as
the tags asked for need, and never beyond a cap.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from io import BytesIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from router.dicom.codes import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from router.dicom.scanner import NotUnderstood, Plan, RanOut, Raw, TooDeep, Walk, plan_for
from router.dicom.tagpath import TagPath, parse
from router.dicom.values import AMBIGUOUS_VRS, Value, decode, normal
from router.model import Buffer

# A header with functional groups of thousands of frames takes some megabytes; a deflated one may claim any.
INFLATE_CAP_BYTES = 16 * 1024 * 1024
INFLATE_STEP_BYTES = 65536  # at first: most tags that rules ask for stand in the first few kilobytes
PYDICOM_CAP_BYTES = 256 * 1024  # what pydicom gets to see of garbage: a tenth of a second at worst

_GE_IMPLICIT = "1.2.840.113619.5.2"  # GE's own: implicit VR little endian but for the pixels
_IMPLICIT = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, _GE_IMPLICIT})
_DEFLATED = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}  # JPIP
)
_PIXEL_REPRESENTATION = parse("PixelRepresentation")

Values = tuple[Value, ...]


class Header:
    """The elements asked for, of one data set."""

    __slots__ = ("_decoded", "_found", "_places", "problem", "truncated")

    def __init__(
        self,
        places: Mapping[TagPath, int],
        found: list[list[Raw]],
        *,
        problem: str = "",
        truncated: bool = False,
        decoded: dict[TagPath, Values | None] | None = None,
    ) -> None:
        self._places = places
        self._found = found
        self._decoded = {} if decoded is None else decoded
        self.problem = problem  # why elements may be absent here that the data set has
        self.truncated = truncated  # the bytes ended before the last tag asked: come back with more

    @classmethod
    def of(cls, values: Mapping[TagPath, Values | None]) -> Header:
        """A header with these values, for tests of rules: what is not named is absent, as is None."""
        return _Given({}, [], decoded=dict(values))

    def values(self, path: TagPath) -> Values | None:
        """The values of an element: none of them where it is empty, None where it is absent.

        Through sequences: the values of all items. Raises ``KeyError`` for a path that was not asked for.
        """
        decoded = self._decoded
        if path in decoded:
            return decoded[path]
        raws = self._found[self._places[path]]
        values: Values | None
        if len(raws) == 1:
            values = decode(raws[0], is_signed=self._is_signed(raws[0]))
        elif raws:
            values = tuple(v for raw in raws for v in decode(raw, is_signed=self._is_signed(raw)))
        else:
            values = None
        decoded[path] = values
        return values

    def _is_signed(self, raw: Raw) -> bool:
        """Pixel Representation, for the few elements of implicit VR that are US or SS by it."""
        if raw.vr or (place := self._places.get(_PIXEL_REPRESENTATION)) is None:
            return False
        return any(raw.value is not None and 1 in raw.value for raw in self._found[place])


class _Given(Header):
    """A header made from values."""

    __slots__ = ()

    def values(self, path: TagPath) -> Values | None:
        return self._decoded.get(path)


def scan(
    part: Buffer, transfer_syntax_uid: str, asked: Iterable[TagPath], *, is_complete: bool = True
) -> Header:
    """Read the elements asked for from a data set, or from its first bytes (then ``is_complete`` is False).

    Where :attr:`Header.truncated` comes back true and the data set has more bytes, call again with more.
    Fastest where ``asked`` is the same frozenset each time and ``part`` is ``bytes``.
    """
    asking = _asking(frozenset(asked))
    if not asking.paths:
        return Header(asking.places, [])
    if not part and is_complete:
        return Header(asking.places, [[] for _ in asking.paths], problem="the data set is empty")
    if transfer_syntax_uid in _DEFLATED:
        return _scan_deflated(part, asking, is_complete)
    return _scan_plain(
        part,
        asking,
        is_explicit=transfer_syntax_uid not in _IMPLICIT,
        is_little=transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        is_complete=is_complete,
    )


class _Asking:
    """What is asked, made ready once."""

    __slots__ = ("paths", "places", "plan")

    def __init__(self, paths: tuple[TagPath, ...]) -> None:
        self.paths = paths
        self.places: dict[TagPath, int] = {path: place for place, path in enumerate(paths)}
        self.plan: Plan = plan_for(paths)


@lru_cache(maxsize=64)
def _asking(asked: frozenset[TagPath]) -> _Asking:
    needed = set(asked)
    if any(path.vr in AMBIGUOUS_VRS for path in asked):
        needed.add(_PIXEL_REPRESENTATION)
    return _Asking(tuple(sorted(needed, key=lambda path: [step.tag for step in path.steps])))


def _scan_plain(
    part: Buffer, asking: _Asking, *, is_explicit: bool, is_little: bool, is_complete: bool
) -> Header:
    found_explicit, found_little = _look(part, is_explicit, is_little)
    problem = ""
    if (found_explicit, found_little) != (is_explicit, is_little):
        problem = "the data set is not encoded as its transfer syntax says"
    walk = Walk(part, is_little=found_little, slots=len(asking.paths))
    try:
        if not walk.run(asking.plan, is_explicit=found_explicit) and not is_complete:
            return Header(asking.places, walk.found, problem=problem, truncated=True)
    except RanOut:
        if is_complete:
            problem = "the data set ends in the middle of an element"
        return Header(asking.places, walk.found, problem=problem, truncated=True)
    except TooDeep as error:
        return Header(asking.places, walk.found, problem=str(error))
    except NotUnderstood as error:
        return _scan_by_pydicom(part, asking, walk, str(error), found_explicit, found_little)
    return Header(asking.places, walk.found, problem=problem)


def _look(part: Buffer, is_explicit: bool, is_little: bool) -> tuple[bool, bool]:
    """How the first element is really encoded: some senders do not send what was negotiated.

    A first group over 00FF that would be low in the other byte order tells the order; two capitals where
    a VR would stand tell the VR: as a length they would be 16 kB at least, in a data set's first element.
    """
    head = bytes(part[:6])
    if len(head) < 6:
        return is_explicit, is_little
    if head[is_little] and not head[not is_little]:  # the group's high byte is set, its low byte is not
        is_little = not is_little
    return head[4:6].isalpha() and head[4:6].isupper(), is_little


def _scan_deflated(part: Buffer, asking: _Asking, is_complete: bool) -> Header:
    """Inflate (RFC 1951, PS3.5 §A.5) as far as needed, eight times further at each look."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = bytearray()
    rest: Buffer = part
    wanted = INFLATE_STEP_BYTES
    while True:
        try:
            plain += inflater.decompress(rest, wanted - len(plain))
        except zlib.error:
            header = _scan_plain(
                bytes(plain) or part, asking, is_explicit=True, is_little=True, is_complete=is_complete
            )
            header.problem = "the data set is not deflated as its transfer syntax says"
            return header
        rest = inflater.unconsumed_tail
        is_all = inflater.eof or len(plain) < wanted
        header = _scan_plain(
            bytes(plain), asking, is_explicit=True, is_little=True, is_complete=is_all and is_complete
        )
        if not header.truncated:
            return header
        if is_all:
            header.truncated = not inflater.eof
            return header
        if wanted >= INFLATE_CAP_BYTES:
            header.truncated = False  # more bytes would not help
            header.problem = (
                f"the data set inflates to more than {INFLATE_CAP_BYTES} bytes before the last tag"
            )
            return header
        wanted = min(wanted * 8, INFLATE_CAP_BYTES)


def _scan_by_pydicom(
    part: Buffer, asking: _Asking, walk: Walk, problem: str, is_explicit: bool, is_little: bool
) -> Header:
    """Let pydicom read what the scanner did not understand; what the scanner has found stands otherwise."""
    last = asking.plan.last
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data_set = read_dataset(
                BytesIO(part[:PYDICOM_CAP_BYTES]),
                not is_explicit,
                is_little,
                stop_when=lambda tag, vr, length: tag > last,
            )
            decoded = {path: _from_pydicom(data_set, path, 0) for path in asking.paths}
    except Exception:  # any garbage: pydicom's reader raises what comes to hand
        return Header(asking.places, walk.found, problem=problem)
    return Header(asking.places, walk.found, decoded=decoded)


def _from_pydicom(data_set: Dataset, path: TagPath, depth: int) -> Values | None:
    step = path.steps[depth]
    tag = step.tag
    if step.creator:
        try:
            tag = data_set.private_block(step.group, step.creator).get_tag(step.tag & 0xFF)
        except KeyError:
            return None
    element: DataElement | RawDataElement | None = data_set.get(tag)
    if not isinstance(element, DataElement):
        return None
    if depth == len(path.steps) - 1:
        return () if element.VR == "SQ" else normal(element.value)
    if element.VR != "SQ":
        return None
    inner = [_from_pydicom(item, path, depth + 1) for item in element.value]
    present = [values for values in inner if values is not None]
    return tuple(v for values in present for v in values) if present else None
