"""What received events weigh: how much data is in them, and what it costs in memory and time. Pure.

A fragment is a view, and a view keeps its whole chunk. So a peer that sends headers around next to nothing
would have megabytes kept for each kilobyte, and have the loop take thousands of them apart for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from router.dicom.events import DataReceived, Event

FRAGMENT_COST_BYTES = 256  # a view in a list (184 bytes in CPython), and its share of the chunk's headers
EVENT_COST_BYTES = 2048  # a command with its texts
LEAN = 4  # times the data is less than what was received: mostly commands and headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Of what one recv has brought."""

    data_bytes: int
    fragments: int
    received_bytes: int

    @property
    def is_lean(self) -> bool:
        """There is little data in it for what it takes to find it."""
        return LEAN * self.data_bytes < self.received_bytes

    @property
    def has_costly_views(self) -> bool:
        """To keep the views would cost more than a copy of what they show."""
        return self.fragments > 0 and (self.is_lean or self.data_bytes < FRAGMENT_COST_BYTES * self.fragments)


def weigh(events: list[Event], received_bytes: int) -> Weight:
    """Weigh the events that one recv gave."""
    data = [event.fragments for event in events if type(event) is DataReceived]
    return Weight(
        data_bytes=sum([sum(map(len, fragments)) for fragments in data]),
        fragments=sum(map(len, data)),
        received_bytes=received_bytes,
    )


def copied(events: list[Event]) -> list[Event]:
    """The same events, their data copied out of the chunk."""
    return [
        DataReceived(fragments=[memoryview(b"".join(event.fragments))], last=event.last)
        if type(event) is DataReceived and event.fragments
        else event
        for event in events
    ]


def cost(event: Event) -> int:
    """What an event that waits takes of memory, about."""
    if type(event) is DataReceived:
        return sum(map(len, event.fragments)) + FRAGMENT_COST_BYTES * len(event.fragments)
    return EVENT_COST_BYTES
