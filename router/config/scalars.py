"""The scalar types of the configuration: durations, sizes, AE titles."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, Field

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*")
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?i?B?)\s*")
_LONGEST_S = 1000 * 365.25 * 86400.0  # what is longer is a slip, or a number that no clock can add
_LARGEST_BYTES = 1 << 62  # of a file, by offsets of 64 bits
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(value: object) -> object:
    """``30s``, ``10m``, ``3d`` or a number of seconds → seconds; anything else is a ``ValueError``."""
    seconds = math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (m := _DURATION.fullmatch(value)):
        seconds = float(m[1]) * _SECONDS[m[2]]
    if seconds > _LONGEST_S or seconds != seconds:
        raise ValueError("expected a duration such as 30s, 10m, 2h or 3d")
    return float(seconds)


def parse_size(value: object) -> object:
    """``64MB``, ``1GiB`` or a number of bytes → bytes. ``MB`` is 2**20 as ``MiB`` is."""
    size = math.inf
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (m := _SIZE.fullmatch(value)):
        size = float(m[1]) * 1024 ** _POWERS[m[2].rstrip("B").rstrip("i").lower()]
    if size > _LARGEST_BYTES:
        raise ValueError("expected a size such as 512kB, 64MB or 1GiB")
    return int(size)


def parse_rate(value: object) -> object:
    """``10MB`` or a number of bytes, for each second."""
    size = parse_size(value)
    if size == 0:
        raise ValueError("a rate must be more than nothing; to send at certain times only, use 'schedule'")
    return size


def no_home(path: str) -> str:
    """What is wrong with a path whose ``~`` or ``~name`` stands for nobody's directory here."""
    return f"{path.partition('/')[0]!r} is nobody's home directory on this machine"


def check_ae_title(value: object) -> object:
    """1 to 16 characters of the default repertoire, no backslash, not only spaces (PS3.5 §6.2, VR AE)."""
    if not isinstance(value, str):
        raise ValueError("expected an AE title (put it in quotes if it looks like a number)")
    title = value.strip(" ")
    if not 1 <= len(title) <= 16 or not all(" " <= c <= "~" and c != "\\" for c in title):
        raise ValueError("expected an AE title: 1 to 16 printable ASCII characters, no backslash")
    return title


def check_port(value: object) -> object:
    """A port as a number, or written in quotes; ``true`` is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("expected a port number")


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
PduSize = Annotated[int, BeforeValidator(parse_size), Field(ge=0, le=0xFFFFFFFF)]  # its field has 32 bits
Rate = Annotated[int, BeforeValidator(parse_rate), Field(ge=1)]
AeTitle = Annotated[str, BeforeValidator(check_ae_title)]
ListenPort = Annotated[int, BeforeValidator(check_port), Field(ge=0, le=65535)]  # 0: the system chooses
PeerPort = Annotated[int, BeforeValidator(check_port), Field(ge=1, le=65535)]
Count = Annotated[int, Field(strict=True, ge=1)]
