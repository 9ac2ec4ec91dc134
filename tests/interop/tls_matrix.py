"""The matrix of docs/tls.md: every peer, each way, with client certificates and without, and what goes wrong.

``python -m tests.interop.tls_matrix`` measures it with the programs of this machine and writes it into the
document; ``tests/interop/test_tls_matrix.py`` measures each cell anew and compares.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import structlog
import trustme
from anyio import to_thread
from structlog.testing import capture_logs

from bench.process import Program
from router import samples, scu
from router.config.settings import Listener
from router.config.tls import ListenerTls, ModalityTls, TlsProfile
from router.errors import RouterError
from router.net.credentials import Credentials
from router.net.listener import ListeningPort
from router.scu import SendFile, Sent, Target
from tests.net.test_connection import Scp
from tests.net.test_tls import Counted
from tests.peers import PATIENCE_S, ProgramError, free_port, is_accepting
from tests.peers.certificates import Authority, Issued
from tests.peers.dcmtk import StoreScp, storescu
from tests.peers.orthanc import Orthanc

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tls.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"
HEAD = ("peer", "to or from it", "case", "what comes of it")


@dataclass(frozen=True, kw_only=True)
class World:
    """What every cell needs."""

    directory: Path
    ours: Authority
    other: Authority
    gateway: Issued
    peer: Issued
    study: tuple[SendFile, ...]

    @classmethod
    def make(cls, directory: Path) -> World:
        ours, other = Authority(directory / "pki", "ours"), Authority(directory / "pki", "other")
        made = samples.generate(directory / "study", ct_slices=2, mr_slices=0, bundled=False)
        found = (scu.examine(s.path) for s in made if s.transfer_syntax_uid == "1.2.840.10008.1.2.1")
        return cls(
            directory=directory,
            ours=ours,
            other=other,
            gateway=ours.issue("gateway", key_type=trustme.KeyType.RSA),
            peer=ours.issue("peer"),
            study=tuple(file for file in found if isinstance(file, SendFile)),
        )

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self.study]

    def client(self, *, is_mutual: bool = False, server_name: str | None = None) -> ModalityTls:
        """Ours towards a peer."""
        own = self.gateway if is_mutual else None
        return ModalityTls(
            ca=self.ours.ca,
            certificate=own.certificate if own else None,
            key=own.key if own else None,
            server_name=server_name,
        )

    def listener(self, *, is_mutual: bool = False, profile: TlsProfile | None = None) -> ListenerTls:
        """Ours for callers."""
        return ListenerTls(
            certificate=self.gateway.certificate,
            key=self.gateway.key,
            client_ca=self.ours.ca if is_mutual else None,
            profile=profile,
        )

    def dcmtk(self, *more: str, own: Issued | None = None) -> tuple[str, ...]:
        """DCMTK's options."""
        identity = own or self.peer
        return ("+tls", identity.key, identity.certificate, "+cf", self.ours.ca, *more)

    @contextmanager
    def place(self) -> Iterator[Path]:
        """A fresh directory."""
        with tempfile.TemporaryDirectory(dir=self.directory) as made:
            yield Path(made)


# ---- from us: what the requestor's side of the gateway says


async def send(world: World, port: int, tls: ModalityTls | None) -> str:
    """Send the study with TLS; the version that was negotiated, or why nothing was."""
    counted = Counted()
    keys = Credentials(tls, "matrix", counted) if tls is not None else None
    target = Target(host="127.0.0.1", port=port, called_ae="ANY-SCP", calling_ae="ROUTER", tls=keys)
    results: list[Sent] = []
    try:
        await scu.send(target, world.study, on_result=results.append)
    except RouterError as error:
        return _bland(str(error), port)
    if all(result.is_stored for result in results):
        return _negotiated(counted, "requestor")
    return _bland(results[0].comment, port)


def _negotiated(counted: Counted, role: str) -> str:
    versions = sorted({version for mine, version, _ in counted.secured if mine == role})
    return f"stored, {', '.join(versions)}" if versions else "stored, plain"


def _bland(sentence: str, port: int) -> str:
    return sentence.replace(f"no TLS with 127.0.0.1:{port}: ", "").replace(f"127.0.0.1:{port}", "it")


# ---- to us: what the listener's side says


async def receive(world: World, tls: ListenerTls | None, peer: Callable[[int], object]) -> str:
    """Have a peer send the study to a port of ours; the version, or what is logged."""
    counted, scp = Counted(), Scp()
    keys = Credentials(tls, "matrix", counted) if tls is not None else None
    port = ListeningPort(
        Listener(port=0, host="127.0.0.1", tls=tls), scp, on_reject=lambda _: None, tls=keys, observer=counted
    )
    port.bind()
    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(port.serve)
            await to_thread.run_sync(peer, port.port)
            await port.wait_idle()
            tasks.cancel_scope.cancel()
    if len(scp.stored) == len(world.study):
        return _negotiated(counted, "acceptor")
    told = [entry["detail"] for entry in logs if entry["event"] == "TLS handshake failed"]
    if told:
        return str(told[0])
    is_tls = ("acceptor", "tls_peer") in counted.failed
    return "the peer speaks TLS, and this port is plain" if is_tls else f"{len(scp.stored)} stored"


