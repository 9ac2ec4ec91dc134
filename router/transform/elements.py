"""A raw data set: elements with their values as they lie, read by ``reading``, written by ``writing``.

Values are never decoded but where somebody asks (:meth:`DataSet.ints`, :meth:`DataSet.text`), so what is
malformed stays as it was sent. They are views of what was read, always with the bytes of a word in little
endian order: ``reading`` swaps those of a big endian data set, and ``writing`` swaps them back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from router.errors import CannotTranscode
from router.model import Buffer
from router.transform import vrs

PIXEL_DATA = 0x7FE00010

_NUMBERS_BYTES = 1024  # what describes pixels has three numbers at most
_INTEGER_STRING = re.compile(r" *[+-]?[0-9]{1,12} *")  # PS3.5 §6.2
_WORDS = {vr: Struct("<" + sign) for vr, sign in vrs.INTEGERS.items()}


@dataclass(frozen=True, slots=True)
class Fragments:
    """The items of encapsulated pixel data (PS3.5 §A.4); the first is the Basic Offset Table."""

    items: Sequence[Buffer]


@dataclass(slots=True)
class Element:
    """One element. ``vr`` is empty where implicit VR left it open; ``is_undefined`` is of its length.

    A value's length may be odd; ``writing`` pads it.
    """

    tag: int
    vr: str
    value: Buffer | list[DataSet] | Fragments
    is_undefined: bool = False


class DataSet:
    """Elements in the order in which they lie: a whole data set or an item of a sequence."""

    __slots__ = ("_index", "elements", "is_implicit", "is_undefined")

    def __init__(
        self, elements: Iterable[Element] = (), *, is_implicit: bool = False, is_undefined: bool = False
    ) -> None:
        self.elements = list(elements)
        self.is_implicit = is_implicit  # as read
        self.is_undefined = is_undefined  # the length of an item
        self._index: dict[int, Element] | None = None

    def get(self, tag: int) -> Element | None:
        """The element of a tag; the later one, where it stands twice."""
        if self._index is None:
            self._index = {element.tag: element for element in self.elements}
        return self._index.get(tag)

    def put(self, element: Element) -> None:
        """Add an element where its tag belongs, in place of any that has the same."""
        self.remove(element.tag)
        at = len(self.elements)
        while at and self.elements[at - 1].tag > element.tag:
            at -= 1
        self.elements.insert(at, element)
        self._index = None

    def remove(self, tag: int) -> None:
        """Drop every element of a tag; nothing where there is none."""
        if self.get(tag) is not None:
            self.elements = [element for element in self.elements if element.tag != tag]
            self._index = None

    def have(self, elements: Iterable[Element]) -> None:
        """These, in this order, instead of those that it has."""
        self.elements = list(elements)
        self._index = None

    def items(self) -> Iterator[DataSet]:
        """All data sets in its sequences, at every level; may be changed while they are gone through."""
        for element in self.elements:
            if isinstance(element.value, list):
                for item in element.value:
                    yield item
                    yield from item.items()

    def buffer(self, tag: int) -> Buffer | None:
        """The value of an element that is neither a sequence nor fragments; None where there is none."""
        element = self.get(tag)
        return None if element is None or isinstance(element.value, list | Fragments) else element.value

    def text(self, tag: int) -> str:
        """A value as text of one byte a character, without padding; empty where there is none."""
        return bytes(self.buffer(tag) or b"").decode("latin-1").strip(" \0")

    def ints(self, tag: int) -> tuple[int, ...]:
        """The numbers of an element of VR US, SS, UL, SL, UV, SV or IS; none where there is no value.

        Raises :class:`CannotTranscode` where they are no numbers.
        """
        element, value = self.get(tag), self.buffer(tag)
        if element is None or value is None:
            return ()
        vr = element.vr if element.vr not in ("", "UN") else vrs.integer_vr(tag)
        if len(value) > _NUMBERS_BYTES:
            raise CannotTranscode(f"{shown(tag)} has more values than it can have")
        words = _WORDS.get(vr)
        if words is not None:
            if len(value) % words.size:
                raise CannotTranscode(f"{shown(tag)} has a length that its VR cannot have")
            return tuple(number for (number,) in words.iter_unpack(value))
        parts = [part for part in self.text(tag).split("\\") if part.strip()]
        if not all(map(_INTEGER_STRING.fullmatch, parts)):
            raise CannotTranscode(f"{shown(tag)} is not a number")
        return tuple(map(int, parts))


def shown(tag: int) -> str:
    """A tag as people write it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
