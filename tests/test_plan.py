"""Which context carries what, and what is proposed."""

from __future__ import annotations

from router.dicom.syntaxes import JPEG_2000_LOSSLESS, RLE_LOSSLESS
from router.model import Edit, EditKind, Form
from router.plan import (
    MAX_CONTEXTS,
    Carried,
    Choice,
    NotProposed,
    Pair,
    Refused,
    Wanted,
    choose_context,
    choose_form,
    choose_pairs,
    pair_of,
)
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
    pairs = choose_pairs([[(MR, JPEG)], [(CT, EXPLICIT)], [(MR, JPEG)]], [(CT, EXPLICIT), (CT, JPEG)])
    assert pairs == ((MR, JPEG), (CT, EXPLICIT), (CT, JPEG))


def test_no_more_contexts_than_the_standard_allows() -> None:
    waiting = [(f"1.2.{number}", EXPLICIT) for number in range(100)]
    recent = [(f"1.3.{number}", EXPLICIT) for number in range(100)]
    pairs = choose_pairs([[pair] for pair in waiting], recent)
    assert len(pairs) == MAX_CONTEXTS
    assert pairs[:100] == tuple(waiting)


def test_all_that_waits_is_proposed_before_other_forms_of_it() -> None:
    pairs = choose_pairs([[(MR, JPEG), (MR, EXPLICIT)], [(CT, JPEG), (CT, EXPLICIT), (CT, RLE_LOSSLESS)]], [])
    assert pairs == ((MR, JPEG), (CT, JPEG), (MR, EXPLICIT), (CT, EXPLICIT), (CT, RLE_LOSSLESS))


def choose(*rungs: str, accepted: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> Choice:
    """For a CT received as JPEG lossless."""
    contexts: dict[Pair, int] = {(CT, uid): 2 * at + 1 for at, uid in enumerate(accepted)}
    forms = [Form(transfer_syntax_uid=uid) for uid in rungs]
    return choose_form((CT, JPEG), forms, accepted=contexts, refused={(CT, uid) for uid in refused})


def test_as_received_is_carried_where_it_stands_first() -> None:
    assert choose(JPEG, EXPLICIT, accepted=(EXPLICIT, JPEG)) == Carried(context_id=3)


def test_what_is_taken_in_another_form_is_wanted_in_it() -> None:
    wanted = tuple(Form(transfer_syntax_uid=uid) for uid in (RLE_LOSSLESS, EXPLICIT))
    choice = choose(JPEG, RLE_LOSSLESS, EXPLICIT, accepted=(EXPLICIT, RLE_LOSSLESS), refused=(JPEG,))
    assert choice == Wanted(forms=wanted)


def test_what_stands_above_as_received_is_tried_first() -> None:
    assert choose(RLE_LOSSLESS, JPEG, EXPLICIT, accepted=(EXPLICIT, JPEG, RLE_LOSSLESS)) == Wanted(
        forms=(Form(transfer_syntax_uid=RLE_LOSSLESS),)
    )


def test_an_unknown_rung_is_asked_for_once_those_above_it_have_failed() -> None:
    assert isinstance(choose(JPEG, EXPLICIT, accepted=(EXPLICIT,)), NotProposed)
    choice = choose(RLE_LOSSLESS, JPEG_2000_LOSSLESS, accepted=(RLE_LOSSLESS,))
    assert choice == Wanted(forms=(Form(transfer_syntax_uid=RLE_LOSSLESS),))


def test_an_end_of_the_ladder_is_a_refusal() -> None:
    assert isinstance(choose(JPEG, EXPLICIT, refused=(JPEG, EXPLICIT)), Refused)
    assert isinstance(choose(), Refused)


def test_what_is_edited_is_never_carried_as_it_was_received() -> None:
    edited = Form(transfer_syntax_uid=EXPLICIT, edits=(Edit(kind=EditKind.REMOVE_PRIVATE),))
    pair = (CT, EXPLICIT)
    assert choose_form(pair, [edited], accepted={pair: 1}, refused=()) == Wanted(forms=(edited,))
    assert choose_form(pair, [edited], accepted={}, refused=()) == NotProposed()
    assert choose_form(pair, [edited], accepted={}, refused=[pair]) == Refused()
