"""From what happened to the audit message of it, as the tables of PS3.15 A.5.3 have it. Pure.

Who is who: we are our process number, with our AE titles as the alternative; a DICOM peer is its AE title; a
destination of another kind is its name in the configuration; an operator is who they say they are.

``patient: none`` still has the patient object that the tables ask for, without an identifier in it: an audit
trail is read by more people than an archive, travels further (UDP has no encryption), and is kept longer.
The Study Instance UID says which study it was to whoever may look it up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from router.audit import codes
from router.audit.codes import AccessPoint, Action, Code, EventOutcome, ObjectRole, ObjectType
from router.audit.gathering import Caller, Refusal, Refused, Repeated, Transfer, Way
from router.audit.message import AuditMessage, AuditObject, Participant
from router.config.settings import Settings
from router.model import Origin
from router.spool.orders import Operator

WITHHELD = "withheld"  # in the place of a Patient ID
_ALERT = "Alert Description"
_PRODUCT = "dicom-router"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """This process, as its messages name it."""

    process: str
    host: str
    user: str  # who started it: login@host (A.5.2.1)
    ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A destination: what is known of it, and how we call ourselves towards it."""

    participant: Participant
    local_ae_title: str


class Events:
    """Makes the messages of one gateway."""

    def __init__(self, identity: Identity, settings: Settings) -> None:
        self._identity = identity
        self._places = _places(identity, settings)

    def application(self, kind: Code, at: float) -> AuditMessage:
        """Application Activity (A.5.3.1)."""
        launcher = Participant(
            user_id=self._identity.user,
            is_requestor=True,
            role=codes.APPLICATION_LAUNCHER,
            access_point=self._identity.host,
            access_point_type=AccessPoint.NAME,
        )
        return AuditMessage(
            event=codes.APPLICATION_ACTIVITY,
            kind=kind,
            action=Action.EXECUTE,
            at=at,
            participants=(self._self(role=codes.APPLICATION), launcher),
        )

    def transfer(self, transfer: Transfer) -> AuditMessage:
        """Begin Transferring (A.5.3.3), Transferred (A.5.3.7), or to an operator Accessed (A.5.3.6)."""
        way, peer = transfer.key.way, transfer.key.peer
        if isinstance(peer, Operator):
            return self._accessed(transfer, peer)
        is_begin = way is Way.QUEUED
        if isinstance(peer, Origin):
            source, target = self._sender(peer), self._self(role=codes.DESTINATION, ae_title=peer.called_ae)
        elif isinstance(peer, Caller):
            source, target = self._self(role=codes.SOURCE), _caller(peer, codes.DESTINATION)
        else:
            place = self._place(peer)
            source = self._self(role=codes.SOURCE, ae_title=place.local_ae_title, is_requestor=True)
            target = place.participant
        action = Action.CREATE if way is Way.RECEIVED else Action.EXECUTE if is_begin else Action.READ
        has_failed = way is Way.GIVEN_UP
        return AuditMessage(
            event=codes.BEGIN_TRANSFERRING if is_begin else codes.INSTANCES_TRANSFERRED,
            action=action,
            at=transfer.began_at if is_begin else transfer.ended_at,
            outcome=EventOutcome.SERIOUS_FAILURE if has_failed else EventOutcome.SUCCESS,
            outcome_description=_counted(transfer.reasons) if has_failed else "",
            participants=(source, target),
            objects=_study_and_patient(transfer),
        )

    def _accessed(self, transfer: Transfer, by: Operator) -> AuditMessage:
        return AuditMessage(
            event=codes.INSTANCES_ACCESSED,
            action=Action.READ,
            at=transfer.ended_at,
            participants=(_person(by.who, by.address, is_requestor=True), self._self()),
            objects=_study_and_patient(transfer),
        )

    def queried(
        self, caller: Caller, sop_class_uid: str, transfer_syntax_uid: str, problem: str, at: float
    ) -> AuditMessage:
        """Query (A.5.3.10), without the query itself, which may name patients; ``problem``: refused."""
        asked = AuditObject(
            id=sop_class_uid,
            id_type=codes.SOP_CLASS_UID,
            name="query",
            type=ObjectType.SYSTEM,
            role=ObjectRole.REPORT,
            details=(("TransferSyntax", transfer_syntax_uid),),
        )
        return AuditMessage(
            event=codes.QUERY,
            action=Action.EXECUTE,
            at=at,
            outcome=EventOutcome.MINOR_FAILURE if problem else EventOutcome.SUCCESS,
            outcome_description=problem,
            participants=(_caller(caller, codes.SOURCE), self._self(role=codes.DESTINATION)),
            objects=(asked,),
        )

    def refusal(self, refusal: Refusal, at: float) -> AuditMessage:
        """Security Alert, Node Authentication (A.5.3.11); for users User Authentication (A.5.3.12)."""
        if refusal.what is Refused.USER:
            return self._user(refusal, at, refusal.because)
        return self._node(refusal, at, refusal.because)

    def repeated(self, repeated: Repeated) -> AuditMessage:
        """The same for refusals that were counted."""
        because = f"{repeated.refusal.because}: {repeated.times} times more"
        if repeated.refusal.what is Refused.USER:
            return self._user(repeated.refusal, repeated.at, because)
        return self._node(repeated.refusal, repeated.at, because)

    def reloaded(self, kind: Code, uri: str, problem: str, at: float) -> AuditMessage:
        """Security Alert for a configuration, or certificates, that were read again; ``problem``: in vain."""
        subject = AuditObject(
            id=uri,
            id_type=codes.URI,
            name=kind.meaning,
            type=ObjectType.SYSTEM,
            role=ObjectRole.MASTER_FILE,
            details=((_ALERT, problem or "read again, and in force"),),
        )
        return self._alert(
            kind, at, (), subject, EventOutcome.MINOR_FAILURE if problem else EventOutcome.SUCCESS, problem
        )

    def ordered(self, by: Operator, action: str, target: str, at: float) -> AuditMessage:
        """Security Alert, Use of Restricted Function: what an operator did."""
        subject = AuditObject(
            id=f"{_PRODUCT}:{action}",
            id_type=codes.URI,
            name=action,
            type=ObjectType.SYSTEM,
            role=ObjectRole.SECURITY_RESOURCE,
            details=((_ALERT, f"{action}: {target}" if target else action),),
        )
        operator = _person(by.who, by.address)
        return self._alert(codes.RESTRICTED_FUNCTION, at, (operator,), subject)

    def recording_started(self, lost: int, at: float) -> AuditMessage:
        """Security Alert: messages get through again, and some were lost before."""
        subject = self._node_object(
            self._identity.host, f"{lost} audit messages were lost: the receiver was out of reach for long"
        )
        return self._alert(codes.RECORDING_STARTED, at, (), subject, EventOutcome.MINOR_FAILURE)

    def _self(
        self, *, role: Code | None = None, ae_title: str = "", is_requestor: bool = False
    ) -> Participant:
        return Participant(
            user_id=self._identity.process,
            alternative_id=_ae_titles(ae_title or self._identity.ae_title),
            name=_PRODUCT,
            is_requestor=is_requestor,
            role=role,
            access_point=self._identity.host,
            access_point_type=AccessPoint.NAME,
        )

    def _sender(self, origin: Origin) -> Participant:
        return Participant(
            user_id=origin.calling_ae,
            alternative_id=_ae_titles(origin.calling_ae),
            is_requestor=True,
            role=codes.SOURCE,
            access_point=origin.peer,
        )

    def _place(self, name: str) -> _Place:
        """A destination; one that the configuration does not have is known by its name only."""
        known = self._places.get(name)
        if known is not None:
            return known
        participant = Participant(user_id=name, is_requestor=False, role=codes.DESTINATION)
        return _Place(participant=participant, local_ae_title=self._identity.ae_title)

    def _node(self, refusal: Refusal, at: float, because: str) -> AuditMessage:
        if refusal.what is Refused.DESTINATION:
            peer = self._place(refusal.where).participant
            node = peer.access_point or refusal.where
            performing = _node_participant(peer.user_id, node, peer.access_point_type)
            sentence = f"towards {refusal.where}: {because}"
        else:
            node = refusal.address or "unknown"
            performing = _node_participant(refusal.who or node, refusal.address, AccessPoint.ADDRESS)
            sentence = f"at listener {refusal.where}: {because}"
        subject = self._node_object(node, sentence)
        return self._alert(
            codes.NODE_AUTHENTICATION, at, (performing,), subject, EventOutcome.MINOR_FAILURE, because
        )

    def _user(self, refusal: Refusal, at: float, because: str) -> AuditMessage:
        person = _person(refusal.who, refusal.address or "unknown", is_requestor=True)
        return AuditMessage(
            event=codes.USER_AUTHENTICATION,
            kind=codes.LOGIN,
            action=Action.EXECUTE,
            at=at,
            outcome=EventOutcome.MINOR_FAILURE,
            outcome_description=f"{refusal.where}: {because}",
            participants=(person, self._self()),
        )

    def _alert(
        self,
        kind: Code,
        at: float,
        performing: tuple[Participant, ...],
        subject: AuditObject,
        outcome: EventOutcome = EventOutcome.SUCCESS,
        description: str = "",
    ) -> AuditMessage:
        return AuditMessage(
            event=codes.SECURITY_ALERT,
            kind=kind,
            action=Action.EXECUTE,
            at=at,
            outcome=outcome,
            outcome_description=description,
            participants=(self._self(), *performing),
            objects=(subject,),
        )

    def _node_object(self, node: str, sentence: str) -> AuditObject:
        return AuditObject(
            id=node,
            id_type=codes.NODE_ID,
            name=node,
            type=ObjectType.SYSTEM,
            role=ObjectRole.SECURITY_RESOURCE,
            details=((_ALERT, sentence),),
        )


