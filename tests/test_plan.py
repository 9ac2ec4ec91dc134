"""Which context carries what, and what is proposed."""

from __future__ import annotations

from router.plan import MAX_CONTEXTS, Carried, NotProposed, Refused, choose_context, choose_pairs, pair_of
from tests.deliver.samples import CT, EXPLICIT, JPEG, MR, instance


def test_pair_is_class_and_syntax_as_received() -> None:
    assert pair_of(instance(1, sop_class=MR, transfer_syntax=JPEG)) == (MR, JPEG)


def test_accepted_context_carries() -> None:
    accepted = {(CT, EXPLICIT): 1, (CT, JPEG): 3}
    assert choose_context((CT, JPEG), accepted=accepted, refused=()) == Carried(context_id=3)


def test_what_was_refused_is_not_asked_again() -> None:
    choice = choose_context((CT, JPEG), accepted={(CT, EXPLICIT): 1}, refused={(CT, JPEG)})
    assert isinstance(choice, Refused)


def test_never_asked_is_not_refused() -> None:
    choice = choose_context((MR, JPEG), accepted={(CT, EXPLICIT): 1}, refused=())
    assert isinstance(choice, NotProposed)


def test_what_waits_is_proposed_first_and_nothing_twice() -> None:
    pairs = choose_pairs([(MR, JPEG), (CT, EXPLICIT), (MR, JPEG)], [(CT, EXPLICIT), (CT, JPEG)])
    assert pairs == ((MR, JPEG), (CT, EXPLICIT), (CT, JPEG))


def test_no_more_contexts_than_the_standard_allows() -> None:
    waiting = [(f"1.2.{number}", EXPLICIT) for number in range(100)]
    recent = [(f"1.3.{number}", EXPLICIT) for number in range(100)]
    pairs = choose_pairs(waiting, recent)
    assert len(pairs) == MAX_CONTEXTS
    assert pairs[:100] == tuple(waiting)
