"""Values with placeholders, as ``set`` takes them: ``A-{PatientID}``, ``{calling_ae}``; ``{{`` is a brace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from router.dicom.tagpath import TagPath, parse
from router.model import Origin

ORIGIN = ("calling_ae", "called_ae")

_PART = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FromOrigin:
    """Something of where the instance came from."""

    name: str

    def of(self, origin: Origin) -> str:
        """Its value."""
        return origin.calling_ae if self.name == "calling_ae" else origin.called_ae


Part = str | TagPath | FromOrigin


@lru_cache(maxsize=1024)
def parse_value(text: str) -> tuple[Part, ...]:
    """The parts of a value: text, elements and the origin. ``ValueError`` with a sentence for the user."""
    parts: list[Part] = []
    at = 0
    for match in _PART.finditer(text):
        _add(parts, text[at : match.start()])
        at = match.end()
        if match[0] in ("{{", "}}"):
            _add(parts, match[0][0])
        elif match["name"] is None:
            raise ValueError(f"a brace that belongs to no {{placeholder}}; {match[0] * 2} stands for itself")
        elif match["name"] in ORIGIN:
            parts.append(FromOrigin(name=match["name"]))
        else:
            parts.append(parse(match["name"]))
    _add(parts, text[at:])
    return tuple(parts)


def _add(parts: list[Part], text: str) -> None:
    if not text:
        return
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    else:
        parts.append(text)
