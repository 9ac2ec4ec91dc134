"""Whose an instance is that the auditor does not remember from routing: read from the store once more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from router.audit.auditor import Auditor
from router.audit.gathering import Way
from router.dicom.header import scan
from router.errors import StorageError
from router.model import Instance
from router.spool.orders import Operator

HEAD_BYTES = (8192, 512 * 1024)  # of a data set: which study it is stands near its start, nearly always

ReadHead = Callable[[Instance, int], Awaitable[bytes]]


async def look_up(auditor: Auditor, read_head: ReadHead, instance: Instance) -> None:
    """Have the auditor know it; where it cannot be read it is told without its study."""
    transfer_syntax_uid = instance.arrival.transfer_syntax_uid
    for limit in HEAD_BYTES:
        try:
            head = await read_head(instance, limit)
        except StorageError:
            return  # whoever wants it will say so
        is_complete = len(head) >= instance.size_bytes
        header = scan(head, transfer_syntax_uid, auditor.asked, is_complete=is_complete)
        auditor.read(instance, header)
        if is_complete or not header.truncated:
            return


async def tell_fetched(auditor: Auditor, read_head: ReadHead, by: Operator, instance: Instance) -> None:
    """An operator is about to be given an instance as a file."""
    if not auditor.is_known(instance, Way.FETCHED):
        await look_up(auditor, read_head, instance)
    auditor.fetched(by, instance)
