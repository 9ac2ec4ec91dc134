"""An object streamed to a file of its own, because its size is over the threshold or not known."""

from __future__ import annotations

from collections.abc import Sequence

from router.model import Buffer, Instance


class LargeObject:
    """A large object while it arrives. Exactly one of ``commit`` and ``abandon`` ends it."""

    async def write(self, parts: Sequence[Buffer]) -> None:
        """Append ``parts`` to the Part 10 object (file meta first). ``StorageError`` where the disk fails."""
        raise NotImplementedError

    async def commit(self, data_set_offset: int) -> Instance:
        """Make the object durable, then name it in the ledger. ``StorageError``: nothing is left behind."""
        raise NotImplementedError

    async def abandon(self) -> None:
        """Remove what was written. Allowed at any time before ``commit`` returned; does nothing after it."""
        raise NotImplementedError
