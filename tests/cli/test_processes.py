"""``serve`` and ``demo`` as the processes that people start."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "router", *map(str, arguments)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_serve_says_ready_and_ends_with_0_at_sigterm(configuration: Path, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    with start("serve", "-c", configuration, "--ready-file", ready_file) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        ready = next(line for line in map(json.loads, lines) if line["event"] == "ready")
        with socket.create_connection(("127.0.0.1", ready["dicom"][0]), timeout=10):
            pass
        process.send_signal(signal.SIGHUP)
        assert next(line for line in map(json.loads, lines) if line["event"] == "reloaded")
        process.send_signal(signal.SIGTERM)
        rest = [json.loads(line)["event"] for line in lines]
        assert process.wait(timeout=30) == 0
    assert rest[-1] == "stopped"
    assert json.loads(ready_file.read_text()) == {"dicom": ready["dicom"], "http": ready["http"]}


def test_serve_on_a_taken_port_is_one_sentence(configuration: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configuration.write_text(
            configuration.read_text().replace("http: {port: 0}", f"http: {{port: {port}}}")
        )
        with start("serve", "-c", configuration) as process:
            _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"port {port}" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_demonstration_ends_well_even_where_its_ports_are_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 11112))
            taken.listen()
        except OSError:
            pass  # somebody else sees to it
        with start("demo", "-c", "deploy/router.yaml", "--once") as process:
            shown, said = process.communicate(timeout=100)
    assert process.returncode == 0, said + shown
    assert "Port 11112 is taken" in said
    assert "arrived intact" in shown
