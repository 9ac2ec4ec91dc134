"""``demo``: the whole way in one command, on this machine and in a temporary directory.

The gateway runs in this process with the given configuration; every modality it names is played by a sink in
a process of its own. A generated study is sent, and each data set's SHA-256 is compared with what the sinks
and folders hold.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.cli.common import DEFAULT_CONFIG, FAILED, ConfigOption, err, fail, load_configuration, out

if TYPE_CHECKING:
    from anyio.abc import Process

    from router.app import Gateway
    from router.cli.demo_report import Finding
    from router.config.settings import Modality, Settings
    from router.rules import RuleSet
    from router.samples import Sample

DEMO_CALLING_AE = "DEMO_MODALITY"
SINK_START_S = 30.0
ARRIVAL_S = 60.0  # for everything to arrive; it takes about a second
POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sink:
    """One modality, played by us."""

    name: str
    modality: Modality  # with the port that it really has
    directory: Path


def add_to(command: typer.Typer) -> None:
    """Register the command."""
    command.command()(demo)


def demo(
    config: ConfigOption = DEFAULT_CONFIG,
    once: Annotated[
        bool, typer.Option("--once", help="End with the verdict: 0 if all arrived intact.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the gateway's log too.")] = False,
    seed: Annotated[int | None, typer.Option(help="Makes the instances the same each time.")] = None,
) -> None:
    """Show the whole way: run the gateway, send a study, and check what arrived where, and why.

    Goes on serving until Ctrl-C, so that you can send your own files. Nothing is left behind.

    Example: [bold]dicom-router demo -c deploy/router.yaml --once[/bold]
    """
    import anyio

    from router import logs
    from router.app import first_cause
    from router.errors import RouterError

    settings, rule_set = load_configuration(config)
    logs.configure(settings.log_level if verbose else "error")
    with tempfile.TemporaryDirectory(prefix="dicom-router-demo-") as directory:
        try:
            is_intact = anyio.run(_demo, settings, rule_set, Path(directory), once, seed)
        except BaseExceptionGroup as group:
            cause = first_cause(group)
            if isinstance(cause, RouterError):
                fail(str(cause))
            raise cause from None
    if not is_intact:
        raise typer.Exit(FAILED)


async def _demo(settings: Settings, rule_set: RuleSet, directory: Path, once: bool, seed: int | None) -> bool:
    import anyio

    from router.app import Gateway

    verdict = False

    async def watch(gateway: Gateway) -> None:
        nonlocal verdict
        await gateway.wait_ready()
        _say_where(gateway, settings)
        verdict = await _send_and_check(gateway, settings, directory, seed)
        if once:
            gateway.stop()
        else:
            out.print("Serving until Ctrl-C.")

    async with _sinks(settings, directory) as sinks:
        gateway = Gateway(_adapted(settings, sinks, directory), rule_set)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, gateway)
            await gateway.run()
            tasks.cancel_scope.cancel()
    return verdict


def _adapted(settings: Settings, sinks: list[_Sink], directory: Path) -> Settings:
    """The configuration with free ports, our sinks as its modalities, and all files in ``directory``."""
    listeners = tuple(
        replace(
            listener,
            name=listener.label,
            tls=None,
            port=_free_port("the gateway", listener.host, listener.port),
        )
        for listener in settings.listeners
    )
    http = replace(settings.http, port=_free_port("HTTP", settings.http.host, settings.http.port))
    from router.config.settings import Destination

    folders = {
        name: Destination(folder=str(directory / name / _below_root(one.folder or "")), deliver=one.deliver)
        for name, one in settings.destinations.items()
    }
    return replace(
        settings,
        data_dir=directory / "data",
        listeners=listeners,
        http=http,
        modalities=settings.modalities | {sink.name: sink.modality for sink in sinks},
        destinations=folders,
    )


def _below_root(folder: str) -> str:
    """The part of a folder's path that is filled in for each instance."""
    parts = Path(folder).parts
    first = next((i for i, part in enumerate(parts) if "{" in part), len(parts))
    return str(Path(*parts[first:])) if first < len(parts) else "{SOPInstanceUID}.dcm"


def _free_port(what: str, host: str, port: int) -> int:
    """The port that is wanted, or 0 where another program has it."""
    if port == 0 or not _is_taken(host, port):
        return port
    err.print(f"Port {port} is taken: {what} gets another one.", style="yellow")
    return 0


def _is_taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


