"""The gateway as a plain service class user: finds DICOM files, sends them, and says what became of each.

For the command line, the demonstration and tests; the gateway's own forwarding is ``deliver``. A data set
leaves byte for byte as it lies in its file, in the file's own transfer syntax; large ones are streamed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from router.config.access import Identity
from router.dicom.codes import IMPLICIT_VR_LITTLE_ENDIAN, MAX_CONTEXTS, VERIFICATION
from router.dicom.dimse import store_rq
from router.dicom.identity import identify
from router.dicom.negotiation import (
    AcceptedContext,
    AssociateRequest,
    ProposedContext,
    RoleSelection,
    propose_store,
)
from router.dicom.part10 import read_file_meta
from router.dicom.pdu import frame_data_set
from router.errors import AssociationError, RemoteProtocolError, RouterError
from router.net import requestor
from router.net.connection import Connection
from router.net.credentials import Credentials

CHUNK_BYTES = 1024 * 1024  # of a file in memory at once
IDENTITY_BYTES = 4096  # the UIDs of group 8 stand within them
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_IOV_MAX = 1024  # buffers in one preadv (limits.h)
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to call, and as whom."""

    host: str
    port: int
    called_ae: str
    calling_ae: str
    connect_s: float = 10.0
    response_s: float = 60.0
    max_pdu_bytes: int = 131072
    tls: Credentials | None = None
    identity: Identity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFile:
    """A file that can be sent: what its head says, and where its data set lies."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    data_set_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is not sent, and why."""

    path: Path
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one file: the peer's status, or why there is none."""

    file: SendFile
    status: int | None
    comment: str

    @property
    def is_stored(self) -> bool:
        """Success, or a warning: stored all the same (PS3.4 §B.2.3)."""
        return self.status is not None and (
            self.status == 0 or self.status >> 12 == 0xB or self.status in _WARNINGS
        )


def find_files(paths: Iterable[Path]) -> Iterator[SendFile | Skipped]:
    """Every file of ``paths``, directories with all that is below them, in the order of their names."""
    for path in paths:
        if path.is_dir():
            for directory, subdirectories, names in os.walk(path):
                subdirectories.sort()
                for name in sorted(names):
                    yield examine(Path(directory, name))
        else:
            yield examine(path)


def examine(path: Path) -> SendFile | Skipped:
    """Look at the head of one file."""
    try:
        meta = read_file_meta(path)
        if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
            return Skipped(path=path, because="a DICOMDIR, which is not an instance")
        sop_class_uid, sop_instance_uid = meta.sop_class_uid, meta.sop_instance_uid
        if not (sop_class_uid and sop_instance_uid):
            with path.open("rb") as file:
                file.seek(meta.data_set_offset)
                found = identify(file.read(IDENTITY_BYTES), meta.transfer_syntax_uid)
            sop_class_uid, sop_instance_uid = found if found is not None else ("", "")
        if not (sop_class_uid and sop_instance_uid):
            return Skipped(path=path, because="it names no SOP class or SOP instance")
        size = path.stat().st_size - meta.data_set_offset
        if size <= 0:
            return Skipped(path=path, because="it has no data set")
        return SendFile(
            path=path,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            data_set_offset=meta.data_set_offset,
            data_set_bytes=size,
        )
    except OSError as error:
        return Skipped(path=path, because=error.strerror or str(error))
    except ValueError as error:
        return Skipped(path=path, because=str(error))


async def echo(target: Target) -> int:
    """C-ECHO over an association of its own: the peer's status. ``RouterError`` where there is none."""
    contexts = (
        ProposedContext(id=1, abstract_syntax=VERIFICATION, transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,)),
    )
    connection = await associate(target, contexts)
    try:
        accepted = connection.association.contexts
        if 1 not in accepted:
            raise AssociationError("the peer does not accept verification (C-ECHO)")
        status = await requestor.echo(connection, accepted[1], message_id=1, timeout_s=target.response_s)
        await requestor.release(connection)
        return status
    finally:
        connection.abort()


async def send(
    target: Target, files: Sequence[SendFile], *, associations: int = 1, on_result: Callable[[Sent], None]
) -> None:
    """Send files over so many associations at once; ``on_result`` is called once for each file.

    An association that is lost costs the file that was under way; a new one takes up the rest.
    """
    for batch in batches(files):
        waiting = iter(batch)
        contexts = propose_store({(f.sop_class_uid, f.transfer_syntax_uid): None for f in batch})
        async with anyio.create_task_group() as workers:
            for _ in range(min(associations, len(batch))):
                workers.start_soon(_work, target, contexts, waiting, on_result)


