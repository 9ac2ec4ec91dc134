"""The gateway as its users run it: a configuration, a process, a log, an HTTP interface. It can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from bench.process import CHECKOUT, Program
from tests.peers import PATIENCE_S, free_port, wait_until

_HTTP_S = 30
_SEND_S = 120

Json = Mapping[str, object]


def modality(port: int, ae_title: str = "PEER", **deliver: object) -> dict[str, object]:
    """A destination on loopback; keywords are its ``deliver`` block."""
    block: dict[str, object] = {"ae_title": ae_title, "host": "127.0.0.1", "port": port}
    return {**block, "deliver": deliver} if deliver else block


def send_all_to(*destinations: str) -> list[dict[str, object]]:
    """The rule that sends everything to these."""
    return [{"rule": "all", "send": list(destinations)}]


class Gateway:
    """A running gateway. Its ports and data directory stay the same over :meth:`kill` and :meth:`start`."""

    def __init__(
        self, directory: Path, configuration: Json, *, limits: Json | None = None, http: Json | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data_dir = directory / "data"
        self.log = directory / "gateway.log"
        self.configuration = directory / "router.yaml"
        self._ready = directory / "ready.json"
        self.port, self.http = free_port(), free_port()
        whole: dict[str, object] = {
            "data_dir": str(self.data_dir),
            "listeners": [{"port": self.port, "host": "127.0.0.1", "limits": limits or {}}],
            "http": {"host": "127.0.0.1", "port": self.http, **(http or {})},
            "accept_unknown": ["echo", "store"],
            **configuration,
        }
        self.configuration.write_text(json.dumps(whole, indent=1), encoding="utf-8")
        self._program: Program | None = None
        self.start()

    def launch(self) -> None:
        """Start the process without waiting for anything."""
        assert self._program is None, "it runs already"
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "router", "serve", "-c", str(self.configuration)]
        command += ["--ready-file", str(self._ready)]
        self._program = Program(command, log=self.log, directory=CHECKOUT)

    def start(self) -> None:
        """Start the process and wait until it takes instances."""
        self.launch()
        assert self._program is not None
        self._program.wait_until(self._ready.exists, PATIENCE_S, "the gateway is ready")

    def kill(self) -> None:
        """``kill -9``."""
        assert self._program is not None, "it does not run"
        program, self._program = self._program, None
        program.kill()

    def stop(self, timeout_s: float = 40.0) -> int:
        """SIGTERM, and wait for the orderly end. Returns the exit code."""
        assert self._program is not None, "it does not run"
        program, self._program = self._program, None
        return program.stop(timeout_s)

    @property
    def pid(self) -> int:
        assert self._program is not None, "it does not run"
        return self._program.pid

    def log_text(self) -> str:
        """Everything that it has logged, over all its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def get(self, path: str) -> str:
        """The body of an HTTP answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=_HTTP_S) as answer:
            body: bytes = answer.read()
        return body.decode()

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics`` by its name with labels, as it is printed."""
        samples = (
            line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if line[:1] not in ("#", "")
        )
        return {name: float(value) for name, value in samples}

    def depths(self) -> dict[tuple[str, str], int]:
        """How many deliveries stand in which state, by destination and state."""
        totals = json.loads(self.get("/api/v1/queue?limit=1"))["totals"]
        return {(row["destination"], row["state"]): row["count"] for row in totals}

    def deliveries(self, state: str) -> list[dict[str, object]]:
        """Every delivery in one state."""
        found: list[dict[str, object]] = []
        after: int | None = None
        while True:
            page = json.loads(
                self.get(f"/api/v1/queue?state={state}&limit=1000" + (f"&after={after}" if after else ""))
            )
            found += page["deliveries"]
            after = page.get("next_after")
            if after is None:
                return found

    def trace(self, sop_instance_uid: str) -> list[dict[str, object]]:
        """What happened to an image, as the API tells it."""
        found: list[dict[str, object]] = json.loads(self.get(f"/api/v1/trace/{sop_instance_uid}"))
        return found

    def wait_quiet(self, timeout_s: float = 60.0) -> None:
        """Wait until nothing is unrouted, pending or active any more."""

        def is_quiet() -> bool:  # in the order in which instances move, so that none is missed
            if json.loads(self.get("/api/v1/status"))["spool"]["unrouted"]:
                return False
            return not any(n for (_, state), n in self.depths().items() if state in ("pending", "active"))

        wait_until(is_quiet, "the queue is empty", timeout_s)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._program is not None:
            self.kill()


def router(*arguments: str, timeout_s: float = _SEND_S) -> subprocess.CompletedProcess[str]:
    """Run a command of ``dicom-router`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "router", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
