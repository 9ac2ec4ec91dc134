"""What the commands talk to: a gateway's HTTP side over a fake store, and a sink, in a loop of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from typer.testing import CliRunner, Result

from router.admin import Admin
from router.api.http import HttpApp
from router.api.server import HttpServer
from router.cli import build
from router.clock import ManualClock
from router.config.settings import Modality, Settings
from router.sink import SinkOptions, run_sink
from router.telemetry import Telemetry
from router.views import Phase
from tests.fake_store import FakeStore, FakeSwitches, learned

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command line in this process."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(
            build(), [str(argument) for argument in arguments], prog_name="dicom-router"
        )

    return invoke


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An event loop in another thread."""
    with start_blocking_portal() as started:
        yield started


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A gateway that answers at ``url`` from ``store``."""

    url: str
    store: FakeStore
    switches: FakeSwitches


@pytest.fixture
def remote(portal: BlockingPortal) -> Iterator[Remote]:
    store, telemetry, clock = FakeStore(), Telemetry(), ManualClock()
    switches = FakeSwitches()
    admin = Admin(
        spool=store,
        settings=Settings(modalities={"pacs": Modality(ae_title="PACS", host="h", port=104)}),
        clock=clock,
        phase=lambda: Phase.RUNNING,
        destinations_up=telemetry.destinations_up,
        dicom_ports=lambda: (11112,),
        switches=switches.switches,
        learned=learned,
    )
    app = portal.call(lambda: HttpApp(admin=admin, telemetry=telemetry, clock=clock))
    server = HttpServer(app)
    server.bind("127.0.0.1", 0)
    serving = portal.start_task_soon(server.serve)
    yield Remote(url=f"http://127.0.0.1:{server.port}", store=store, switches=switches)
    portal.call(server.stop)
    serving.result(timeout=20)


@pytest.fixture
def start_sink(portal: BlockingPortal) -> Iterator[Callable[[SinkOptions], str]]:
    """Start sinks; each call returns an address for the command line."""
    with ExitStack() as running:

        def start(options: SinkOptions) -> str:
            ready: Future[int] = Future()
            serving = portal.start_task_soon(run_sink, options, ready.set_result)
            running.callback(serving.cancel)
            return f"SINK@127.0.0.1:{ready.result(timeout=20)}"

        yield start


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration with a modality and a rule."""
    path = tmp_path / "router.yaml"
    path.write_text(
        """
ae_title: ROUTER
data_dir: data
listeners: [{port: 0, host: 127.0.0.1}]
http: {port: 0}
spool: {segment_bytes: 1MB, min_free_bytes: 0}
modalities:
  pacs: {ae_title: PACS, host: 127.0.0.1, port: 1}
accept_unknown: [echo, store]
rules:
  - rule: scanner
    when: {Modality: CT, calling_ae: CT1}
    send: pacs
    priority: high
"""
    )
    return path
