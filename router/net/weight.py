"""What received events weigh: how much data is in them, and what it costs in memory and time. Pure.

A fragment is a view, and a view keeps all that was received with it. So a peer that sends headers around next
to nothing would have megabytes kept for each kilobyte, and have the loop take thousands of them apart for it.
"""

from __future__ import annotations

from router.dicom.events import DataReceived, Event

FRAGMENT_COST_BYTES = 256  # a view in a list (184 bytes in CPython), and its share of the chunk's headers
EVENT_COST_BYTES = 2048  # a command with its texts
LEAN = 4  # times the data is less than what was received: mostly commands and headers


def weigh(events: list[Event]) -> tuple[int, int, list[int]]:
    """How many bytes of data sets there are, in how many fragments, and what each event takes of memory."""
    data_bytes = fragments = 0
    costs: list[int] = []
    for event in events:
        if type(event) is DataReceived:
            count, size = len(event.fragments), sum(map(len, event.fragments))
            data_bytes += size
            fragments += count
            costs.append(size + FRAGMENT_COST_BYTES * count)
        else:
            costs.append(EVENT_COST_BYTES)
    return data_bytes, fragments, costs


def copied(events: list[Event]) -> list[Event]:
    """The same events, their data copied out of what was received."""
    return [
        DataReceived(fragments=[memoryview(b"".join(event.fragments))], last=event.last)
        if type(event) is DataReceived and event.fragments
        else event
        for event in events
    ]
