"""When an arrival is a duplicate, and how sameness is shown without a second hash of everything. Pure.

A duplicate is looked for when an instance is routed: it is durable by then, and acknowledged, and what is
decided of it stays in the ledger as its decision. It is one of an earlier arrival only if that was sent
somewhere, and has been delivered or is still queued: an operator who discarded the first, or a delivery that
died, is a reason to take the second.

Identical is the same data set, byte for byte, in the same transfer syntax. The ledger has the hash of each
Part 10 object, whose file meta information names the sender; so of two arrivals from one sender the hashes
can be compared as they are. For another sender the file meta of the earlier arrival is made once more and
hashed together with the later data set: if that gives the earlier hash, the data sets are the same, also
where the bytes of the earlier one are gone by now. Nothing is paid by what is no duplicate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import xxhash

from router.config.settings import Duplicates
from router.dicom.part10 import file_meta
from router.model import Buffer, Decision, Instance, Priority, RuleTrace

DUPLICATES = "(duplicates)"  # the name under which a trace says that an instance was skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What an arrival has before it: one that it repeats, or some whose bytes have to be compared."""

    original: Instance | None = None
    to_compare: tuple[Instance, ...] = ()


def match(policy: Duplicates, instance: Instance, earlier: Iterable[Instance]) -> Match:
    """Compare an arrival with ``earlier`` ones of its SOP Instance UID that were sent somewhere."""
    to_compare: list[Instance] = []
    for other in earlier:
        if other.key == instance.key:
            continue
        if policy is Duplicates.SKIP or _is_same_object(instance, other):
            return Match(original=other)
        if _may_be_same_data_set(instance, other):
            to_compare.append(other)
    return Match(to_compare=tuple(to_compare))


def _is_same_object(one: Instance, other: Instance) -> bool:
    return _may_be_same_data_set(one, other) and one.content_hash == other.content_hash


def _may_be_same_data_set(one: Instance, other: Instance) -> bool:
    return (
        one.size_bytes == other.size_bytes
        and one.arrival.transfer_syntax_uid == other.arrival.transfer_syntax_uid
    )


class Comparison:
    """Compares one data set, given piece by piece, with those of several earlier arrivals."""

    def __init__(self, others: Sequence[Instance]) -> None:
        self._digests: list[tuple[Instance, xxhash.xxh3_128]] = []
        for other in others:
            meta = file_meta(other.arrival)
            if len(meta) == other.place.data_set_offset:  # else it was made by another version of ours
                self._digests.append((other, xxhash.xxh3_128(meta)))

    def update(self, piece: Buffer) -> None:
        """The next bytes of the data set."""
        for _, digest in self._digests:
            digest.update(piece)

    def original(self) -> Instance | None:
        """The arrival that had the same data set, now that all of it was given."""
        return next((other for other, d in self._digests if d.digest() == other.content_hash), None)


def skipped(original: Instance, policy: Duplicates) -> Decision:
    """The decision for a duplicate: it goes nowhere, and says why."""
    what = "the same data set" if policy is Duplicates.SKIP_IDENTICAL else "the same SOP Instance UID"
    because = f"skipped: {what} as {original.key}, received before from {original.arrival.origin.calling_ae}"
    trace = (RuleTrace(rule=DUPLICATES, matched=True, because=because),)
    return Decision(destinations=(), priority=Priority.NORMAL, hold=False, trace=trace)
