"""The durable store and queue: segments, large objects, and the ledger that is the truth about them."""

from __future__ import annotations

from router.spool.large import LargeObject
from router.spool.spool import Spool
from router.spool.stats import SpoolStats

__all__ = ["LargeObject", "Spool", "SpoolStats"]
