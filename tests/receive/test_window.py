"""A sender with an operations window: instances are read while others are made durable, answers come as they
are ready."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from router.config.settings import Limits, Listener, Operation, Settings
from router.dicom.codes import EXPLICIT_VR_LITTLE_ENDIAN, VERIFICATION, Status
from router.dicom.dimse import Command, echo_rq, store_rq
from router.dicom.events import CommandReceived
from router.dicom.negotiation import AssociateRequest, ProposedContext
from router.errors import AssociationLost, StorageError
from router.model import Arrival, Buffer, Priority
from router.net.connection import Connection
from router.net.requestor import associate, release, send_store
from router.telemetry import Telemetry
from tests.receive.test_receiver import CT, DATA, SpoolInMemory, framed, gateway


class SlowSpool(SpoolInMemory):
    """Makes each instance durable when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[str, anyio.Event] = {}
        self.failing: set[str] = set()

    async def append(self, arrival: Arrival, parts: Sequence[Buffer], data_set_offset: int) -> None:
        uid = arrival.sop_instance_uid
        self.waiting[uid] = anyio.Event()
        await self.waiting[uid].wait()
        if uid in self.failing:
            raise StorageError("the disk is ill", out_of_resources=False)
        await super().append(arrival, parts, data_set_offset)

    async def until_waiting(self, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.waiting) < count:
                await anyio.lowlevel.checkpoint()


async def connect(port: int, window: tuple[int, int] | None) -> Connection:
    contexts = tuple(
        ProposedContext(id=number, abstract_syntax=uid, transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN,))
        for number, uid in ((1, VERIFICATION), (3, CT))
    )
    request = AssociateRequest(calling_ae="CT1", called_ae="ROUTER", contexts=contexts, async_ops=window)
    return await associate(host="127.0.0.1", port=port, request=request)


async def send(connection: Connection, *numbers: int, priority: int = 0) -> None:
    for number in numbers:
        uid = f"1.2.3.{number}"
        data = DATA.replace(b"1.2.3.4", uid.encode())
        await send_store(connection, 3, store_rq(number, CT, uid, priority), [framed(data)])


async def answer(connection: Connection) -> Command:
    with anyio.fail_after(10):
        event = await connection.next_event()
    assert isinstance(event, CommandReceived)
    return event.command


@pytest.mark.parametrize(
    ("proposed", "agreed"), [(None, 1), ((1, 1), 1), ((5, 1), 5), ((0, 0), 16), ((500, 1), 16)]
)
async def test_a_window_is_accepted_up_to_the_limit(proposed: tuple[int, int] | None, agreed: int) -> None:
    async with gateway(SpoolInMemory()) as port:
        connection = await connect(port.port, proposed)
        assert connection.association.window == agreed
        await release(connection)


async def test_answers_come_in_the_order_in_which_instances_become_durable() -> None:
    spool = SlowSpool()
    async with gateway(spool) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1, 2, 3)
        await spool.until_waiting(3)
        order = []
        for number in (2, 3, 1):
            spool.waiting[f"1.2.3.{number}"].set()
            command = await answer(connection)
            assert command.status == Status.SUCCESS
            order.append(command.responded_to)
        assert order == [2, 3, 1]
        await release(connection)
    assert len(spool.stored) == 3


async def test_no_more_is_read_than_the_window() -> None:
    spool = SlowSpool()
    limits = Limits(window=2)
    settings = Settings(accept_unknown=(Operation.ECHO, Operation.STORE))
    async with gateway(spool, settings, Listener(port=0, host="127.0.0.1", limits=limits)) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1, 2, 3)  # one more than was agreed
        await spool.until_waiting(2)
        await anyio.wait_all_tasks_blocked()
        assert list(spool.waiting) == ["1.2.3.1", "1.2.3.2"]
        spool.waiting["1.2.3.1"].set()
        await spool.until_waiting(3)
        for event in spool.waiting.values():
            event.set()
        assert {(await answer(connection)).responded_to for _ in range(3)} == {1, 2, 3}


async def test_no_more_is_read_than_may_be_in_memory() -> None:
    spool, telemetry = SlowSpool(), Telemetry()
    limits = Limits(memory_bytes=2 * len(DATA))
    settings = Settings(accept_unknown=(Operation.ECHO, Operation.STORE))
    listener = Listener(port=0, host="127.0.0.1", limits=limits)
    async with gateway(spool, settings, listener, telemetry) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1, 2, 3)
        await spool.until_waiting(2)
        await anyio.wait_all_tasks_blocked()
        assert list(spool.waiting) == ["1.2.3.1", "1.2.3.2"]
        spool.waiting["1.2.3.1"].set()
        await spool.until_waiting(3)
        for event in spool.waiting.values():
            event.set()
        assert {(await answer(connection)).responded_to for _ in range(3)} == {1, 2, 3}
    assert b'limits_reached_total{limit="memory_bytes"}' in telemetry.render()


async def test_a_failure_is_the_answer_to_its_own_instance() -> None:
    spool = SlowSpool()
    spool.failing = {"1.2.3.2"}
    async with gateway(spool) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1, 2)
        await spool.until_waiting(2)
        for event in spool.waiting.values():
            event.set()
        answers = {c.responded_to: c.status for c in [await answer(connection) for _ in range(2)]}
        assert answers == {1: Status.SUCCESS, 2: Status.PROCESSING_FAILURE}


async def test_an_echo_is_answered_while_instances_wait() -> None:
    spool = SlowSpool()
    async with gateway(spool) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1)
        connection.association.send_message(1, echo_rq(9))
        await connection.flush()
        assert (await answer(connection)).responded_to == 9
        await spool.until_waiting(1)
        spool.waiting["1.2.3.1"].set()
        assert (await answer(connection)).responded_to == 1


async def test_a_release_waits_for_what_is_outstanding() -> None:
    spool = SlowSpool()
    async with gateway(spool) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1)
        connection.association.request_release()
        await connection.flush()
        await spool.until_waiting(1)
        spool.waiting["1.2.3.1"].set()
        assert (await answer(connection)).responded_to == 1
        await connection.next_event()
        connection.abort()


async def test_what_had_arrived_when_the_sender_went_away_is_kept() -> None:
    spool = SlowSpool()
    async with gateway(spool) as port:
        connection = await connect(port.port, (16, 1))
        await send(connection, 1, 2)
        await spool.until_waiting(2)
        connection.abort()
        with pytest.raises(AssociationLost):
            await connection.next_event()
        for event in spool.waiting.values():
            event.set()
        with anyio.fail_after(10):
            while len(spool.stored) < 2:
                await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("code", [0, 1, 2])
async def test_the_senders_priority_stays_with_the_instance(code: int) -> None:
    spool = SpoolInMemory()
    async with gateway(spool) as port:
        connection = await connect(port.port, None)
        await send(connection, 1, priority=code)
        await answer(connection)
        await release(connection)
    assert spool.stored[0][0].priority is (Priority.NORMAL, Priority.HIGH, Priority.LOW)[code]
