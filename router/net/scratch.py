"""What a recv fills and the same call empties: one buffer for all connections of a thread."""

from __future__ import annotations

import threading

RECEIVE_BYTES = 256 * 1024  # what one recv may bring: 2 to 5 of them make a CT slice; up to 16 TLS records
SMALL_BYTES = 16 * 1024  # enough for a negotiation


class Scratch(threading.local):
    """The buffer, and its beginning for those from whom not much is taken at once."""

    def __init__(self) -> None:
        self.whole = memoryview(bytearray(RECEIVE_BYTES))
        self.small = self.whole[:SMALL_BYTES]
