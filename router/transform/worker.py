"""The worker process: reads jobs from standard input, a JSON line each, and answers each with a line.

It does nothing else, has no network, and lives within the limits that it is started with. What a codec prints
goes to standard error: standard output is for answers. Malformed streams crash and hang codecs; that costs
this process and the job it had.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import dataclass

import msgspec

from router.transform.job import Job, Result, for_all, perform
from router.transform.transcode import Limits

NICENESS = 10  # receiving and sending come first


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one worker may take."""

    memory_bytes: int  # of address space
    cpu_s: int  # for each job, so that it ends although nobody is left to kill it
    limits: Limits


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the terminal is for the gateway to deal with
    allowance = msgspec.json.decode(sys.argv[1], type=Allowance)
    answers = os.dup(1)
    os.dup2(2, 1)
    _restrict(allowance)
    decode = msgspec.json.Decoder(Job).decode
    os.write(answers, b"{}\n")  # ready: everything is imported
    for line in sys.stdin.buffer:
        job = decode(line)
        _allow_more_time(allowance.cpu_s)
        try:
            result = perform(job, allowance.limits)
        except MemoryError:
            because = f"it takes more memory than a worker may have ({allowance.memory_bytes >> 20} MiB)"
            result = Result(made=None, obstacles=for_all(job, because))
        os.write(answers, msgspec.json.encode(result) + b"\n")


def _restrict(allowance: Allowance) -> None:
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (allowance.memory_bytes, allowance.memory_bytes))


def _allow_more_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