# ---- the peers


def _pynetdicom(world: World, role: str, port: int, *more: str, own: Issued | None = None) -> list[str]:
    command = [sys.executable, "-m", "tests.peers.pynetdicom_tls", role, "--port", str(port)]
    command += ["--ca", world.ours.ca]
    if own is not None:
        command += ["--certificate", own.certificate, "--key", own.key]
    return [*command, *more]


@contextmanager
def _pynetdicom_scp(world: World, *, is_mutual: bool) -> Iterator[int]:
    with world.place() as directory:
        port = free_port()
        more = ["--directory", str(directory), *(["--mutual"] if is_mutual else [])]
        program = Program(
            _pynetdicom(world, "scp", port, *more, own=world.peer),
            log=directory / "log",
            directory=DOCUMENT.parents[1],
        )
        try:
            program.wait_until(lambda: is_accepting(port), PATIENCE_S, "pynetdicom accepts")
            yield port
        finally:
            program.kill()


def _pynetdicom_scu(world: World, own: Issued | None) -> Callable[[int], object]:
    def run(port: int) -> object:
        command = [*_pynetdicom(world, "scu", port, own=own), "--files", *map(str, world.paths)]
        return subprocess.run(command, cwd=DOCUMENT.parents[1], capture_output=True, timeout=60, check=False)

    return run


@contextmanager
def _orthanc(world: World, *, is_mutual: bool) -> Iterator[Orthanc]:
    options: dict[str, object] = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": world.peer.certificate,
        "DicomTlsPrivateKey": world.peer.key,
        "DicomTlsTrustedCertificates": world.ours.ca,
        "DicomTlsRemoteCertificateRequired": is_mutual,
    }
    with world.place() as directory, Orthanc(directory, options) as running:
        yield running


@contextmanager
def _storescp(world: World, *options: str) -> Iterator[int]:
    with world.place() as directory, StoreScp(directory / "scp", *options) as running:
        yield running.port


def _storescu(world: World, *options: str) -> Callable[[int], object]:
    return lambda port: storescu(port, world.paths, *options)


def _orthanc_scu(world: World, orthanc: Orthanc, *, has_tls: bool = True) -> Callable[[int], object]:
    def run(port: int) -> object:
        orthanc.upload(world.paths)
        try:
            orthanc.send_all(port, has_tls=has_tls)
        except ProgramError as error:
            return error
        return None

    return run


# ---- the cells


Cell = tuple[str, str, str]  # peer, direction, case
Measure = Callable[[World], str]


def _cells() -> Mapping[Cell, Measure]:
    cells: dict[Cell, Measure] = {}

    def from_us(peer: str, case: str) -> Callable[[Measure], Measure]:
        return _into(cells, (peer, "to it", case))

    def to_us(peer: str, case: str) -> Callable[[Measure], Measure]:
        return _into(cells, (peer, "from it", case))

    for is_mutual, name in ((False, "server certificate"), (True, "both certificates")):
        _good(from_us, to_us, name, is_mutual)
    _bad(from_us, to_us)
    return cells


Register = Callable[[str, str], Callable[[Measure], Measure]]


def _into(cells: dict[Cell, Measure], cell: Cell) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        cells[cell] = measure
        return measure

    return register


def _good(from_us: Register, to_us: Register, name: str, is_mutual: bool) -> None:
    @from_us("DCMTK storescp", name)
    def _(world: World) -> str:
        with _storescp(world, *world.dcmtk("-rc" if is_mutual else "-ic")) as port:
            return anyio.run(send, world, port, world.client(is_mutual=is_mutual))

    for option, profile in (("+py", "non-downgrading"), ("+px", "BCP 195"), ("+pz", "extended")):

        @to_us(f"DCMTK storescu {option} ({profile})", name)
        def _(world: World, option: str = option) -> str:
            peer = _storescu(world, *world.dcmtk(option))
            return anyio.run(receive, world, world.listener(is_mutual=is_mutual), peer)

    @from_us("Orthanc", name)
    def _(world: World) -> str:
        with _orthanc(world, is_mutual=is_mutual) as orthanc:
            return anyio.run(send, world, orthanc.port, world.client(is_mutual=is_mutual))

    @to_us("Orthanc", name)
    def _(world: World) -> str:
        with _orthanc(world, is_mutual=True) as orthanc:
            peer = _orthanc_scu(world, orthanc)
            return anyio.run(receive, world, world.listener(is_mutual=is_mutual), peer)

    @from_us("pynetdicom", name)
    def _(world: World) -> str:
        with _pynetdicom_scp(world, is_mutual=is_mutual) as port:
            return anyio.run(send, world, port, world.client(is_mutual=is_mutual))

    @to_us("pynetdicom", name)
    def _(world: World) -> str:
        peer = _pynetdicom_scu(world, world.peer if is_mutual else None)
        return anyio.run(receive, world, world.listener(is_mutual=is_mutual), peer)


