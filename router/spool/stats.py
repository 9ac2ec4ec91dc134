"""What the spool says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStats:
    """How full the spool is."""

    bytes_used: int  # segments and large objects as they lie on disk
    bytes_live: int  # Part 10 objects that are not released yet
    free_bytes: int  # of the file system
    segments: int
    large_objects: int
    unrouted: int  # instances no rule has looked at yet
