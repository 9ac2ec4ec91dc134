"""rsyslog as an audit record repository: syslog over TLS, with certificates on both sides, and over UDP."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from bench.process import Program
from tests.peers import PATIENCE_S, free_port, is_accepting, require, wait_until
from tests.peers.certificates import Authority

_CONFIGURATION = """
global(workDirectory="{directory}" maxMessageSize="64k" net.enableDNS="off"
  defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
module(load="imudp")
input(type="imtcp" address="127.0.0.1" port="{tls}")
input(type="imudp" address="127.0.0.1" port="{udp}")
template(name="line" type="list") {{
  property(name="pri") constant(value=" ")
  property(name="app-name") constant(value=" ")
  property(name="procid") constant(value=" ")
  property(name="msgid") constant(value=" ")
  property(name="msg") constant(value="\\n")
}}
if $app-name == "dicom-router" then action(type="omfile" file="{log}" template="line")
"""


class Rsyslog:
    """A running ``rsyslogd``."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._path = require("rsyslogd")
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "audit.log"
        self.tls, self.udp = free_port(), free_port()
        issued = authority.issue("rsyslog")
        self._configuration = directory / "rsyslog.conf"
        self._configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                ca=authority.ca,
                certificate=issued.certificate,
                key=issued.key,
                tls=self.tls,
                udp=self.udp,
                log=self.log,
            )
        )
        self._program: Program | None = None
        self.start()

    def start(self) -> None:
        """Start it, on the ports that it had before."""
        command = [self._path, "-n", "-f", str(self._configuration), "-i", str(self._directory / "pid")]
        self._program = Program(command, log=self._directory / "rsyslog.out", directory=self._directory)
        self._program.wait_until(lambda: is_accepting(self.tls), PATIENCE_S, "rsyslog accepts")

    def stop(self) -> None:
        """End it."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()

    def wait_for(self, count: int) -> list[list[str]]:
        """So many messages: priority, application, process, message id, and the message."""

        def lines() -> list[str]:
            return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

        wait_until(lambda: len(lines()) >= count, f"{count} messages arrive at rsyslog")
        return [line.split(" ", 4) for line in lines()]

    def __enter__(self) -> Rsyslog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