def _bad(from_us: Register, to_us: Register) -> None:
    _bad_to_storescp(from_us)
    _bad_from_storescu(to_us)

    @from_us("Orthanc", "none of ours, it insists")
    def _(world: World) -> str:
        with _orthanc(world, is_mutual=True) as orthanc:
            return anyio.run(send, world, orthanc.port, world.client())

    @to_us("Orthanc", "plain, to a TLS port")
    def _(world: World) -> str:
        with _orthanc(world, is_mutual=True) as orthanc:
            peer = _orthanc_scu(world, orthanc, has_tls=False)
            return anyio.run(receive, world, world.listener(), peer)

    @to_us("pynetdicom", "none of its, we insist")
    def _(world: World) -> str:
        return anyio.run(receive, world, world.listener(is_mutual=True), _pynetdicom_scu(world, None))


def _bad_to_storescp(from_us: Register) -> None:
    peer = "DCMTK storescp"

    def storescp(case: str, own: Callable[[World], Issued]) -> None:
        @from_us(peer, case)
        def _(world: World) -> str:
            with _storescp(world, *world.dcmtk("-ic", own=own(world))) as port:
                return anyio.run(send, world, port, world.client())

    storescp("its certificate has expired", lambda world: world.ours.expired("expired"))
    storescp("its certificate is not valid yet", lambda world: world.ours.from_tomorrow("tomorrow"))
    storescp("its certificate is for another name", lambda world: world.ours.issue("w", "pacs.example"))
    storescp("its certificate is of an unknown authority", lambda world: world.other.issue("theirs"))

    @from_us(peer, "none of ours, it insists")
    def _(world: World) -> str:
        with _storescp(world, *world.dcmtk("-rc")) as port:
            return anyio.run(send, world, port, world.client())

    @from_us(peer, "ours is of an authority unknown to it")
    def _(world: World) -> str:
        own = world.other.issue("stranger")
        tls = replace(world.client(), certificate=own.certificate, key=own.key)
        with _storescp(world, *world.dcmtk("-rc")) as port:
            return anyio.run(send, world, port, tls)

    @from_us(peer, "it is plain")
    def _(world: World) -> str:
        with _storescp(world) as port:
            return anyio.run(send, world, port, world.client())

    @from_us(peer, "it speaks TLS, we do not")
    def _(world: World) -> str:
        with _storescp(world, *world.dcmtk("-ic")) as port:
            return anyio.run(send, world, port, None)


def _bad_from_storescu(to_us: Register) -> None:
    peer = "DCMTK storescu"

    def storescu_(case: str, *, is_mutual: bool, options: Callable[[World], tuple[str, ...]]) -> None:
        @to_us(peer, case)
        def _(world: World) -> str:
            sender = _storescu(world, *options(world))
            return anyio.run(receive, world, world.listener(is_mutual=is_mutual), sender)

    storescu_(
        "its certificate has expired",
        is_mutual=True,
        options=lambda world: world.dcmtk(own=world.ours.expired("expired")),
    )
    storescu_(
        "its certificate is of an unknown authority",
        is_mutual=True,
        options=lambda world: world.dcmtk(own=world.other.issue("theirs")),
    )
    storescu_("none of its, we insist", is_mutual=True, options=lambda world: ("+tla", "+cf", world.ours.ca))
    storescu_(
        "it does not trust our authority",
        is_mutual=False,
        options=lambda world: ("+tls", world.peer.key, world.peer.certificate, "+cf", world.other.ca),
    )
    storescu_(
        "no common cipher suite",
        is_mutual=False,
        options=lambda world: world.dcmtk("+pa"),
    )
    storescu_("plain, to a TLS port", is_mutual=False, options=lambda world: ())

    @to_us(peer, "old cipher suites (+pa), profile: legacy")
    def _(world: World) -> str:
        sender = _storescu(world, *world.dcmtk("+pa"))
        return anyio.run(receive, world, world.listener(profile=TlsProfile.LEGACY), sender)

    @to_us(peer, "TLS, to a plain port")
    def _(world: World) -> str:
        return anyio.run(receive, world, None, _storescu(world, *world.dcmtk()))


CELLS = _cells()


def documented() -> dict[Cell, str]:
    """The matrix as the document has it."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.partition(BEGIN)[2].partition(END)[0]
    rows = [
        [part.strip() for part in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    return {(row[0], row[1], row[2]): row[3] for row in rows[2:]}


def write(results: Mapping[Cell, str]) -> None:
    """Put the matrix into the document."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---|"]
    lines += [f"| {' | '.join((*cell, result))} |" for cell, result in results.items()]
    text = DOCUMENT.read_text(encoding="utf-8")
    table = "\n".join([BEGIN, *lines, END])
    DOCUMENT.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Measure everything and write it down."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as directory:
        world = World.make(Path(directory))
        results = {}
        for cell, measure in CELLS.items():
            results[cell] = measure(world)
            print(*cell, "->", results[cell], flush=True)
    write(results)


if __name__ == "__main__":
    main()
