"""router.audit.message: valid, on one line and bounded, whatever comes."""

from __future__ import annotations

from hypothesis import given, strategies as st

from router.audit import codes
from router.audit.codes import Action, EventOutcome, ObjectRole, ObjectType
from router.audit.message import (
    SOP_CLASSES,
    AuditMessage,
    AuditObject,
    AuditSource,
    Participant,
    encode,
    timestamp,
)
from tests.audit.schema import parse


def message(text: str, *, classes: dict[str, int] | None = None) -> AuditMessage:
    """A message with ``text`` wherever there may be any."""
    participant = Participant(
        user_id=text, alternative_id=text, name=text, is_requestor=True, access_point=text, role=codes.SOURCE
    )
    about = AuditObject(
        id=text,
        id_type=codes.STUDY_INSTANCE_UID,
        name=text,
        type=ObjectType.SYSTEM,
        role=ObjectRole.REPORT,
        details=(("Alert Description", text),),
        sop_classes=classes if classes is not None else {text: 1},
    )
    return AuditMessage(
        event=codes.INSTANCES_TRANSFERRED,
        action=Action.READ,
        at=1_700_000_000.0,
        outcome=EventOutcome.SERIOUS_FAILURE,
        outcome_description=text,
        participants=(participant, participant),
        objects=(about, about),
    )


@given(st.text() | st.text(alphabet="<>&\"'\n\r\t\0\x1b\ufffe\ud800 ]]"))
def test_any_text_from_the_wire_is_carried_safely(text: str) -> None:
    xml = encode(message(text), AuditSource(id=text, enterprise_site_id=text))
    assert len(xml.splitlines()) <= 1 or not {"\n", "\r"} & set(xml)
    xml.encode()
    parsed = parse(xml)
    assert len(parsed.all("ActiveParticipant")) == 2
    assert len(parsed.all("ParticipantObjectIdentification")) == 2


def test_a_peer_cannot_add_elements_of_its_own() -> None:
    evil = '"/><ActiveParticipant UserID="root" UserIsRequestor="true"/><x y="'
    parsed = parse(encode(message(evil), AuditSource(id="R")))
    assert parsed.all("ActiveParticipant/@UserID") == [evil, evil]


@given(st.characters(), st.integers(0, 3000))
def test_everything_is_bounded(letter: str, classes: int) -> None:
    counts = {f"1.2.{number}" + letter * 300: 2 for number in range(classes)}
    xml = encode(message(letter * 5000, classes=counts), AuditSource(id=letter * 5000))
    assert len(xml.encode()) < 128 * 1024  # hostile text wherever there may be any
    told = parse(xml).all("ParticipantObjectIdentification[1]//SOPClass/@NumberOfInstances")
    assert sum(map(int, told)) == 2 * classes
    assert len(told) <= SOP_CLASSES + 1


def test_instants_are_unambiguous() -> None:
    assert timestamp(1_700_000_000.0) == "2023-11-14T22:13:20.000Z"
    assert timestamp(0.0015) == "1970-01-01T00:00:00.001Z"
