"""The path of a folder destination: ``{Keyword}`` replaced by the instance's value, made safe. Pure.

Values come from the wire and are not to be trusted with a path: what is not a letter, digit or one of a few
signs becomes ``_``, so that a value is always exactly one component or a part of one, and never ``..``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath

from router.dicom.header import Header
from router.dicom.tagpath import TagPath, parse
from router.model import Instance

MISSING = "UNKNOWN"
COMPONENT_BYTES = 200  # file systems take 255; room for a suffix and a temporary name
VALUE_CHARS = 100
DEFAULT_NAME = "{SOPInstanceUID}.dcm"

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_SAFE_SIGNS = frozenset(" -_.,+=@^")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed path. ``asked`` is what its placeholders need of the header."""

    root: PurePath  # the components in front of the first one with a placeholder: as written
    parts: tuple[str, ...]  # the others
    asked: frozenset[TagPath]


def parse_template(text: str) -> Template:
    """Parse a ``folder`` setting. Without a placeholder in its last component it is the directory.

    Raises ``ValueError`` with a sentence for the user.
    """
    path = PurePath(text)
    parts = list(path.parts)
    if text.endswith("/") or not parts or not _PLACEHOLDER.search(parts[-1]):
        parts.append(DEFAULT_NAME)
    first = next(index for index, part in enumerate(parts) if _PLACEHOLDER.search(part))
    asked = frozenset(parse(name) for part in parts for name in _PLACEHOLDER.findall(part))
    return Template(root=PurePath(*parts[:first]), parts=tuple(parts[first:]), asked=asked)


def fill(template: Template, header: Header, instance: Instance) -> PurePath:
    """Where ``instance`` belongs. UIDs that its data set lacks are taken from its association."""
    known = {
        parse("SOPInstanceUID"): instance.arrival.sop_instance_uid,
        parse("SOPClassUID"): instance.arrival.sop_class_uid,
    }

    def value(match: re.Match[str]) -> str:
        path = parse(match[1])
        values = header.values(path) or (known.get(path, ""),)
        return make_safe("_".join(str(value) for value in values))

    return template.root.joinpath(*(_component(_PLACEHOLDER.sub(value, part)) for part in template.parts))


def make_safe(text: str) -> str:
    """``text`` as a part of a file name; :data:`MISSING` where nothing of it can be used."""
    normal = unicodedata.normalize("NFC", text).strip()[:VALUE_CHARS]
    safe = "".join(char if char.isalnum() or char in _SAFE_SIGNS else "_" for char in normal)
    return safe.strip(" ") if safe.strip("._ ") else MISSING


def _component(text: str) -> str:
    """One component, no longer than file systems allow; no leading dot, which would hide it or lead up."""
    shortened = text.encode()[:COMPONENT_BYTES].decode(errors="ignore").strip(" ")
    return "_" + shortened[1:] if shortened.startswith(".") else shortened
