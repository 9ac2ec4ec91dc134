"""In which form an instance goes on an association, and which contexts an association should propose. Pure.

A pair is (SOP class, transfer syntax). One context proposes one pair, so that the acceptor cannot choose
another transfer syntax than the one in which the data set lies, and it passes through byte for byte.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.model import Form, Instance

MAX_CONTEXTS = 128  # odd numbers from 1 to 255 (PS3.8 §9.3.2.2)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Send it on this context, as it is."""

    context_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """It has to be brought into the first of these forms that it can have; the association takes each."""

    forms: tuple[Form, ...]


@dataclass(frozen=True, slots=True)
class NotProposed:
    """This association never asked; another one may."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Asked for and not accepted: the peer does not take it in any form that it can have."""


Choice = Carried | Wanted | NotProposed | Refused
_NOT_PROPOSED = NotProposed()
_REFUSED = Refused()


def pair_of(instance: Instance) -> Pair:
    """What a context must have been accepted for to carry this instance unchanged."""
    arrival = instance.arrival
    return arrival.sop_class_uid, arrival.transfer_syntax_uid


def choose_context(pair: Pair, *, accepted: Mapping[Pair, int], refused: Container[Pair]) -> Choice:
    """Find the context for ``pair`` among those ``accepted`` (pair → context ID); or was it ``refused``?"""
    context_id = accepted.get(pair)
    if context_id is not None:
        return Carried(context_id=context_id)
    return _REFUSED if pair in refused else _NOT_PROPOSED


def choose_form(
    pair: Pair, rungs: Sequence[Form], *, accepted: Mapping[Pair, int], refused: Container[Pair]
) -> Choice:
    """As :func:`choose_context`, for an instance that may have other forms: ``rungs``, the best first.

    ``pair`` is the instance as it is. What stands above the first unknown rung is tried before that is asked.
    A form with edits is never what was received: it is never carried as it is.
    """
    sop_class_uid, received_uid = pair
    wanted: list[Form] = []
    for form in rungs:
        uid = form.transfer_syntax_uid
        choice = choose_context((sop_class_uid, uid), accepted=accepted, refused=refused)
        if isinstance(choice, Refused):
            continue
        if isinstance(choice, Carried) and (uid != received_uid or form.edits):
            wanted.append(form)
            continue
        if not wanted:
            return choice
        break
    return Wanted(forms=tuple(wanted)) if wanted else _REFUSED


def choose_pairs(waiting: Iterable[Sequence[Pair]], recent: Iterable[Pair]) -> tuple[Pair, ...]:
    """What a new association should propose, up to 128 pairs.

    ``waiting``: for each instance its pairs, the most wanted first. All first ones come first, in order, then
    all second ones and so on; then what was sent lately.
    """
    ladders = [pairs for pairs in waiting if pairs]
    chosen: dict[Pair, None] = {}
    for level in range(max(map(len, ladders), default=0)):
        for pairs in ladders:
            if level < len(pairs):
                chosen[pairs[level]] = None
                if len(chosen) == MAX_CONTEXTS:
                    return tuple(chosen)
    for pair in recent:
        if len(chosen) == MAX_CONTEXTS:
            break
        chosen[pair] = None
    return tuple(chosen)
