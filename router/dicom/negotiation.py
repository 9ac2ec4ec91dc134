"""What two AEs agree on when an association begins (PS3.8 §7.1.1, PS3.7 Annex D): pure, no bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.config import IGNORE
from pydicom.uid import UID
from pynetdicom.service_class import ServiceClass
from pynetdicom.sop_class import uid_to_service_class

from router.dicom.codes import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    MAX_CONTEXTS,
    MAX_UID_LENGTH,
    VERIFICATION,
    ContextResult,
)
from router.dicom.query import IDENTIFIER_CLASSES, IDENTIFIER_SYNTAXES

DEFAULT_MAX_PDU_BYTES = 131072

# PS3.4 Tables B.3-1 and B.3-2: every attribute kept (level 2), digital signatures preserved because the data
# set is (level 3), no element coerced. It holds for a gateway that stores what it received.
_STORAGE_SUPPORT = bytes.fromhex("020003000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """One presentation context of an A-ASSOCIATE-RQ. From the wire it may be without any syntax."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """One presentation context of an A-ASSOCIATE-AC (PS3.8 §9.3.3.2)."""

    id: int
    result: int
    transfer_syntax: str  # "" where none was accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """A presentation context that both sides accepted, and the roles that *we* may take on it."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    as_scu: bool
    as_scp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSelection:
    """SCP/SCU role selection (PS3.7 D.3.3.4): what the *requestor* would be, or, in the answer, may be."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """PS3.7 D.3.3.7. ``primary`` and ``secondary`` are secrets: never log them."""

    kind: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    response_requested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendedNegotiation:
    """SOP class extended negotiation (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    information: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonExtendedNegotiation:
    """SOP class common extended negotiation (PS3.7 D.3.3.6); it has no answer."""

    sop_class_uid: str
    service_class_uid: str
    related: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ: as it came from the wire, or as we want to send it."""

    calling_ae: str
    called_ae: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int = DEFAULT_MAX_PDU_BYTES  # longest P-DATA-TF that the requestor takes; 0: no limit
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION
    roles: tuple[RoleSelection, ...] = ()
    async_ops: tuple[int, int] | None = None  # (invoked, performed); 0: no limit
    user_identity: UserIdentity | None = None
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Our answer to an ``AssociateRequest``; ``Association.accept`` sends it."""

    answers: tuple[ContextAnswer, ...]  # one for each proposed context id, in the order proposed
    contexts: Mapping[int, AcceptedContext]  # the accepted ones
    roles: tuple[RoleSelection, ...] = ()
    async_ops: tuple[int, int] | None = None
    extended: tuple[ExtendedNegotiation, ...] = ()
    user_identity_response: bytes | None = None  # None: not answered


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateReply:
    """An A-ASSOCIATE-AC as it came from the wire."""

    answers: tuple[ContextAnswer, ...]
    max_pdu_bytes: int
    implementation_class_uid: str
    implementation_version: str
    roles: tuple[RoleSelection, ...] = ()
    async_ops: tuple[int, int] | None = None
    extended: tuple[ExtendedNegotiation, ...] = ()
    user_identity_response: bytes | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


_IDENTIFIER_SYNTAXES = frozenset(IDENTIFIER_SYNTAXES)
_is_uid = re.compile(r"[0-9]+(?:\.[0-9]+)*").fullmatch


@lru_cache(maxsize=1024)
def is_storage(sop_class_uid: str) -> bool:
    """Whether instances of this SOP class are what a gateway stores and forwards.

    True for every storage SOP class of the standard, retired or not, and for every UID that nobody knows:
    private SOP classes, and those of editions to come. False for the known SOP classes of other services
    (query/retrieve, worklist, print, MPPS, storage commitment, ...), for media directories, and for UIDs
    that are no SOP class at all.
    """
    if len(sop_class_uid) > MAX_UID_LENGTH or not _is_uid(sop_class_uid):
        return False
    uid = UID(sop_class_uid, validation_mode=IGNORE)  # else it warns, and every warning is kept
    if not uid.type:  # unregistered: private or new
        return True
    if uid.type != "SOP Class":
        return False
    service = uid_to_service_class(sop_class_uid)
    if service is not ServiceClass:
        return service.__name__ in ("StorageServiceClass", "NonPatientObjectStorageServiceClass")
    # Known to pydicom's dictionary only: mostly retired. Two of the retired storage classes have no name.
    name = uid.name
    if not name or name == sop_class_uid:
        return True
    return "Storage" in name and "Commitment" not in name and "Media Storage" not in name


def is_storage_or_verification(sop_class_uid: str) -> bool:
    """What an acceptor allows where its caller has no policy of its own."""
    return sop_class_uid == VERIFICATION or is_storage(sop_class_uid)


def negotiate(
    request: AssociateRequest,
    *,
    allowed: Callable[[str], bool] | None = None,
    supported: Callable[[str], bool] = is_storage_or_verification,
    transfer_syntaxes: Sequence[str] | None = None,
    only_scp: Callable[[str], bool] = lambda uid: False,
    async_ops: tuple[int, int] = (1, 1),
    user_identity_response: bytes | None = None,
) -> Acceptance:
    """Answer a request as acceptor, context by context (PS3.8 §7.1.1.14).

    ``allowed`` says which abstract syntaxes to accept (None: all that are ``supported``); the others get
    result 1 where some callers may ask for them (``supported``), and 3 where nobody may. The sender's first
    transfer syntax wins, so that what it prefers to send passes on unchanged; where ``transfer_syntaxes`` is
    given, the sender's first one in it, and result 4 if there is none. Contexts that PS3.8 does not allow
    (even id, one id twice) get result 2. With abstract syntaxes of ``only_scp`` the requestor may be SCP and
    nothing else (for C-GET, PS3.4 §C.4.3): who has not asked for that role gets result 1. ``async_ops``
    answers a proposed asynchronous operations window; each part is never more than was proposed. A user
    identity is answered only where ``user_identity_response`` is given: a positive answer is a promise that
    somebody checked it.
    """
    acceptable = None if transfer_syntaxes is None else frozenset(transfer_syntaxes)
    roles = _roles(request, only_scp)
    seen = Counter(proposed.id for proposed in request.contexts)
    answers: dict[int, ContextAnswer] = {}
    contexts: dict[int, AcceptedContext] = {}
    for proposed in request.contexts:
        role = roles.get(proposed.abstract_syntax)
        if seen[proposed.id] > 1 or proposed.id % 2 == 0:
            result, chosen = ContextResult.NO_REASON, ""
        elif role is not None and not (role.scp or role.scu) and only_scp(role.sop_class_uid):
            result, chosen = ContextResult.USER_REJECTION, ""
        else:
            result, chosen = _answer(proposed, allowed or supported, supported, acceptable)
        answers[proposed.id] = ContextAnswer(id=proposed.id, result=result, transfer_syntax=chosen)
        if result is ContextResult.ACCEPTANCE:
            contexts[proposed.id] = AcceptedContext(
                id=proposed.id,
                abstract_syntax=proposed.abstract_syntax,
                transfer_syntax=chosen,
                as_scu=role.scp if role else False,
                as_scp=role.scu if role else True,
            )
    offered = {context.abstract_syntax for context in contexts.values()}
    wants_identity = request.user_identity is not None and request.user_identity.response_requested
    return Acceptance(
        answers=tuple(answers.values()),
        contexts=contexts,
        roles=tuple(role for role in roles.values() if role.sop_class_uid in offered),
        async_ops=_window(request.async_ops, async_ops),
        extended=tuple(
            ExtendedNegotiation(sop_class_uid=uid, information=_STORAGE_SUPPORT)
            for uid in dict.fromkeys(
                item.sop_class_uid for item in request.extended
            )  # each once: ours are longer
            if uid in offered and is_storage(uid)
        ),
        user_identity_response=user_identity_response if wants_identity else None,
    )


def _roles(request: AssociateRequest, only_scp: Callable[[str], bool]) -> dict[str, RoleSelection]:
    """What the requestor asked to be, by abstract syntax; with those of ``only_scp`` an SCP, or nothing."""
    roles = {role.sop_class_uid: role for role in request.roles}
    for uid in {proposed.abstract_syntax for proposed in request.contexts}:
        if only_scp(uid):
            roles[uid] = RoleSelection(sop_class_uid=uid, scu=False, scp=uid in roles and roles[uid].scp)
    return roles


def _answer(
    proposed: ProposedContext,
    is_allowed: Callable[[str], bool],
    is_supported: Callable[[str], bool],
    acceptable: frozenset[str] | None,
) -> tuple[ContextResult, str]:
    if not proposed.abstract_syntax or not is_allowed(proposed.abstract_syntax):
        if proposed.abstract_syntax and is_supported(proposed.abstract_syntax):
            return ContextResult.USER_REJECTION, ""
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, ""
    if proposed.abstract_syntax in IDENTIFIER_CLASSES:  # we read and write these ourselves
        acceptable = _IDENTIFIER_SYNTAXES & (acceptable or _IDENTIFIER_SYNTAXES)
    for transfer_syntax in proposed.transfer_syntaxes:
        if transfer_syntax and (acceptable is None or transfer_syntax in acceptable):
            return ContextResult.ACCEPTANCE, transfer_syntax
    return ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, ""


def _window(proposed: tuple[int, int] | None, ours: tuple[int, int]) -> tuple[int, int] | None:
    """Answer an asynchronous operations window (PS3.7 D.3.3.3): 0 means no limit on either side."""
    if proposed is None:
        return None
    invoked, performed = (
        mine if theirs == 0 else theirs if mine == 0 else min(theirs, mine)
        for theirs, mine in zip(proposed, ours, strict=True)
    )
    return invoked, performed


def agreed_window(request: AssociateRequest, reply: AssociateReply) -> int:
    """How many operations the requestor may have outstanding; 0: no limit. One where nothing was agreed."""
    if request.async_ops is None or reply.async_ops is None:
        return 1
    asked, granted = request.async_ops[0], reply.async_ops[0]
    return min(asked, granted) if asked and granted else asked or granted


def conclude(request: AssociateRequest, reply: AssociateReply) -> dict[int, AcceptedContext]:
    """What an A-ASSOCIATE-AC leaves a requestor with: the contexts that it may use.

    Answers to contexts or with transfer syntaxes that were never proposed count as not accepted.
    """
    proposed = {context.id: context for context in request.contexts}
    asked = {role.sop_class_uid: role for role in request.roles}
    granted = {role.sop_class_uid: role for role in reply.roles}
    contexts: dict[int, AcceptedContext] = {}
    for answer in reply.answers:
        context = proposed.get(answer.id)
        if answer.result != ContextResult.ACCEPTANCE or context is None:
            continue
        if answer.transfer_syntax not in context.transfer_syntaxes:
            continue
        want, grant = asked.get(context.abstract_syntax), granted.get(context.abstract_syntax)
        # Without an answer the default roles hold (PS3.7 D.3.3.4).
        contexts[answer.id] = AcceptedContext(
            id=answer.id,
            abstract_syntax=context.abstract_syntax,
            transfer_syntax=answer.transfer_syntax,
            as_scu=want.scu and grant.scu if want and grant else True,
            as_scp=want.scp and grant.scp if want and grant else False,
        )
    return contexts


def propose_store(wanted: Iterable[tuple[str, str]]) -> tuple[ProposedContext, ...]:
    """One context for each different (SOP class, transfer syntax), in order, as many as PS3.8 allows (128).

    One syntax for each context: the acceptor then cannot choose another one than the instance is in.
    """
    pairs = list(dict.fromkeys(wanted))[:MAX_CONTEXTS]
    return tuple(
        ProposedContext(id=2 * index + 1, abstract_syntax=sop_class, transfer_syntaxes=(transfer_syntax,))
        for index, (sop_class, transfer_syntax) in enumerate(pairs)
    )
