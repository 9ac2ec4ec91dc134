"""The targets: what is fuzzed, how large its inputs may be, and how long one may take.

Each is a module with ``target(data: bytes) -> None``, and ``WORDS`` that make its inputs interesting. The
modules are imported only when they are used, so that their coverage can be seen, and so that a target whose
subject is not there can be left out.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast


class TookTooLong(AssertionError):
    """An input took more time of the processor than any may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One row of the table."""

    name: str
    says: str
    reaches: str  # a function inside, for the test that an error in it would be seen
    max_bytes: int = 4096
    mutations: int = 100  # of each seed, in ``make test``
    cpu_s: float = 5.0  # for one input, under a fuzzer that traces every branch
    needs: tuple[str, ...] = ()  # modules without which it is left out
    is_native: bool = False  # libraries in C do the work, which may end the process

    @property
    def missing(self) -> str:
        """What it lacks here; empty where it can run."""
        return ", ".join(name for name in self.needs if not _is_there(name))

    def words(self) -> Sequence[bytes]:
        """Words that its inputs are made of."""
        return cast("Sequence[bytes]", getattr(self._module(), "WORDS", ()))

    def bounded(self) -> Callable[[bytes], None]:
        """Its function, which also raises where an input takes too long, and what would be a warning."""
        function = cast("Callable[[bytes], None]", vars(self._module())["target"])

        def run(data: bytes) -> None:
            began = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # a peer could fill a log with them
                function(data)
            took = time.process_time() - began
            if took > self.cpu_s:
                raise TookTooLong(f"{took:.1f} s for {len(data)} bytes")

        return run

    def _module(self) -> object:
        return import_module(f"{__name__}.{self.name}")


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


_CODECS = ("numpy", "imagecodecs", "jpeg_ls", "openjpeg", "rle")

TABLE = (
    Target(
        name="association",
        says="PDU framing and the association's states, in both roles, the bytes cut anywhere",
        reaches="router.dicom.inbound.decode_command",
    ),
    Target(
        name="associate",
        says="A-ASSOCIATE items, what is negotiated, and our answer",
        reaches="router.dicom.pdu.read_user_information",
        max_bytes=16384,
    ),
    Target(
        name="command",
        says="command sets, and our answers to them",
        reaches="router.dicom.dimse.encode_command",
        mutations=300,
    ),
    Target(
        name="identifier",
        says="what is answered to queries, as records and as JSON",
        reaches="router.dicom.identifier.normal",
        mutations=100,
    ),
    Target(
        name="inquiry",
        says="what callers ask by query and retrieve, and what they are answered",
        reaches="router.dicom.inquiry.matcher",
    ),
    Target(
        name="part10",
        says="files: meta information, tags for rules, identity, and the path of a folder destination",
        reaches="router.dicom.values.convert_value",
        mutations=60,
    ),
    Target(
        name="data_set",
        says="well-formed data sets, read by the tag scanner and by pydicom",
        reaches="router.dicom.header.decode",
        mutations=60,
    ),
    Target(
        name="config",
        says="configuration and rule files",
        reaches="router.rules.loading.compile_block",
        mutations=20,
        cpu_s=10.0,
    ),
    Target(
        name="spool",
        says="segments and large objects, as the end of the log and as a rebuild read them",
        reaches="router.spool.record.decode_arrival",
        mutations=30,
    ),
    Target(
        name="tls",
        says="what a TLS peer sends first, to a server and to a client",
        reaches="router.net.tls_words.failure",
        mutations=60,
    ),
    Target(
        name="page",
        says="addresses and forms of the page, and what they order",
        reaches="router.web.asked.number",
        mutations=200,
    ),
    Target(
        name="elements",
        says="data sets taken apart and written in each encoding",
        reaches="router.transform.reading.vrs.vr_of",
        mutations=60,
        needs=("router.transform.reading",),
    ),
    Target(
        name="edits",
        says="data sets changed as rules say",
        reaches="router.transform.edits._tag",
        mutations=60,
        needs=("router.transform.edits",),
    ),
    Target(
        name="frames",
        says="fragments told apart into frames, and the headers of codestreams",
        reaches="router.transform.guard._agree",
        needs=("router.transform.guard",),
    ),
    Target(
        name="transcode",
        says="pixel data from form to form, by the codecs themselves",
        reaches="router.transform.codecs.guard.inspect",
        max_bytes=8192,
        mutations=5,
        cpu_s=60.0,
        needs=("router.transform.transcode", *_CODECS),
        is_native=True,
    ),
)
TARGETS = {target.name: target for target in TABLE}
