"""What others ask of us by C-FIND, C-MOVE and C-GET: read from a request's identifier, and answered. Pure.

Hierarchical search only (PS3.4 §C.4.1.2.1): every unique key above the level is one value. Attributes of a
level above are answered as those of the level itself, since many ask so; what is below, or not known here,
is left out of the answer and told by FF01 (PS3.4 §C.4.1.1.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN, MAX_UID_LENGTH
from router.dicom.holdings import COUNTED, LEVEL_OF, RANK, Values, tag_of
from router.dicom.identifier import Match, encode_elements, encode_identifier
from router.dicom.matching import Matches, matcher
from router.dicom.query import LEVEL_WORDS, UNIQUE_KEYS, Key, Level, Model, Query, levels_of
from router.dicom.tagpath import parse, vr_of

_LEVEL, _CHARACTER_SET = 0x00080052, 0x00080005
_RETRIEVE_AE_TITLE, _AVAILABILITY = 0x00080054, 0x00080056
_OURS = (_RETRIEVE_AE_TITLE, _AVAILABILITY)
_SILENT = frozenset((_LEVEL, _CHARACTER_SET, 0x00080053, 0x00080201))  # say how to read it; no keys
_WORDS = {word: level for level, word in LEVEL_WORDS.items()}
_UNIQUE_TAGS = {level: tag_of(keyword) for level, keyword in UNIQUE_KEYS.items()}
_WILDCARDS = frozenset("*?")
_FAILED_UIDS = 0x00080058
MOST_FAILED = 0xFFFE // (MAX_UID_LENGTH + 1)  # in an element of explicit VR


class Unanswerable(Exception):
    """The identifier does not fit the SOP class (A900). The text is for the peer: no values in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A question that can be answered."""

    model: Model
    level: Level
    unique: Mapping[Level, tuple[str, ...]]  # the unique keys down to the level; none: any
    asked: tuple[int, ...]  # what goes into each answer, of ``LEVEL_OF`` and ours
    stored: tuple[tuple[int, Matches], ...]  # what must match
    counted: tuple[tuple[int, Matches], ...]  # the same, of what is counted
    is_doubtful: bool  # not all of it could be taken into account

    @property
    def wants_counts(self) -> bool:
        """Something is asked that follows from several instances."""
        return bool(self.counted) or any(tag in COUNTED for tag in self.asked)

    def fits(self, values: Values) -> bool:
        """Whether what is stored of an entity matches."""
        return all(matches(values.get(tag, ())) for tag, matches in self.stored)

    def fits_counts(self, values: Values) -> bool:
        """Whether what is counted of it does."""
        return all(matches(values.get(tag, ())) for tag, matches in self.counted)


def read_inquiry(model: Model, identifier: Match, *, is_retrieval: bool = False) -> Inquiry:
    """The question of an identifier. Raises ``Unanswerable``."""
    given = {
        attribute.tag: tuple(str(value).strip() for value in attribute.values)
        for attribute in identifier.attributes
    }
    level = _level(model, given.get(_LEVEL, ()))
    unique = _unique(model, level, given, is_retrieval=is_retrieval)
    asked: list[int] = []
    stored: list[tuple[int, Matches]] = []
    counted: list[tuple[int, Matches]] = []
    is_doubtful = False
    for tag, wanted in given.items():
        if tag in _SILENT:
            continue
        if tag in _OURS:
            asked.append(tag)
            continue
        place = LEVEL_OF.get(tag)
        if place is None or RANK[place] > RANK[level]:
            is_doubtful = True
            continue
        asked.append(tag)
        try:
            matches = matcher(vr_of(tag), wanted)
        except ValueError:
            raise Unanswerable(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be matched with that") from None
        if matches is not None:
            (counted if tag in COUNTED else stored).append((tag, matches))
    return Inquiry(
        model=model,
        level=level,
        unique=unique,
        asked=tuple(asked),
        stored=tuple(stored),
        counted=tuple(counted),
        is_doubtful=is_doubtful,
    )


def _level(model: Model, words: tuple[str, ...]) -> Level:
    level = _WORDS.get(words[0]) if len(words) == 1 else None
    if level is None or level not in levels_of(model):
        raise Unanswerable("Query/Retrieve Level missing, or not of this model")
    return level


def _unique(
    model: Model, level: Level, given: Mapping[int, tuple[str, ...]], *, is_retrieval: bool
) -> dict[Level, tuple[str, ...]]:
    """The unique keys; one value for each level above, and for a retrieval at least one of its own."""
    found: dict[Level, tuple[str, ...]] = {}
    levels = levels_of(model)
    for one in levels[: levels.index(level) + 1]:
        values = tuple(filter(None, given.get(_UNIQUE_TAGS[one], ())))
        is_named = bool(values) and not any(_WILDCARDS.intersection(value) for value in values)
        if one is not level and (not is_named or len(values) > 1):
            raise Unanswerable(f"{UNIQUE_KEYS[one]} must name one {one} at this level")
        if one is level and is_retrieval and not is_named:
            raise Unanswerable(f"{UNIQUE_KEYS[one]} must say what to send")
        if is_named:
            found[one] = values
    return found


def encode_answer(inquiry: Inquiry, values: Values, *, ae_title: str, transfer_syntax_uid: str) -> bytes:
    """The identifier of a response: what was asked, what has no value empty.

    In ASCII or in UTF-8 (``ISO_IR 192``). A value that is none of its VR, which senders do have, is empty.
    """
    ours = {_RETRIEVE_AE_TITLE: (ae_title,), _AVAILABILITY: ("ONLINE",)}
    tags = dict.fromkeys((_RETRIEVE_AE_TITLE, *inquiry.asked))  # where to get it: PS3.4 §C.4.1.1.3.2
    keys = [
        Key(path=parse(_spelled(tag)), value="\\".join(ours.get(tag) or values.get(tag, ()))) for tag in tags
    ]
    query = Query(model=inquiry.model, level=inquiry.level, keys=tuple(keys))
    try:
        return encode_identifier(query, transfer_syntax_uid)
    except ValueError:
        sound = tuple(
            key if _is_sound(query, key, transfer_syntax_uid) else replace(key, value="") for key in keys
        )
        return encode_identifier(replace(query, keys=sound), transfer_syntax_uid)


def encode_failed(sop_instance_uids: Sequence[str], transfer_syntax_uid: str) -> bytes:
    """The identifier of a retrieval's last response: Failed SOP Instance UID List (PS3.4 §C.4.2.1.4.2).

    In explicit VR it has room for 64 kB of them; the count says how many there are.
    """
    room = len(sop_instance_uids) if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN else MOST_FAILED
    return encode_elements({_FAILED_UIDS: "\\".join(sop_instance_uids[:room])}, transfer_syntax_uid)


def _is_sound(query: Query, key: Key, transfer_syntax_uid: str) -> bool:
    try:
        encode_identifier(replace(query, keys=(key,)), transfer_syntax_uid)
    except ValueError:
        return False
    return True


def _spelled(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
