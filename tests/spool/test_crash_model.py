"""A few seeds of the crash model, and proof that it finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

import pytest

from router.errors import RouterError
from router.spool import commits, writer
from router.spool.commits import Commits
from router.spool.files import write_all
from tests.spool.crash_model import run_seeds

ENOUGH_SEEDS = 60  # one of them at least finds each defect below


@pytest.mark.parametrize("first", range(0, 16, 4))
def test_acknowledged_is_delivered_or_queued_whatever_the_power_did(first: int) -> None:
    assert run_seeds(first, 4) > 0


@contextmanager
def records_that_are_not_synced() -> Iterator[None]:
    with patch.object(writer, "write_durably", write_all):
        yield


@contextmanager
def a_ledger_that_is_not_synced() -> Iterator[None]:
    with patch.object(Commits, "_sync_log", lambda self: None):
        yield


@contextmanager
def segments_that_the_ledger_does_not_note() -> Iterator[None]:
    with patch("router.spool.ledger.Ledger.note_tail", lambda self, segment: None):
        yield


@contextmanager
def answers_before_the_ledger_notes_the_segment() -> Iterator[None]:
    with patch.object(Commits, "may_follow", lambda self, appends, operations: True):
        yield


@contextmanager
def a_failed_sync_that_is_only_tried_again() -> Iterator[None]:
    with patch.object(commits, "rewrite", lambda files, fd: None):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    "defect",
    [
        records_that_are_not_synced,
        a_ledger_that_is_not_synced,
        segments_that_the_ledger_does_not_note,
        answers_before_the_ledger_notes_the_segment,
        a_failed_sync_that_is_only_tried_again,
    ],
)
def test_the_model_finds(defect: Callable[[], AbstractContextManager[None]]) -> None:
    with defect(), pytest.raises((AssertionError, RouterError, ExceptionGroup, TimeoutError)):
        run_seeds(0, ENOUGH_SEEDS)
