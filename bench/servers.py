"""The servers that are measured: how each is configured and started, with nothing left to their disadvantage.

All run on loopback, with ``TCP_NODELAY=1`` in their environment, in a directory on the checkout's disk.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Sink
from bench.process import CHECKOUT, Program, find_program, free_port, is_accepting

_READY_S = 30.0
_LUA = (
    "function OnStoredInstance(instanceId, tags, metadata, origin) SendToModality(instanceId, 'sink') end\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that accepts associations."""

    program: Program
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A kind of server. ``start`` takes its directory, the sink's port (or ``None``) and the associations."""

    name: str
    label: str
    forwards: bool
    synced: bool
    start: Callable[[Path, int | None, int], Running]
    needs: str = ""  # the program it needs; "" where Python is enough

    @property
    def missing(self) -> str:
        """The name of the program that is not installed, or nothing."""
        return self.needs if self.needs and not find_program(self.needs) else ""


def _up(program: Program, port: int) -> Running:
    try:
        program.wait_until(lambda: is_accepting(port), _READY_S, f"port {port} accepts")
    except BaseException:
        program.kill()
        raise
    return Running(program=program, port=port)


def router_configuration(directory: Path, sink_port: int | None, *, hold: bool = False) -> str:
    """One rule reads Modality and sends to the sink; receive-only drops what no rule wants, or holds it."""
    limits = "{associations: 4000, associations_per_peer: 4000, new_per_second_per_peer: 500}"
    lines = [
        f"data_dir: {directory}/data",
        f"listeners: [{{port: 0, host: 127.0.0.1, limits: {limits}}}]",
        "http: {host: 127.0.0.1, port: 0}",
        "accept_unknown: [echo, store]",
        "log_level: warning",
    ]
    if sink_port is not None:
        lines += [
            f"modalities: {{sink: {{ae_title: SINK, host: 127.0.0.1, port: {sink_port}}}}}",
            "rules: [{rule: ct, when: {Modality: CT}, send: sink}]",
        ]
    elif hold:
        lines += [
            "modalities: {never: {ae_title: NEVER, host: 127.0.0.1, port: 104}}",
            "rules: [{rule: mr, when: {Modality: MR}, send: never}]",
        ]
    lines.append(f"unmatched: {'hold' if hold else 'drop'}")
    return "\n".join(lines) + "\n"


def _router(directory: Path, sink_port: int | None, associations: int, *, hold: bool = False) -> Running:
    configuration, ready = directory / "router.yaml", directory / "ready.json"
    configuration.write_text(router_configuration(directory, sink_port, hold=hold))
    command = [sys.executable, "-m", "router", "serve", "-c", str(configuration), "--ready-file", str(ready)]
    program = Program(command, log=directory / "log", directory=CHECKOUT)
    try:
        program.wait_until(ready.exists, _READY_S, "the gateway is ready")
    except BaseException:
        program.kill()
        raise
    return Running(program=program, port=json.loads(ready.read_text())["dicom"][0])


def _router_holding(directory: Path, sink_port: int | None, associations: int) -> Running:
    return _router(directory, None, associations, hold=True)


def _orthanc(directory: Path, sink_port: int | None, associations: int) -> Running:
    port = free_port()
    configuration: dict[str, object] = {
        "Name": "bench",
        "StorageDirectory": f"{directory}/storage",
        "IndexDirectory": f"{directory}/storage",
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "SyncStorageArea": True,
    }
    if sink_port is not None:
        (directory / "route.lua").write_text(_LUA)
        configuration["LuaScripts"] = [f"{directory}/route.lua"]
        configuration["DicomModalities"] = {"sink": ["SINK", "127.0.0.1", sink_port]}
    path = directory / "orthanc.json"
    path.write_text(json.dumps(configuration))
    return _up(Program(["Orthanc", str(path)], log=directory / "log", directory=directory), port)


def _storescp(*options: str) -> Callable[[Path, int | None, int], Running]:
    def start(directory: Path, sink_port: int | None, associations: int) -> Running:
        port = free_port()
        stored = directory / "stored"
        stored.mkdir()
        fork = ["--fork"] if associations > 1 else []
        command = [
            find_program("storescp") or "storescp",
            "-q",
            *options,
            *fork,
            "-od",
            str(stored),
            str(port),
        ]
        return _up(Program(command, log=directory / "log", directory=directory), port)

    return start


def _pynetdicom(*command: str) -> Callable[[Path, int | None, int], Running]:
    def start(directory: Path, sink_port: int | None, associations: int) -> Running:
        port = free_port()
        stored = directory / "stored"
        stored.mkdir()
        whole = [
            sys.executable,
            "-m",
            *command,
            str(port),
            *(["-od"] if "-q" in command else []),
            str(stored),
        ]
        return _up(Program(whole, log=directory / "log", directory=CHECKOUT), port)

    return start


def _bare(directory: Path, sink_port: int | None, associations: int) -> Running:
    sink = Sink(directory)
    return Running(program=sink.program, port=sink.port)


def _limit(directory: Path, sink_port: int | None, associations: int) -> Running:
    sink = Sink(directory, write=directory / "written", regions=min(associations, 16))
    return Running(program=sink.program, port=sink.port)


SERVERS = {
    s.name: s
    for s in (
        Server(name="ours", label="dicom-router", forwards=True, synced=True, start=_router),
        Server(
            name="ours-hold", label="dicom-router, held", forwards=False, synced=True, start=_router_holding
        ),
        Server(name="orthanc", label="Orthanc", forwards=True, synced=True, start=_orthanc, needs="Orthanc"),
        Server(
            name="storescp",
            label="storescp",
            forwards=False,
            synced=False,
            start=_storescp(),
            needs="storescp",
        ),
        Server(
            name="storescp+B",
            label="storescp +B",
            forwards=False,
            synced=False,
            start=_storescp("+B"),
            needs="storescp",
        ),
        Server(name="limit", label="bare write + sync", forwards=False, synced=True, start=_limit),
        Server(name="harness", label="harness alone", forwards=False, synced=False, start=_bare),
        Server(
            name="pynetdicom",
            label="pynetdicom storescp",
            forwards=False,
            synced=False,
            start=_pynetdicom("pynetdicom", "storescp", "-q"),
        ),
        Server(
            name="pynetdicom-raw",
            label="pynetdicom, raw bytes",
            forwards=False,
            synced=False,
            start=_pynetdicom("bench.pynetdicom_scp"),
        ),
    )
}
