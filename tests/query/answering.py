"""The answering side in this loop: a real spool and index behind a real listener, and data sets to put in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import anyio
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from router.audit.auditor import Auditor
from router.clock import SystemClock
from router.config.settings import Limits, Listener, Modality, Operation, Settings, SpoolSettings
from router.deliver.renditions import Maker
from router.dicom.identifier import Match
from router.dicom.part10 import file_meta
from router.dicom.query import Level, Model, find_query, parse_keys
from router.model import Arrival, Decision, Instance, Origin, Priority, Routed
from router.net.connection import Connection
from router.net.keyring import Keyring
from router.net.listener import ListeningPort
from router.query.find import FindEnded, find
from router.query.service import QueryService
from router.receive import Receiver
from router.rules import RuleSet
from router.scu import Target
from router.spool import Spool
from router.telemetry import Telemetry
from tests.dicom.wire import CT, EXPLICIT

PATIENCE_S = 20.0
ORIGIN = Origin(calling_ae="CT1", called_ae="ROUTER", peer="192.0.2.7", listener="main")
EVERYTHING = tuple(Operation)
NO_RULES = RuleSet()


def data_set(study: str, series: str, uid: str, **values: object) -> bytes:
    """An instance in explicit VR little endian."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Müller^Jörg", "P1", "CT"
    dataset.StudyDate, dataset.StudyTime = "20260115", "101500"
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    buffer = BytesIO()
    stream = DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, dataset)
    return buffer.getvalue()


async def put(spool: Spool, study: str, series: str, uid: str, **values: object) -> Instance:
    """Store one, as reception does."""
    return await put_bytes(spool, uid, data_set(study, series, uid, **values))


async def put_bytes(
    spool: Spool, uid: str, data: bytes, *, syntax: str = EXPLICIT, sop_class: str = CT
) -> Instance:
    arrival = Arrival(
        sop_class_uid=sop_class,
        sop_instance_uid=uid,
        transfer_syntax_uid=syntax,
        origin=ORIGIN,
        received_at=SystemClock().now(),
    )
    meta = file_meta(arrival)
    return await spool.append(arrival, [meta, data], len(meta))


async def release(spool: Spool, *instances: Instance) -> None:
    """Let the rules send them nowhere: there is no retention, so they are gone."""
    decision = Decision(destinations=(), priority=Priority.NORMAL, hold=False, trace=())
    items = [Routed(key=one.key, decision=decision, instance=one) for one in instances]
    await spool.route(items, SystemClock().now())


@dataclass
class Bench:
    """A gateway's reception and its answers."""

    spool: Spool
    service: QueryService
    telemetry: Telemetry
    settings: Settings
    port: int
    connections: list[Connection]  # that came

    @property
    def target(self) -> Target:
        return Target(host="127.0.0.1", port=self.port, called_ae="ROUTER", calling_ae="ASKER")

    async def find(
        self,
        *keys: str,
        level: Level | None = None,
        model: Model | None = None,
        limit: int | None = None,
        on_match: Callable[[Match], None] = lambda match: None,
    ) -> tuple[FindEnded, list[Match]]:
        """C-FIND as our own SCU asks it."""
        found: list[Match] = []

        def take(match: Match) -> None:
            found.append(match)
            on_match(match)

        query = find_query(parse_keys(keys), level=level, model=model)
        ended = await find(self.target, query, on_match=take, limit=limit, timeout_s=PATIENCE_S)
        return ended, found

    def counted(self, operation: str, outcome: str) -> float:
        """What the metric says."""
        wanted = f'dicom_router_queries_total{{operation="{operation}",outcome="{outcome}"}} '
        text = self.telemetry.render().decode()
        return next((float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(wanted)), 0.0)


@asynccontextmanager
async def bench(
    directory: Path,
    *,
    operations: tuple[Operation, ...] = EVERYTHING,
    limits: Limits | None = None,
    index: bool = True,
    modalities: Mapping[str, Modality] | None = None,
    maker: Maker | None = None,
    rules: RuleSet = NO_RULES,
    auditor: Auditor | None = None,
) -> AsyncIterator[Bench]:
    """One over the spool in ``directory``."""
    settings = Settings(
        data_dir=directory,
        index=index,
        accept_unknown=operations,
        modalities=dict(modalities or {}),
        spool=SpoolSettings(segment_bytes=1024 * 1024, min_free_bytes=0),
    )
    clock, telemetry = SystemClock(), Telemetry()
    spool = Spool.open(directory, settings.spool, clock)
    async with spool.running():
        service = QueryService(
            spool, lambda: settings, lambda: rules, clock, telemetry, Keyring(settings), maker, auditor
        )
        receiver = Receiver(spool, lambda: settings, clock, telemetry, queries=service.desk)
        listener = Listener(port=0, host="127.0.0.1", name="main", limits=limits or Limits())
        connections: list[Connection] = []

        async def serve(connection: Connection) -> None:
            connections.append(connection)
            await receiver.serve(connection)

        port = ListeningPort(listener, serve, on_reject=lambda _: None)
        port.bind()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            tasks.start_soon(port.serve)
            try:
                yield Bench(
                    spool=spool,
                    service=service,
                    telemetry=telemetry,
                    settings=settings,
                    port=port.port,
                    connections=connections,
                )
            finally:
                tasks.cancel_scope.cancel()
