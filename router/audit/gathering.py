"""What is told together: instances of one study on one way, and refusals that repeat. Pure.

Many senders open an association for each instance, so an association is no measure of what belongs together.
A study that came from one peer, or went to one destination, is told when nothing more of it has moved for
``QUIET_S``, and after ``LONGEST_S`` in any case. A refusal is told at once; the same ones that follow are
counted and told once in ``REPEAT_S``, so that a flood of them costs neither the queue nor the receiver.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from router.model import Origin
from router.spool.orders import Operator

QUIET_S = 5.0
LONGEST_S = 60.0  # also how much of the trail may be lost with the process
TRANSFERS_MAX = 4096  # under way at once; one more has the oldest told
REPEAT_S = 60.0
REFUSALS_MAX = 1024  # different ones in a period; those beyond are told without who it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose instances."""

    study_instance_uid: str
    patient_id: str = ""  # empty: not to be told


UNKNOWN = Subject(study_instance_uid="unknown")  # not to be found in what was received


class Way(StrEnum):
    """What happened to instances."""

    RECEIVED = "received"
    QUEUED = "queued"  # decided: they are to be sent
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"  # dead, until an operator says otherwise
    FETCHED = "fetched"  # by an operator, as files


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A node that asks of us what we hold."""

    ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class TransferKey:
    """What belongs together. ``peer``: where they came from, the destination's name, or who fetched them."""

    way: Way
    subject: Subject
    peer: Origin | str | Operator | Caller


@dataclass(slots=True)
class Transfer:
    """Instances that are told in one message. Instants are wall time."""

    key: TransferKey
    began_at: float
    ended_at: float
    sop_classes: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)  # why they were given up
    opened: float = 0.0  # monotonic
    touched: float = 0.0


class Transfers:
    """Instances on their way into messages. ``now`` is monotonic, ``at`` wall time."""

    def __init__(self) -> None:
        self._open: dict[TransferKey, Transfer] = {}  # the one opened first is the first
        self._ready: list[Transfer] = []

    def __len__(self) -> int:
        return len(self._open) + len(self._ready)

    def add(
        self,
        key: TransferKey,
        sop_class_uid: str,
        *,
        began_at: float,
        at: float,
        now: float,
        reason: str = "",
    ) -> None:
        """One instance more."""
        transfer = self._open.get(key)
        if transfer is None:
            if len(self._open) >= TRANSFERS_MAX:
                self._ready.append(self._open.pop(next(iter(self._open))))
            transfer = self._open[key] = Transfer(key, began_at, at, opened=now)
        transfer.ended_at, transfer.touched = at, now
        transfer.sop_classes[sop_class_uid] = transfer.sop_classes.get(sop_class_uid, 0) + 1
        if reason:
            transfer.reasons[reason] = transfer.reasons.get(reason, 0) + 1

    def due(self, now: float) -> list[Transfer]:
        """Those to be told now, the one opened first before the others; they are forgotten here."""
        due = [
            transfer
            for transfer in self._open.values()
            if now - transfer.touched >= QUIET_S or now - transfer.opened >= LONGEST_S
        ]
        for transfer in due:
            del self._open[transfer.key]
        ready, self._ready = self._ready, []
        return ready + due

    def everything(self) -> list[Transfer]:
        """All of them, for the end."""
        self._ready += self._open.values()
        self._open = {}
        ready, self._ready = self._ready, []
        return ready


class Refused(StrEnum):
    """Who was refused."""

    CALLER = "caller"  # an association or a TLS connection to us
    DESTINATION = "destination"  # we do not trust it, or it does not trust us
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Somebody is not let in."""

    what: Refused
    where: str  # the listener, the destination, or ``http``
    because: str
    who: str = ""  # an AE title or a user, as they say
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """A refusal, and how often it was repeated since it was told last."""

    refusal: Refusal
    times: int
    at: float  # of the last one


@dataclass(slots=True)
class _Period:
    since: float  # monotonic
    times: int = 0
    at: float = 0.0


class Refusals:
    """Which refusals to tell, and when."""

    def __init__(self) -> None:
        self._known: dict[Refusal, _Period] = {}

    def add(self, refusal: Refusal, *, at: float, now: float) -> Refusal | None:
        """The refusal to be told at once; None where it is counted only."""
        if refusal not in self._known and len(self._known) >= REFUSALS_MAX:
            refusal = replace(refusal, who="", address="")
        period = self._known.get(refusal)
        if period is None:
            self._known[refusal] = _Period(since=now)
            return refusal
        period.times += 1
        period.at = at
        return None

    def due(self, now: float) -> list[Repeated]:
        """What has repeated; what has not is forgotten."""
        over = [one for one, period in self._known.items() if now - period.since >= REPEAT_S]
        return self._take(over, now)

    def everything(self) -> list[Repeated]:
        """All of them, for the end."""
        return self._take(list(self._known), 0.0)

    def _take(self, over: list[Refusal], now: float) -> list[Repeated]:
        repeated: list[Repeated] = []
        for refusal in over:
            period = self._known.pop(refusal)
            if period.times:
                repeated.append(Repeated(refusal=refusal, times=period.times, at=period.at))
                self._known[refusal] = _Period(since=now)
        return repeated
