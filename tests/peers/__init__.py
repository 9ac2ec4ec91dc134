"""Real programs as peers: DCMTK, Orthanc, the gateway and its sink, each as a process of its own.

The only place of the tests where time is waited for, always through :func:`wait_until` with a deadline.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from bench.process import (
    ProgramError,
    find_program,
    free_port,
    is_accepting,
    pause_until,
    wait_until as _wait_until,
)

__all__ = ["ProgramError", "free_port", "is_accepting", "pause_until", "require", "unavailable", "wait_until"]

PATIENCE_S = 30.0


def unavailable(what: str) -> NoReturn:
    """Skip the test, saying what is missing; fail it on the project's own machine (``DICOM_ROUTER_CI=1``)."""
    if os.environ.get("DICOM_ROUTER_CI") == "1":
        pytest.fail(f"{what}, and DICOM_ROUTER_CI=1 allows no skipping")
    pytest.skip(what)


def require(program: str) -> str:
    """The path of a program that a test needs."""
    path = find_program(program)
    if path is None:
        unavailable(f"{program} is not installed")
    return path


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Poll until ``condition`` holds; ``ProgramError`` naming ``what`` when the time is over."""
    _wait_until(condition, timeout_s, what)