def _places(identity: Identity, settings: Settings) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for name, modality in settings.modalities.items():
        participant = Participant(
            user_id=modality.ae_title,
            alternative_id=_ae_titles(modality.ae_title),
            name=name,
            is_requestor=False,
            role=codes.DESTINATION,
            access_point=modality.host,
            access_point_type=_kind_of(modality.host),
        )
        local = modality.local_ae_title or settings.ae_title
        places[name] = _Place(participant=participant, local_ae_title=local)
    return places


def _study_and_patient(transfer: Transfer) -> tuple[AuditObject, AuditObject]:
    subject = transfer.key.subject
    study = AuditObject(
        id=subject.study_instance_uid,
        id_type=codes.STUDY_INSTANCE_UID,
        name="study",
        type=ObjectType.SYSTEM,
        role=ObjectRole.REPORT,
        sop_classes=transfer.sop_classes,
    )
    patient = AuditObject(
        id=subject.patient_id or WITHHELD,
        id_type=codes.PATIENT_NUMBER,
        name="patient",
        type=ObjectType.PERSON,
        role=ObjectRole.PATIENT,
    )
    return study, patient


def _caller(caller: Caller, role: Code) -> Participant:
    return Participant(
        user_id=caller.ae_title,
        alternative_id=_ae_titles(caller.ae_title),
        is_requestor=True,
        role=role,
        access_point=caller.address,
    )


def _person(who: str, address: str, *, is_requestor: bool = False) -> Participant:
    return Participant(user_id=who or "unknown", is_requestor=is_requestor, access_point=address)


def _node_participant(user_id: str, access_point: str, kind: AccessPoint) -> Participant:
    return Participant(user_id=user_id, is_requestor=False, access_point=access_point, access_point_type=kind)


def _ae_titles(*titles: str) -> str:
    return "AETITLES=" + ";".join(titles)  # A.5.2.2


def _kind_of(host: str) -> AccessPoint:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return AccessPoint.NAME
    return AccessPoint.ADDRESS


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
