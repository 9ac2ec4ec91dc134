"""What happened to an image, told in the order in which it happened. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from router.dicom.names import uid_name
from router.dicom.syntaxes import shown
from router.model import DeliveryState, RuleTrace
from router.outlook import describe_transcoding
from router.spool.orders import ALLOWED, Action
from router.views import AttemptView, DeliveryView, TraceView
from router.web.words import (
    INSTANCES,
    Badge,
    Tone,
    attempt_tone,
    attempt_words,
    badge_of,
    delivery_words,
    status_words,
)
from router.wording import span

OTHERS_MAX = 20  # of the other arrivals, the latest are named
ATTEMPTS_FIRST, ATTEMPTS_LAST = 2, 10  # of the attempts of one delivery, those that are told
PAGE_ORDERS = (Action.RETRY, Action.RESUME, Action.HOLD, Action.DISCARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    """One attempt."""

    view: AttemptView
    tone: Tone
    words: str
    status: str
    took: str
    syntax: str
    transcoding: str
    left_out: int = 0  # attempts between this one and the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStory:
    """One delivery and its attempts."""

    view: DeliveryView
    badge: Badge
    sentence: str
    attempts: tuple[AttemptLine, ...]
    orders: tuple[Action, ...]  # that its state allows


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One arrival of an image."""

    view: TraceView
    number: int
    badge: Badge
    summary: str
    sop_class: str
    syntax: str
    routed_after: str
    matched: tuple[RuleTrace, ...]
    others: tuple[RuleTrace, ...]
    decision: str
    edits: tuple[str, ...]  # a sentence for each destination that gets it edited
    deliveries: tuple[DeliveryStory, ...]
    bytes_words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherArrival:
    """One arrival that is not told now."""

    key: str
    number: int
    received_at: float
    badge: Badge
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One arrival, and what became of the others, the latest first."""

    arrival: Arrival
    others: tuple[OtherArrival, ...]
    count: int


def story(traces: Sequence[TraceView], blocked: Mapping[str, str], key: str | None = None) -> Story:
    """What happened to the arrival with ``key``, or to the latest; ``traces`` has at least one, oldest first.

    ``blocked``: see ``overview.blockers``.
    """
    numbered = list(enumerate(traces, start=1))
    number, told = next((one for one in numbered if one[1].key == key), numbered[-1])
    others = (one for one in reversed(numbered) if one[0] != number)
    return Story(
        arrival=_arrival(number, told, blocked),
        others=tuple(_other(*one) for one in islice(others, OTHERS_MAX)),
        count=len(traces),
    )


def _other(number: int, trace: TraceView) -> OtherArrival:
    badge, summary = _summary(trace)
    return OtherArrival(
        key=trace.key, number=number, received_at=trace.received_at, badge=badge, summary=summary
    )


def _arrival(number: int, trace: TraceView, blocked: Mapping[str, str]) -> Arrival:
    badge, summary = _summary(trace)
    return Arrival(
        view=trace,
        number=number,
        badge=badge,
        summary=summary,
        sop_class=uid_name(trace.sop_class_uid),
        syntax=shown(trace.transfer_syntax_uid),
        routed_after=span(trace.routed_at - trace.received_at) if trace.routed_at is not None else "",
        matched=tuple(rule for rule in trace.rules if rule.matched),
        others=tuple(rule for rule in trace.rules if not rule.matched),
        decision=_decision(trace),
        edits=tuple(f"What {name} gets is edited: {'; '.join(made)}." for name, made in trace.edits.items()),
        deliveries=tuple(delivery_story(one, blocked, trace.received_at) for one in trace.deliveries),
        bytes_words=INSTANCES[trace.state],
    )


def _summary(trace: TraceView) -> tuple[Badge, str]:
    """What counts most: what needs somebody before what waits, and that before what is done."""
    if trace.routed_at is None:
        return Badge(text="received", tone=Tone.BUSY), "It is safe on disk and not routed yet."
    if trace.hold and all(one.state is DeliveryState.HELD for one in trace.deliveries):
        return Badge(
            text="held", tone=Tone.WARNS
        ), "No rule sends it anywhere. It waits for somebody's decision."
    if not trace.deliveries:
        return Badge(text="sent nowhere", tone=Tone.PLAIN), "The rules send it nowhere."
    names = {state: _names(trace, state) for state in DeliveryState}
    parts = [f"{verb} {names[state]}" for state, verb in _VERBS.items() if names[state]]
    text = ", ".join(parts)
    sentence = f"{text[0].upper()}{text[1:]}."
    for state in (DeliveryState.DEAD, DeliveryState.HELD, DeliveryState.PENDING, DeliveryState.ACTIVE):
        worst = [one for one in trace.deliveries if one.state is state]
        if worst:
            return badge_of(worst[0]), sentence
    if names[DeliveryState.DELIVERED]:
        return Badge(text="delivered", tone=Tone.GOOD), sentence
    return Badge(text="discarded", tone=Tone.PLAIN), sentence


_VERBS = {
    DeliveryState.DELIVERED: "delivered to",
    DeliveryState.ACTIVE: "being sent to",
    DeliveryState.PENDING: "waiting for",
    DeliveryState.HELD: "held for",
    DeliveryState.DEAD: "given up for",
    DeliveryState.DISCARDED: "discarded for",
}


def _names(trace: TraceView, state: DeliveryState) -> str:
    names = [one.destination or "(unmatched)" for one in trace.deliveries if one.state is state]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def _decision(trace: TraceView) -> str:
    if trace.routed_at is None:
        return ""
    if trace.hold:
        return "So it is held: no rule sends it."
    if not trace.destinations:
        return "So it is sent nowhere."
    forms = {name: f" as {form}" for name, form in trace.forms.items()}
    return "So it is sent to " + ", ".join(name + forms.get(name, "") for name in trace.destinations) + "."


def delivery_story(
    delivery: DeliveryView, blocked: Mapping[str, str], received_at: float | None = None
) -> DeliveryStory:
    """One delivery; ``received_at``: of its image, where that is known."""
    history = delivery.history
    left_out = max(len(history) - ATTEMPTS_FIRST - ATTEMPTS_LAST, 0)
    lines = list(map(_line, history[:ATTEMPTS_FIRST] + history[ATTEMPTS_FIRST + left_out :]))
    if left_out:
        lines[ATTEMPTS_FIRST] = replace(lines[ATTEMPTS_FIRST], left_out=left_out)
    return DeliveryStory(
        view=delivery,
        badge=badge_of(delivery),
        sentence=delivery_words(delivery, blocked.get(delivery.destination, ""), received_at),
        attempts=tuple(lines),
        orders=tuple(order for order in PAGE_ORDERS if delivery.state in ALLOWED[order]),
    )


def _line(attempt: AttemptView) -> AttemptLine:
    return AttemptLine(
        view=attempt,
        tone=attempt_tone(attempt),
        words=attempt_words(attempt),
        status=status_words(attempt.status),
        took=span(attempt.ended_at - attempt.started_at),
        syntax=shown(attempt.transfer_syntax_uid) if attempt.transfer_syntax_uid else "",
        transcoding=describe_transcoding(attempt.transcoding) if attempt.transcoding is not None else "",
    )
