"""A PACS for tests and for site acceptance: it takes everything, and fails on demand.

Each instance that arrives whole leaves one JSON line in the log before it is answered, with the SHA-256 of
its data set and the status of the answer, so that a run can be checked instance by instance afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO, TextIO

import anyio

from router.config.settings import Limits, Listener
from router.config.tls import ListenerTls
from router.dicom.codes import CommandField, Status
from router.dicom.dimse import Command, echo_rsp, failure_rsp, store_rsp
from router.dicom.events import AssociationRequested, CommandReceived, DataReceived, ReleaseRequested
from router.dicom.negotiation import AcceptedContext, AssociateRequest, negotiate
from router.dicom.part10 import file_meta
from router.errors import AssociationError, RemoteProtocolError
from router.model import Arrival, Origin
from router.net.connection import Connection
from router.net.credentials import Credentials
from router.net.listener import ListeningPort
from router.receive.answers import Answers

_WINDOW_BYTES = 64 * 1024 * 1024
_SAFE = re.compile(r"[^0-9A-Za-z.\-]")


class Rejection(StrEnum):
    """How the sink refuses every association, where it is asked to."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    CALLING_AE = "calling-ae"
    CALLED_AE = "called-ae"


_REJECTIONS = {  # result, source, reason: PS3.8 Table 9-21
    Rejection.TRANSIENT: (2, 3, 1),
    Rejection.PERMANENT: (1, 1, 1),
    Rejection.CALLING_AE: (1, 1, 3),
    Rejection.CALLED_AE: (1, 1, 7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Answer this status to this share of the instances."""

    status: int
    share: float  # 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """What the sink accepts, keeps and breaks."""

    port: int = 0
    host: str = "127.0.0.1"
    ae_title: str = ""  # refuse associations that call another one; empty: take any
    directory: Path | None = None  # store Part 10 files here; None: discard
    log: Path | None = None  # one JSON line for each instance
    failures: tuple[Failure, ...] = ()
    abort_after: int | None = None  # abort each association at its n-th instance, unanswered
    stall_s: float = 0.0  # wait before each answer
    reject: Rejection | None = None
    transfer_syntaxes: tuple[str, ...] = ()  # accept no other; empty: all
    max_pdu_bytes: int = 131072
    window: int = 1  # accept so many outstanding on one association, and answer as they are done
    tls: ListenerTls | None = None
    ready_file: Path | None = None  # written with {"dicom": [port]} once the port is open
    seed: int | None = None


def parse_failure(text: str) -> Failure:
    """``A700:5%``, ``0111:0.2`` or ``C000`` (always). Raises ``ValueError``."""
    status, _, share = text.partition(":")
    try:
        value = int(status, 16)
        rate = 1.0 if not share else float(share.rstrip("%")) / (100 if share.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"{text!r}: expected a status and a share, such as A700:5%") from None
    if not 0 <= value <= 0xFFFF or not 0 <= rate <= 1:
        raise ValueError(f"{text!r}: a status is four hexadecimal digits, a share 0 to 100%")
    return Failure(status=value, share=rate)


@dataclass(slots=True)
class Sink:
    """The running sink. ``stored`` counts what was answered with success."""

    options: SinkOptions
    stored: int = 0
    _associations: int = 0
    _random: random.Random = field(default_factory=random.Random)
    _log: TextIO | None = None

    async def serve(self, connection: Connection) -> None:
        """One association from request to end."""
        self._associations += 1
        number = self._associations
        try:
            event = await connection.next_event()
            if isinstance(event, AssociationRequested) and await self._establish(connection, event.request):
                await self._converse(connection, event.request, number)
        except (AssociationError, RemoteProtocolError):
            return

    async def _establish(self, connection: Connection, request: AssociateRequest) -> bool:
        options = self.options
        refusal = options.reject
        if refusal is None and options.ae_title and request.called_ae != options.ae_title:
            refusal = Rejection.CALLED_AE
        if refusal is not None:
            connection.association.reject(*_REJECTIONS[refusal])
        else:
            chosen = options.transfer_syntaxes or None
            window = (options.window, 1)
            connection.association.accept(
                negotiate(request, allowed=None, transfer_syntaxes=chosen, async_ops=window)
            )
        await connection.flush()
        return refusal is None

    async def _converse(self, connection: Connection, request: AssociateRequest, number: int) -> None:
        window = connection.association.window
        if window != 1:
            answers = Answers(connection, limit=window or self.options.window, cap_bytes=_WINDOW_BYTES)
            await answers.run(partial(self._converse_ahead, connection, request, number, answers))
            return
        instances = 0
        while True:
            event = await connection.next_event()
            if isinstance(event, ReleaseRequested):
                connection.association.confirm_release()
                await connection.flush()
                return
            if not isinstance(event, CommandReceived):
                continue
            command = event.command
            if command.field == CommandField.C_ECHO_RQ:
                response = echo_rsp(command, Status.SUCCESS)
            elif command.field == CommandField.C_STORE_RQ and command.has_data_set:
                instances += 1
                received = await self._receive(connection, event.context, command, request)
                if self.options.abort_after is not None and instances >= self.options.abort_after:
                    received.discard()
                    connection.abort()
                    return
                response = await self._finish(received, command, event.context, request, number)
            else:
                response = failure_rsp(command, Status.UNRECOGNIZED_OPERATION, command.problem)
            connection.association.send_message(event.context.id, response)
            await connection.flush()

    async def _converse_ahead(
        self, connection: Connection, request: AssociateRequest, number: int, answers: Answers
    ) -> None:
        """Read on while the last instances are answered."""
        instances = 0
        while True:
            event = await connection.next_event()
            if isinstance(event, ReleaseRequested):
                await answers.wait_empty()
                connection.association.confirm_release()
                await connection.flush()
                return
            if not isinstance(event, CommandReceived):
                continue
            context, command = event.context, event.command
            if command.field == CommandField.C_ECHO_RQ:
                answers.say(context.id, echo_rsp(command, Status.SUCCESS))
            elif command.field == CommandField.C_STORE_RQ and command.has_data_set:
                instances += 1
                received = await self._receive(connection, context, command, request)
                if self.options.abort_after is not None and instances >= self.options.abort_after:
                    received.discard()
                    connection.abort()
                    return
                answer = partial(self._finish, received, command, context, request, number)
                answers.start(context.id, answer, held_bytes=0)
            else:
                answers.say(context.id, failure_rsp(command, Status.UNRECOGNIZED_OPERATION, command.problem))
            await answers.wait_room()

    async def _receive(
        self, connection: Connection, context: AcceptedContext, command: Command, request: AssociateRequest
    ) -> _Received:
        received = _Received(self.options.directory, file_meta(_arrival(context, command, request)))
        try:
            while True:
                event = await connection.next_event()
                if isinstance(event, DataReceived):
                    await received.take(event.fragments)
                    if event.last:
                        return received
        except BaseException:
            received.discard()
            raise

    async def _finish(
        self,
        received: _Received,
        command: Command,
        context: AcceptedContext,
        request: AssociateRequest,
        number: int,
    ) -> bytes:
        if self.options.stall_s:
            await anyio.sleep(self.options.stall_s)
        status = self._status()
        is_kept = status == Status.SUCCESS or status >> 12 == 0xB
        path = received.keep(command.sop_instance_uid) if is_kept else None
        if not is_kept:
            received.discard()
        self.stored += is_kept
        if self._log is not None:
            line = {
                "at": time.time(),
                "association": number,
                "calling_ae": request.calling_ae,
                "called_ae": request.called_ae,
                "sop_class_uid": command.sop_class_uid,
                "sop_instance_uid": command.sop_instance_uid,
                "transfer_syntax_uid": context.transfer_syntax,
                "priority": command.priority,
                "bytes": received.size_bytes,
                "sha256": received.digest.hexdigest(),
                "status": f"{status:04X}",
                "path": str(path) if path else None,
            }
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
        return store_rsp(command, status)

    def _status(self) -> int:
        for failure in self.options.failures:
            if self._random.random() < failure.share:
                return failure.status
        return Status.SUCCESS

    async def run(self, on_ready: Callable[[int], None]) -> None:
        """Listen until cancelled. ``on_ready`` is told the port."""
        options = self.options
        self._random.seed(options.seed)
        limits = Limits(
            max_pdu_bytes=options.max_pdu_bytes,
            associations=10_000,
            associations_per_peer=10_000,
            new_per_second=10_000,
            new_per_second_per_peer=10_000,
        )
        listener = Listener(port=options.port, host=options.host, limits=limits, tls=options.tls)
        keys = Credentials(options.tls, "sink") if options.tls is not None else None
        port = ListeningPort(listener, self.serve, on_reject=lambda _: None, tls=keys)
        port.bind()
        if options.directory is not None:
            options.directory.mkdir(parents=True, exist_ok=True)
        if options.log is not None:
            self._log = options.log.open("a", encoding="utf-8")
        try:
            if options.ready_file is not None:
                _write_ready(options.ready_file, port.port)
            on_ready(port.port)
            await port.serve()
        finally:
            if self._log is not None:
                self._log.close()


async def run_sink(options: SinkOptions, on_ready: Callable[[int], None] = lambda _: None) -> None:
    """Run a sink until cancelled."""
    await Sink(options).run(on_ready)


class _Received:
    """One data set as it arrives: its hash, its length and, where files are kept, its file."""

    def __init__(self, directory: Path | None, meta: bytes) -> None:
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self._directory = directory
        self._partial: Path | None = None
        self._file: BinaryIO | None = None
        self._meta = meta

    async def take(self, fragments: list[memoryview]) -> None:
        await anyio.to_thread.run_sync(self._take, fragments)

    def _take(self, fragments: list[memoryview]) -> None:
        if self._directory is not None and self._file is None:
            self._partial = self._directory / f".{os.getpid()}-{id(self)}.partial"
            self._file = self._partial.open("wb")
            self._file.write(self._meta)
        for fragment in fragments:
            self.digest.update(fragment)
            self.size_bytes += len(fragment)
            if self._file is not None:
                self._file.write(fragment)

    def keep(self, sop_instance_uid: str) -> Path | None:
        """Give the file its name; a second arrival of one UID gets a number, nothing is overwritten."""
        if self._file is None or self._partial is None or self._directory is None:
            return None
        self._file.close()
        stem = _SAFE.sub("_", sop_instance_uid)
        path = self._directory / f"{stem}.dcm"
        number = 1
        while path.exists():
            number += 1
            path = self._directory / f"{stem}.{number}.dcm"
        self._partial.rename(path)
        return path

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._file is not None and self._partial is not None:
            self._file.close()
            self._partial.unlink(missing_ok=True)


def _arrival(context: AcceptedContext, command: Command, request: AssociateRequest) -> Arrival:
    return Arrival(
        sop_class_uid=command.sop_class_uid,
        sop_instance_uid=command.sop_instance_uid,
        transfer_syntax_uid=context.transfer_syntax,
        origin=Origin(calling_ae=request.calling_ae, called_ae=request.called_ae, peer="", listener="sink"),
        received_at=time.time(),
    )


def _write_ready(path: Path, port: int) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps({"dicom": [port]}), encoding="utf-8")
    partial.rename(path)
