"""What the overview shows, from the gateway's status and rates. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from router.groups import SEPARATOR
from router.model import Reason
from router.throughput import EVERY_S, Rate
from router.views import DeliveryView, DestinationStatus, DrainView, Phase, Status
from router.web.words import NO_FAILURE, READINESS, REASONS, Badge, Tone, status_words
from router.wording import plural, span, when

LATELY_S = 60.0  # what is called "now": long enough that a series does not flicker
_MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One chart: what came in and what arrived in each interval."""

    name: str
    unit: str
    received: tuple[float, ...]
    delivered: tuple[float, ...]
    received_now: float  # over the last minute
    delivered_now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The charts. ``ago_s``: when each interval ended; the latest is near 0."""

    ago_s: tuple[float, ...]
    curves: tuple[Curve, ...]

    @property
    def as_json(self) -> str:
        """For the script that draws them: a list of columns for each curve."""
        x = [-round(ago) for ago in self.ago_s]
        return msgspec.json.encode([[x, curve.received, curve.delivered] for curve in self.curves]).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRow:
    """One destination, or one queue of a group (``is_part``)."""

    status: DestinationStatus
    badge: Badge | None
    notes: tuple[str, ...]
    is_part: bool
    oldest: str

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def is_paused(self) -> bool:
        return self.status.paused_at is not None

    @property
    def can_be_paused(self) -> bool:
        return not self.is_part and self.status.kind != "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole of it."""

    status: Status
    headline: Badge
    sentences: tuple[str, ...]
    rows: tuple[DestinationRow, ...]
    flow: Flow
    spool_share: float  # of what the spool could have, 0 to 1

    @property
    def uptime(self) -> str:
        return span(self.status.uptime_s)


def overview(
    status: Status, rates: Sequence[Rate], said: Mapping[str, DeliveryView], *, now: float, monotonic: float
) -> Overview:
    """``said``: of a destination that is down, the delivery that was the last to be tried."""
    spool = status.spool
    return Overview(
        status=status,
        headline=headline(status),
        sentences=tuple(_sentences(status)),
        rows=tuple(destination_rows(status.destinations, said, now)),
        flow=flow(rates, monotonic),
        spool_share=spool.bytes_used / max(spool.bytes_used + spool.free_bytes, 1),
    )


def headline(status: Status) -> Badge:
    """Whether images are taken, in a word or two."""
    if status.readiness.is_ready:
        return Badge(text="Takes images", tone=Tone.GOOD)
    if status.phase is not Phase.RUNNING:
        text = "Starting" if status.phase is Phase.STARTING else "Stopping"
        return Badge(text=text, tone=Tone.WARNS)
    if status.readiness.reasons == (Phase.DRAINING.value,):
        return Badge(text="Draining", tone=Tone.WARNS)
    return Badge(text="Takes no images", tone=Tone.BAD)


def _sentences(status: Status) -> Iterator[str]:
    for reason in status.readiness.reasons:
        if reason == Phase.DRAINING.value and status.drain is not None:
            yield drain_words(status.drain)
        else:
            yield READINESS.get(reason, reason)
    if not status.spool.is_accepting and status.readiness.is_ready:
        yield READINESS["disk_low"]


def drain_words(drain: DrainView) -> str:
    """How far a drain is."""
    began = f"{drain.by} drains it since {when(drain.since)}"
    if drain.is_done:
        return f"{began}: everything has gone out, nobody new comes in."
    waiting = plural(drain.waiting, "delivery")
    return f"{began}: {waiting} to go, {plural(drain.associations, 'association')} still open."


def destination_rows(
    destinations: Iterable[DestinationStatus], said: Mapping[str, DeliveryView], now: float
) -> Iterator[DestinationRow]:
    """As configured, then groups, each with the sum of its queues before them, then what was removed."""
    ranked = sorted(enumerate(destinations), key=lambda item: _rank(*item))
    parts: dict[str, list[DestinationStatus]] = {}
    for _, status in ranked:
        if _is_part(status):
            parts.setdefault(group_name(status), []).append(status)
    for _, status in ranked:
        is_part = _is_part(status)
        shown = _sum(status, parts.get(status.name, ()))
        yield DestinationRow(
            status=shown,
            badge=None if is_part else _badge(shown),
            notes=() if is_part else tuple(_notes(shown, said.get(status.name), now)),
            is_part=is_part,
            oldest=span(shown.oldest_s) if shown.oldest_s is not None else "",
        )


