"""Prometheus, scraping a gateway with the configuration and the alerts of ``deploy/prometheus``."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

import yaml

from bench.process import CHECKOUT, Program, is_accepting
from tests.peers import PATIENCE_S, free_port, require

DEPLOY = CHECKOUT / "deploy" / "prometheus"
_HTTP_S = 30


class Prometheus:
    """A running Prometheus that scrapes ``target`` (host:port) each second, with ``token`` where given."""

    def __init__(self, directory: Path, target: str, token: str | None = None) -> None:
        directory.mkdir(parents=True)
        self._http = free_port()
        configuration = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(DEPLOY / name) for name in configuration["rule_files"]]
        (job,) = configuration["scrape_configs"]
        job["static_configs"] = [{"targets": [target]}]
        if token is not None:
            job["authorization"] = {"credentials": token}
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(configuration))
        command = [
            require("prometheus"),
            f"--config.file={path}",
            f"--storage.tsdb.path={directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self._http}",
        ]
        self._program = Program(command, log=directory / "log", directory=directory)
        self._program.wait_until(lambda: is_accepting(self._http), PATIENCE_S, "Prometheus answers HTTP")

    def _get(self, path: str) -> object:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=_HTTP_S) as answer:
            return json.loads(answer.read())["data"]

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an expression gives now: labels and value of each series."""
        found = self._get(f"/api/v1/query?{urlencode({'query': expression})}")
        assert isinstance(found, dict)
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def alerts(self) -> set[tuple[str, str]]:
        """The alerts that are pending or firing, and what about."""
        found = self._get("/api/v1/alerts")
        assert isinstance(found, dict)
        return {(one["labels"]["alertname"], one["labels"].get("destination", "")) for one in found["alerts"]}

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()
