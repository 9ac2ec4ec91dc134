"""Identifiers, the data sets of queries: written from keys, read into plain records (PS3.4 Annex C).

Written element by element, because what a key says is no valid value in many cases (wildcards, ranges,
lists); read by pydicom, with each value in the character set that its data set names.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from struct import Struct, error as struct_error

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VM, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from router.dicom.charsets import (
    CHARACTER_SET,
    OF_CHARACTER_SET,
    UNICODE,
    encode_text,
    encodings_of,
    is_defined,
)
from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN
from router.dicom.encoding import ITEM, LITTLE, LONG_VRS
from router.dicom.query import LEVEL_WORDS, Key, Model, Query
from router.dicom.tagpath import TagPath, vr_of
from router.dicom.values import AMBIGUOUS_VRS, Value, normal
from router.errors import RemoteProtocolError

IDENTIFIER_CAP_BYTES = 4 * 1024 * 1024  # of one response: a list of 60,000 failed UIDs

_LEVEL, _FAILED_UIDS = 0x00080052, 0x00080058
_NUMBERS = {
    "US": Struct("<H"), "SS": Struct("<h"), "UL": Struct("<I"), "SL": Struct("<i"),
    "UV": Struct("<Q"), "SV": Struct("<q"), "FL": Struct("<f"), "FD": Struct("<d"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of a match. ``values`` of a sequence are empty, its ``items`` are not None."""

    tag: int
    values: tuple[Value, ...] = ()
    items: tuple[Match, ...] | None = None

    @property
    def name(self) -> str:
        """Its keyword, or ``(gggg,eeee)`` where PS3.6 has none."""
        return _name(self.tag)

    @property
    def is_multiple(self) -> bool:
        """PS3.6 allows more than one value."""
        return _is_multiple(self.tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An identifier as it was answered, its attributes in the order of their tags."""

    attributes: tuple[Attribute, ...] = ()

    def values(self, path: TagPath) -> tuple[Value, ...]:
        """The values at a path: those of all items of a sequence on the way."""
        return tuple(self._values([step.tag for step in path.steps]))

    def _values(self, tags: list[int]) -> Iterable[Value]:
        for attribute in self.attributes:
            if attribute.tag == tags[0]:
                if len(tags) == 1:
                    yield from attribute.values
                    continue
                for item in attribute.items or ():
                    yield from item._values(tags[1:])

    def text(self, path: TagPath) -> str:
        """The same for people, values separated by a backslash as in DICOM."""
        return "\\".join(map(str, self.values(path)))


_Tree = dict[int, "str | _Tree"]


def encode_identifier(query: Query, transfer_syntax_uid: str) -> bytes:
    """The identifier of a request, in one of the two uncompressed little endian transfer syntaxes.

    Raises ``ValueError`` with a sentence for the user where a value does not go into its element.
    """
    character_set = query.character_set or _needed_character_set(query.keys)
    tree: _Tree = {}
    if character_set:
        tree[CHARACTER_SET] = character_set
    if query.model is not Model.WORKLIST:
        tree[_LEVEL] = LEVEL_WORDS[query.level]
    for key in query.keys:
        _plant(tree, key)
    return _encode_tree(
        tree,
        is_implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
        encodings=_encodings(character_set),
    )


def encode_elements(texts: Mapping[int, str], transfer_syntax_uid: str) -> bytes:
    """A data set of some elements in ASCII, by tag, as an identifier is written."""
    is_implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN
    return _encode_tree(dict(texts), is_implicit=is_implicit, encodings=[])


def check_identifier(query: Query) -> None:
    """Raise what ``encode_identifier`` would, before anybody is connected to."""
    encode_identifier(query, IMPLICIT_VR_LITTLE_ENDIAN)


def _needed_character_set(keys: Iterable[Key]) -> str:
    """ "" where ASCII will do: PS3.4 §C.4.1.1.3.1 wants the attribute only where it is needed."""
    return "" if all(key.value.isascii() for key in keys) else UNICODE


def _encodings(character_set: str) -> list[str]:
    for term in character_set.split("\\"):
        if not is_defined(term.strip()):
            raise ValueError(
                f"{term.strip()!r} is no character set of DICOM; those are as ISO_IR 100, or \\ISO 2022 IR 87"
            )
    return encodings_of(character_set)


def _plant(tree: _Tree, key: Key) -> None:
    """Put a key where its path leads; what is asked for inside a sequence asks for the sequence."""
    for step in key.path.steps[:-1]:
        inner = tree.get(step.tag)
        if not isinstance(inner, dict):
            inner = tree[step.tag] = {}
        tree = inner
    if not isinstance(tree.get(key.path.tag), dict):
        tree[key.path.tag] = key.value


def _encode_tree(tree: _Tree, *, is_implicit: bool, encodings: list[str]) -> bytes:
    parts: list[bytes] = []
    for tag, content in sorted(tree.items()):
        vr = vr_of(tag) or "UN"
        if vr in AMBIGUOUS_VRS:
            vr = "US"
        if isinstance(content, dict):
            vr = "SQ"
            item = _encode_tree(content, is_implicit=is_implicit, encodings=encodings)
            value = _header(ITEM, "", len(item), is_implicit=True) + item
        else:
            value = _encode_value(tag, vr, content, encodings)
        parts += (_header(tag, vr, len(value), is_implicit=is_implicit), value)
    return b"".join(parts)


def _header(tag: int, vr: str, length: int, *, is_implicit: bool) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if is_implicit:
        return LITTLE.implicit.pack(group, element, length)
    name = int.from_bytes(vr.encode(), "little")
    if vr in LONG_VRS:
        return LITTLE.explicit.pack(group, element, name, 0) + LITTLE.length.pack(length)
    if length > 0xFFFF:
        raise ValueError(f"{_name(tag)}: the value is longer than 64 kB")
    return LITTLE.explicit.pack(group, element, name, length)


def _encode_value(tag: int, vr: str, text: str, encodings: list[str]) -> bytes:
    if not text:
        return b""
    if vr in _NUMBERS or vr == "AT":
        return b"".join(_number(tag, vr, part) for part in text.split("\\"))
    if vr in OF_CHARACTER_SET:
        value = _in_character_set(tag, vr, text, encodings)
    elif text.isascii():
        value = text.encode("ascii")
    else:
        raise ValueError(f"{_name(tag)}={text}: an attribute of VR {vr} has ASCII characters only")
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) & 1)


def _number(tag: int, vr: str, text: str) -> bytes:
    try:
        if vr == "AT":
            return Struct("<HH").pack(*(int(part, 16) for part in text.strip("() ").split(",")))
        return _NUMBERS[vr].pack(float(text) if vr in ("FL", "FD") else int(text))
    except (ValueError, OverflowError, struct_error):
        raise ValueError(
            f"{_name(tag)}: {text!r} is no value of VR {vr}; wildcards match text only"
        ) from None


def _in_character_set(tag: int, vr: str, text: str, encodings: list[str]) -> bytes:
    value = encode_text(vr, text, encodings)
    if value is None:
        raise ValueError(
            f"{_name(tag)}={text} has characters that this character set lacks (--character-set)"
        )
    return value


def decode_identifier(data: bytes, transfer_syntax_uid: str) -> Match:
    """Read the identifier of a response. RemoteProtocolError where there is nothing to be made of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(
                BytesIO(data),
                is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
                is_little_endian=True,
                bytelength=len(data),
            )
            return _match(dataset)
    except Exception as error:  # any garbage: pydicom raises what comes to hand
        raise RemoteProtocolError(f"an identifier that cannot be read ({type(error).__name__})") from error


def _match(dataset: Dataset) -> Match:
    tags = (int(tag) for tag in sorted(dataset.keys()))
    return Match(attributes=tuple(_attribute(dataset, tag) for tag in tags if tag != CHARACTER_SET))


def _attribute(dataset: Dataset, tag: int) -> Attribute:
    try:
        element = dataset[BaseTag(tag)]
    except Exception:  # what cannot be decoded by its VR is shown as the text that it is
        raw = dataset.get_item(BaseTag(tag))
        value = getattr(raw, "value", None)
        text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
        return Attribute(tag=tag, values=(text,) if text else ())
    if isinstance(element.value, bytes):
        text = element.value.decode("latin-1").strip(" \0")
        return Attribute(tag=tag, values=(text,) if text and text.isprintable() else ())
    if element.VR == "SQ":
        return Attribute(tag=tag, items=tuple(map(_match, element.value or ())))
    return Attribute(tag=tag, values=normal(element.value))


def failed_uids(match: Match) -> tuple[str, ...]:
    """Failed SOP Instance UID List (0008,0058) of a C-MOVE or C-GET response."""
    found = (one for one in match.attributes if one.tag == _FAILED_UIDS)
    return tuple(str(value) for one in found for value in one.values if value)


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=1024)
def _is_multiple(tag: int) -> bool:
    return dictionary_has_tag(tag) and str(dictionary_VM(tag)) != "1"


config.settings.reading_validation_mode = config.IGNORE  # as in ``values``: reading is not judging
