"""router.audit.events: each kind of message, valid, with the facts where the standard has them."""

from __future__ import annotations

import pytest

from router.audit import codes
from router.audit.events import WITHHELD
from router.audit.gathering import (
    Refusal,
    Refused,
    Repeated,
    Subject,
    Transfer,
    TransferKey,
    Way,
)
from router.audit.message import AuditMessage, AuditSource, encode
from router.model import Origin
from router.spool.orders import Operator
from tests.audit.samples import CT, MR, NOW, ORIGIN, events
from tests.audit.schema import Parsed, parse

SOURCE, DESTINATION = "110153", "110152"
STUDY = Subject(study_instance_uid="1.2.3")


def told(message: AuditMessage) -> Parsed:
    return parse(encode(message, AuditSource(id="ROUTER", enterprise_site_id="Site A")))


def transfer(
    way: Way, peer: Origin | str | Operator, subject: Subject = STUDY, reasons: dict[str, int] | None = None
) -> Parsed:
    made = Transfer(TransferKey(way, subject, peer), NOW, NOW + 5, {CT: 500, MR: 2}, reasons or {})
    return told(events().transfer(made))


@pytest.mark.parametrize("kind", [codes.APPLICATION_START, codes.APPLICATION_STOP])
def test_application_activity(kind: codes.Code) -> None:
    message = told(events().application(kind, NOW))
    assert (message.event, message.kind, message.outcome) == ("110100", kind.value, "0")
    assert message.one("EventIdentification/@EventDateTime") == "2023-11-14T22:13:20.000Z"
    application = message.participant("110150")
    assert application["UserID"] == "4711"
    assert application["AlternativeUserID"] == "AETITLES=ROUTER"
    launcher = message.participant("110151")
    assert (launcher["UserID"], launcher["UserIsRequestor"]) == ("dicom@gw.example", "true")
    assert message.one("AuditSourceIdentification/@AuditSourceID") == "ROUTER"
    assert message.one("AuditSourceIdentification/@AuditEnterpriseSiteID") == "Site A"


def test_instances_received() -> None:
    message = transfer(Way.RECEIVED, ORIGIN)
    assert (message.event, message.outcome) == ("110104", "0")
    assert message.one("EventIdentification/@EventActionCode") == "C"
    assert message.one("EventIdentification/@EventDateTime") == "2023-11-14T22:13:25.000Z", "when it was done"
    source, destination = message.participant(SOURCE), message.participant(DESTINATION)
    assert source["UserID"] == "CT1"
    assert source["UserIsRequestor"] == "true"
    assert (source["NetworkAccessPointID"], source["NetworkAccessPointTypeCode"]) == ("192.0.2.7", "2")
    assert destination["UserID"] == "4711"
    assert destination["UserIsRequestor"] == "false"
    assert (destination["NetworkAccessPointID"], destination["NetworkAccessPointTypeCode"]) == (
        "gw.example",
        "1",
    )
    assert message.study == "1.2.3"
    assert message.sop_classes == {CT: 500, MR: 2}
    assert message.patient == WITHHELD


def test_instances_that_are_to_be_sent() -> None:
    message = transfer(Way.QUEUED, "pacs")
    assert (message.event, message.outcome) == ("110102", "0")
    assert message.one("EventIdentification/@EventActionCode") == "E"
    assert message.one("EventIdentification/@EventDateTime") == "2023-11-14T22:13:20.000Z", "when it began"


def test_instances_delivered() -> None:
    message = transfer(Way.DELIVERED, "cloud")
    assert (message.event, message.outcome) == ("110104", "0")
    assert message.one("EventIdentification/@EventActionCode") == "R"
    source, destination = message.participant(SOURCE), message.participant(DESTINATION)
    assert (source["UserID"], source["AlternativeUserID"]) == ("4711", "AETITLES=OUT")
    assert source["UserIsRequestor"] == "true"
    assert (destination["UserID"], destination["UserName"]) == ("CLOUD", "cloud")
    assert destination["NetworkAccessPointTypeCode"] == "1"
    assert transfer(Way.DELIVERED, "pacs").participant(DESTINATION)["NetworkAccessPointTypeCode"] == "2"


@pytest.mark.parametrize("name", ["files", "both/pacs", "gone from the configuration"])
def test_what_is_no_dicom_peer_goes_by_its_name(name: str) -> None:
    destination = transfer(Way.DELIVERED, name).participant(DESTINATION)
    assert destination == {"UserID": name, "UserIsRequestor": "false"}


def test_instances_given_up() -> None:
    message = transfer(Way.GIVEN_UP, "pacs", reasons={"no_context": 2, "max_age": 500})
    assert (message.event, message.outcome) == ("110104", "8")
    assert message.one("EventIdentification/EventOutcomeDescription/text()") == "max_age: 500, no_context: 2"


def test_instances_an_operator_was_given() -> None:
    message = transfer(Way.FETCHED, Operator(who="anna", address="192.0.2.9"))
    assert (message.event, message.outcome) == ("110103", "0")
    assert message.one("EventIdentification/@EventActionCode") == "R"
    assert message.all("ActiveParticipant/@UserID") == ["anna", "4711"]
    assert message.all("ActiveParticipant/@UserIsRequestor") == ["true", "false"]
    assert message.one("ActiveParticipant[@UserID='anna']/@NetworkAccessPointID") == "192.0.2.9"
    assert (message.study, message.sop_classes, message.patient) == ("1.2.3", {CT: 500, MR: 2}, WITHHELD)


