"""An audit message as a value, and as the XML of PS3.15 A.5.1. Pure.

Much of what is in it came from the wire: every text is bounded, and what XML cannot carry is replaced. The
schema has each object either with a name or with a query, so each has a name here.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from router.audit.codes import (
    SOURCE_TYPE,
    AccessPoint,
    Action,
    Code,
    EventOutcome,
    ObjectRole,
    ObjectType,
)

TEXT_CHARS = 256  # of any text: an AE title has 16, a UID 64, a host name 255
DESCRIPTION_CHARS = 1024
UID_CHARS = 64  # PS3.5 §6.2
SOP_CLASSES = 32  # told one by one; a study rarely has ten. What is beyond is counted together
PROLOG = '<?xml version="1.0" encoding="UTF-8"?>'

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2, Char
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Who took part: a process, a node or a person."""

    user_id: str
    is_requestor: bool
    alternative_id: str = ""
    name: str = ""
    role: Code | None = None
    access_point: str = ""  # where on the network; empty: not known
    access_point_type: AccessPoint = AccessPoint.ADDRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditObject:
    """What it was about."""

    id: str
    id_type: Code
    name: str
    type: ObjectType
    role: ObjectRole
    details: tuple[tuple[str, str], ...] = ()  # type and value
    sop_classes: Mapping[str, int] | None = None  # instances of each


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Who reports."""

    id: str
    enterprise_site_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditMessage:
    """One message."""

    event: Code
    kind: Code | None = None
    action: Action
    at: float
    outcome: EventOutcome = EventOutcome.SUCCESS
    outcome_description: str = ""
    participants: tuple[Participant, ...]
    objects: tuple[AuditObject, ...] = ()


def encode(message: AuditMessage, source: AuditSource) -> str:
    """The message on one line, with its prolog."""
    root = Element("AuditMessage")
    _add_event(root, message)
    for participant in message.participants:
        _add_participant(root, participant)
    site = {"AuditEnterpriseSiteID": _text(source.enterprise_site_id)} if source.enterprise_site_id else {}
    identified = SubElement(root, "AuditSourceIdentification", site | {"AuditSourceID": _text(source.id)})
    SubElement(identified, "AuditSourceTypeCode", {"csd-code": SOURCE_TYPE})
    for one in message.objects:
        _add_object(root, one)
    return PROLOG + tostring(root, encoding="unicode").replace("\n", " ").replace("\r", " ")


def timestamp(at: float) -> str:
    """An instant in UTC to the millisecond: xsd:dateTime, and RFC 5424's TIMESTAMP."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _add_event(root: Element, message: AuditMessage) -> None:
    attributes = {
        "EventActionCode": message.action.value,
        "EventDateTime": timestamp(message.at),
        "EventOutcomeIndicator": message.outcome.value,
    }
    event = SubElement(root, "EventIdentification", attributes)
    _add_code(event, "EventID", message.event)
    if message.kind is not None:
        _add_code(event, "EventTypeCode", message.kind)
    if message.outcome_description:
        described = SubElement(event, "EventOutcomeDescription")
        described.text = _text(message.outcome_description, DESCRIPTION_CHARS)


def _add_participant(root: Element, participant: Participant) -> None:
    attributes = {"UserID": _text(participant.user_id)}
    if participant.alternative_id:
        attributes["AlternativeUserID"] = _text(participant.alternative_id)
    if participant.name:
        attributes["UserName"] = _text(participant.name)
    attributes["UserIsRequestor"] = str(participant.is_requestor).lower()
    if participant.access_point:
        attributes["NetworkAccessPointID"] = _text(participant.access_point)
        attributes["NetworkAccessPointTypeCode"] = participant.access_point_type.value
    element = SubElement(root, "ActiveParticipant", attributes)
    if participant.role is not None:
        _add_code(element, "RoleIDCode", participant.role)


def _add_object(root: Element, one: AuditObject) -> None:
    attributes = {
        "ParticipantObjectID": _text(one.id),
        "ParticipantObjectTypeCode": one.type.value,
        "ParticipantObjectTypeCodeRole": one.role.value,
    }
    element = SubElement(root, "ParticipantObjectIdentification", attributes)
    _add_code(element, "ParticipantObjectIDTypeCode", one.id_type)
    SubElement(element, "ParticipantObjectName").text = _text(one.name)
    for kind, value in one.details:
        encoded = b64encode(_text(value, DESCRIPTION_CHARS).encode()).decode()
        SubElement(element, "ParticipantObjectDetail", {"type": kind, "value": encoded})
    if one.sop_classes:
        _add_sop_classes(SubElement(element, "ParticipantObjectDescription"), one.sop_classes)


def _add_sop_classes(description: Element, counts: Mapping[str, int]) -> None:
    told = sorted(counts)[:SOP_CLASSES]
    for uid in told:
        attributes = {"UID": _text(uid, UID_CHARS), "NumberOfInstances": str(counts[uid])}
        SubElement(description, "SOPClass", attributes)
    rest = sum(counts.values()) - sum(counts[uid] for uid in told)
    if rest:
        SubElement(description, "SOPClass", {"NumberOfInstances": str(rest)})


def _add_code(parent: Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    SubElement(parent, name, attributes)


def _text(value: str, limit: int = TEXT_CHARS) -> str:
    return _ILLEGAL.sub(_REPLACEMENT, value[:limit])
