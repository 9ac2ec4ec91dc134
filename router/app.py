"""The composition root: builds every part, starts them in order, and stops them in the reverse order.

Start: the spool is opened and repaired, lanes and routing take up what it holds, HTTP answers, and only
then do the DICOM ports. Stop (SIGTERM, SIGINT): ports close, associations under way end, lanes finish what
is outstanding and give the rest back, the spool closes; what takes longer than ``drain`` is cut off, and a
second signal cuts at once. Nothing is lost either way: whatever was acknowledged is in the spool.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskStatus

from router import __version__, config
from router.admin import Admin
from router.admin_actions import Switches
from router.api.access import Access
from router.api.http import HttpApp
from router.api.server import HttpServer
from router.audit.auditor import Auditor
from router.audit.lookup import tell_fetched
from router.clock import Clock, SystemClock
from router.config.http import regranted
from router.config.settings import Listener, Operation, Settings
from router.config.yaml_nodes import Problems
from router.deliver.audited import AuditedQueue
from router.deliver.lanes import Lanes
from router.deliver.modality import network
from router.deliver.project_key import ProjectKey
from router.deliver.web import clients
from router.deliver.workshop import Workshop
from router.errors import ConfigurationError, RouterError, StorageError, TlsUnusable
from router.gauges import keep_gauges
from router.groups import Balance
from router.logs import get_logger
from router.net.accepting import raise_descriptor_limit
from router.net.key_keeper import KeyKeeper
from router.net.keyring import Keyring
from router.net.listener import ListeningPort
from router.outlook import describe_destination
from router.query.service import QueryService
from router.receive.receiver import Receiver
from router.routing import run_routing
from router.rules import RuleSet
from router.rules.loading import load_rules
from router.spool import Spool
from router.telemetry import Telemetry
from router.throughput import Throughput
from router.views import Phase

_log = get_logger("app")


class StartFailed(RouterError):
    """The gateway could not start: a port is taken, the data directory cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What is bound, where the configuration left the choice to the system too."""

    dicom: tuple[int, ...]
    http: int


class Gateway:
    """One gateway: ``run`` once, until a signal or :meth:`stop`."""

    def __init__(
        self,
        settings: Settings,
        rule_set: RuleSet,
        *,
        config_path: Path | None = None,
        ready_file: Path | None = None,
        environ: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._rules = rule_set
        self._config_path = config_path
        self._ready_file = ready_file
        self._environ = environ
        self._clock = clock if clock is not None else SystemClock()
        self._phase = Phase.STARTING
        self._stop = anyio.Event()
        self._ready = anyio.Event()
        self._keeper: KeyKeeper | None = None
        self._access: Access | None = None
        self._auditor: Auditor | None = None
        self._ports = Ports(dicom=(), http=0)
        self._throughput = Throughput()
        self.telemetry = Telemetry()

    @property
    def ports(self) -> Ports:
        """What is bound; known once :meth:`wait_ready` has returned."""
        return self._ports

    async def wait_ready(self) -> None:
        """Return when instances are taken."""
        await self._ready.wait()

    def stop(self) -> None:
        """Ask for the orderly end, as SIGTERM does."""
        self._stop.set()

    async def run(self) -> None:
        """Run until asked to stop. Raises ``StartFailed``, or what a part died of."""
        raise_descriptor_limit()
        spool = await self._open_spool()
        try:
            async with spool.running():
                await self._run_parts(spool)
        except BaseExceptionGroup as group:
            raise first_cause(group) from None
        _log.info("stopped")

    async def _open_spool(self) -> Spool:
        directory = self._settings.data_dir
        try:
            return await to_thread.run_sync(
                lambda: Spool.open(
                    directory, self._settings.spool, self._clock, retention_s=self._settings.retention
                )
            )
        except OSError as error:
            raise StartFailed(f"data_dir {directory} cannot be used: {error.strerror or error}") from error
        except StorageError as error:
            raise StartFailed(f"data_dir {directory} cannot be used: {error}") from error

    async def _open_workshop(self) -> Workshop:
        directory = self._settings.data_dir / "transcode"
        key = ProjectKey(self._settings.deidentify, self._settings.data_dir)
        workshop = Workshop(self._settings.transcode, directory, self.telemetry, key=key)
        try:
            await to_thread.run_sync(workshop.open)
        except OSError as error:
            raise StartFailed(f"{directory} cannot be used: {error.strerror or error}") from error
        return workshop

    async def _run_parts(self, spool: Spool) -> None:
        settings, clock, telemetry = self._settings, self._clock, self.telemetry
        balance = Balance(settings.groups, is_up=lambda name: telemetry.destinations_up().get(name, True))
        keys = self._keyring()
        self._auditor = auditor = Auditor.of(settings, keys, clock, telemetry)
        self._keeper = keeper = KeyKeeper(
            keys,
            settings.tls,
            clock,
            telemetry,
            on_refreshed=lambda one: auditor.certificates_reloaded(one.used_by, one.problem),
        )
        workshop = await self._open_workshop()
        lanes = self._make_lanes(spool, auditor, keys, workshop)
        queries = QueryService(
            spool, lambda: self._settings, lambda: self._rules, clock, telemetry, keys, workshop, auditor
        )
        receiver = Receiver(
            spool, lambda: self._settings, clock, telemetry, on_refused=auditor.refused, queries=queries.desk
        )
        listeners = [self._listener(one, receiver, keys, auditor) for one in settings.listeners]
        admin = Admin(
            spool=spool,
            settings=settings,
            clock=clock,
            phase=lambda: self._phase,
            destinations_up=telemetry.destinations_up,
            outages=telemetry.outages,
            dicom_ports=lambda: self._ports.dicom,
            switches=_switches(lanes, listeners, telemetry),
            learned=lanes.learned,
            warnings=lambda: (*keeper.warnings(), *auditor.warnings(), *queries.warnings()),
            throughput=self._throughput,
            on_order=auditor.ordered,
            on_fetch=partial(tell_fetched, auditor, spool.read_head),
        )
        for name in settings.destination_names:
            telemetry.destination_paused(name, False)
        spool.orders.on_given_up = telemetry.given_up
        await admin.actions.restore()
        await keeper.look()
        http = self._make_http(admin, keys, auditor)
        self._bind(http, listeners)
        async with auditor.running(), anyio.create_task_group() as parts:
            await parts.start(self._watch_signals, parts.cancel_scope)
            told = auditor if auditor.tells_instances else None
            parts.start_soon(
                run_routing, spool, lambda: self._rules, settings, clock, telemetry, balance, told
            )
            parts.start_soon(
                keep_gauges, spool, lanes, balance, listeners, clock, telemetry, self._throughput
            )
            running = (workshop.run, lanes.run, receiver.quotas.run, queries.run, keeper.run, http.serve)
            for part in (*running, *(listener.serve for listener in listeners)):
                parts.start_soon(part)
            await self._announce()
            await self._stop.wait()
            await self._drain(lanes, listeners)
            await http.stop()
            parts.cancel_scope.cancel()

    def _make_lanes(self, spool: Spool, auditor: Auditor, keys: Keyring, workshop: Workshop) -> Lanes:
        return Lanes(
            AuditedQueue(spool, auditor) if auditor.tells_deliveries else spool,
            self._settings,
            self._clock,
            self.telemetry,
            random.Random(),  # noqa: S311 - jitter, no secret
            network=network(keys.clients),
            web=clients(keys.clients),
            workshop=workshop,
        )

    def _make_http(self, admin: Admin, keys: Keyring, auditor: Auditor) -> HttpServer:
        settings, telemetry = self._settings.http, self.telemetry
        self._access = Access(settings, self._clock, telemetry, auditor.user_refused)
        app = HttpApp(admin=admin, telemetry=telemetry, clock=self._clock, access=self._access)
        tls = keys.servers[settings.tls] if settings.tls is not None else None
        return HttpServer(app, tls=tls, observer=telemetry)

    def _listener(
        self, listener: Listener, receiver: Receiver, keys: Keyring, auditor: Auditor
    ) -> ListeningPort:
        return ListeningPort(
            listener,
            receiver.serve,
            on_reject=self.telemetry.association_rejected,
            on_limit=self.telemetry.limit_reached,
            tls=keys.servers[listener.tls] if listener.tls is not None else None,
            observer=self.telemetry,
            on_refused=auditor.refused,
        )

    def _keyring(self) -> Keyring:
        try:
            return Keyring(self._settings, self.telemetry)
        except TlsUnusable as error:
            raise StartFailed(str(error)) from error

    def _bind(self, http: HttpServer, listeners: list[ListeningPort]) -> None:
        try:
            self._bind_each(http, listeners)
        except StartFailed:
            http.close()
            for listener in listeners:
                listener.stop_accepting()
            raise
        self._ports = Ports(dicom=tuple(listener.port for listener in listeners), http=http.port)

    def _bind_each(self, http: HttpServer, listeners: list[ListeningPort]) -> None:
        address = self._settings.http
        try:
            http.bind(address.host, address.port)
        except OSError as error:
            raise StartFailed(_bind_problem("http", address.host, address.port, error)) from error
        for listener, wanted in zip(listeners, self._settings.listeners, strict=True):
            try:
                listener.bind()
            except OSError as error:
                raise StartFailed(_bind_problem("listeners", wanted.host, wanted.port, error)) from error

    async def _announce(self) -> None:
        """Say to people, to whoever waits for the file, and to systemd that instances are taken."""
        self._phase = Phase.RUNNING
        for name in self._settings.destination_names:
            _log.info("destination", destination=name, to=describe_destination(self._settings, name))
        _log.info(
            "ready",
            version=__version__,
            ae_title=self._settings.ae_title,
            dicom=self._ports.dicom,
            http=self._ports.http,
            data_dir=str(self._settings.data_dir),
            pid=os.getpid(),
        )
        for warning in self._settings.http.warnings:
            _log.warning(warning)
        if self._settings.http.is_open:
            _log.info("http: whoever is on this machine may do everything: no users, no tokens")
        if self._ready_file is not None:
            await to_thread.run_sync(_write_whole, self._ready_file, msgspec.json.encode(self._ports))
        if self._auditor is not None:
            self._auditor.started()
        _notify(self._environ, "READY=1")
        self._ready.set()

    async def _drain(self, lanes: Lanes, listeners: list[ListeningPort]) -> None:
        """Let what is under way end, for as long as the configuration allows in all."""
        self._phase = Phase.DRAINING
        _notify(self._environ, "STOPPING=1")
        _log.info(
            "draining",
            associations=sum(listener.associations for listener in listeners),
            at_most_s=self._settings.drain,
        )
        deadline = self._clock.monotonic() + self._settings.drain
        with anyio.move_on_after(self._settings.drain):
            async with anyio.create_task_group() as draining:
                for listener in listeners:
                    draining.start_soon(listener.drain)
        await lanes.drain(max(deadline - self._clock.monotonic(), 0.0))

    async def _watch_signals(
        self, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()  # before anybody is told that we are ready
            async for number in signals:
                if number == signal.SIGHUP:
                    await self.reload()
                elif self._stop.is_set():
                    _log.warning("stopping at once", signal=signal.Signals(number).name)
                    scope.cancel()
                else:
                    _log.info("stopping", signal=signal.Signals(number).name)
                    self._stop.set()

    async def reload(self) -> bool:
        """Read certificates and the configuration again; swap all rules and who may use HTTP, or nothing.

        What else changed in the configuration is named in the log.
        """
        if self._keeper is not None:
            await self._keeper.look(all_of_them=True)
        path = self._config_path
        if path is None:
            return False
        try:
            fresh, rule_set = await to_thread.run_sync(self._load_again, path)
        except (ConfigurationError, OSError) as error:
            problems = error.problems if isinstance(error, ConfigurationError) else [str(error)]
            _log.error("reload failed: the rules before stay in force", problems=problems)
            self._tell_reload("failure", path, f"{len(problems)} problems: {problems[0]}")
            return False
        self._rules = rule_set
        self._settings = replace(self._settings, http=regranted(self._settings.http, fresh.http))
        if self._access is not None:
            self._access.use(self._settings.http)
        self._tell_reload("success", path)
        _log.info("reloaded", rules=len(rule_set.rules), needs_restart=_changed(self._settings, fresh))
        return True

    def _tell_reload(self, outcome: str, path: Path, problem: str = "") -> None:
        self.telemetry.reload(outcome)
        if self._auditor is not None:
            self._auditor.reloaded(path.absolute().as_uri(), problem)

    def _load_again(self, path: Path) -> tuple[Settings, RuleSet]:
        """The file's settings, and its rules checked against the destinations that are being served."""
        fresh, _ = config.load_all(path, self._environ)
        problems = Problems()
        rule_set = load_rules(
            fresh.rules,
            base=path.absolute().parent,
            destination_names=self._settings.destination_names,
            unmatched=self._settings.unmatched,
            environ=self._environ,
            problems=problems,
            closed=[name for name, m in self._settings.modalities.items() if Operation.STORE not in m.send],
        )
        problems.raise_any()
        return fresh, rule_set


