"""Which presentation context carries an instance, and which contexts an association should propose. Pure.

A pair is (SOP class, transfer syntax). One context proposes one pair, so that the acceptor cannot choose
another transfer syntax than the one in which the data set lies, and it passes through byte for byte.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from router.model import Instance

MAX_CONTEXTS = 128  # odd numbers from 1 to 255 (PS3.8 §9.3.2.2)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Send it on this context, as it is."""

    context_id: int


@dataclass(frozen=True, slots=True)
class NotProposed:
    """This association never asked; another one may."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Asked for and not accepted: the peer does not take it in this form."""


Choice = Carried | NotProposed | Refused
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


def choose_pairs(waiting: Iterable[Pair], recent: Iterable[Pair]) -> tuple[Pair, ...]:
    """What a new association should propose: what waits, in order, then what was sent lately, up to 128."""
    chosen: dict[Pair, None] = {}
    for source in (waiting, recent):
        for pair in source:
            if len(chosen) == MAX_CONTEXTS:
                return tuple(chosen)
            chosen[pair] = None
    return tuple(chosen)