def blockers(destinations: Iterable[DestinationStatus]) -> dict[str, str]:
    """What is in the way of whatever waits, by destination: for the sentence of a delivery."""
    found: dict[str, str] = {}
    known = {status.name: status for status in destinations}
    for name, status in known.items():
        whole = known.get(group_name(status), status)  # a group is paused as a whole
        if whole.paused_at is not None:
            found[name] = f"{whole.name} is paused by {whole.paused_by}"
        elif status.is_up is False and status.opens_at is None:
            found[name] = f"{whole.name} is down" + (f" ({REASONS[status.reason]})" if status.reason else "")
    return found


_ORDER = {"modality": 0, "folder": 0, "group": 1}


def _rank(place: int, status: DestinationStatus) -> tuple[int, str, int]:
    kind = _ORDER.get(status.kind, 2)
    return kind, status.name if kind == 1 else "", place


def group_name(status: DestinationStatus) -> str:
    """The group that a queue belongs to; the destination itself where it is of none."""
    return status.name.partition(SEPARATOR)[0] if status.kind == "group" else status.name


def _is_part(status: DestinationStatus) -> bool:
    return status.kind == "group" and SEPARATOR in status.name


def _sum(status: DestinationStatus, parts: Sequence[DestinationStatus]) -> DestinationStatus:
    """With what waits in the queues of its own."""
    if not parts:
        return status
    every = (status, *parts)
    return replace(
        status,
        pending=sum(one.pending for one in every),
        active=sum(one.active for one in every),
        held=sum(one.held for one in every),
        dead=sum(one.dead for one in every),
        oldest_s=max((one.oldest_s for one in every if one.oldest_s is not None), default=None),
    )


def _badge(status: DestinationStatus) -> Badge:
    """The one thing about a destination that explains best what its queue does."""
    if status.kind == "removed":
        return Badge(text="removed", tone=Tone.BAD)
    if status.paused_at is not None:
        return Badge(text="paused", tone=Tone.WARNS)
    if status.opens_at is not None:
        return Badge(text="closed", tone=Tone.WAITS)
    if status.is_up is None:
        return Badge(text="not tried yet", tone=Tone.PLAIN)
    return Badge(text="up", tone=Tone.GOOD) if status.is_up else Badge(text="down", tone=Tone.BAD)


def _notes(status: DestinationStatus, said: DeliveryView | None, now: float) -> Iterator[str]:
    if status.kind == "removed":
        yield "No longer configured, and something still waits for it: discard or redirect that."
    if status.paused_at is not None:
        yield f"Paused by {status.paused_by} since {when(status.paused_at)}."
    if status.opens_at is not None:
        yield f"Closed by its schedule until {when(status.opens_at)}."
    if status.is_up is False:
        yield _last_words(status.reason, said, now)


def _last_words(reason: Reason | None, said: DeliveryView | None, now: float) -> str:
    """What came of the last try. What a peer adds to its status may name a patient: not on the overview."""
    because, again = REASONS[reason] if reason is not None else "it does not answer", ""
    if said is not None and said.reason not in NO_FAILURE:
        if said.last_status is not None:
            because = f"{REASONS[said.reason]}: {status_words(said.last_status)}"
        elif said.last_comment and reason in (None, said.reason):
            because = said.last_comment
        if said.due_at is not None and said.due_at > now:
            again = f" Next try in {span(said.due_at - now)}."
    return f"{because[0].upper()}{because[1:]}.{again}"


def flow(rates: Sequence[Rate], monotonic: float) -> Flow:
    """The charts of the last quarter of an hour."""
    return Flow(
        ago_s=tuple(max(monotonic - rate.ended_at, 0.0) for rate in rates),
        curves=(
            _curve("Images", "/s", rates, lambda r: r.received_per_s, lambda r: r.delivered_per_s),
            _curve(
                "Data",
                "MB/s",
                rates,
                lambda r: r.received_bytes_per_s / _MB,
                lambda r: r.delivered_bytes_per_s / _MB,
            ),
        ),
    )


def _curve(
    name: str,
    unit: str,
    rates: Sequence[Rate],
    received: Callable[[Rate], float],
    delivered: Callable[[Rate], float],
) -> Curve:
    lately = rates[-round(LATELY_S / EVERY_S) :]
    count = max(len(lately), 1)
    return Curve(
        name=name,
        unit=unit,
        received=tuple(round(received(rate), 3) for rate in rates),
        delivered=tuple(round(delivered(rate), 3) for rate in rates),
        received_now=sum(map(received, lately)) / count,
        delivered_now=sum(map(delivered, lately)) / count,
    )
