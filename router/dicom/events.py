"""What an association tells its driver: one frozen record for each thing that happened on the wire.

``Association.receive_data`` and its siblings return lists of these, in wire order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.dicom.dimse import Command
from router.dicom.negotiation import AcceptedContext, AssociateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRequested:
    """A-ASSOCIATE indication: answer with ``accept`` or ``reject``."""

    request: AssociateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationAccepted:
    """A-ASSOCIATE confirmation. ``contexts`` holds the accepted ones only, and may be empty."""

    contexts: Mapping[int, AcceptedContext]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRejected:
    """A-ASSOCIATE-RJ: the peer's (requestor), or one that the association itself sent (acceptor: PS3.8 AE-6).

    The codes are those of PS3.8 Table 9-21; ``text`` says them in words.
    """

    result: int
    source: int
    reason: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReceived:
    """A whole command set. Where ``command.has_data_set``, its data set follows as ``DataReceived``."""

    context: AcceptedContext
    command: Command


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReceived:
    """The next bytes of the data set that belongs to the last ``CommandReceived``.

    ``fragments`` are views, in order, of the buffers passed to ``receive_data``: the bytes stay valid as
    long as those buffers are not written again. All that one call brought of a message comes as one event;
    the list may be empty where only the end (``last``) arrived.
    """

    fragments: list[memoryview]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRequested:
    """A-RELEASE indication: finish what is under way, then ``confirm_release``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCompleted:
    """A-RELEASE confirmation: the release that we requested is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """The association ended by A-ABORT, the peer's, or ours where a deadline passed (PS3.8 Table 9-26)."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosed:
    """The transport connection went away before the association was over."""


Event = (
    AssociationRequested
    | AssociationAccepted
    | AssociationRejected
    | CommandReceived
    | DataReceived
    | ReleaseRequested
    | ReleaseCompleted
    | Aborted
    | ConnectionClosed
)
