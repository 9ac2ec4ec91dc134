"""What an operator may order of deliveries, and which state of a delivery allows what: values and decisions.

An active delivery is leased by a lane and perhaps on the wire: no order touches it, its outcome decides. Who
cannot wait pauses the destination first, which gives back everything that is not on the wire yet.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.model import DeliveryState, InstanceState, Reason
from router.spool.schema import DELIVERY_STATES, INSTANCE_STATES

SHOWN = 5  # of the deliveries that are in the way of an order, those named in the refusal


class Action(StrEnum):
    """What operators do; also the word in the audit."""

    HOLD = "hold"
    RESUME = "resume"
    RETRY = "retry"
    DISCARD = "discard"
    REDIRECT = "redirect"
    REPLAY = "replay"
    DISCARD_CORRUPT = "discard-corrupt"
    PAUSE = "pause-destination"
    UNPAUSE = "resume-destination"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    FETCH = "fetch"  # a stored file


_OPEN = (DeliveryState.PENDING, DeliveryState.HELD, DeliveryState.DEAD)
ALLOWED: dict[Action, tuple[DeliveryState, ...]] = {
    Action.HOLD: (DeliveryState.PENDING,),
    Action.RESUME: (DeliveryState.HELD,),
    Action.RETRY: (DeliveryState.PENDING, DeliveryState.DEAD),
    Action.DISCARD: _OPEN,
    Action.REDIRECT: _OPEN,
    Action.REPLAY: (DeliveryState.DELIVERED, DeliveryState.DISCARDED),
}
_SENDS = (Action.RESUME, Action.RETRY, Action.REDIRECT, Action.REPLAY)  # these need the bytes
UNMATCHED = "unmatched"  # what may be in the way, beside the states of a delivery
THERE = "on its way there"
TAKEN = "taken meanwhile"  # by a lane, or by another operator, since it was selected
RELEASED = InstanceState.RELEASED.value
CORRUPT = InstanceState.CORRUPT.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who gives an order, and from where."""

    who: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which deliveries: those numbered, or those that match everything that is given, or all."""

    ids: tuple[int, ...] = ()
    destination: str | None = None
    state: DeliveryState | None = None
    reason: Reason | None = None
    sop_instance_uid: str | None = None
    calling_ae: str | None = None
    everything: bool = False

    @property
    def has_filter(self) -> bool:
        return any(
            value is not None
            for value in (self.destination, self.state, self.reason, self.sop_instance_uid, self.calling_ae)
        )

    @property
    def is_explicit(self) -> bool:
        """Exactly one way of saying which: nothing said by accident means all."""
        return sum((bool(self.ids), self.has_filter, self.everything)) == 1

    def __str__(self) -> str:
        """For the audit."""
        if self.ids:
            more = f" and {len(self.ids) - SHOWN} more" if len(self.ids) > SHOWN else ""
            return "no. " + ", ".join(map(str, self.ids[:SHOWN])) + more
        names = ("destination", "state", "reason", "sop_instance_uid", "calling_ae")
        given = [f"{name}={value}" for name in names if (value := getattr(self, name)) is not None]
        return " ".join(given) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order about deliveries. ``to``: the destination of a redirection, perhaps of a replay."""

    action: Action
    selection: Selection
    by: Operator
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of an order."""

    count: int
    left_alone: dict[str, int]  # matched, but what is in the way, and how often
    operation: int | None  # its number in the audit; None: nothing was done


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What counts of a delivery that an order's selection matches."""

    state: DeliveryState
    is_unmatched: bool
    is_there: bool  # its destination is the one that the order names
    instance_state: InstanceState


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """The deliveries of a selection."""

    clear: Sequence[int]  # ids; nothing is in the way of these
    obstacles: Sequence[tuple[str, int]]  # what is in the way of which id, as far as they are shown
    counts: dict[str, int]  # and how often


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One line of the audit. ``ended_at`` is None while its steps go on, or where they were cut short."""

    number: int
    at: float
    ended_at: float | None
    who: str
    address: str
    action: Action
    target: str
    count: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Since when, and by whom, a destination is paused."""

    since: float
    who: str