def test_a_patient_is_told_where_that_is_asked_for() -> None:
    message = transfer(Way.RECEIVED, ORIGIN, Subject(study_instance_uid="1.2.3", patient_id="P1"))
    assert message.patient == "P1"
    path = (
        "ParticipantObjectIdentification[@ParticipantObjectTypeCode='1'][@ParticipantObjectTypeCodeRole='1']"
    )
    assert message.one(f"{path}/@ParticipantObjectID") == "P1"


def test_a_hostile_sender_makes_no_message_longer_than_receivers_must_take() -> None:
    hostile = Origin(calling_ae='"' * 16, called_ae='"' * 16, peer="2001:db8::1", listener="main")
    subject = Subject(study_instance_uid='"' * 64, patient_id='"' * 64)
    classes = {f"{number:03}" + '"' * 1000: 1 for number in range(1000)}
    made = Transfer(TransferKey(Way.RECEIVED, subject, hostile), NOW, NOW, classes)
    xml = encode(events().transfer(made), AuditSource(id="ROUTER"))
    assert parse(xml).study == '"' * 64
    assert len(xml.encode()) < 32768 - 512  # PS3.15 A.6, and the header


def test_a_caller_refused() -> None:
    refusal = Refusal(
        what=Refused.CALLER, where="main", because="not recognised", who="EVIL", address="192.0.2.66"
    )
    message = told(events().refusal(refusal, NOW))
    assert (message.event, message.kind, message.outcome) == ("110113", "110126", "4")
    assert message.all("ActiveParticipant/@UserID") == ["4711", "EVIL"]
    assert message.all("ActiveParticipant/@UserIsRequestor") == ["false", "false"]
    assert message.one("ParticipantObjectIdentification/@ParticipantObjectID") == "192.0.2.66"
    assert message.alert == "at listener main: not recognised"


def test_a_caller_whose_name_is_not_known_is_its_address() -> None:
    refusal = Refusal(what=Refused.CALLER, where="tls", because="no certificate", address="192.0.2.66")
    message = told(events().refusal(refusal, NOW))
    assert message.all("ActiveParticipant/@UserID") == ["4711", "192.0.2.66"]
    nobody = Refusal(what=Refused.CALLER, where="tls", because="no certificate")
    assert told(events().refusal(nobody, NOW)).all("ActiveParticipant/@UserID") == ["4711", "unknown"]


def test_a_destination_that_is_not_trusted() -> None:
    refusal = Refusal(what=Refused.DESTINATION, where="pacs", because="its certificate has expired")
    message = told(events().refusal(refusal, NOW))
    assert (message.event, message.kind) == ("110113", "110126")
    assert message.all("ActiveParticipant/@UserID") == ["4711", "PACS"]
    assert message.one("ParticipantObjectIdentification/@ParticipantObjectID") == "192.0.2.5"
    assert message.alert == "towards pacs: its certificate has expired"


def test_a_user_refused() -> None:
    refusal = Refusal(what=Refused.USER, where="http", because="wrong token", who="", address="")
    message = told(events().refusal(refusal, NOW))
    assert (message.event, message.kind, message.outcome) == ("110114", "110122", "4")
    assert message.all("ActiveParticipant/@UserID") == ["unknown", "4711"]
    assert message.all("ActiveParticipant/@NetworkAccessPointID") == ["unknown", "gw.example"]
    assert message.all("ParticipantObjectIdentification") == []


@pytest.mark.parametrize("what", Refused)
def test_refusals_that_were_counted(what: Refused) -> None:
    refusal = Refusal(what=what, where="pacs", because="expired", address="192.0.2.66")
    message = told(events().repeated(Repeated(refusal=refusal, times=4710, at=NOW)))
    said = message.one("EventIdentification/EventOutcomeDescription/text()")
    assert said.endswith("expired: 4710 times more")


def test_configurations() -> None:
    good = told(events().reloaded(codes.SOFTWARE_CONFIGURATION, "file:///etc/router.yaml", "", NOW))
    assert (good.event, good.kind, good.outcome) == ("110113", "110131", "0")
    assert good.one("ParticipantObjectIdentification/@ParticipantObjectID") == "file:///etc/router.yaml"
    bad = told(events().reloaded(codes.SECURITY_CONFIGURATION, "dicom-router:tls/pacs", "no such file", NOW))
    assert (bad.kind, bad.outcome, bad.alert) == ("110129", "4", "no such file")


def test_what_an_operator_did() -> None:
    by = Operator(who="anna@ward", address="192.0.2.9")
    message = told(events().ordered(by, "discard", "destination=pacs (12 deliveries)", NOW))
    assert (message.event, message.kind, message.outcome) == ("110113", "110132", "0")
    assert message.all("ActiveParticipant/@UserID") == ["4711", "anna@ward"]
    assert message.all("ActiveParticipant/@NetworkAccessPointID") == ["gw.example", "192.0.2.9"]
    assert message.alert == "discard: destination=pacs (12 deliveries)"
    assert told(events().ordered(by, "drain", "", NOW)).alert == "drain"


def test_a_gap_in_the_trail() -> None:
    message = told(events().recording_started(12, NOW))
    assert (message.event, message.kind, message.outcome) == ("110113", "110134", "4")
    assert message.alert.startswith("12 audit messages were lost")
