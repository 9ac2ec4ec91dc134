"""Statuses of queries and retrievals: what kind each is, and in words."""

from __future__ import annotations

import pytest

from router.dicom.codes import CommandField
from router.dicom.statuses import Outcome, describe_status, outcome_of

FIND, MOVE, GET = CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0xFF00, Outcome.PENDING),
        (0xFF01, Outcome.PENDING),
        (0x0000, Outcome.SUCCESS),
        (0xFE00, Outcome.CANCELLED),
        (0xB000, Outcome.WARNING),
        (0xB007, Outcome.WARNING),
        (0x0107, Outcome.WARNING),
        (0xA700, Outcome.FAILURE),
        (0xC310, Outcome.FAILURE),
        (0x0122, Outcome.FAILURE),
        (0xFF02, Outcome.FAILURE),  # no status of the standard: better an end than a wait without one
        (0x1234, Outcome.FAILURE),
    ],
)
def test_kinds(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome


@pytest.mark.parametrize(
    ("request_field", "status", "words"),
    [
        (FIND, 0x0000, "success (0000)"),
        (FIND, 0xA700, "out of resources (A700)"),
        (MOVE, 0xA701, "out of resources: the number of matches cannot be calculated (A701)"),
        (GET, 0xA702, "out of resources: the instances cannot be sent (A702)"),
        (
            MOVE,
            0xA801,
            "move destination unknown: it knows no AE of the title to which it should send (A801)",
        ),
        (FIND, 0xC001, "unable to process (C001)"),
        (GET, 0xB000, "ended, with failures or warnings of single instances (B000)"),
        (FIND, 0xA799, "out of resources (A799)"),
        (GET, 0xA801, "a failure that the standard does not name (A801)"),
        (FIND, 0x0122, "the SOP class is not supported (0122)"),
        (FIND, 0x1234, "a failure that the standard does not name (1234)"),
    ],
)
def test_words(request_field: int, status: int, words: str) -> None:
    assert describe_status(request_field, status) == words


def test_what_does_not_fit_the_model_says_so() -> None:
    for request_field in (FIND, MOVE, GET):
        assert "does not fit the information model" in describe_status(request_field, 0xA900)