def _switches(lanes: Lanes, listeners: list[ListeningPort], telemetry: Telemetry) -> Switches:
    """What operators turn, and where it is turned."""

    def pause(destination: str, is_paused: bool) -> None:
        lanes.pause(destination, is_paused)
        telemetry.destination_paused(destination, is_paused)

    def refuse(is_refusing: bool) -> None:
        for listener in listeners:
            listener.is_refusing = is_refusing

    return Switches(
        pause=pause,
        refuse=refuse,
        associations=lambda: sum(listener.associations for listener in listeners),
    )


def _changed(before: Settings, after: Settings) -> list[str]:
    """The keys whose change takes effect at the next start only."""
    return [
        field.name
        for field in fields(Settings)
        if field.name != "rules" and getattr(before, field.name) != getattr(after, field.name)
    ]


def _bind_problem(key: str, host: str, port: int, error: OSError) -> str:
    return (
        f"{key}: port {port} on {host or 'all addresses'} cannot be bound: {error.strerror or error}. "
        "Is another gateway running? Otherwise choose another port in the configuration."
    )


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that ended the others."""
    first = group.exceptions[0]
    return first_cause(first) if isinstance(first, BaseExceptionGroup) else first


def _write_whole(path: Path, content: bytes) -> None:
    """Readers see the whole file or none."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _notify(environ: Mapping[str, str], state: str) -> None:
    """Tell systemd (sd_notify(3)) where it asked to be told."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
            notifier.connect(address)
            notifier.sendall(state.encode())
    except OSError as error:
        _log.warning("systemd was not notified", because=error.strerror)