@contextlib.asynccontextmanager
async def _sinks(settings: Settings, directory: Path) -> AsyncIterator[list[_Sink]]:
    """A sink for each modality, running until the end of the block."""
    from router.config.settings import Operation

    sinks: list[_Sink] = []
    async with contextlib.AsyncExitStack() as running:
        for name, modality in settings.modalities.items():
            if Operation.STORE in modality.send:
                sinks.append(await running.enter_async_context(_sink(name, modality, directory / name)))
        yield sinks


@contextlib.asynccontextmanager
async def _sink(name: str, modality: Modality, directory: Path) -> AsyncIterator[_Sink]:
    import anyio
    import msgspec

    ready_file = directory.with_suffix(".ready")
    port = _free_port(name, "127.0.0.1", modality.port)
    command = [sys.executable, "-m", "router", "sink", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--directory", str(directory), "--ready-file", str(ready_file)]
    # A session of its own: Ctrl-C must not end it before the gateway has drained.
    said = directory.with_suffix(".log")
    with said.open("wb") as log:
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        with anyio.move_on_after(SINK_START_S):
            while not ready_file.exists() and process.returncode is None:  # noqa: ASYNC110 - not our process
                await anyio.sleep(POLL_S)
        if not ready_file.exists():
            fail(f"the sink that plays {name} did not start: {said.read_text().strip()}")
        bound = msgspec.json.decode(ready_file.read_bytes(), type=dict[str, list[int]])["dicom"][0]
        here = replace(modality, host="127.0.0.1", port=bound, tls=None)
        yield _Sink(name=name, modality=here, directory=directory)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    import anyio

    with anyio.CancelScope(shield=True), contextlib.suppress(ProcessLookupError):
        process.terminate()
        with anyio.move_on_after(5):
            await process.wait()
            return
        process.kill()
        await process.wait()


def _say_where(gateway: Gateway, settings: Settings) -> None:
    http = f"http://127.0.0.1:{gateway.ports.http}"
    for port in gateway.ports.dicom:
        out.print(f"The gateway takes instances as {settings.ae_title}@127.0.0.1:{port}", markup=False)
    out.print(
        f"Its page is {http}/ and programs ask {http}/metrics {http}/api/v1/status {http}/api/v1/queue",
        markup=False,
    )


async def _send_and_check(gateway: Gateway, settings: Settings, directory: Path, seed: int | None) -> bool:
    """Send a generated study, wait for it, and print what became of it. Whether all is intact."""
    import time

    from anyio import to_thread

    from router import samples, scu
    from router.cli import demo_report

    study = await to_thread.run_sync(
        lambda: samples.generate(directory / "sent", seed=int(time.time()) if seed is None else seed)
    )
    target = scu.Target(
        host="127.0.0.1",
        port=gateway.ports.dicom[0],
        called_ae=settings.ae_title,
        calling_ae=DEMO_CALLING_AE,
    )
    answers: dict[Path, scu.Sent] = {}
    files = [found for found in map(scu.examine, (s.path for s in study)) if isinstance(found, scu.SendFile)]
    began = time.perf_counter()
    await scu.send(
        target, files, associations=4, on_result=lambda sent: answers.update({sent.file.path: sent})
    )
    took = time.perf_counter() - began
    stored = sum(sent.is_stored for sent in answers.values())
    out.print(f"Sent {len(files)} instances over 4 associations in {took:.2f} s: {stored} acknowledged.\n")
    url = f"http://127.0.0.1:{gateway.ports.http}"
    findings = await _wait_for(study, url, directory)
    out.print(demo_report.report_of(findings))
    return demo_report.conclude(findings)


async def _wait_for(study: list[Sample], url: str, directory: Path) -> list[Finding]:
    """Ask the gateway for each instance until nothing is under way any more."""
    import anyio
    from anyio import to_thread

    from router.cli import demo_report

    findings: list[Finding] = []
    with anyio.move_on_after(ARRIVAL_S):
        while True:
            findings = await to_thread.run_sync(demo_report.look, study, url)
            if all(finding.is_settled for finding in findings):
                break
            await anyio.sleep(POLL_S)
    return await to_thread.run_sync(lambda: list(_compared(findings, directory)))


def _compared(findings: list[Finding], directory: Path) -> Iterator[Finding]:
    from router.cli import demo_report

    arrived = demo_report.hashes(directory)
    for finding in findings:
        yield demo_report.compare(finding, arrived)
