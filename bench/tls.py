"""TLS beside plain, in one run: ``python -m bench.tls [--seconds 4] [--rounds 3]``.

Receiving: the gateway, and Orthanc where it is installed, each plain and with TLS. Forwarding: in plain and
out plain, or out with TLS, to ``dicom-router sink``. Rounds are interleaved; medians are printed, with the
share of plain that TLS keeps, and the CPU time of the server for each instance. Ends with 1 where the
gateway keeps less than half.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import trustme

from bench.harness import load
from bench.measure import Meter
from bench.process import CHECKOUT, Program, free_port, is_accepting, temporary_root, wait_until
from bench.report import table

SHARE = 0.5  # of the plain rate that TLS must keep
SIZES = (40_000, 525_000)
_READY_S = 30.0
_LOAD_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Files that OpenSSL reads."""

    ca: str
    certificate: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One combination; ``peer`` is who is measured, or where the gateway forwards to."""

    what: str  # receive | forward
    server: str
    has_tls: bool
    size: int
    associations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one case showed in one round."""

    rate: float
    cpu_ms: float


def make_keys(directory: Path) -> Keys:
    """An authority, and a certificate for loopback."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    keys = Keys(
        ca=str(directory / "ca.pem"),
        certificate=str(directory / "own.pem"),
        key=str(directory / "own.key"),
    )
    authority.cert_pem.write_to_path(keys.ca)
    Path(keys.certificate).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(keys.key)
    return keys


def _router(directory: Path, listener: dict[str, object], modality: dict[str, object] | None) -> Program:
    configuration = {
        "data_dir": str(directory / "data"),
        "listeners": [{"port": 0, "host": "127.0.0.1", **listener}],
        "http": {"host": "127.0.0.1", "port": 0},
        "accept_unknown": ["echo", "store"],
        "log_level": "warning",
        "modalities": {"sink": modality} if modality else {},
        "rules": [{"rule": "ct", "when": {"Modality": "CT"}, "send": "sink"}] if modality else [],
        "unmatched": "drop",
    }
    (directory / "router.yaml").write_text(json.dumps(configuration))
    ready = directory / "ready.json"
    command = [sys.executable, "-m", "router", "serve", "-c", str(directory / "router.yaml")]
    program = Program([*command, "--ready-file", str(ready)], log=directory / "log", directory=CHECKOUT)
    program.wait_until(ready.exists, _READY_S, "the gateway is ready")
    return program


def _port(directory: Path) -> int:
    return int(json.loads((directory / "ready.json").read_text())["dicom"][0])


def _orthanc(directory: Path, keys: Keys | None) -> tuple[Program, int]:
    port = free_port()
    configuration: dict[str, object] = {
        "StorageDirectory": f"{directory}/storage",
        "IndexDirectory": f"{directory}/storage",
        "HttpServerEnabled": False,
        "DicomPort": port,
        "SyncStorageArea": True,
    }
    if keys is not None:
        configuration |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": keys.certificate,
            "DicomTlsPrivateKey": keys.key,
            "DicomTlsTrustedCertificates": keys.ca,
            "DicomTlsRemoteCertificateRequired": False,
        }
    path = directory / "orthanc.json"
    path.write_text(json.dumps(configuration))
    program = Program(["Orthanc", str(path)], log=directory / "log", directory=directory)
    program.wait_until(lambda: is_accepting(port), _READY_S, "Orthanc accepts")
    return program, port


def _sink(directory: Path, keys: Keys | None) -> tuple[Program, int, Path]:
    ready, log = directory / "sink.json", directory / "sink.log"
    command = [sys.executable, "-m", "router", "sink", "--port", "0", "--window", "16"]
    command += ["--ready-file", str(ready), "--log", str(log)]
    if keys is not None:
        command += ["--tls-certificate", keys.certificate, "--tls-key", keys.key]
    program = Program(command, log=directory / "sink.err", directory=CHECKOUT)
    program.wait_until(ready.exists, _READY_S, "the sink is ready")
    return program, int(json.loads(ready.read_text())["dicom"][0]), log


def measure(case: Case, keys: Keys, seconds: float) -> Figure:
    """One case in a fresh directory, warmed up first."""
    directory = Path(tempfile.mkdtemp(prefix="bench-tls-", dir=temporary_root()))
    programs: list[Program] = []
    try:
        mine = keys if case.has_tls else None
        if case.what == "receive":
            if case.server == "Orthanc":
                program, port = _orthanc(directory, mine)
            else:
                tls = {"tls": {"certificate": keys.certificate, "key": keys.key}} if mine else {}
                program = _router(directory, {**tls}, None)
                port = _port(directory)
            programs.append(program)
            return _receive(case, program, port, keys.ca if mine else "", seconds)
        sink, sink_port, log = _sink(directory, mine)
        programs.append(sink)
        modality: dict[str, object] = {"ae_title": "SINK", "host": "127.0.0.1", "port": sink_port}
        if mine:
            modality["tls"] = {"ca": keys.ca}
        program = _router(directory, {}, modality)
        programs.append(program)
        return _forward(case, program, _port(directory), log, seconds)
    finally:
        for program in programs:
            program.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _receive(case: Case, program: Program, port: int, ca: str, seconds: float) -> Figure:
    warm = load(port, size=case.size, associations=case.associations, count=64, seconds=_LOAD_S, ca=ca)
    count = max(64, int(64 / (warm.ended_at - warm.began_at) * seconds))
    meter = Meter(program.pid)
    sent = load(
        port, size=case.size, associations=case.associations, count=count, seconds=_LOAD_S, first=64, ca=ca
    )
    usage = meter.stop()
    if sent.errors or sent.refused or not sent.acknowledged:
        raise SystemExit(f"{case}: {sent.errors[:2]} {sent.refused} refused\n{program.tail()}")
    n = sent.acknowledged
    return Figure(rate=n / (sent.ended_at - sent.began_at), cpu_ms=1000 * usage.cpu_s / n)


def _forward(case: Case, program: Program, port: int, log: Path, seconds: float) -> Figure:
    def arrived() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    load(port, size=case.size, associations=case.associations, count=64, seconds=_LOAD_S)
    wait_until(lambda: len(arrived()) >= 64, _LOAD_S, "the first instances arrive")
    count = int(seconds * (600 if case.size < 100_000 else 200))
    meter = Meter(program.pid)
    sent = load(port, size=case.size, associations=case.associations, count=count, seconds=_LOAD_S, first=64)
    n = sent.acknowledged
    wait_until(lambda: len(arrived()) >= 64 + n, _LOAD_S, "all instances arrive")
    usage = meter.stop()
    stamps = [json.loads(line)["at"] for line in arrived()[64:]]
    return Figure(rate=n / (max(stamps) - min(stamps)), cpu_ms=1000 * usage.cpu_s / n)


def cases(sizes: Sequence[int], *, has_orthanc: bool) -> list[Case]:
    """Plain and TLS next to each other, so that a slow minute of the machine hits both."""
    servers = ["dicom-router", *(["Orthanc"] if has_orthanc else [])]
    kinds = [("receive", server) for server in servers] + [("forward", "dicom-router")]
    return [
        Case(what=what, server=server, has_tls=has_tls, size=size, associations=4)
        for size in sizes
        for what, server in kinds
        for has_tls in (False, True)
    ]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.tls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load in each case")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    chosen = cases(SIZES, has_orthanc=shutil.which("Orthanc") is not None)
    figures: dict[Case, list[Figure]] = {case: [] for case in chosen}
    with tempfile.TemporaryDirectory(dir=temporary_root()) as directory:
        keys = make_keys(Path(directory))
        for _ in range(arguments.rounds):
            for case in chosen:
                figures[case].append(measure(case, keys, arguments.seconds))
    rows, is_well = [], True
    for plain, tls in zip(chosen[::2], chosen[1::2], strict=True):
        rates = [median(f.rate for f in figures[case]) for case in (plain, tls)]
        cpu = [median(f.cpu_ms for f in figures[case]) for case in (plain, tls)]
        share = rates[1] / rates[0]
        is_well &= share >= SHARE or plain.server == "Orthanc"
        size = f"{plain.size // 1000} kB"
        figures_shown = [f"{x:,.0f}/s" for x in rates] + [f"{share:.0%}"] + [f"{x:.2f} ms" for x in cpu]
        rows.append([plain.what, plain.server, size, *figures_shown])
    print(table(rows, ["what", "server", "size", "plain", "TLS", "share", "CPU plain", "CPU TLS"]))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
