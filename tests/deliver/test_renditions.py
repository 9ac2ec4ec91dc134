"""Lanes whose deliveries have to be brought into other forms: what goes out, in which, and what waits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
import xxhash

from router.config.forms import parse_form, parse_preferences
from router.config.settings import Retry
from router.deliver.queue import Content
from router.deliver.renditions import FAILURES_MAX, READY_MAX
from router.deliver.workshop import Rendered, Rendition
from router.dicom.syntaxes import JPEG_2000, JPEG_LS_LOSSLESS, RLE_LOSSLESS, label
from router.errors import ConnectFailed, CorruptRecord, RouterError, StorageError, TranscodeFailed
from router.model import (
    Delivery,
    DeliveryState,
    Edit,
    EditKind,
    Form,
    Instance,
    Priority,
    Reason,
    Transcoding,
    Wish,
)
from router.transform.job import Obstacle
from tests.deliver.samples import (
    EXPLICIT,
    FAST,
    JPEG,
    META,
    AllBut,
    Answer,
    Deed,
    Peer,
    delivery,
    instance,
    modality,
)
from tests.deliver.test_lane import Bench


class Workshop:
    """Makes renditions in memory; ``refuses`` says why not, and what is raised instead."""

    def __init__(self) -> None:
        self.concurrency = 2
        self.jobs: list[tuple[int, tuple[str, ...]]] = []
        self.edits: list[tuple[Edit, ...]] = []
        self.refuses: Callable[[int, str], str] = lambda key, uid: ""
        self.failures: list[Exception] = []
        self.gate = anyio.Event()
        self.gate.set()
        self.made: list[Rendition] = []
        self.under_way = self.most = 0

    async def render(self, of: Instance, forms: tuple[Form, ...], content: Content) -> Rendered:
        self.jobs.append((of.key, tuple(form.transfer_syntax_uid for form in forms)))
        self.edits += {form.edits for form in forms}  # the same in each
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await anyio.lowlevel.checkpoint()
        await self.gate.wait()
        self.under_way -= 1
        if self.failures:
            raise self.failures.pop(0)
        obstacles: list[Obstacle] = []
        for form in forms:
            uid = form.transfer_syntax_uid
            if because := self.refuses(of.key, uid):
                obstacles.append(Obstacle(transfer_syntax_uid=uid, because=because))
                continue
            rendition = make(of, form)
            self.made.append(rendition)
            return Rendered(rendition=rendition, obstacles=tuple(obstacles))
        return Rendered(rendition=None, obstacles=tuple(obstacles))

    def closed(self) -> list[bool]:
        return [is_closed(rendition) for rendition in self.made]


def is_closed(rendition: Rendition) -> bool:
    try:
        os.fstat(rendition._file)
    except OSError:
        return True
    return False


def make(of: Instance, form: Form) -> Rendition:
    body = rendered(of, form.transfer_syntax_uid)
    file = os.memfd_create("rendition")
    os.write(file, META + body)
    uid = form.transfer_syntax_uid
    transcoding = Transcoding(
        source_uid=of.arrival.transfer_syntax_uid,
        target_uid=uid,
        codecs="ours",
        frames=1,
        frames_hash="ab",
        is_lossless=not form.is_lossy,
    )
    new_uid = f"{of.arrival.sop_instance_uid}.9.{of.key}" if form.is_lossy else of.arrival.sop_instance_uid
    made = replace(
        of,
        arrival=replace(of.arrival, transfer_syntax_uid=uid, sop_instance_uid=new_uid),
        place=replace(of.place, length_bytes=len(META) + len(body)),
        content_hash=xxhash.xxh3_128(META + body).digest(),
    )
    return Rendition(made, transcoding, file)


def rendered(of: Instance, uid: str) -> bytes:
    return f"{of.key} as {label(uid)}".encode().ljust(64)


def compressed(number: int, *, wish: Wish | None = None, priority: Priority = Priority.NORMAL) -> Delivery:
    return replace(delivery(number, of=instance(number, transfer_syntax=JPEG), priority=priority), wish=wish)


def bench(
    peer: Peer,
    *,
    transcode: bool = True,
    transfer_syntaxes: tuple[Form, ...] = (),
    retry: Retry = FAST,
) -> tuple[Bench, Workshop]:
    made = Bench(pacs=peer)
    to = modality(associations=1)
    deliver = replace(to.deliver, transcode=transcode, transfer_syntaxes=transfer_syntaxes, retry=retry)
    made.modalities["pacs"] = replace(to, deliver=deliver)
    made.workshop = workshop = Workshop()
    return made, workshop


def bodies(peer: Peer) -> dict[int, bytes]:
    return dict(peer.received)


async def test_what_is_refused_goes_out_in_the_first_form_that_is_taken() -> None:
    peer = Peer(refuses=AllBut(EXPLICIT, RLE_LOSSLESS))
    gateway, workshop = bench(peer)
    gateway.put(compressed(1), delivery(2))
    async with gateway.running():
        await gateway.queue.all_delivered([1, 2])
    assert bodies(peer)[1] == rendered(instance(1), RLE_LOSSLESS)
    assert workshop.jobs == [(1, (RLE_LOSSLESS, EXPLICIT))]
    assert peer.opened == 1  # everything was found out at once
    outcome = next(o for o in gateway.queue.outcomes if o.delivery_id == 1)
    assert outcome.transfer_syntax_uid == RLE_LOSSLESS
    assert outcome.transcoding is not None
    assert outcome.transcoding.source_uid == JPEG
    assert gateway.queue.outcomes[-1].delivery_id == 1  # the other one did not wait for it
    assert workshop.closed() == [True]


async def test_what_is_taken_as_received_is_not_touched() -> None:
    peer = Peer()
    gateway, workshop = bench(peer)
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert not workshop.jobs
    assert gateway.queue.outcomes[0].transcoding is None


async def test_what_it_cannot_be_is_told_and_the_next_form_is_tried() -> None:
    peer = Peer(refuses=AllBut(RLE_LOSSLESS, EXPLICIT))
    gateway, workshop = bench(peer)
    workshop.refuses = lambda key, uid: "there are no pixels" if uid == RLE_LOSSLESS or key == 2 else ""
    gateway.put(compressed(1), compressed(2))
    async with gateway.running():
        await gateway.queue.until(lambda: len(gateway.queue.states()) == 2)
    assert bodies(peer) == {1: rendered(instance(1), EXPLICIT)}
    assert gateway.queue.states()[2] is DeliveryState.DEAD
    outcome = (
        gateway.queue.outcomes[-1]
        if gateway.queue.outcomes[-1].delivery_id == 2
        else gateway.queue.outcomes[0]
    )
    assert outcome.reason is Reason.TRANSCODE
    assert "rle-lossless, explicit-vr-little-endian: there are no pixels" in outcome.comment
    assert "explicit-vr-little-endian: there are no pixels" in outcome.comment


async def test_where_nothing_is_taken_no_form_is_made() -> None:
    gateway, workshop = bench(Peer(refuses=AllBut()))
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.until(lambda: 1 in gateway.queue.states())
    assert gateway.reasons(1) == [Reason.NO_CONTEXT]
    assert not workshop.jobs


async def test_a_destination_may_forbid_it() -> None:
    gateway, workshop = bench(Peer(refuses=AllBut(EXPLICIT)), transcode=False)
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.until(lambda: 1 in gateway.queue.states())
    assert gateway.reasons(1) == [Reason.NO_CONTEXT]
    assert not workshop.jobs


async def test_what_a_destination_prefers_is_made_although_it_takes_all() -> None:
    peer = Peer()
    preferred = parse_preferences(["jpeg-ls-lossless"])
    gateway, workshop = bench(peer, transfer_syntaxes=preferred)
    workshop.refuses = lambda key, uid: "it cannot" if key == 2 else ""
    gateway.put(delivery(1), delivery(2))
    async with gateway.running():
        await gateway.queue.all_delivered([1, 2])
    assert bodies(peer)[1] == rendered(instance(1), JPEG_LS_LOSSLESS)
    assert len(bodies(peer)[2]) == 1000  # as received


async def test_a_rule_says_how_lossy_and_the_new_uid_is_sent() -> None:
    peer = Peer()
    gateway, _ = bench(peer)
    gateway.put(compressed(1, wish=Wish(form=parse_form({"to": "jpeg-2000", "ratio": 10}))))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert peer.received == [(1, rendered(instance(1), JPEG_2000))]


@pytest.mark.parametrize("status", [0xA900, 0xC000])
async def test_what_it_cannot_understand_is_sent_in_another_form_once(status: int) -> None:
    answers = [status, 0x0000]
    peer = Peer(answer=lambda number, key: answers.pop(0), refuses=AllBut(JPEG, RLE_LOSSLESS, EXPLICIT))
    gateway, _ = bench(peer)
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert [body for _, body in peer.received][1] == rendered(instance(1), RLE_LOSSLESS)
    assert gateway.queue.outcomes[0].wish == Wish(avoid=(JPEG,))
    assert [o.state for o in gateway.queue.outcomes] == [DeliveryState.PENDING, DeliveryState.DELIVERED]


async def test_what_it_cannot_understand_twice_is_dead() -> None:
    peer = Peer(answer=lambda number, key: 0xA900)
    gateway, _ = bench(peer)
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.until(lambda: gateway.queue.states().get(1) is DeliveryState.DEAD)
    assert gateway.reasons(1) == [Reason.DATA_SET_MISMATCH] * 2
    assert len(peer.received) == 2


async def test_other_permanent_answers_are_cured_by_no_form() -> None:
    peer = Peer(answer=lambda number, key: 0x0122)
    gateway, workshop = bench(peer)
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.until(lambda: 1 in gateway.queue.states())
    assert gateway.queue.states()[1] is DeliveryState.DEAD
    assert not workshop.jobs


async def test_a_worker_that_dies_costs_one_attempt() -> None:
    peer = Peer(refuses=AllBut(EXPLICIT))
    gateway, workshop = bench(peer)
    workshop.failures = [TranscodeFailed("the worker process died of SIGKILL")]
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert gateway.reasons(1) == [Reason.TRANSCODE, Reason.SUCCESS]
    assert gateway.counted(1) == [True, True]
    assert gateway.queue.outcomes[0].comment == "the worker process died of SIGKILL"
    assert (("pacs", False)) not in gateway.telemetry.ups  # no fault of the destination


async def test_a_form_that_kills_workers_is_given_up_for_the_next() -> None:
    peer = Peer(refuses=AllBut(RLE_LOSSLESS, EXPLICIT))
    gateway, workshop = bench(peer)
    workshop.failures = [TranscodeFailed("the worker process died of SIGSEGV")] * FAILURES_MAX
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert [forms for _, forms in workshop.jobs] == [(RLE_LOSSLESS, EXPLICIT)] * FAILURES_MAX + [(EXPLICIT,)]
    assert bodies(peer)[1] == rendered(instance(1), EXPLICIT)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CorruptRecord("not what arrived"), Reason.CORRUPT),
        (StorageError("input/output error", out_of_resources=False), Reason.DISK),
    ],
)
async def test_what_cannot_be_read_is_judged_as_ever(error: Exception, reason: Reason) -> None:
    gateway, workshop = bench(Peer(refuses=AllBut(EXPLICIT)))
    workshop.failures = [error]
    gateway.put(compressed(1))
    async with gateway.running():
        await gateway.queue.until(lambda: bool(gateway.queue.outcomes))
    assert gateway.reasons(1)[0] is reason


async def test_while_codecs_work_what_needs_none_flows() -> None:
    peer = Peer(refuses=AllBut(EXPLICIT))
    gateway, workshop = bench(peer)
    workshop.gate = anyio.Event()
    gateway.put(*(compressed(n) for n in range(1, 6)), *(delivery(n) for n in range(6, 12)))
    async with gateway.running():
        await gateway.queue.all_delivered(range(6, 12))
        assert workshop.under_way == workshop.concurrency + 1
        workshop.gate.set()
        await gateway.queue.all_delivered(range(1, 12))
    assert workshop.most == workshop.concurrency + 1


async def test_no_more_lie_ready_than_a_few() -> None:
    peer = Peer(refuses=AllBut(EXPLICIT))
    gateway, workshop = bench(peer)
    taken = anyio.Event()
    total = 4 * READY_MAX
    gateway.put(*(compressed(n) for n in range(1, total + 1)))
    async with gateway.running():
        gateway.queue.ledger = taken  # outcomes are not recorded: soon nothing more may be sent
        for _ in range(2000):
            await anyio.lowlevel.checkpoint()
        assert len(workshop.closed()) - sum(workshop.closed()) <= READY_MAX + workshop.concurrency + 1
        taken.set()
        await gateway.queue.all_delivered(range(1, total + 1))
    assert all(workshop.closed())


async def test_what_is_urgent_is_made_first() -> None:
    peer = Peer(refuses=AllBut(EXPLICIT))
    gateway, workshop = bench(peer)
    workshop.concurrency = 1
    workshop.gate = anyio.Event()
    gateway.put(*(compressed(n, priority=Priority.LOW) for n in range(1, 8)))
    async with gateway.running():
        while len(workshop.jobs) < 2:
            await anyio.lowlevel.checkpoint()
        gateway.put(compressed(9, priority=Priority.HIGH))
        with anyio.fail_after(20):
            while gateway.queue.pending:
                await anyio.lowlevel.checkpoint()
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        workshop.gate.set()
        await gateway.queue.all_delivered([*range(1, 8), 9])
    assert [key for key, _ in workshop.jobs].index(9) == 2  # right behind what was begun


async def test_an_outage_leaves_nothing_leased_and_loses_nothing() -> None:
    failing: list[RouterError | None] = [None, ConnectFailed("refused"), ConnectFailed("refused"), None]
    peer = Peer(
        refuses=AllBut(EXPLICIT),
        answer=lambda number, key: 0x0000,
        opening=lambda number: failing[number] if number < len(failing) else None,
    )
    gateway, workshop = bench(peer, retry=FAST)
    workshop.gate = anyio.Event()
    gateway.put(*(compressed(n) for n in range(1, 6)))
    async with gateway.running() as lanes:
        while not workshop.jobs:
            await anyio.lowlevel.checkpoint()
        lanes.pause("pacs", True)
        workshop.gate.set()
        await gateway.queue.until(lambda: not gateway.queue.leased)
        assert all(workshop.closed())
        lanes.pause("pacs", False)
        await gateway.queue.all_delivered(range(1, 6))
    assert all(workshop.closed())
    assert sorted(bodies(peer)) == [1, 2, 3, 4, 5]


async def test_the_end_gives_back_what_is_being_made() -> None:
    gateway, workshop = bench(Peer(refuses=AllBut(EXPLICIT)))
    workshop.gate = anyio.Event()
    gateway.put(*(compressed(n) for n in range(1, 6)))
    async with gateway.running():
        while not workshop.jobs:
            await anyio.lowlevel.checkpoint()
    assert not gateway.queue.leased
    assert len(gateway.queue.pending) == 5


async def test_a_rendition_is_read_whole_or_not_at_all() -> None:
    one = instance(1, transfer_syntax=JPEG)
    rendition = make(one, Form(transfer_syntax_uid=EXPLICIT))
    made = rendition.instance
    buffer = memoryview(bytearray(made.place.length_bytes))
    await rendition.read(made, [buffer])
    assert bytes(buffer[len(META) :]) == rendered(one, EXPLICIT)
    await rendition.verify(made)
    assert await rendition.read_head(made, 4) == b"1 as"
    os.pwrite(rendition._file, b"X", len(META))
    with pytest.raises(StorageError, match="does not match its hash"):
        await rendition.verify(made)
    assert rendition.is_damaged
    rendition.let_go()


# ---- edits: without them it must not leave

EDITS = (Edit(kind=EditKind.REMOVE, path="PatientName"),)


def to_edit(number: int) -> Delivery:
    """One that the destination would take as it was received."""
    return replace(delivery(number), wish=Wish(edits=EDITS))


@pytest.mark.parametrize("transcode", [True, False])
async def test_what_is_to_be_edited_goes_out_edited_though_it_is_taken_as_received(transcode: bool) -> None:
    peer = Peer()
    gateway, workshop = bench(peer, transcode=transcode)
    gateway.put(to_edit(1), delivery(2))
    async with gateway.running():
        await gateway.queue.all_delivered([1, 2])
    assert bodies(peer)[1] == rendered(instance(1), EXPLICIT)
    assert bodies(peer)[2] != rendered(instance(2), EXPLICIT)
    assert [key for key, _ in workshop.jobs] == [1]
    assert workshop.edits == [EDITS]


async def test_what_cannot_be_edited_does_not_leave() -> None:
    peer = Peer()
    gateway, workshop = bench(peer)
    workshop.refuses = lambda key, uid: "PatientName: it cannot be"
    gateway.put(to_edit(1))
    async with gateway.running():
        await gateway.queue.until(lambda: gateway.queue.states().get(1) is DeliveryState.DEAD)
    assert not peer.received
    assert gateway.queue.outcomes[-1].comment == "PatientName: it cannot be"


async def test_without_a_workshop_what_is_to_be_edited_does_not_leave() -> None:
    peer = Peer()
    gateway, _ = bench(peer)
    gateway.workshop = None
    gateway.put(to_edit(1), delivery(2))
    async with gateway.running():
        await gateway.queue.until(lambda: len(gateway.queue.states()) == 2)
    assert list(bodies(peer)) == [2]
    assert gateway.queue.states()[1] is DeliveryState.DEAD


async def test_a_cure_keeps_the_edits() -> None:
    """The destination makes no sense of it: the other form that it gets is edited, too."""
    answers = [0xC000, 0]
    peer = Peer(answer=lambda number, key: answers.pop(0))
    gateway, workshop = bench(peer)
    gateway.put(to_edit(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert workshop.edits == [EDITS, EDITS]
    assert len({uids[0] for _, uids in workshop.jobs}) == 2


async def test_after_a_lost_association_it_is_edited_again_not_sent_as_it_is() -> None:
    answers: list[Answer] = [Deed.ABORT, 0]
    peer = Peer(answer=lambda number, key: answers.pop(0))
    gateway, workshop = bench(peer)
    gateway.put(to_edit(1))
    async with gateway.running():
        await gateway.queue.all_delivered([1])
    assert [body for _, body in peer.received] == [rendered(instance(1), EXPLICIT)] * 2
    assert workshop.edits[0] == EDITS
