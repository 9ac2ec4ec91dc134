"""The door of the audit: the other parts tell here what has happened, and nobody waits for it.

Instances are told when they have been routed (that they were received, and where they are to go) and when the
outcome of their delivery is in the ledger. Both are durable facts that every instance passes, after a crash
too; a study is told once on each way and not once for each association, because many senders open one for
each instance. What has gathered and not been told yet (a minute at most) is lost with the process.
"""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import anyio

from router.audit import codes
from router.audit.carriers import AuditFile, Carrier, TlsSyslog, UdpSyslog
from router.audit.codes import Code
from router.audit.events import Events, Identity
from router.audit.gathering import Caller, Refusal, Refusals, Refused, Transfer, TransferKey, Transfers, Way
from router.audit.message import AuditMessage, AuditSource, encode
from router.audit.outlet import Outlet
from router.audit.subjects import Subjects
from router.audit.syslog import Sender, syslog_message
from router.clock import Clock
from router.config.audit import Audit, AuditEvent, Syslog
from router.config.settings import Settings
from router.dicom.header import Header
from router.dicom.tagpath import TagPath
from router.logs import get_logger
from router.model import Decision, DeliveryState, Instance, Outcome, Reason
from router.net.credentials import Credentials
from router.net.keyring import Keyring
from router.spool.orders import Operator
from router.telemetry import Telemetry

TELL_EVERY_S = 1.0
CLOSING_S = 3.0  # for the last messages, the stop among them
RESTART_S = 5.0  # after a defect of ours

_EVENT_OF = {
    Way.RECEIVED: AuditEvent.IMPORT,
    Way.QUEUED: AuditEvent.BEGIN,
    Way.DELIVERED: AuditEvent.EXPORT,
    Way.GIVEN_UP: AuditEvent.EXPORT,
    Way.FETCHED: AuditEvent.OPERATORS,
}
_ROUTED = frozenset({AuditEvent.IMPORT, AuditEvent.BEGIN, AuditEvent.EXPORT})
_Format = Callable[[str, AuditMessage], bytes]

log = get_logger("audit")


def identify(settings: Settings) -> Identity:
    """This process, on this machine."""
    host = platform.node() or "unknown"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        user = str(os.getuid())
    return Identity(process=str(os.getpid()), host=host, user=f"{user}@{host}", ae_title=settings.ae_title)


