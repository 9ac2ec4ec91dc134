"""Destinations that negotiate nothing: in which form an instance is sent is for what is wanted to decide."""

from __future__ import annotations

from itertools import takewhile

from router.clock import Clock
from router.deliver.desk import Desk
from router.deliver.settle import Ended
from router.deliver.verdict import NO_FORM
from router.model import Delivery, Form


def must_be_made(desk: Desk, delivery: Delivery, clock: Clock) -> bool:
    """Whether another form is wanted rather than what was received; then it is asked for.

    What was received can always be sent. Only what is edited never is what was received, and where the edits
    cannot be made nothing is sent.
    """
    received = Form(transfer_syntax_uid=delivery.instance.arrival.transfer_syntax_uid)
    rungs = desk.renditions.rungs(delivery)
    if not rungs:
        now = clock.now()
        because = desk.renditions.give_up(delivery) or "nobody can make its edits here"
        desk.answered(delivery, NO_FORM, Ended(started_at=now, ended_at=now, comment=because))
        return True
    forms = tuple(takewhile(lambda form: form != received, rungs))
    if forms:
        desk.render(delivery, forms)
    return bool(forms)
