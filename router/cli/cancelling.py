"""Running an operation that the peer can be asked to stop: by Ctrl-C once, and at once by Ctrl-C twice."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from router.cli.common import err, fail
from router.cli.matches import printable
from router.cli.scu import describe

if TYPE_CHECKING:
    import anyio
    from anyio.abc import TaskStatus

    from router.query.exchange import Cancellation
    from router.scu import Target

T = TypeVar("T")


def run_cancellable(
    whom: Target,
    work: Callable[[Cancellation], Awaitable[T]],
    *,
    on_failure: Callable[[], None] | None = None,
) -> T:
    """Run to the end; the first Ctrl-C asks the peer to stop, the second gives up.

    Where nothing comes of it, ``on_failure`` may say what was done before the command ends.
    """
    import anyio

    from router.errors import AssociationTimeout, RouterError
    from router.query.exchange import Cancellation

    results: list[T] = []
    failures: list[RouterError] = []
    unprinted: list[OSError] = []

    async def main() -> None:
        cancellation = Cancellation()
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch, cancellation, tasks.cancel_scope)
            try:
                results.append(await work(cancellation))
            except RouterError as error:
                failures.append(error)
            except OSError as error:  # standard output: whoever read it has enough
                unprinted.append(error)
            tasks.cancel_scope.cancel()

    anyio.run(main)
    if unprinted:
        raise unprinted[0]
    if results:
        return results[0]
    if on_failure is not None:
        on_failure()
    if not failures:
        fail("Given up.")
    hint = " (--timeout gives it more time)" if isinstance(failures[0], AssociationTimeout) else ""
    fail(f"{describe(whom)}: {printable(str(failures[0]))}{hint}.")


async def _watch(
    cancellation: Cancellation, everything: anyio.CancelScope, *, task_status: TaskStatus[None]
) -> None:
    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()  # before anybody is called
        async for _ in signals:
            if cancellation.is_wanted:
                everything.cancel()
                return
            err.print("The peer is asked to stop; Ctrl-C again gives up at once.", style="yellow")
            cancellation.ask()