class Auditor:
    """Takes facts, makes messages of them, and has them sent. All but :meth:`running` is immediate."""

    def __init__(
        self,
        audit: Audit,
        settings: Settings,
        *,
        identity: Identity,
        clock: Clock,
        telemetry: Telemetry,
        rng: Random,
        credentials: Credentials | None = None,
    ) -> None:
        self._tells = frozenset(audit.events)
        self._clock = clock
        self._source = AuditSource(
            id=audit.source_id or settings.ae_title, enterprise_site_id=audit.enterprise_site_id or ""
        )
        self._sender = Sender(host=identity.host, process=identity.process)
        self._events = Events(identity, settings)
        self._subjects = Subjects(audit.patient)
        self._transfers = Transfers()
        self._refusals = Refusals()
        self._outlets: dict[Outlet, _Format] = {}
        if audit.syslog is not None:
            carrier = _carrier(audit.syslog, credentials)
            self._outlets[self._outlet("syslog", carrier, telemetry, rng)] = self._as_syslog
        if audit.file is not None:
            carrier = AuditFile(audit.file)
            self._outlets[self._outlet("file", carrier, telemetry, rng)] = _as_line

    @classmethod
    def of(cls, settings: Settings, keys: Keyring, clock: Clock, telemetry: Telemetry) -> Auditor:
        """The gateway's; where none is configured one that tells nothing."""
        audit = settings.audit or Audit(events=())
        tls = audit.syslog.tls if audit.syslog is not None else None
        return cls(
            audit,
            settings,
            identity=identify(settings),
            clock=clock,
            telemetry=telemetry,
            rng=Random(),  # noqa: S311 - jitter, no secret
            credentials=keys.clients[tls] if tls is not None else None,
        )

    def _outlet(self, name: str, carrier: Carrier, telemetry: Telemetry, rng: Random) -> Outlet:
        return Outlet(name, carrier, telemetry=telemetry, rng=rng, on_gap=self._fill_gap)

    # ---- life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while inside. What was told is sent at the end too, as far as that goes in ``CLOSING_S``."""
        if not self._outlets:
            yield
            return
        try:
            async with anyio.create_task_group() as tasks:
                for outlet in self._outlets:
                    tasks.start_soon(_keep_running, outlet.run)
                tasks.start_soon(_keep_running, self._keep_telling)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            self._tell_all()
            if AuditEvent.APPLICATION in self._tells:
                self._tell(self._events.application(codes.APPLICATION_STOP, self._clock.now()))
            with anyio.move_on_after(CLOSING_S, shield=True):
                async with anyio.create_task_group() as tasks:
                    for outlet in self._outlets:
                        tasks.start_soon(outlet.finish)
            for outlet in self._outlets:
                outlet.give_up()

    def warnings(self) -> tuple[str, ...]:
        """What is wrong, for operators."""
        return tuple(
            f"audit messages do not get through ({outlet.name}): {outlet.problem}"
            for outlet in self._outlets
            if outlet.problem
        )

    # ---- instances

    @property
    def tells_instances(self) -> bool:
        """Whether ``read`` and ``routed`` are of any use."""
        return bool(self._tells & _ROUTED)

    @property
    def tells_deliveries(self) -> bool:
        """Whether ``settled`` is."""
        return bool(self._tells & {AuditEvent.EXPORT, AuditEvent.AUTHENTICATION})

    @property
    def asked(self) -> frozenset[TagPath]:
        """What has to be read of an instance's header."""
        return self._subjects.asked

    def read(self, instance: Instance, header: Header) -> None:
        """The header of an instance that is being routed; it has what is ``asked``."""
        self._subjects.read(instance, header)

    def is_known(self, instance: Instance, way: Way = Way.DELIVERED) -> bool:
        """Whether ``read`` was called for it not too long ago, or need not be."""
        return instance.key in self._subjects or _EVENT_OF[way] not in self._tells

    def routed(self, instance: Instance, decision: Decision) -> None:
        """It was received, and it is decided where it goes: both are in the ledger."""
        at = instance.arrival.received_at
        self._gather(Way.RECEIVED, instance, instance.arrival.origin, began_at=at, at=at)
        now = self._clock.now()
        for destination in decision.destinations:
            self._gather(Way.QUEUED, instance, destination, began_at=now, at=now)

    def settled(self, outcome: Outcome, instance: Instance) -> None:
        """The outcome of a delivery is in the ledger. Those that are tried again are no end of it."""
        peer = outcome.carried_by or outcome.destination
        if outcome.reason is Reason.TLS_FAILED:
            because = outcome.comment or outcome.reason.value
            self.refused(Refusal(what=Refused.DESTINATION, where=peer, because=because))
        began_at, at = outcome.started_at, outcome.ended_at
        if outcome.state is DeliveryState.DELIVERED:
            self._gather(Way.DELIVERED, instance, peer, began_at=began_at, at=at)
        elif outcome.state is DeliveryState.DEAD:
            reason = outcome.reason.value
            self._gather(Way.GIVEN_UP, instance, peer, began_at=began_at, at=at, reason=reason)

    def fetched(self, by: Operator, instance: Instance) -> None:
        """An operator is given its file."""
        now = self._clock.now()
        self._gather(Way.FETCHED, instance, by, began_at=now, at=now)

    def retrieved(self, instance: Instance, peer: str | Caller) -> None:
        """A caller had it sent to a destination, by its name, or to itself."""
        now = self._clock.now()
        self._gather(Way.DELIVERED, instance, peer, began_at=now, at=now)

    def _gather(
        self, way: Way, instance: Instance, peer: object, *, began_at: float, at: float, reason: str = ""
    ) -> None:
        if _EVENT_OF[way] not in self._tells:
            return
        key = TransferKey(way, self._subjects.of(instance), peer)  # type: ignore[arg-type]
        self._transfers.add(
            key,
            instance.arrival.sop_class_uid,
            began_at=began_at,
            at=at,
            now=self._clock.monotonic(),
            reason=reason,
        )

    # ---- the rest

    def started(self) -> None:
        """Instances are taken."""
        if AuditEvent.APPLICATION in self._tells:
            self._tell(self._events.application(codes.APPLICATION_START, self._clock.now()))

    def refused(self, refusal: Refusal) -> None:
        """Somebody was not let in, or we were not."""
        if AuditEvent.AUTHENTICATION not in self._tells:
            return
        at = self._clock.now()
        told = self._refusals.add(refusal, at=at, now=self._clock.monotonic())
        if told is not None:
            self._tell(self._events.refusal(told, at))

    def user_refused(self, who: str, address: str, because: str, *, where: str = "http") -> None:
        """Somebody could not prove who they are, or may not do what they asked for."""
        self.refused(Refusal(what=Refused.USER, where=where, because=because, who=who, address=address))

    def reloaded(self, uri: str, problem: str = "") -> None:
        """The configuration was read again; with a problem what was before stays in force."""
        self._reloaded(codes.SOFTWARE_CONFIGURATION, uri, problem)

    def certificates_reloaded(self, used_by: str, problem: str = "") -> None:
        """Certificates, keys or trust were read again."""
        self._reloaded(codes.SECURITY_CONFIGURATION, f"dicom-router:tls/{used_by}", problem)

    def _reloaded(self, kind: Code, uri: str, problem: str) -> None:
        if AuditEvent.CONFIGURATION in self._tells:
            self._tell(self._events.reloaded(kind, uri, problem, self._clock.now()))

    def queried(
        self, caller: Caller, sop_class_uid: str, transfer_syntax_uid: str, problem: str = ""
    ) -> None:
        """A query was answered, or refused."""
        if AuditEvent.QUERY in self._tells:
            now = self._clock.now()
            self._tell(self._events.queried(caller, sop_class_uid, transfer_syntax_uid, problem, now))

    def ordered(self, by: Operator, action: str, target: str) -> None:
        """An operator's order was carried out."""
        if AuditEvent.OPERATORS in self._tells:
            self._tell(self._events.ordered(by, action, target, self._clock.now()))

    # ---- messages

    async def _keep_telling(self) -> None:
        while True:
            await anyio.sleep(TELL_EVERY_S)
            self.tell_due()

    def tell_due(self) -> None:
        """Tell what has gathered for long enough."""
        now = self._clock.monotonic()
        self._tell_transfers(self._transfers.due(now))
        for repeated in self._refusals.due(now):
            self._tell(self._events.repeated(repeated))

    def _tell_all(self) -> None:
        self._tell_transfers(self._transfers.everything())
        for repeated in self._refusals.everything():
            self._tell(self._events.repeated(repeated))

    def _tell_transfers(self, transfers: list[Transfer]) -> None:
        for transfer in transfers:
            self._tell(self._events.transfer(transfer))

    def _tell(self, message: AuditMessage) -> None:
        xml = encode(message, self._source)
        for outlet, form in self._outlets.items():
            outlet.put(form(xml, message))

    def _fill_gap(self, outlet: Outlet, missed: int) -> None:
        message = self._events.recording_started(missed, self._clock.now())
        outlet.put(self._outlets[outlet](encode(message, self._source), message))

    def _as_syslog(self, xml: str, message: AuditMessage) -> bytes:
        return syslog_message(xml, sender=self._sender, at=message.at, outcome=message.outcome)


async def _keep_running(task: Callable[[], Awaitable[None]]) -> None:
    """A defect of the audit must not end the gateway, nor the audit for good."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("a part of the audit failed and starts anew")
            await anyio.sleep(RESTART_S)


def _as_line(xml: str, _message: AuditMessage) -> bytes:
    return xml.encode()


def _carrier(syslog: Syslog, credentials: Credentials | None) -> Carrier:
    if credentials is not None:
        return TlsSyslog(syslog.host, syslog.port_or_default, credentials)
    return UdpSyslog(syslog.host, syslog.port_or_default)