# id, state, destination is none, destination is the one named, state of the instance
CandidateRow = tuple[int, int, int, int, int]


def sort_out(order: Order, rows: Iterable[CandidateRow]) -> Sorted:
    """Which deliveries an order may be carried out for, and what is in the way of the others."""
    verdicts: dict[tuple[int, int, int, int], str | None] = {}
    clear = array("q")
    obstacles: list[tuple[str, int]] = []
    counts: Counter[str] = Counter()
    for delivery_id, *kind in rows:
        key = (kind[0], kind[1], kind[2], kind[3])
        if key not in verdicts:
            verdicts[key] = obstacle(order, _candidate(*key))
        word = verdicts[key]
        if word is None:
            clear.append(delivery_id)
            continue
        counts[word] += 1
        if len(obstacles) <= SHOWN:
            obstacles.append((word, delivery_id))
    return Sorted(clear=clear, obstacles=obstacles, counts=dict(counts))


def _candidate(state: int, is_unmatched: int, is_there: int, instance_state: int) -> Candidate:
    return Candidate(
        state=DELIVERY_STATES[state],
        is_unmatched=bool(is_unmatched),
        is_there=bool(is_there),
        instance_state=INSTANCE_STATES[instance_state],
    )


def obstacle(order: Order, candidate: Candidate) -> str | None:
    """What is in the way of an order: the delivery's state, or one of the words above; None: nothing."""
    if candidate.state not in ALLOWED[order.action]:
        return candidate.state.value
    if order.action in _SENDS:
        if candidate.instance_state is InstanceState.RELEASED:
            return RELEASED
        if candidate.instance_state is InstanceState.CORRUPT:
            return CORRUPT
        if candidate.is_unmatched and order.to is None:
            return UNMATCHED
        if candidate.is_there and order.action is Action.REDIRECT:
            return THERE
    return None


def default_states(order: Order) -> tuple[DeliveryState, ...]:
    """The states that a filter without a state is about; only they are searched."""
    if order.action is Action.REPLAY:
        return (DeliveryState.DELIVERED,)  # what was given up comes back only where it is asked for
    return (DeliveryState.PENDING, DeliveryState.ACTIVE, DeliveryState.HELD, DeliveryState.DEAD)


def refusal(order: Order, found: Sorted) -> str:
    """One sentence: what is in the way, which states the action is for, and what would do instead."""
    if order.selection.ids:
        more = ", ..." if len(found.obstacles) > SHOWN else ""
        what = ", ".join(f"no. {number} is {word}" for word, number in found.obstacles[:SHOWN]) + more
    else:
        what = ", ".join(f"{count} {word}" for word, count in found.counts.items())
        what += ", and nothing else matches"
    return _sentence(order, what, found.counts)


def refusal_of_filter(order: Order) -> str | None:
    """The same for a filter that names a state which the action is not for."""
    state = order.selection.state
    if state is None or state in ALLOWED[order.action]:
        return None
    return _sentence(order, f"not for {state} ones", (state.value,))


def _sentence(order: Order, what: str, words: Iterable[str]) -> str:
    states = " or ".join(ALLOWED[order.action])
    return f"{order.action} is for {states} deliveries: {what}" + "".join(f"; {_hint(w)}" for w in words)


def _hint(word: str) -> str:
    """What can be done about one obstacle."""
    if word == DeliveryState.ACTIVE:
        return "an active one is being sent: wait for its outcome, or pause the destination first"
    if word == RELEASED:
        return "the bytes of a released one are gone: 'retention' keeps them for longer"
    if word == CORRUPT:
        return "the bytes of a corrupt one are damaged: it is never sent"
    if word == UNMATCHED:
        return "an unmatched one has no destination: redirect gives it one"
    if word == THERE:
        return "redirect changes the destination"
    possible = [action.value for action, states in ALLOWED.items() if word in states]
    return f"what is {word} can be {_and(possible)}"


_PARTICIPLES = {"hold": "held", "resume": "resumed", "retry": "retried", "discard": "discarded"}
_PARTICIPLES |= {"redirect": "redirected", "replay": "replayed"}


def _and(actions: list[str]) -> str:
    words = [_PARTICIPLES[action] for action in actions]
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
