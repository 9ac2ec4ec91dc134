"""Orthanc as a destination, looked at through its HTTP interface."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType, TracebackType

from bench.process import Program, is_accepting
from tests.corpus import Part10, read_part10
from tests.peers import PATIENCE_S, ProgramError, free_port, require, wait_until

_HTTP_S = 30


class Orthanc:
    """A running Orthanc that takes whatever it can. ``options`` go into its configuration."""

    def __init__(
        self,
        directory: Path,
        options: Mapping[str, object] = MappingProxyType({}),
        *,
        user: tuple[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port, self._http = free_port(), free_port()
        self._headers = {} if user is None else {"Authorization": _basic(*user)}
        configuration = {
            "Name": "peer",
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "DicomPort": self.port,
            "HttpPort": self._http,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "UnknownSopClassAccepted": True,
            "OverwriteInstances": True,
            "SyncStorageArea": False,
            "DicomAssociationCloseDelay": 0,
            **options,
        }
        self._directory = directory
        (directory / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
        self.start()

    @property
    def dicomweb(self) -> str:
        """Where its DICOMweb service is, if it has that plugin."""
        return f"http://127.0.0.1:{self._http}/dicom-web"

    def start(self) -> None:
        """Start the process, again after :meth:`kill`, and wait until it answers."""
        directory = self._directory
        command = [require("Orthanc"), str(directory / "orthanc.json")]
        self._program = Program(command, log=directory / "log", directory=directory)
        self._program.wait_until(lambda: is_accepting(self.port), PATIENCE_S, "Orthanc accepts associations")
        self._program.wait_until(lambda: is_accepting(self._http), PATIENCE_S, "Orthanc answers HTTP")

    def kill(self) -> None:
        """``kill -9``; what it has stored stays."""
        self._program.kill()

    def _request(self, path: str, method: str = "GET", body: bytes | None = None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._http, timeout=_HTTP_S)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise ProgramError(f"Orthanc answers {answer.status} to {method} {path}")
        return body

    def get(self, path: str) -> bytes:
        """What it answers to GET."""
        return self._request(path)

    def post(self, path: str, body: object) -> bytes:
        """What it answers to POST with JSON."""
        return self._request(path, "POST", json.dumps(body).encode())

    def knows(self, name: str, ae_title: str, port: int) -> None:
        """Have it know a peer on loopback."""
        block = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        self._request(f"/modalities/{name}", "PUT", json.dumps(block).encode())

    def identifiers(self) -> list[str]:
        """Orthanc's own identifiers of the instances it holds."""
        found: list[str] = json.loads(self._request("/instances"))
        return found

    def contents(self) -> list[bytes]:
        """Every instance it holds, as the file that it gives out."""
        return [self._request(f"/instances/{name}/file") for name in self.identifiers()]

    def files(self) -> list[Part10]:
        """The same, taken apart."""
        return list(map(read_part10, self.contents()))

    def data_sets(self) -> dict[str, str]:
        """The SHA-256 of the data set by SOP Instance UID."""
        return {file.sop_instance_uid: file.sha256 for file in self.files()}

    def upload(self, paths: Sequence[Path]) -> None:
        """Give it files over HTTP."""
        for path in paths:
            self._request("/instances", "POST", path.read_bytes())

    def send_all(self, port: int, *, has_tls: bool, ae_title: str = "ROUTER") -> None:
        """Have it send everything that it holds; ``ProgramError`` where it cannot."""
        block = {"AET": ae_title, "Host": "127.0.0.1", "Port": port, "UseDicomTls": has_tls}
        self._request("/modalities/to", "PUT", json.dumps(block).encode())
        self._request("/modalities/to/store", "POST", json.dumps(self.identifiers()).encode())

    def clear(self) -> None:
        """Delete everything it holds."""
        for name in json.loads(self._request("/patients")):
            self._request(f"/patients/{name}", "DELETE")
        wait_until(lambda: not self.identifiers(), "Orthanc is empty")

    def __enter__(self) -> Orthanc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()


def _basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
