"""What metrics show as of now, looked at every second: depths, sizes, rates, tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
from anyio import to_thread

from router.clock import Clock
from router.deliver.lanes import Lanes
from router.errors import RouterError
from router.groups import Balance, outstanding
from router.logs import get_logger
from router.net.listener import ListeningPort
from router.net.memory import Ebb, give_back
from router.spool import Spool
from router.telemetry import Telemetry
from router.throughput import Throughput

EVERY_S = 1.0  # how stale queue depths and spool sizes may be in /metrics

_log = get_logger("gauges")


async def keep_gauges(
    spool: Spool,
    lanes: Lanes,
    balance: Balance,
    listeners: Sequence[ListeningPort],
    clock: Clock,
    telemetry: Telemetry,
    throughput: Throughput,
) -> None:
    """Look, and tell whoever decides by it, until cancelled. Memory is given back when a flood is over."""
    ebb = Ebb()
    while True:
        if ebb.is_over(sum(listener.associations for listener in listeners)):
            await to_thread.run_sync(give_back)
        telemetry.set_tasks(len(asyncio.all_tasks()))
        throughput.look(clock.monotonic(), telemetry.totals)
        try:
            depths = await spool.depths()
            telemetry.set_depths(depths, clock.now())
            lanes.saw(depths)
            balance.loaded(outstanding(depths))
            stats = await spool.stats()
            telemetry.set_spool(stats.bytes_used, stats.free_bytes)
        except RouterError as error:
            _log.warning("gauges not updated", because=str(error))
        await anyio.sleep(EVERY_S)
