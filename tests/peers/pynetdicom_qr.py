"""pynetdicom as an archive, a process of its own: ``python -m tests.peers.pynetdicom_qr --port N ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

from bench.process import CHECKOUT, Program, is_accepting
from tests.peers import PATIENCE_S, free_port

AE_TITLE = "PYNET"
_QUERY = "1.2.840.10008.5.1.4.1.2."
_WORKLIST = "1.2.840.10008.5.1.4.31"
_UNIQUE = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


class PynetdicomArchive:
    """It, with files in it. ``destination``: the AE title to which it can move, and its port."""

    def __init__(self, directory: Path, files: list[Path], destination: tuple[str, int]) -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        name, port = destination
        command = [sys.executable, "-m", "tests.peers.pynetdicom_qr", "--port", str(self.port)]
        command += ["--destination", name, str(port), "--files", *map(str, files)]
        self._program = Program(command, log=directory / "log", directory=CHECKOUT)
        self._program.wait_until(lambda: is_accepting(self.port), PATIENCE_S, "pynetdicom accepts")

    @property
    def target(self) -> str:
        """It as an argument of our commands."""
        return f"{AE_TITLE}@127.0.0.1:{self.port}"

    def __enter__(self) -> PynetdicomArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()


class _Archive:
    def __init__(self, paths: list[Path], destination: tuple[str, int]) -> None:
        self.instances = [dcmread(path) for path in paths]
        self.destination = destination

    def _matching(self, asked: Dataset) -> list[Dataset]:
        return [instance for instance in self.instances if all(_fits(key, instance) for key in asked)]

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        unique = _UNIQUE.get(asked.get("QueryRetrieveLevel", ""), "SOPInstanceUID")
        seen: set[str] = set()
        for instance in self._matching(asked):
            if instance[unique].value in seen:
                continue
            seen.add(instance[unique].value)
            if event.is_cancelled:
                yield 0xFE00, None
                return
            answer = Dataset()
            for key in asked:
                answer[key.tag] = instance[key.tag] if key.tag in instance else key
            answer.SpecificCharacterSet = instance.get("SpecificCharacterSet", "ISO_IR 6")
            if "QueryRetrieveLevel" in asked:
                answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            yield 0xFF00, answer

    def get(self, event: evt.Event) -> Iterator[object]:
        found = self._matching(event.identifier)
        yield len(found)
        for instance in found:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, instance

    def move(self, event: evt.Event) -> Iterator[object]:
        name, port = self.destination
        if event.move_destination != name:
            yield None, None
            return
        yield "127.0.0.1", port
        yield from self.get(event)


def _fits(key: object, instance: Dataset) -> bool:
    """Universal, list, range and wildcard matching, as far as the tests ask for it."""
    assert hasattr(key, "tag")
    value = key.value  # type: ignore[attr-defined]
    if key.tag in (0x00080005, 0x00080052) or value in ("", None) or key.VR == "SQ":  # type: ignore[attr-defined]
        return True
    actual = str(instance.get(key.tag).value) if key.tag in instance else ""
    if key.VR == "UI":  # type: ignore[attr-defined]
        return actual in ([value] if isinstance(value, str) else value)
    if key.VR == "DA" and "-" in value:  # type: ignore[attr-defined]
        first, _, last = value.partition("-")
        return (first or actual) <= actual <= (last or actual)
    return fnmatchcase(actual, str(value))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--destination", nargs=2, required=True)
    parser.add_argument("--files", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    name, port = arguments.destination
    archive = _Archive(arguments.files, (name, int(port)))
    server = AE(AE_TITLE)
    for root in ("1", "2"):
        for operation in ("1", "2", "3"):
            server.add_supported_context(f"{_QUERY}{root}.{operation}")
    server.add_supported_context(_WORKLIST)
    for context in AllStoragePresentationContexts:
        uid = str(context.abstract_syntax)
        server.add_supported_context(uid, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    for instance in archive.instances:  # to move them
        server.add_requested_context(instance.SOPClassUID, instance.file_meta.TransferSyntaxUID)
    handlers: list[object] = [
        (evt.EVT_C_FIND, archive.find),
        (evt.EVT_C_GET, archive.get),
        (evt.EVT_C_MOVE, archive.move),
    ]
    server.start_server(("127.0.0.1", arguments.port), block=True, evt_handlers=handlers)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
