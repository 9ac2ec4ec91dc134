"""Names of data elements as people write them, parsed to paths of tags.

Four spellings, also mixed within a path, whose steps are joined by dots::

    Modality                                              a keyword of PS3.6
    RequestAttributesSequence.ScheduledProcedureStepID    inside the items of a sequence: any item
    (0019,100C)                                           a tag, in hexadecimal
    (0019,"SIEMENS CT VA0",0C)                            a private element, by its creator (PS3.5 §7.8.1)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_dict, keyword_for_tag

DEPTH_CAP = 8  # steps in a path; IODs of PS3.3 nest five sequences at most

_STEP = re.compile(
    r"""
    (?P<keyword>[A-Za-z][A-Za-z0-9]*)
    | \(\s*(?P<group>[0-9A-Fa-f]{4})\s*,\s*
      (?: (?P<element>[0-9A-Fa-f]{4}) | "(?P<creator>[^"\\]{1,64})"\s*,\s*(?P<offset>[0-9A-Fa-f]{2}) )\s*\)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One element on the way. With a ``creator``, the tag's low byte only: its block is found in the data."""

    tag: int  # group << 16 | element
    creator: str = ""

    @property
    def group(self) -> int:
        return self.tag >> 16

    def __str__(self) -> str:
        if self.creator:
            return f'({self.group:04X},"{self.creator}",{self.tag & 0xFF:02X})'
        return keyword_for_tag(self.tag) or f"({self.group:04X},{self.tag & 0xFFFF:04X})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPath:
    """Sequences down to the element asked for. Two spellings of one path are equal."""

    steps: tuple[Step, ...]
    text: str = field(compare=False)  # as it was written
    hash_value: int = field(init=False, repr=False, compare=False)  # paths are keys on the hot path

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash_value", hash(self.steps))

    def __hash__(self) -> int:
        return self.hash_value

    @property
    def tag(self) -> int:
        """The tag of the element at its end; its low byte only where that is private with a creator."""
        return self.steps[-1].tag

    @property
    def vr(self) -> str:
        """The value representation that PS3.6 gives the element, or an empty string: private or unknown."""
        return "" if self.steps[-1].creator else vr_of(self.tag)

    def __str__(self) -> str:
        return self.text


def vr_of(tag: int) -> str:
    """What PS3.6 says, e.g. ``LO`` or ``US or SS``; an empty string where it does not know the tag."""
    return str(dictionary_VR(tag)) if dictionary_has_tag(tag) else ""


@lru_cache(maxsize=4096)
def parse(text: str) -> TagPath:
    """Parse one of the four spellings. Raises ``ValueError`` with a sentence for the user."""
    steps: list[Step] = []
    at = 0
    while True:
        match = _STEP.match(text, at)
        end = match.end() if match else at
        if match is None or (end < len(text) and text[end] != "."):
            raise ValueError(_syntax(text))
        steps.append(_step(match))
        if end == len(text):
            break
        at = end + 1
    if len(steps) > DEPTH_CAP:
        raise ValueError(f"{text!r} goes through more than {DEPTH_CAP} sequences")
    for step in steps[:-1]:
        if not step.creator and (vr := vr_of(step.tag)) not in ("", "SQ"):
            raise ValueError(f"{step} is no sequence (its VR is {vr}), so it has nothing inside")
    return TagPath(steps=tuple(steps), text=text)


def _step(match: re.Match[str]) -> Step:
    if keyword := match["keyword"]:
        tag = keyword_dict.get(keyword)
        if tag is None:
            raise ValueError(f"unknown DICOM keyword {keyword!r}{_suggestion(keyword)}")
        step = Step(tag=tag)
    else:
        group = int(match["group"], 16)
        if match["creator"] is None:
            step = Step(tag=group << 16 | int(match["element"], 16))
        elif group % 2 == 0:
            raise ValueError(f"({group:04X},...) is no private group (those are odd), so it has no creator")
        else:
            step = Step(tag=group << 16 | int(match["offset"], 16), creator=match["creator"].strip())
    if step.group <= 0x0002:
        raise ValueError(f"{step} belongs to file meta information or a command, not to the data set")
    return step


def _suggestion(keyword: str) -> str:
    folded = keyword.casefold()
    for known in keyword_dict:
        if known.casefold() == folded:
            return f"; did you mean {known!r}?"
    near = get_close_matches(keyword, keyword_dict, n=1, cutoff=0.75)
    return f"; did you mean {near[0]!r}?" if near else ""


def _syntax(text: str) -> str:
    return (
        f"{text!r} is no element: expected a keyword (Modality), a tag such as (0019,100C), a private "
        'element such as (0019,"SIEMENS CT VA0",0C), or several of them joined by dots'
    )
