"""What one lane has in other forms, or has to: who waits for that, what is made, and what cannot be.

A delivery that needs another form leaves its worker and comes back into the backlog when it has it, so that
no association waits for a codec. As many are made at a time as there are worker processes, and a few lie
ready; the rest waits here, by priority.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from router.clock import Clock
from router.config.settings import Deliver
from router.deliver.backlog import Backlog
from router.deliver.queue import Content
from router.deliver.settle import Ended
from router.deliver.verdict import CURABLE, Verdict, of_error
from router.deliver.workshop import Rendered, Rendition
from router.dicom.syntaxes import LOSSLESS_TARGETS, LOSSY_TARGETS, NATIVE_TARGETS, shown
from router.errors import StorageError, TranscodeFailed
from router.model import Delivery, Form, Instance, Wish
from router.plan import Pair
from router.transform.codecs import can_write
from router.transform.ladder import rungs

READY_MAX = 8  # renditions of one lane that wait to be sent
READY_BYTES = 64 * 1024 * 1024  # and what they may take together; one may always be larger
FAILURES_MAX = 2  # of a job, then its first form is given up: it may be what kills the workers
NAMED = 3  # forms in a sentence for the operator
REMEMBERED = 1024  # deliveries of which is known what they cannot be

K = TypeVar("K")
T = TypeVar("T")
Settle = Callable[[Delivery, Verdict, Ended], None]


class Maker(Protocol):
    """Who makes renditions; see :class:`router.deliver.workshop.Workshop`."""

    @property
    def concurrency(self) -> int: ...

    async def render(self, instance: Instance, forms: tuple[Form, ...], content: Content) -> Rendered: ...


class Renditions:
    """The renditions of one lane. Its length is how many deliveries wait for theirs.

    Without a workshop nothing is ever transcoded. ``on_ready`` gets each delivery back, whatever came of it,
    except where the job failed: then ``on_failed`` has it.
    """

    def __init__(self, deliver: Deliver, *, workshop: Maker | None, content: Content, clock: Clock) -> None:
        self._deliver = deliver
        self._workshop = workshop
        self._content = content
        self._clock = clock
        self._may = deliver.transcode and workshop is not None
        self._makeable: Container[str] = makeable() if self._may else ()
        self._concurrency = workshop.concurrency + 1 if workshop is not None else 0
        self._ladders: dict[tuple[str, Wish | None], tuple[Form, ...]] = {}
        self._waiting = Backlog()
        self._forms: dict[int, tuple[Form, ...]] = {}
        self._ready: dict[int, Rendition] = {}
        self._obstacles: dict[int, dict[str, str]] = {}
        self._failures: dict[int, int] = {}
        self._running = 0
        self._tasks: TaskGroup | None = None
        self._on_ready: Callable[[Delivery], None] | None = None
        self._on_failed: Settle | None = None

    def __len__(self) -> int:
        return len(self._waiting) + self._running

    # ---- what may be

    def rungs(self, delivery: Delivery) -> tuple[Form, ...]:
        """The forms in which it may be sent, the best first; none that it turned out not to have."""
        received_uid = delivery.instance.arrival.transfer_syntax_uid
        obstacles = self._obstacles.get(delivery.delivery_id)
        ladder = self._ladders.get((received_uid, delivery.wish))
        if ladder is None:
            ladder = self._ladder(received_uid, delivery.wish)
            _bounded(self._ladders)[received_uid, delivery.wish] = ladder
        if obstacles:
            return tuple(form for form in ladder if form.transfer_syntax_uid not in obstacles)
        return ladder

    def _ladder(self, received_uid: str, wish: Wish | None) -> tuple[Form, ...]:
        if wish is not None and wish.edits and self._workshop is None:
            return ()  # nobody is here who could make them, and without them it must not leave
        return rungs(
            received_uid,
            wish=wish,
            preferred=self._deliver.transfer_syntaxes,
            may_transcode=self._may,
            makeable=self._makeable,
        )

    def pairs(self, delivery: Delivery) -> list[Pair]:
        """The contexts that it may go on, the best first."""
        sop_class_uid = delivery.instance.arrival.sop_class_uid
        return [(sop_class_uid, form.transfer_syntax_uid) for form in self.rungs(delivery)]

    def give_up(self, delivery: Delivery) -> str:
        """Why it has not got the forms that it might have had; empty where nothing was in the way.

        An operator who has it tried once more is to have everything tried.
        """
        found = self._obstacles.pop(delivery.delivery_id, {})
        by_reason: dict[str, list[str]] = {}
        for uid, because in found.items():
            by_reason.setdefault(because, []).append(shown(uid))
        if len(by_reason) == 1 and len(found) > NAMED:
            return next(iter(by_reason))  # of the instance, whatever its form
        return "; ".join(f"{_listed(names)}: {because}" for because, names in by_reason.items())

    def cure(self, delivery: Delivery, verdict: Verdict, sent_uid: str) -> Wish | None:
        """What to ask for next, where the destination could make no sense of it: once, another form."""
        if verdict.reason not in CURABLE or not self._may or not sent_uid:
            return None
        wish = delivery.wish or Wish()
        if wish.avoid:
            return None
        next_wish = replace(wish, avoid=(sent_uid,))
        received_uid = delivery.instance.arrival.transfer_syntax_uid
        return next_wish if self._ladder(received_uid, next_wish) else None

    # ---- what is

    def ready(self, delivery: Delivery) -> Rendition | None:
        """Its rendition, if it has one."""
        return self._ready.get(delivery.delivery_id) if self._ready else None

    def add(self, delivery: Delivery, forms: tuple[Form, ...]) -> None:
        """Have it brought into the first of ``forms`` that it can have."""
        self._forms[delivery.delivery_id] = forms
        self._waiting.extend((delivery,))
        self._begin()

    def let_go(self, deliveries: Sequence[Delivery]) -> None:
        """They are sent, or given back: their renditions are not needed here any more."""
        if not self._ready:
            return
        for delivery in deliveries:
            rendition = self._ready.pop(delivery.delivery_id, None)
            if rendition is not None:
                rendition.let_go()
        self._begin()

    def clear(self) -> list[Delivery]:
        """What waits and is not begun, for somebody else."""
        waiting = self._waiting.clear()
        for delivery in waiting:
            del self._forms[delivery.delivery_id]
        return waiting

    # ---- making them

    async def run(self, *, on_ready: Callable[[Delivery], None], on_failed: Settle) -> None:
        """Make them until cancelled."""
        self._on_ready, self._on_failed = on_ready, on_failed
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            self._running = 0
            for rendition in self._ready.values():
                rendition.let_go()
            self._ready.clear()
            self.clear()

    def _begin(self) -> None:
        while self._tasks is not None and self._running < self._concurrency and self._may_begin():
            delivery = self._waiting.take(self._clock.now())
            if delivery is None:
                return
            self._running += 1
            self._tasks.start_soon(self._make, delivery, self._forms.pop(delivery.delivery_id))

    def _may_begin(self) -> bool:
        held = [rendition.instance.size_bytes for rendition in self._ready.values()]
        return not held or (len(held) + self._running < READY_MAX and sum(held) < READY_BYTES)

    async def _make(self, delivery: Delivery, forms: tuple[Form, ...]) -> None:
        assert self._workshop is not None  # noqa: S101 - nothing is added without one
        assert self._on_ready is not None and self._on_failed is not None  # noqa: S101 - ``run`` has begun
        started_at = self._clock.now()
        error: TranscodeFailed | StorageError | None = None
        try:
            rendered = await self._workshop.render(delivery.instance, forms, self._content)
        except (TranscodeFailed, StorageError) as raised:
            error = raised
        finally:
            self._running -= 1
        if error is not None:
            self._failed(delivery, forms, error)
            ended = Ended(started_at=started_at, ended_at=self._clock.now(), comment=str(error))
            self._on_failed(delivery, of_error(error), ended)
        else:
            self._note(delivery, {o.transfer_syntax_uid: o.because for o in rendered.obstacles})
            if rendered.rendition is not None:
                self._ready[delivery.delivery_id] = rendered.rendition
            self._on_ready(delivery)
        self._begin()

    def _failed(
        self, delivery: Delivery, forms: tuple[Form, ...], error: TranscodeFailed | StorageError
    ) -> None:
        failures = self._failures.pop(delivery.delivery_id, 0) + 1
        if failures >= FAILURES_MAX and isinstance(error, TranscodeFailed):
            self._note(delivery, {forms[0].transfer_syntax_uid: str(error)})
        else:
            _bounded(self._failures)[delivery.delivery_id] = failures

    def _note(self, delivery: Delivery, obstacles: dict[str, str]) -> None:
        if obstacles:
            known = self._obstacles.pop(delivery.delivery_id, {})
            _bounded(self._obstacles)[delivery.delivery_id] = known | obstacles


def _listed(names: Sequence[str]) -> str:
    """A few of them, so that what is said of them is not cut off."""
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def makeable() -> frozenset[str]:
    """The transfer syntaxes that can be made here."""
    compressed = (uid for uid in (*LOSSLESS_TARGETS, *LOSSY_TARGETS) if can_write(uid))
    return frozenset((*NATIVE_TARGETS, *compressed))


def _bounded(memory: dict[K, T]) -> dict[K, T]:
    while len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    return memory
