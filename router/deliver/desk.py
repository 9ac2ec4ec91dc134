"""A worker's place in its lane: where it takes deliveries, says how they ended, and waits for more."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Protocol

import anyio

from router.deliver.judge import Judge
from router.deliver.load import Load
from router.deliver.renditions import Renditions
from router.deliver.settle import Ended
from router.deliver.verdict import Verdict
from router.model import Delivery, Form


class Signal(Enum):
    """Why a waiting worker was woken."""

    WORK = "work"
    WATCH = "watch"  # no work for a while: look after the association meanwhile
    LEAVE = "leave"  # the destination is down, or the lane stops


class Counter(Protocol):
    """What a desk needs of its lane."""

    @property
    def load(self) -> Load: ...

    @property
    def judge(self) -> Judge: ...

    @property
    def renditions(self) -> Renditions: ...

    @property
    def window(self) -> int: ...

    @property
    def may_send(self) -> bool: ...

    async def wait_freed(self) -> None: ...

    def take(self, desk: Desk) -> Delivery | None: ...

    def put_back(self, desk: Desk, delivery: Delivery) -> None: ...

    def render(self, desk: Desk, delivery: Delivery, forms: tuple[Form, ...]) -> None: ...

    def answered(self, desk: Desk, delivery: Delivery, verdict: Verdict, ended: Ended) -> None: ...

    def failed(self, desk: Desk, delivery: Delivery, verdict: Verdict, ended: Ended) -> None: ...

    def forgive(self, desk: Desk, delivery: Delivery) -> bool: ...

    def concede(self, desk: Desk, delivery: Delivery) -> bool: ...

    def park(self, desk: Desk) -> bool: ...

    def unpark(self, desk: Desk) -> None: ...

    def waiting(self) -> Iterator[Delivery]: ...


class Desk:
    """One worker of a lane. All but the waits is synchronous and immediate."""

    __slots__ = (
        "_lane",
        "_signal",
        "_wakeup",
        "busy_since",
        "in_hand",
        "is_open",
        "is_probe",
        "is_surplus",
        "is_watched",
        "parked_at",
        "spare",
    )

    def __init__(self, lane: Counter, *, is_probe: bool) -> None:
        self._lane = lane
        self._wakeup: anyio.Event | None = None
        self._signal = Signal.WORK
        self.is_probe = is_probe
        self.is_open = False  # it has an association
        self.is_watched = False
        self.is_surplus = False  # fewer associations are wanted: it is given nothing more
        self.parked_at = 0.0
        self.in_hand: dict[int, Delivery] = {}
        self.spare: Delivery | None = None  # prepared ahead; the lane may take it back while it waits
        self.busy_since: float | None = None  # monotonic; an instance has been outstanding since

    @property
    def load(self) -> Load:
        """Where to say what is outstanding."""
        return self._lane.load

    @property
    def judge(self) -> Judge:
        """Where to say how a probe went, and to ask whether a delivery is suspect."""
        return self._lane.judge

    @property
    def renditions(self) -> Renditions:
        """In which forms a delivery may be sent, and what it has in other forms than its own."""
        return self._lane.renditions

    @property
    def window(self) -> int:
        """How many may be outstanding on one association now, where the peer allows them."""
        return self._lane.window

    @property
    def may_send(self) -> bool:
        """Whether one more would still be within what a crash may make the destination take twice."""
        return self._lane.may_send

    async def wait_freed(self) -> None:
        """Return when ``may_send`` may be true again."""
        await self._lane.wait_freed()

    def take(self) -> Delivery | None:
        """The next delivery, or None where there is none for this worker now."""
        return self._lane.take(self)

    def put_back(self, delivery: Delivery) -> None:
        """Not begun after all: somebody takes it next."""
        self._lane.put_back(self, delivery)

    def render(self, delivery: Delivery, forms: tuple[Form, ...]) -> None:
        """It has to be brought into one of these forms first: it comes back when it is, or cannot be."""
        self._lane.render(self, delivery, forms)

    def give_up_spare(self) -> None:
        """Somebody else takes what was prepared ahead."""
        spare, self.spare = self.spare, None
        if spare is not None:
            self.put_back(spare)

    def answered(self, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        """The destination answered, or said that it does not take such instances at all."""
        self._lane.answered(self, delivery, verdict, ended)

    def failed(self, delivery: Delivery, verdict: Verdict, ended: Ended) -> None:
        """No answer came to it. Whoever is at fault by the verdict backs off."""
        self._lane.failed(self, delivery, verdict, ended)

    def forgive(self, delivery: Delivery) -> bool:
        """Put it back, because the association had probably ended before it was sent. False: not again."""
        return self._lane.forgive(self, delivery)

    def concede(self, delivery: Delivery) -> bool:
        """No association could be opened. True: others are open, so put it back and do with those."""
        return self._lane.concede(self, delivery)

    def waiting(self) -> Iterator[Delivery]:
        """What waits in the lane's backlog, first to last."""
        return self._lane.waiting()

    async def wait(self) -> Signal:
        """Wait until there may be work; the worker that came last is woken first."""
        if not self._lane.park(self):
            return Signal.LEAVE
        self._wakeup = anyio.Event()
        try:
            await self._wakeup.wait()
        finally:
            self._wakeup = None
            self._lane.unpark(self)
        return self._signal

    def wake(self, signal: Signal) -> None:
        """Called by the lane; harmless where the worker does not wait."""
        if self._wakeup is not None and not self._wakeup.is_set():
            self._signal = signal
            self._wakeup.set()


class Sender(Protocol):
    """How one kind of destination is served."""

    @property
    def can_probe(self) -> bool:
        """Whether ``serve`` can find out if the destination is there without anything to deliver."""
        ...

    async def serve(self, desk: Desk) -> None:
        """Work at ``desk`` until there is nothing to do; each delivery taken is answered, failed or put back.

        Cancelled at any ``await``: then what is in hand is given back by the lane.
        """
        ...
