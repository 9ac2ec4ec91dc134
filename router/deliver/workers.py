"""The worker processes that transcode: started when they are first needed, replaced when they die.

One job at a time for each. A worker that dies, or that takes longer than it may and is killed, costs the job
it had, and nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from router.config.settings import Transcode
from router.errors import TranscodeFailed
from router.logs import get_logger
from router.transform.job import Job, Result
from router.transform.transcode import Limits
from router.transform.worker import Allowance

START_S = 60.0  # to import what it needs, on a machine that is busy
IDLE_S = 300.0  # after so long without a job a worker is stopped
LOOK_S = 30.0
JOBS_MAX = 5000  # then a worker is replaced: nobody has proved that no codec leaks
ANSWER_BYTES = 1024 * 1024  # of one line

log = get_logger("transcode")
_ROOT = Path(__file__).resolve().parents[2]
_decode = msgspec.json.Decoder(Result).decode
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # no secret of the configuration's
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # one processor for each worker


class Worker:
    """One process."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - they are pipes
        self._process = process
        self._jobs = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)
        self.count = 0
        self.idle_since = anyio.current_time()

    @classmethod
    async def start(cls, settings: Transcode) -> Worker:
        """A worker that is ready. Raises ``TranscodeFailed``."""
        allowance = Allowance(
            memory_bytes=settings.memory_bytes,
            cpu_s=int(settings.timeout) + 1,
            limits=Limits(pixels_max=settings.max_pixels, inflate_bytes_max=settings.max_inflated_bytes),
        )
        terms = msgspec.json.encode(allowance).decode()
        command = [sys.executable, "-P", "-m", "router.transform.worker", terms]
        try:
            # Not in a session of its own: its low priority would count for nothing there (sched_autogroup).
            process = await anyio.open_process(command, stderr=None, env=_environment())
        except OSError as error:
            raise TranscodeFailed(f"no worker process: {error.strerror or error}") from error
        worker = cls(process)
        try:
            await worker._answer(START_S)
        except BaseException:
            await worker.end()
            raise
        return worker

    async def perform(self, job: Job, timeout_s: float) -> Result:
        """Have it done. Raises ``TranscodeFailed``; the worker must not be used again then."""
        self.count += 1
        try:
            await self._jobs.send(msgspec.json.encode(job) + b"\n")
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise TranscodeFailed("the worker process was gone") from error
        return _decode(await self._answer(timeout_s))

    async def _answer(self, timeout_s: float) -> bytes:
        try:
            with anyio.fail_after(timeout_s):
                return await self._answers.receive_until(b"\n", ANSWER_BYTES)
        except TimeoutError as error:
            raise TranscodeFailed(f"it took longer than {timeout_s:g} s") from error
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            with anyio.move_on_after(1.0):
                await self._process.wait()
            raise TranscodeFailed(f"the worker process died{_how(self._process.returncode)}") from error

    async def end(self) -> None:
        """Kill it, and see that it is gone."""
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.aclose()


def _environment() -> dict[str, str]:
    where = os.pathsep.join(path for path in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if path)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **_NO_THREADS, "PYTHONPATH": where}


def _how(returncode: int | None) -> str:
    if returncode is None:
        return ""
    if returncode >= 0:
        return f" with exit code {returncode}"
    try:
        return f" of {signal.Signals(-returncode).name}"
    except ValueError:
        return f" of signal {-returncode}"


class Workers:
    """All of them. What has to wait for one waits in order."""

    def __init__(self, settings: Transcode) -> None:
        self._settings = settings
        self.count = settings.workers or os.cpu_count() or 1
        self._slots = anyio.Semaphore(self.count)
        self._idle: list[Worker] = []  # the one used last is the last
        self._all: set[Worker] = set()

    async def run(self) -> None:
        """Stop those that have nothing to do for long; all of them when cancelled."""
        try:
            while True:
                await anyio.sleep(LOOK_S)
                await self._stop_idle(anyio.current_time() - IDLE_S)
        finally:
            for worker in list(self._all):
                await self._end(worker)
            self._idle.clear()

    async def _stop_idle(self, before: float) -> None:
        while self._idle and self._idle[0].idle_since <= before:
            await self._end(self._idle.pop(0))

    async def perform(self, job: Job) -> Result:
        """Have a job done by the next worker that is free. Raises ``TranscodeFailed``."""
        async with self._slots, self._worker() as worker:
            return await worker.perform(job, self._settings.timeout)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Worker]:
        """One for one job: it is kept where that ended well, and replaced where not."""
        if self._idle:
            worker = self._idle.pop()
        else:
            worker = await Worker.start(self._settings)
            self._all.add(worker)
        try:
            yield worker
        except BaseException:  # cancelled in the middle, too: its answer would be taken for the next one's
            await self._end(worker)
            raise
        if worker.count >= JOBS_MAX:
            await self._end(worker)
        else:
            worker.idle_since = anyio.current_time()
            self._idle.append(worker)

    async def _end(self, worker: Worker) -> None:
        self._all.discard(worker)
        await worker.end()
