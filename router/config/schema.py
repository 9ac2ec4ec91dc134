"""Which keys the settings have at a place, for suggestions, and which ones later versions will have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, get_args, get_origin, get_type_hints

from router.config.orthanc_keys import KEYS as ORTHANC_KEYS
from router.config.settings import Deliver, Modality, Settings

# Refused by name rather than as unknown: somebody has read design.md, and is told that it is yet to come.
_LATER: dict[type, frozenset[str]] = {
    Modality: frozenset({"transcode", "dicomweb"}),
    Deliver: frozenset({"storage_commitment"}),
    Settings: frozenset({"dicomweb", "query", "cluster"}),
}


def is_later(location: Sequence[object], key: str) -> bool:
    """Whether a key that is unknown now has a meaning in design.md."""
    owner = _class_at(location)
    return owner is not None and key in _LATER.get(owner, frozenset())


def keys_at(location: Sequence[object]) -> tuple[str, ...]:
    """The keys that a mapping at this place may have."""
    owner = _class_at(location)
    if owner is None:
        return ()
    return tuple(f.name for f in fields(owner)) + (ORTHANC_KEYS if owner is Modality else ())


def _class_at(location: Sequence[object]) -> type | None:
    here: object = Settings
    for part in location:
        if isinstance(here, type) and is_dataclass(here):
            hints = get_type_hints(here, include_extras=False)
            here = _present(hints.get(str(part)))
        else:  # dict[str, X] and tuple[X, ...]: any key, any position
            here = _element(here)
    return here if isinstance(here, type) and is_dataclass(here) else None


def _present(hint: object) -> object:
    """``X`` of ``X | None``."""
    arguments = [one for one in get_args(hint) if one is not NoneType]
    return arguments[0] if isinstance(hint, UnionType) and len(arguments) == 1 else hint


def _element(hint: object) -> object:
    if get_origin(hint) is Annotated:
        return _element(get_args(hint)[0])
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        return arguments[1]
    return arguments[0] if arguments else None
