"""Files into other transfer syntaxes, in worker processes and with the same proof as deliveries have.

For the command line and the table of the documentation; what a gateway sends is ``deliver.workshop``'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from router.config.settings import Transcode
from router.deliver.workers import Workers
from router.errors import TranscodeFailed
from router.model import Arrival, Form, Origin
from router.scu import SendFile
from router.transform.job import Job, Result

CALLING_AE = "TRANSCODE"  # what the file meta says of who sent it (0002,0016)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One file, and where it is to lie in another form. An existing file is never replaced."""

    file: SendFile
    form: Form
    target: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What became of one file. ``failure`` is empty where it could be tried; then ``result`` says more."""

    task: Task
    result: Result
    failure: str = ""

    @property
    def because(self) -> str:
        """Why there is no new file; empty where there is one."""
        if self.result.made is not None:
            return ""
        return self.failure or self.result.failure or self.result.obstacles[0].because


async def transcode_files(
    tasks: Sequence[Task], settings: Transcode, on_result: Callable[[Finished], None]
) -> None:
    """Do all of them, as many at a time as there are workers; each is told of as soon as it is done."""
    workers = Workers(settings)
    queue = iter(tasks)

    async def work() -> None:
        for task in queue:
            on_result(await _one(workers, task))

    async with anyio.create_task_group() as running:
        running.start_soon(workers.run)
        async with anyio.create_task_group() as working:
            for _ in range(min(workers.count, len(tasks))):
                working.start_soon(work)
        running.cancel_scope.cancel()


async def _one(workers: Workers, task: Task) -> Finished:
    unfinished = task.target.with_name(f".{task.target.name[:120]}.part")
    try:
        task.target.parent.mkdir(parents=True, exist_ok=True)
        if task.target.exists():
            raise FileExistsError(f"{task.target} exists already")
        result = await workers.perform(_job(task, unfinished))
        if result.made is not None:
            os.link(unfinished, task.target)  # fails where somebody has made that file meanwhile
        return Finished(task=task, result=result)
    except FileExistsError:
        return Finished(task=task, result=Result(made=None), failure=f"{task.target} exists already")
    except OSError as error:
        return Finished(task=task, result=Result(made=None), failure=error.strerror or str(error))
    except TranscodeFailed as error:
        return Finished(task=task, result=Result(made=None), failure=str(error))
    finally:
        unfinished.unlink(missing_ok=True)


def _job(task: Task, target: Path) -> Job:
    file = task.file
    arrival = Arrival(
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        transfer_syntax_uid=file.transfer_syntax_uid,
        origin=Origin(calling_ae=CALLING_AE, called_ae="", peer="", listener=""),
        received_at=0.0,
    )
    return Job(
        source=str(file.path),
        data_set_offset=file.data_set_offset,
        target=str(target),
        arrival=arrival,
        forms=(task.form,),
    )
