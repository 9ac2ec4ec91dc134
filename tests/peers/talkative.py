"""A PACS that fails and says too much: whatever it answers, it says why in the error comment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]


@contextmanager
def talkative(status: int, comment: str) -> Iterator[int]:
    """Its port, while it answers ``status`` to each C-STORE."""

    def answer(_event: evt.Event) -> Dataset:
        response = Dataset()
        response.Status = status
        response.ErrorComment = comment
        return response

    peer = AE(ae_title="TALKATIVE")
    peer.add_supported_context(CTImageStorage)
    peer.add_supported_context(Verification)
    handlers: list[object] = [(evt.EVT_C_STORE, answer)]
    server = peer.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=handlers,  # type: ignore[arg-type]
    )
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
