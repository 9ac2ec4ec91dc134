"""What is remembered of a destination's presentation contexts, and what comes of it."""

from __future__ import annotations

from router.deliver.learned import REFUSED_S, REMEMBERED, Learned
from router.dicom.syntaxes import RLE_LOSSLESS
from router.model import DeliveryState, Reason
from router.plan import MAX_CONTEXTS
from tests.deliver.samples import CT, EXPLICIT, JPEG, MR, Peer, delivery, instance, modality
from tests.deliver.test_lane import Bench


def test_what_was_refused_is_not_proposed_until_that_expires() -> None:
    learned = Learned()
    learned.learn([(CT, JPEG), (CT, EXPLICIT)], {(CT, EXPLICIT)}, now=100.0)
    assert learned.is_refused((CT, JPEG), 100.0 + REFUSED_S - 1)
    assert learned.choose([[(CT, JPEG)], [(MR, EXPLICIT)]], 200.0) == ((MR, EXPLICIT), (CT, EXPLICIT))
    assert not learned.is_refused((CT, JPEG), 100.0 + REFUSED_S)
    assert (CT, JPEG) in learned.choose([[(CT, JPEG)]], 100.0 + REFUSED_S)


def test_other_forms_are_asked_for_until_the_first_is_known_to_be_taken() -> None:
    learned = Learned()
    ladder = [(CT, JPEG), (CT, EXPLICIT), (CT, RLE_LOSSLESS)]
    assert learned.choose([ladder, ladder], 0.0) == tuple(ladder)
    learned.learn(ladder, {(CT, EXPLICIT)}, now=0.0)
    assert learned.choose([ladder], 1.0) == ((CT, EXPLICIT),)
    learned.learn([(CT, JPEG)], {(CT, JPEG)}, now=2.0)
    assert learned.choose([ladder], 3.0) == ((CT, JPEG), (CT, EXPLICIT))


def test_the_latest_answer_holds() -> None:
    learned = Learned()
    learned.learn([(CT, JPEG)], set(), now=0.0)
    learned.learn([(CT, JPEG)], {(CT, JPEG)}, now=1.0)
    assert not learned.is_refused((CT, JPEG), 2.0)
    assert [known.accepted for known in learned.view(2.0)] == [True]


def test_what_is_known_can_be_seen() -> None:
    learned = Learned()
    learned.learn([(CT, JPEG), (CT, EXPLICIT)], {(CT, EXPLICIT)}, now=100.0)
    accepted, refused = learned.view(160.0)
    assert (accepted.transfer_syntax_uid, accepted.accepted, accepted.expires_in_s) == (EXPLICIT, True, None)
    assert (refused.transfer_syntax_uid, refused.expires_in_s) == (JPEG, REFUSED_S - 60.0)
    assert len(learned.view(100.0 + REFUSED_S)) == 1


def test_the_memory_is_bounded() -> None:
    learned = Learned()
    pairs = [(f"1.2.{number}", EXPLICIT) for number in range(2000)]
    for start in range(0, 2000, 100):
        learned.learn(pairs[start : start + 100], set(), now=0.0)
        learned.learn(pairs[start : start + 100], set(pairs[start : start + 50]), now=0.0)
    known = learned.view(1.0)
    assert sum(one.accepted for one in known) == MAX_CONTEXTS
    assert sum(not one.accepted for one in known) <= REMEMBERED


async def test_a_delivery_that_needs_what_was_refused_opens_no_association_for_it() -> None:
    bench = Bench(pacs=Peer(refuses=frozenset({(CT, JPEG)})))
    bench.modalities["pacs"] = modality(associations=1)
    async with bench.running() as lanes:
        bench.put(delivery(1, of=instance(1, transfer_syntax=JPEG)), delivery(2))
        await bench.queue.until(lambda: len(bench.queue.outcomes) == 2)
        bench.put(delivery(3, of=instance(3, sop_class=MR)))
        await bench.queue.all_delivered([3])
        tried = bench.peers["pacs"].tried
        bench.put(delivery(4, of=instance(4, transfer_syntax=JPEG)))
        await bench.queue.until(lambda: 4 in bench.queue.states())
        known = {(one.sop_class_uid, one.transfer_syntax_uid): one.accepted for one in lanes.learned("pacs")}
        assert lanes.learned("elsewhere") == ()
    assert bench.queue.states()[4] is DeliveryState.DEAD
    assert bench.reasons(4) == [Reason.NO_CONTEXT]
    assert bench.peers["pacs"].tried == tried
    assert bench.peers["pacs"].proposals == [((CT, JPEG), (CT, EXPLICIT)), ((MR, EXPLICIT), (CT, EXPLICIT))]
    assert known == {(CT, JPEG): False, (CT, EXPLICIT): True, (MR, EXPLICIT): True}