def batches(files: Sequence[SendFile]) -> Iterator[list[SendFile]]:
    """Files in their order, split where one association could not negotiate for all of them."""
    batch: list[SendFile] = []
    pairs: set[tuple[str, str]] = set()
    for file in files:
        pair = (file.sop_class_uid, file.transfer_syntax_uid)
        if pair not in pairs and len(pairs) == MAX_CONTEXTS:
            yield batch
            batch, pairs = [], set()
        batch.append(file)
        pairs.add(pair)
    if batch:
        yield batch


async def _work(
    target: Target,
    contexts: Sequence[ProposedContext],
    waiting: Iterator[SendFile],
    on_result: Callable[[Sent], None],
) -> None:
    """Send what waits, over one association after another where the peer ends them."""
    for first in waiting:
        try:
            connection = await associate(target, contexts)
        except RouterError as error:
            on_result(Sent(file=first, status=None, comment=str(error)))
            for file in waiting:  # the same would be said of each
                on_result(Sent(file=file, status=None, comment=str(error)))
            return
        try:
            await _send_over(connection, target, first, waiting, on_result)
        finally:
            connection.abort()


async def _send_over(
    connection: Connection,
    target: Target,
    first: SendFile,
    waiting: Iterator[SendFile],
    on_result: Callable[[Sent], None],
) -> None:
    """Send ``first`` and then what waits, until nothing does or the association is lost."""
    accepted = {(c.abstract_syntax, c.transfer_syntax): c for c in connection.association.contexts.values()}
    file: SendFile | None = first
    message_id = 0
    while file is not None:
        context = accepted.get((file.sop_class_uid, file.transfer_syntax_uid))
        message_id = message_id % 65535 + 1
        if context is None:
            on_result(Sent(file=file, status=None, comment="no presentation context accepted for it"))
        else:
            try:
                on_result(await _store(connection, target, context, file, message_id))
            except (RouterError, OSError) as error:
                on_result(Sent(file=file, status=None, comment=str(error)))
                return
        file = next(waiting, None)
    await requestor.release(connection)


async def _store(
    connection: Connection, target: Target, context: AcceptedContext, file: SendFile, message_id: int
) -> Sent:
    """One C-STORE: the data set goes out in pieces that fit into memory."""
    association = connection.association
    source = await anyio.open_file(file.path, "rb", buffering=0)
    async with source:
        association.send_message(context.id, store_rq(message_id, file.sop_class_uid, file.sop_instance_uid))
        await connection.flush()
        at = 0
        while at < file.data_set_bytes:
            length = min(CHUNK_BYTES, file.data_set_bytes - at)
            is_last = at + length == file.data_set_bytes
            framed, gaps = frame_data_set(context.id, length, association.peer_max_pdu_bytes, last=is_last)
            await to_thread.run_sync(_fill, source.wrapped.fileno(), gaps, file.data_set_offset + at)
            association.send_data(framed)
            await connection.flush()
            at += length
    response = await requestor.receive_response(
        connection, message_id=message_id, timeout_s=target.response_s
    )
    return Sent(file=file, status=response.status, comment=response.comment)


def _fill(descriptor: int, gaps: list[memoryview], offset: int) -> None:
    """Read a stretch of a file into the gaps, in order."""
    while gaps:
        count = os.preadv(descriptor, gaps[:_IOV_MAX], offset)
        if count == 0:
            raise OSError("the file became shorter while it was read")
        offset += count
        filled = 0
        while filled < len(gaps) and count >= len(gaps[filled]):
            count -= len(gaps[filled])
            filled += 1
        gaps = gaps[filled:]
        if count:
            gaps = [gaps[0][count:], *gaps[1:]]


async def associate(
    target: Target,
    contexts: Sequence[ProposedContext],
    *,
    roles: Sequence[RoleSelection] = (),
    idle_s: float = 3600.0,
) -> Connection:
    """Open an association with a peer; ``RouterError`` where there is none."""
    request = AssociateRequest(
        calling_ae=target.calling_ae,
        called_ae=target.called_ae,
        contexts=tuple(contexts),
        max_pdu_bytes=target.max_pdu_bytes,
        roles=tuple(roles),
        user_identity=requestor.user_identity(target.identity),
    )
    try:
        return await requestor.associate(
            host=target.host,
            port=target.port,
            request=request,
            connect_s=target.connect_s,
            idle_s=idle_s,
            tls=target.tls,
        )
    except RemoteProtocolError as error:
        raise AssociationError(f"{target.host}:{target.port} does not speak DICOM: {error}") from error
