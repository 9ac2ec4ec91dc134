"""What a delivery sends on an association: the instance as it lies in the spool, or a rendition of it."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

from router.deliver.queue import Content
from router.deliver.renditions import Renditions
from router.model import Buffer, Delivery, Instance, Transcoding
from router.plan import (
    Carried,
    NotProposed,
    Pair,
    Refused,
    Wanted,
    choose_context,
    choose_form,
    pair_of,
)


@dataclass(slots=True, eq=False)
class Outgoing:
    """An instance on its way out. ``framed`` is None where it is streamed in windows."""

    delivery: Delivery
    instance: Instance  # in the form in which it is sent
    content: Content
    transcoding: Transcoding | None
    context_id: int
    framed: Buffer | None = None
    message_id: int = 0
    started_at: float = 0.0  # wall time; 0: not begun
    ahead: int = 0  # so many were outstanding when it was sent
    answer_by: float = math.inf  # on the loop's clock, once it is sent


def choose(
    delivery: Delivery,
    renditions: Renditions,
    content: Content,
    *,
    accepted: Mapping[Pair, int],
    refused: Container[Pair],
) -> Outgoing | Wanted | NotProposed | Refused:
    """In which form to send ``delivery``, and on which context of an association."""
    instance = delivery.instance
    pair = pair_of(instance)
    rendition = renditions.ready(delivery)
    if rendition is not None:
        choice = choose_context(pair_of(rendition.instance), accepted=accepted, refused=refused)
        if isinstance(choice, Carried):
            return Outgoing(delivery, rendition.instance, rendition, rendition.transcoding, choice.context_id)
        if isinstance(choice, NotProposed):
            return choice
        renditions.let_go((delivery,))  # what was taken then is not taken any more
    found = choose_form(pair, renditions.rungs(delivery), accepted=accepted, refused=refused)
    if isinstance(found, Carried):
        return Outgoing(delivery, instance, content, None, found.context_id)
    return found
