"""The one door for operators: what the command line and the HTTP interface may see and do.

Everything that comes out is a value of ``router.views``. A running gateway is asked through :class:`Admin`;
the functions need no gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from anyio import to_thread

from router import __version__
from router.admin_actions import Actions, ActionStore, OnFetch, OnOrder, Switches, nobody_told
from router.clock import Clock
from router.config.settings import Group, Settings
from router.deliver.learned import LearnedContext
from router.dicom.header import Header, scan
from router.dicom.part10 import FileMeta, read_file_meta
from router.dicom.tagpath import TagPath
from router.errors import UnknownItem
from router.groups import STUDY, Balance, study_of
from router.model import DeliveryRecord, DeliveryState, InstanceTrace, Listing, Origin, QueueDepth, Reason
from router.outlook import Outlook, describe_destination
from router.rules import Facts, RuleSet
from router.spool import SpoolStats, inspect
from router.spool.orders import Paused
from router.throughput import Rate, Throughput
from router.views import (
    AuditPage,
    ContextView,
    DeliveryView,
    DestinationStatus,
    DrainView,
    Explanation,
    Phase,
    QueuePage,
    Readiness,
    SpoolView,
    Status,
    StoredView,
    TraceView,
    audit_page,
    delivery_view,
    edits_view,
    forms_view,
    stored_view,
    trace_view,
)

HEAD_BYTES = 64 * 1024  # of a file at first: nearly every header fits
PAGE_LIMIT = 1000  # deliveries in one answer: about 400 kB of JSON
_MOVING = (DeliveryState.PENDING, DeliveryState.ACTIVE)
UNFINISHED = (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.ACTIVE, DeliveryState.PENDING)


class Store(ActionStore, Protocol):
    """What is asked of the spool."""

    @property
    def is_accepting(self) -> bool: ...
    @property
    def problems(self) -> tuple[str, ...]: ...
    async def depths(self) -> list[QueueDepth]: ...
    async def list_deliveries(self, listing: Listing) -> list[DeliveryRecord]: ...
    async def show(self, delivery_id: int) -> DeliveryRecord: ...
    async def trace(self, sop_instance_uid: str) -> list[InstanceTrace]: ...
    async def stats(self) -> SpoolStats: ...


class Admin:
    """What can be asked of a running gateway. Raises ``UnknownItem`` and ``NotAllowed``."""

    def __init__(
        self,
        *,
        spool: Store,
        settings: Settings,
        clock: Clock,
        phase: Callable[[], Phase],
        destinations_up: Callable[[], Mapping[str, bool]],
        outages: Callable[[], Mapping[str, Reason]] = dict,
        dicom_ports: Callable[[], Sequence[int]],
        switches: Switches,
        learned: Callable[[str], Sequence[LearnedContext]] = lambda destination: (),
        warnings: Callable[[], Sequence[str]] = tuple,
        throughput: Throughput | None = None,
        on_order: OnOrder = lambda by, action, target: None,
        on_fetch: OnFetch = nobody_told,
    ) -> None:
        self.actions = Actions(
            spool=spool,
            settings=settings,
            clock=clock,
            switches=switches,
            on_order=on_order,
            on_fetch=on_fetch,
        )
        self._outlook = Outlook(settings)
        self._spool = spool
        self._settings = settings
        self._clock = clock
        self._phase = phase
        self._destinations_up = destinations_up
        self._outages = outages
        self._dicom_ports = dicom_ports
        self._learned = learned
        self._warnings = warnings
        self._throughput = throughput if throughput is not None else Throughput()
        self._started_at = clock.now()
        self._started_monotonic = clock.monotonic()

    @property
    def ae_title(self) -> str:
        """What the gateway calls itself."""
        return self._settings.ae_title

    def readiness(self) -> Readiness:
        """Whether instances are taken now: cheap, reads no disk."""
        phase = self._phase()
        reasons: list[str] = []
        if phase is not Phase.RUNNING:
            reasons.append(phase.value)
        elif self.actions.draining is not None:
            reasons.append("draining")
        reasons += self._spool.problems
        return Readiness(is_ready=not reasons, reasons=tuple(reasons), warnings=tuple(self._warnings()))

    async def queue(self, asked: Listing) -> QueuePage:
        """The deliveries asked for, ``PAGE_LIMIT`` of them at most, with totals of all."""
        limit, listing = _one_more(asked)
        records = await self._spool.list_deliveries(listing)
        page = _page(records, limit, await self._spool.depths())
        now = self._clock.now()
        return replace(page, deliveries=tuple(self._outlook.seen(one, now) for one in page.deliveries))

    async def unfinished(self, asked: Listing) -> QueuePage:
        """The deliveries asked for that are not over, what needs somebody first. It has no next page."""
        limit = max(1, min(asked.limit, PAGE_LIMIT))
        records: list[DeliveryRecord] = []
        for state in UNFINISHED:
            if len(records) < limit:
                part = replace(asked, state=state, limit=limit - len(records), after=None)
                records += await self._spool.list_deliveries(part)
        page = _page(records, limit, await self._spool.depths())
        now = self._clock.now()
        return replace(page, deliveries=tuple(self._outlook.seen(one, now) for one in page.deliveries))

    async def first_pending(self, destination: str) -> DeliveryView | None:
        """The delivery that is first in line there: what it was last told is what the destination said."""
        asked = Listing(destination=destination, state=DeliveryState.PENDING, limit=1)
        records = await self._spool.list_deliveries(asked)
        return delivery_view(records[0]) if records else None

    def rates(self) -> tuple[Rate, ...]:
        """How much came in and went out in the last quarter of an hour."""
        return self._throughput.rates()

    async def delivery(self, delivery_id: int) -> DeliveryView:
        """One delivery with each of its attempts."""
        shown = delivery_view(await self._spool.show(delivery_id))
        return self._outlook.seen(shown, self._clock.now())

    async def trace(self, sop_instance_uid: str) -> tuple[TraceView, ...]:
        """Every arrival of a SOP Instance UID, oldest first."""
        traces = await self._spool.trace(sop_instance_uid)
        found = await to_thread.run_sync(
            _traces, traces, sop_instance_uid
        )  # of days without success it is long
        now = self._clock.now()
        seen = self._outlook.seen
        return tuple(replace(one, deliveries=tuple(seen(d, now) for d in one.deliveries)) for one in found)

    async def status(self) -> Status:
        """Destinations, queue and store at a glance.

        Asked for in the order in which an instance moves, so that one on its way may be counted twice but is
        never missed: a drain is not done before the last has arrived.
        """
        associations = self.actions.associations
        stats = await self._spool.stats()
        depths = await self._spool.depths()
        return Status(
            version=__version__,
            ae_title=self._settings.ae_title,
            phase=self._phase(),
            readiness=self.readiness(),
            started_at=self._started_at,
            uptime_s=self._clock.monotonic() - self._started_monotonic,
            dicom_ports=tuple(self._dicom_ports()),
            destinations=await self.destinations(depths),
            held_unmatched=sum(
                depth.count for depth in depths if not depth.destination and depth.state is DeliveryState.HELD
            ),
            spool=SpoolView(
                bytes_used=stats.bytes_used,
                bytes_live=stats.bytes_live,
                free_bytes=stats.free_bytes,
                segments=stats.segments,
                large_objects=stats.large_objects,
                unrouted=stats.unrouted,
                is_accepting=self._spool.is_accepting,
            ),
            drain=self._drain(associations, stats.unrouted, depths),
            associations=associations,
        )

    def _drain(self, associations: int, unrouted: int, depths: Sequence[QueueDepth]) -> DrainView | None:
        draining = self.actions.draining
        if draining is None:
            return None
        waiting = unrouted + sum(depth.count for depth in depths if depth.state in _MOVING)
        return DrainView(
            since=draining.since,
            by=draining.by.who,
            associations=associations,
            waiting=waiting,
            is_done=not waiting and not associations,
        )

    async def destinations(self, depths: Sequence[QueueDepth] | None = None) -> tuple[DestinationStatus, ...]:
        """The configured destinations, and those that are gone but still have something waiting."""
        if depths is None:
            depths = await self._spool.depths()
        paused = await self._spool.orders.paused()
        names = dict.fromkeys(self._settings.destination_names)
        names.update(dict.fromkeys(depth.destination for depth in depths if depth.destination))
        up, outages, now = self._destinations_up(), self._outages(), self._clock.now()
        return tuple(
            _destination_status(
                name,
                self._outlook.kind(name),
                self._outlook.is_up(name, up),
                [d for d in depths if d.destination == name],
                paused.get(name),
                now,
                self._outlook.opens_at(name, now),
                describe_destination(self._settings, name),
                self._outlook.outage(name, up, outages),
            )
            for name in names
        )

    def contexts(self, destination: str) -> tuple[ContextView, ...]:
        """What a destination has accepted and refused lately: accepted ones first, the latest first."""
        if destination not in self._settings.destination_names:
            raise UnknownItem(f"there is no destination {destination!r}")
        return tuple(
            ContextView(
                sop_class_uid=one.sop_class_uid,
                transfer_syntax_uid=one.transfer_syntax_uid,
                is_accepted=one.accepted,
                expires_in_s=one.expires_in_s,
            )
            for one in self._learned(destination)
        )


# A gateway that does not run, looked at in its directory; all raise ``StorageError``


def queue_in(directory: Path, asked: Listing) -> QueuePage:
    """See ``Admin.queue``."""
    limit, listing = _one_more(asked)
    return _page(inspect.list_deliveries(directory, listing), limit, inspect.depths(directory))


def delivery_in(directory: Path, delivery_id: int) -> DeliveryView:
    """See ``Admin.delivery``."""
    return delivery_view(inspect.show(directory, delivery_id))


def trace_in(directory: Path, sop_instance_uid: str) -> tuple[TraceView, ...]:
    """See ``Admin.trace``."""
    return _traces(inspect.trace(directory, sop_instance_uid), sop_instance_uid)


def audit_in(directory: Path, limit: int = 100, before: int | None = None) -> AuditPage:
    """See ``Actions.audit``."""
    found = inspect.audit(directory, limit + 1, before)
    return audit_page(found, limit)


def _one_more(asked: Listing) -> tuple[int, Listing]:
    """How many fit the page, and to ask for one more: whether there is another page."""
    limit = max(1, min(asked.limit, PAGE_LIMIT))
    return limit, replace(asked, limit=limit + 1)


def _page(records: Sequence[DeliveryRecord], limit: int, totals: Sequence[QueueDepth]) -> QueuePage:
    page = records[:limit]
    return QueuePage(
        deliveries=tuple(map(delivery_view, page)),
        next_after=str(page[-1].delivery_id) if len(records) > limit else None,
        totals=tuple(totals),
    )


def _traces(traces: Sequence[InstanceTrace], sop_instance_uid: str) -> tuple[TraceView, ...]:
    if not traces:
        raise UnknownItem(f"no instance {sop_instance_uid} is known here")
    return tuple(map(trace_view, traces))


def stored(directory: Path) -> Iterator[StoredView]:
    """What a spool keeps, whether its gateway runs or not. Raises ``StorageError``."""
    return map(stored_view, inspect.ls(directory))


def explain_file(
    path: Path,
    rule_set: RuleSet,
    origin: Origin,
    *,
    now: float,
    groups: Mapping[str, Group] = MappingProxyType({}),
) -> Explanation:
    """What the rules would decide for a file if ``origin`` sent it. Raises ``OSError`` and ``ValueError``.

    A study's home in a group is that of even loads, with all members up.
    """
    balance = Balance(groups)
    meta = read_file_meta(path)
    size_bytes = path.stat().st_size - meta.data_set_offset
    header = _scan_file(path, meta, rule_set.asked | {STUDY} if balance.needs_study else rule_set.asked)
    decision = rule_set.decide(
        Facts(
            calling_ae=origin.calling_ae,
            called_ae=origin.called_ae,
            peer=origin.peer,
            listener=origin.listener,
            transfer_syntax=meta.transfer_syntax_uid,
            sop_class=meta.sop_class_uid,
            size_bytes=size_bytes,
            received_at=now,
        ),
        header,
    )
    study = study_of(header, meta.sop_instance_uid) if balance.needs_study else ""
    decision = balance.resolve(decision, study)
    return Explanation(
        file=str(path),
        sop_instance_uid=meta.sop_instance_uid,
        sop_class_uid=meta.sop_class_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        size_bytes=size_bytes,
        destinations=decision.destinations,
        priority=decision.priority,
        hold=decision.hold,
        rules=decision.trace,
        problems=(header.problem,) if header.problem else (),
        forms=forms_view(decision),
        edits=edits_view(decision),
    )


def _scan_file(path: Path, meta: FileMeta, asked: frozenset[TagPath]) -> Header:
    """The elements that are asked for, from as little of the file as has them."""
    limit = HEAD_BYTES
    with path.open("rb") as file:
        while True:
            file.seek(meta.data_set_offset)
            head = file.read(limit)
            is_complete = len(head) < limit
            header = scan(head, meta.transfer_syntax_uid, asked, is_complete=is_complete)
            if is_complete or not header.truncated:
                return header
            limit *= 8


def _destination_status(
    name: str,
    kind: str,
    is_up: bool | None,
    depths: Sequence[QueueDepth],
    paused: Paused | None,
    now: float,
    opens_at: float | None,
    to: str,
    outage: Reason | None,
) -> DestinationStatus:
    counts = {depth.state: depth.count for depth in depths}
    waiting = [
        now - depth.oldest_at for depth in depths if depth.oldest_at is not None and depth.state in _MOVING
    ]
    return DestinationStatus(
        name=name,
        kind=kind,
        is_up=is_up,
        pending=counts.get(DeliveryState.PENDING, 0),
        active=counts.get(DeliveryState.ACTIVE, 0),
        held=counts.get(DeliveryState.HELD, 0),
        dead=counts.get(DeliveryState.DEAD, 0),
        oldest_s=max(waiting, default=None),
        paused_at=paused.since if paused is not None else None,
        paused_by=paused.who if paused is not None else None,
        opens_at=opens_at,
        to=to,
        reason=outage,
    )
