"""When it pays to wait for more appends before a sync: senders in step, alone, far away, leaving."""

from __future__ import annotations

from router.spool.muster import LONGEST_WAIT_S, Muster

SYNC_S, GAP_S = 0.004, 0.0004


def experienced(*, senders: int, sync_s: float = SYNC_S) -> Muster:
    """One that has seen many batches of so many senders."""
    muster = Muster()
    for batch in range(50):
        muster.answered(senders, 0, took_s=sync_s, now=float(batch))
    return muster


def test_a_lone_sender_is_never_waited_for() -> None:
    assert experienced(senders=1).missing(1, 49.0 + GAP_S)[0] == 0


def test_those_who_were_just_answered_are_waited_for() -> None:
    missing, until = experienced(senders=4).missing(1, 49.0 + GAP_S)
    assert missing == 3
    assert 49.0 + GAP_S < until < 49.0 + SYNC_S


def test_senders_who_waited_behind_a_batch_count_too() -> None:
    muster = experienced(senders=2)
    muster.answered(2, 2, took_s=SYNC_S, now=50.0)
    assert muster.missing(2, 50.0)[0] == 2


def test_nobody_waits_when_all_are_here_or_the_time_is_over() -> None:
    muster = experienced(senders=3)
    assert muster.missing(3, 49.0)[0] == 0
    assert muster.missing(2, 49.0 + LONGEST_WAIT_S)[0] == 0


def test_senders_who_come_back_late_are_soon_not_waited_for_and_later_tried_again() -> None:
    muster = experienced(senders=4)
    now = 50.0
    muster.answered(1, 3, took_s=SYNC_S, now=now)
    assert muster.missing(1, now)[0] == 3
    muster.gathered(is_complete=False, now=now + LONGEST_WAIT_S)
    tries = 0
    while not muster.missing(1, now)[0]:
        tries += 1
    assert 10 < tries < 100


def test_where_a_sync_is_quicker_than_a_sender_nobody_waits() -> None:
    assert experienced(senders=4, sync_s=0.0001).missing(1, 49.0)[0] == 0
