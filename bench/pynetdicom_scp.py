"""pynetdicom as a storage server at its fastest: the data set's bytes are written as they came, unsynced."""

from __future__ import annotations

import sys
from pathlib import Path

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt


def main(port: int, directory: Path) -> None:
    """Serve until killed."""

    def store(event: evt.Event) -> int:
        path = directory / str(event.file_meta.MediaStorageSOPInstanceUID)
        path.write_bytes(event.encoded_dataset())
        return 0x0000

    server = AE(ae_title="PYNETDICOM")
    server.maximum_pdu_size = 131072
    server.maximum_associations = 64
    for context in AllStoragePresentationContexts:
        server.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    server.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
