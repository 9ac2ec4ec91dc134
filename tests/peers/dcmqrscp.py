"""DCMTK's ``dcmqrscp``: an archive that answers C-FIND, C-MOVE and C-GET."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from bench.process import Program, is_accepting
from tests.peers import PATIENCE_S, free_port, require

AE_TITLE = "QRSCP"

_CONFIGURATION = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
{hosts}
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{ae_title} {storage} RW (200, 1024mb) ANY
AETable END
"""


class DcmQrScp:
    """A running ``dcmqrscp``. ``destinations``: to which AE titles it can move, and their ports."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        destinations: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        storage = directory / "storage"
        storage.mkdir(parents=True)
        self.port = free_port()
        configuration = directory / "dcmqrscp.cfg"
        hosts = [f"h{n} = ({ae}, 127.0.0.1, {port})" for n, (ae, port) in enumerate(destinations.items())]
        configuration.write_text(
            _CONFIGURATION.format(port=self.port, hosts="\n".join(hosts), ae_title=AE_TITLE, storage=storage)
        )
        command = [require("dcmqrscp"), "-c", str(configuration), *options]
        self._program = Program(command, log=directory / "dcmqrscp.log", directory=directory)
        self._program.wait_until(lambda: is_accepting(self.port), PATIENCE_S, "dcmqrscp accepts")

    @property
    def target(self) -> str:
        """It as an argument of our commands."""
        return f"{AE_TITLE}@127.0.0.1:{self.port}"

    def __enter__(self) -> DcmQrScp:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._program.kill()
