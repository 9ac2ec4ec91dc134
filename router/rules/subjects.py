"""What a rule may look at: where an instance came from, and the elements of its data set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from pydicom import uid as pydicom_uid
from pydicom.config import IGNORE
from pydicom.uid import UID

from router.dicom.header import Header
from router.dicom.tagpath import TagPath
from router.dicom.values import Value
from router.model import Priority
from router.rules import kinds
from router.rules.kinds import Kind

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of an instance without its data set."""

    calling_ae: str
    called_ae: str
    peer: str  # the address
    listener: str
    transfer_syntax: str  # the UID
    sop_class: str  # the UID
    size_bytes: int
    received_at: float
    priority: Priority = Priority.NORMAL  # the sender's: what holds where no rule says another


Read = Callable[[Facts, Header], tuple[Value, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One thing to look at, and what may be asked of it."""

    name: str  # as the rule wrote it
    read: Read  # the values; none where it is empty, None where it is absent
    order: Kind | None  # for lt, le, gt, ge, between
    is_text: bool = True  # whether equals, contains, ... make sense
    is_address: bool = False
    is_element: bool = False  # only elements can be absent
    is_sequence: bool = False
    vr: str = ""
    uid_type: str = ""  # "Transfer Syntax" or "SOP Class": may be written by name


def element(path: TagPath) -> Subject:
    """An element of the data set."""

    def read(facts: Facts, header: Header) -> tuple[Value, ...] | None:
        return header.values(path)

    return Subject(
        name=path.text,
        read=read,
        order=kinds.of_vr(path.vr),
        is_element=True,
        is_sequence=path.vr == "SQ",
        vr=path.vr,
    )


@lru_cache(maxsize=1024)
def _uid_names(uid: str) -> tuple[Value, ...]:
    """The UID first, then what it is called."""
    known = UID(uid, validation_mode=IGNORE)
    return (uid, known.name, known.keyword) if known.name != uid else (uid,)


ORIGIN = {
    subject.name: subject
    for subject in (
        Subject(name="calling_ae", read=lambda facts, _: (facts.calling_ae,), order=None),
        Subject(name="called_ae", read=lambda facts, _: (facts.called_ae,), order=None),
        Subject(name="peer", read=lambda facts, _: (facts.peer,), order=None, is_address=True),
        Subject(name="listener", read=lambda facts, _: (facts.listener,), order=None),
        Subject(
            name="transfer_syntax",
            read=lambda facts, _: _uid_names(facts.transfer_syntax),
            order=None,
            uid_type="Transfer Syntax",
        ),
        Subject(
            name="sop_class",
            read=lambda facts, _: _uid_names(facts.sop_class),
            order=None,
            uid_type="SOP Class",
        ),
        Subject(
            name="size_bytes", read=lambda facts, _: (facts.size_bytes,), order=kinds.SIZE, is_text=False
        ),
        Subject(
            name="received_at", read=lambda facts, _: (facts.received_at,), order=kinds.ARRIVAL, is_text=False
        ),
    )
}


def uid_of(text: str, uid_type: str) -> str:
    """The UID that a user means: itself, its name, its keyword, or either with other spaces and hyphens.

    Raises ``ValueError`` with a sentence for the user.
    """
    if _UID.fullmatch(text):
        return text
    uid = _uids(uid_type).get(_letters(text))
    if uid is None:
        raise ValueError(f"{text!r} is neither a UID nor the name of a {uid_type.lower()}")
    return uid


def uid_name(uid: str) -> str:
    """The name of a UID for a sentence; the UID itself where it has none."""
    names = _uid_names(uid)
    return str(names[1] if len(names) > 1 else uid)


def uid_keywords(uid_type: str) -> list[str]:
    """What a user may have meant."""
    return [uid.keyword for uid in _well_known(uid_type)]


@lru_cache(maxsize=4)
def _uids(uid_type: str) -> dict[str, str]:
    uids = _well_known(uid_type)
    return {_letters(uid.name): str(uid) for uid in uids} | {_letters(uid.keyword): str(uid) for uid in uids}


def _well_known(uid_type: str) -> list[UID]:
    """pydicom names every UID of PS3.6 that is a transfer syntax or a storage class."""
    return [
        value for value in vars(pydicom_uid).values() if isinstance(value, UID) and value.type == uid_type
    ]


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
